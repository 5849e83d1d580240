// What the plugin's page and its dashboard do, one scenario a visit; each reports to the test what it saw.

const { scenario, tracker, keyless, key, queries } = Object.fromEntries(new URLSearchParams(location.search));

const MIB = 1024 * 1024;
const FIRST = Date.parse("2026-11-23T21:05:13.536Z");

const scenarios = {
  /** A page and its dashboard on one connection; the query does not wait for auth_ok. */
  async conversation() {
    const connection = await connect();
    connection.send({ type: "auth", key });
    connection.send(query("first"));
    const first = [await connection.next(), await connection.next()];

    const sent = makeEvents(25);
    sent[0].payload.text = "Größe, кнопка, 購入";
    sent[1].payload.text = "🙂 👩‍👩‍👧";
    sent[2].payload.text = "cut 🙂".slice(0, 5); // ends in half an emoji
    sent[3].payload.text = "\u0000 \u2028 \" \\ </script>";
    connection.send({ type: "ingest", events: sent });
    connection.send(query("second", { since: sent[0].timestamp, until: sent[24].timestamp }));
    const [ack, answer] = [await connection.next(), await connection.next()];
    await report({ extensions: connection.socket.extensions, first, sent, ack, answer });
  },

  /** All that was buffered during an outage, in one frame that is as large as a server has to take. */
  async burst() {
    const connection = await connect();
    connection.send({ type: "auth", key });
    const frame = { type: "ingest", events: makeEvents(5000) };
    frame.events[0].payload.text = "";
    frame.events[0].payload.text = "x".repeat(4 * MIB - JSON.stringify(frame).length);
    connection.send(frame);
    connection.send(query("all"));
    const answers = [await connection.next(), await connection.next(), await connection.next()];
    const found = answers[2].response;
    await report({
      bytes: new Blob([JSON.stringify(frame)]).size,
      answers: answers.slice(0, 2),
      total: found.total,
      timestamps: found.events.map((event) => event.timestamp),
      ids: found.events.map((event) => event.id),
    });
  },

  /** What comes back for a key, and for what is sent right behind it. */
  async keys() {
    const connection = await connect();
    connection.send({ type: "auth", key });
    connection.send({ type: "ingest", events: makeEvents(1) });
    await report([await connection.next(), await connection.next()]);
  },

  /** Every frame after a subscription, and the close, reported as they come. */
  async subscription() {
    const connection = await connect();
    connection.send({ type: "auth", key });
    connection.send({ type: "subscribe" });
    let seen;
    do await report((seen = await connection.next()));
    while (!seen.closed);
  },

  /** The text of whole answers, over WebSocket and over HTTP, as their SHA-256. */
  async windows() {
    const asked = JSON.parse(queries);
    const socket = new WebSocket(`${tracker.replace("http", "ws")}/ws`);
    await new Promise((resolve) => (socket.onopen = resolve));
    const texts = [];
    await new Promise((resolve) => {
      socket.onmessage = ({ data }) => texts.push(data) === asked.length && resolve();
      for (const frame of asked) socket.send(JSON.stringify(frame));
    });
    const bodies = [];
    for (const { query } of asked) {
      const response = await fetch(`${tracker}?${new URLSearchParams(query)}`);
      bodies.push(await response.text());
    }
    await report({
      extensions: socket.extensions,
      websocket: await Promise.all(texts.map(digest)),
      http: await Promise.all(bodies.map(digest)),
    });
  },

  /** HTTP mode while the page is visible. */
  async fetches() {
    const headers = { "X-Tracker-Key": key };
    const write = (events, members) =>
      outcome(`${tracker}/events`, {
        method: "POST",
        headers: { "Content-Type": "application/json", ...headers },
        body: JSON.stringify({ type: "ingest", events }),
        ...members,
      });
    const sent = makeEvents(26);
    const since = encodeURIComponent(sent[0].timestamp);
    await report({
      sent,
      written: await write(sent.slice(0, 25)),
      kept: await write(sent.slice(25), { keepalive: true }),
      refused: await write(makeEvents(1), { headers: { "Content-Type": "application/json" } }),
      read: await outcome(`${tracker}?since=${since}`, { headers }),
      readWithCredentials: await outcome(`${tracker}?limit=0`, { headers, credentials: "include" }),
      pinged: await outcome(`${tracker}/ping`, { headers }),
    });
  },

  /** A website that would like to read and to write: with preflights, without, and over a WebSocket. */
  async stranger() {
    const attempt = (url, options) =>
      fetch(url, options).then(
        ({ status, type }) => [status, type],
        ({ name }) => name,
      );
    const body = JSON.stringify({ type: "ingest", events: makeEvents(1) });
    const json = { "Content-Type": "application/json" };
    await report({
      read: await attempt(tracker),
      pinged: await attempt(`${tracker}/ping`),
      written: await attempt(`${tracker}/events`, { method: "POST", headers: json, body }),
      writtenBlindly: await attempt(`${tracker}/events`, { method: "POST", mode: "no-cors", body }),
      connected: await connect().then(
        () => "open",
        ({ message }) => message,
      ),
    });
  },

  /** HTTP mode when the tab is hidden: 2.x with a key in the URL and without any, and 1.x. */
  async beacons() {
    document.cookie = "visitor=known"; // cookies know no ports: the tracker gets it where credentials are included
    const body = (name, type) => JSON.stringify({ ...type, events: [{ ...makeEvents(1)[0], userId: name }] });
    const json = (name) => new Blob([body(name, { type: "ingest" })], { type: "application/json" });
    await report({
      accepted: [
        navigator.sendBeacon(`${tracker}/events?key=${encodeURIComponent(key)}`, json("2.x with a key")),
        navigator.sendBeacon(`${keyless}/events`, json("2.x without a key")),
        navigator.sendBeacon(`${tracker}/events?key=${encodeURIComponent(key)}`, body("1.x with a key")),
      ],
    });
  },
};

/** A WebSocket whose frames, and whose close, are awaited one after the other. */
async function connect() {
  const socket = new WebSocket(`${tracker.replace("http", "ws")}/ws`);
  let closed;
  const happened = new ReadableStream({
    start(stream) {
      socket.onmessage = ({ data }) => stream.enqueue(JSON.parse(data));
      socket.onclose = (event) => {
        closed = event;
        stream.enqueue({ closed: event.code, wasClean: event.wasClean });
        stream.close();
      };
    },
  }).getReader();
  await new Promise((resolve, reject) => {
    socket.onopen = resolve;
    socket.onerror = () => reject(new Error("the connection failed"));
  });
  return {
    socket,
    send: (frame) => socket.send(JSON.stringify(frame)),
    async next() {
      const { value, done } = await happened.read();
      if (done) throw new Error(`the connection is closed already, with ${closed.code}`);
      return value;
    },
  };
}

function query(reqId, members = {}) {
  return { type: "events:query", reqId, query: members };
}

async function digest(text) {
  const bytes = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  return Array.from(new Uint8Array(bytes), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Events as the plugin makes them, a millisecond apart. */
function makeEvents(count) {
  return Array.from({ length: count }, (_, number) => ({
    id: "",
    timestamp: new Date(FIRST + number).toISOString(),
    level: "info",
    type: "click",
    appId: "demo",
    sessionId: "sess_1",
    userId: `user-${number}`,
    payload: { tag: "button", text: `Buy ${number}`, coordinates: { x: number, y: 7.5 } },
    meta: { userAgent: navigator.userAgent, route: location.pathname, viewport: "800x600", language: "en-US" },
  }));
}

async function outcome(url, options) {
  const response = await fetch(url, options);
  return { status: response.status, type: response.type, body: await response.json() };
}

async function report(seen) {
  await fetch("/result", { method: "POST", body: JSON.stringify(seen) });
}

scenarios[scenario]().catch((error) => report({ failed: error.stack }));
