// A small backend for the tracker protocol, written from protocol-spec/SPEC.md alone; the ids in the comments are those
// of its requirements. It keeps its events in memory, so ACK-5 is the one SHOULD that it cannot meet.
//
//     node server.mjs [--key KEY]

import { isUtf8 } from 'node:buffer';
import { createHash, randomUUID, timingSafeEqual } from 'node:crypto';
import { createServer, IncomingMessage, ServerResponse } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { WebSocketServer } from 'ws';

const KEY = parseArgs({ options: { key: { type: 'string' } } }).values.key;
const WS_PATH = '/ws';
const MAX_BYTES = 16 * 1024 * 1024; // LIMIT-2
const MAX_EVENT_DEPTH = 128 - 2; // FRAME-9; the frame and its array `events` are the first two levels
const MAX_UNSENT_BYTES = 1024 * 1024; // LIMIT-3
const GRACE_MS = 100; // CLOSE-4: time for messages that are being read or inflated
const DEADLINE_MS = 2000; // for clients that do not answer the close frame

/** Something that is answered with an error frame. Its message names members, never values (SEC-1, SEC-3). */
class Refusal extends Error {
  constructor(code, message, headers) {
    super(message);
    Object.assign(this, { code, headers });
  }
}

function errorFrame({ code, message }, reqId) {
  return { type: 'error', code, message, ...(typeof reqId === 'string' && { reqId }) }; // ERR-3
}

function toRefusal(error) {
  if (error instanceof Refusal) return error;
  console.error(error);
  return new Refusal('internal', 'the server failed');
}

const unauthorized = () => new Refusal('unauthorized', 'Unauthorized'); // AUTH-3
const digest = (text) => createHash('sha256').update(text).digest();
const forbidden = () => new Refusal('forbidden', 'pages of this origin are not let in');
const LOOPBACK = /^https?:\/\/(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d+)?$/i;
/** SEC-4: without a key, only pages of this machine are let in, and what is no page. */
const isLetIn = ({ headers: { origin } }) => KEY !== undefined || origin === undefined || LOOPBACK.test(origin);
const isKey = (given) => typeof given === 'string' && timingSafeEqual(digest(given), digest(KEY)); // SEC-2

function parseJson(bytes) {
  if (!isUtf8(bytes)) throw new Refusal('bad_json', 'not UTF-8');
  try {
    return JSON.parse(bytes.toString());
  } catch {
    throw new Refusal('bad_json', 'not JSON');
  }
}

const isContainer = (value) => typeof value === 'object' && value !== null;
const isObject = (value) => isContainer(value) && !Array.isArray(value);
const isStringOrMissing = (value) => value === undefined || typeof value === 'string';

// --- Events (section 4) ----------------------------------------------------------------------------------------------

const LEVELS = ['debug', 'info', 'warn', 'error'];
const TYPE = /^[A-Za-z][A-Za-z0-9_.:-]{0,63}$/;
const TIMESTAMP =
  /^(\d{4}-\d\d-\d\d)[Tt](\d\d:\d\d):([0-5]\d|60)(?:\.(\d+))?(?:[Zz]|([+-])([01]\d|2[0-3]):([0-5]\d))$/;
const YEAR_1 = Date.parse('0001-01-01T00:00Z');
const YEAR_10000 = Date.UTC(10000, 0);

/** The instant of a timestamp in microseconds since 1970 (TIME-4), or undefined where it is no timestamp (TIME-2). */
function toInstant(timestamp) {
  const match = typeof timestamp === 'string' && TIMESTAMP.exec(timestamp);
  if (!match) return undefined;
  const [, date, time, second, fraction = '', sign = '+', hours = 0, minutes = 0] = match;
  const local = Date.parse(`${date}T${time}Z`);
  // Date.parse takes 31 April for 1 May, and hour 24 for the next day: then the date is another one.
  if (!(local >= YEAR_1) || !new Date(local).toISOString().startsWith(date)) return undefined;
  const utc = local - Number(`${sign}1`) * (Number(hours) * 60 + Number(minutes)) * 60_000;
  if (utc < YEAR_1 || utc >= YEAR_10000) return undefined; // TIME-1
  const wholeSeconds = utc / 1000 + Number(second); // TIME-5: second 60 is second 0 of the next minute
  return BigInt(wholeSeconds) * 1_000_000n + BigInt(fraction.slice(0, 6).padEnd(6, '0'));
}

/** Whether the containers in `container`, itself included, are nested deeper than `levels`. It does not recurse. */
function isDeeper(container, levels) {
  let level = [container];
  for (let depth = 0; depth < levels && level.length > 0; depth += 1) {
    level = level.flatMap((each) => Object.values(each).filter(isContainer));
  }
  return level.length > 0;
}

function isValidEvent(event) {
  return (
    isObject(event) &&
    toInstant(event.timestamp) !== undefined &&
    LEVELS.includes(event.level) &&
    ['type', 'appId', 'sessionId', 'userId'].every((name) => typeof event[name] === 'string') &&
    TYPE.test(event.type) &&
    ['payload', 'meta'].every((name) => isObject(event[name])) &&
    ['id', 'groupId'].every((name) => isStringOrMissing(event[name])) &&
    (event.context === undefined || isObject(event.context)) &&
    (event.type !== 'error' || typeof event.payload.message === 'string') && // EVENT-6
    !isDeeper(event, MAX_EVENT_DEPTH) // FRAME-10
  );
}

// --- Ingest and queries (sections 5 and 6) ---------------------------------------------------------------------------

const stored = []; // { instant, event }, in order of arrival until a query sorts them
let isSorted = true;

/** Save the valid events and return the ack. */
function ingest(events) {
  const valid = events.filter(isValidEvent);
  for (const event of valid) {
    event.id ||= randomUUID(); // ID-1, ID-2
    const instant = toInstant(event.timestamp);
    isSorted &&= stored.length === 0 || stored.at(-1).instant <= instant;
    stored.push({ instant, event });
  }
  return { type: 'ack', saved: valid.length };
}

const EQUALITY_FILTERS = ['type', 'level', 'userId', 'sessionId', 'groupId', 'appId'];
const QUERY_RULES = [
  [['since', 'until', 'after'], 'not a timestamp', (value) => toInstant(value) !== undefined],
  [[...EQUALITY_FILTERS, 'search'], 'not a string', (value) => typeof value === 'string'],
  [['level'], 'not one of the four', (value) => LEVELS.includes(value)],
  [['limit'], 'not a whole number from 0', (value) => Number.isInteger(value) && value >= 0],
  [['page'], 'not a whole number from 1', (value) => Number.isInteger(value) && value >= 1],
];

/** Refuse a query with a member that cannot be read (QUERY-9, FILTER-8). */
function checkQuery(query) {
  for (const [names, fault, isReadable] of QUERY_RULES) {
    const wrong = names.find((name) => query[name] !== undefined && !isReadable(query[name]));
    if (wrong) throw new Refusal('bad_query', `query.${wrong}: ${fault}`);
  }
}

/** The response to a query that has been checked. */
function find(query) {
  // The sort is stable, so events of one instant stay in the order of arrival (QUERY-6).
  if (!isSorted) stored.sort((a, b) => Number(a.instant > b.instant) - Number(a.instant < b.instant));
  isSorted = true;
  const [since, until, after] = [query.since, query.until, query.after].map(toInstant);
  const equal = EQUALITY_FILTERS.filter((name) => query[name] !== undefined);
  const search = query.search?.toLowerCase();
  const matching = stored.filter(
    ({ instant, event }) =>
      (since === undefined || instant >= since) &&
      (until === undefined || instant <= until) &&
      (after === undefined || instant > after) &&
      equal.every((name) => event[name] === query[name]) &&
      (search === undefined || JSON.stringify(event.payload).toLowerCase().includes(search)), // FILTER-4
  );
  const events = matching.reverse().map(({ event }) => event); // QUERY-5
  const { page = 1, limit = events.length } = query; // RESP-3
  return {
    events: events.slice((page - 1) * limit, page * limit),
    total: events.length,
    page,
    limit,
    nextCursor: events[0]?.timestamp, // RESP-4; JSON.stringify leaves it out where it is undefined
  };
}

// --- WebSocket (sections 1 to 3) -------------------------------------------------------------------------------------

const webSockets = new WebSocketServer({
  noServer: true,
  maxPayload: MAX_BYTES, // CLOSE-3
  perMessageDeflate: true, // CONN-3
  maxFragments: 0, // beyond this or the next, `ws` would close with 1008 (CLOSE-1)
  maxBufferedChunks: 0,
});

function serveWebSocket(ws) {
  const waiting = [];
  let isAuthenticated = !KEY;
  let isRefused = false;

  function send(frame) {
    if (ws.readyState === ws.OPEN) ws.send(JSON.stringify(frame), work);
  }

  /** Handle the messages in order (CONN-6), but stop reading while the client reads no answers (LIMIT-3). */
  function work() {
    while (waiting.length > 0 && (ws.readyState !== ws.OPEN || ws.bufferedAmount < MAX_UNSENT_BYTES)) {
      handle(waiting.shift());
    }
    if (waiting.length > 0) ws.pause();
    else ws.resume();
  }

  function handle({ data, isBinary }) {
    if (isRefused) return; // AUTH-7
    let frame;
    try {
      if (isBinary) throw new Refusal('unsupported', 'a binary message'); // FRAME-6
      frame = parseJson(data);
      send(answer(frame));
    } catch (error) {
      const refusal = toRefusal(error);
      send(errorFrame(refusal, frame?.reqId));
      if (refusal.code !== 'unauthorized') return;
      isRefused = true;
      ws.close(1008);
    }
  }

  function answer(frame) {
    if (!isObject(frame)) throw new Refusal('bad_frame', 'not an object');
    if (typeof frame.type !== 'string') throw new Refusal('bad_frame', 'type: not a string');
    switch (frame.type) {
      case 'auth':
        if (!isStringOrMissing(frame.key)) throw new Refusal('bad_frame', 'key: not a string');
        if (KEY && !isKey(frame.key)) throw unauthorized();
        isAuthenticated = true;
        return { type: 'auth_ok' };
      case 'ingest':
        if (!Array.isArray(frame.events)) throw new Refusal('bad_frame', 'events: not an array'); // INGEST-4
        if (!isAuthenticated) throw unauthorized(); // AUTH-5 is about well-formed frames only
        return ingest(frame.events);
      case 'events:query':
        if (typeof frame.reqId !== 'string') throw new Refusal('bad_frame', 'reqId: not a string');
        if (!isObject(frame.query)) throw new Refusal('bad_frame', 'query: not an object');
        checkQuery(frame.query);
        if (!isAuthenticated) throw unauthorized();
        return { type: 'events:response', reqId: frame.reqId, response: find(frame.query) };
      default:
        throw new Refusal('unknown_type', 'type: unknown');
    }
  }

  ws.on('message', (data, isBinary) => {
    waiting.push({ data, isBinary });
    work();
  });
  ws.on('close', work); // ACK-6
  ws.on('error', () => {}); // `ws` closes by itself, with 1002, 1007 or 1009
}

// --- HTTP (section 9) ------------------------------------------------------------------------------------------------

const ENDPOINTS = {
  '/events': { GET: readEvents, POST: writeEvents },
  '/ping': { GET: () => ({ status: 'ok' }) },
};
const HTTP_STATUS = {
  ...{ unauthorized: 401, forbidden: 403, not_found: 404, method_not_allowed: 405, timeout: 408, too_large: 413 },
  ...{ unsupported: 415, upgrade_required: 426, head_too_large: 431, internal: 500, unavailable: 503 }, // and 400 for all others
};

const SHUTTING_DOWN = new Refusal('unavailable', 'shutting down'); // CLOSE-5
const NO_HANDSHAKE = new Refusal('upgrade_required', 'no WebSocket handshake of version 13', {
  Upgrade: 'websocket',
  'Sec-WebSocket-Version': '13', // CONN-8
});

/** Respond with a JSON body and, whatever the status, with the headers that let a page read it (CORS-2 to CORS-4). */
function respond({ req, res }, status, body, headers) {
  const { origin } = req.headers;
  const isAllowed = origin && isLetIn(req);
  const cors = isAllowed && { 'Access-Control-Allow-Origin': origin, 'Access-Control-Allow-Credentials': 'true' };
  const content = body && { 'Content-Type': 'application/json' };
  res.statusCode = status;
  res.setHeaders(new Map(Object.entries({ Vary: 'Origin', ...cors, ...content, ...headers })));
  res.end(body && JSON.stringify(body));
}

/** Answer an exchange, which is a request with its response and, later, the `reqId` of its body. */
async function serveHttp(exchange) {
  const { req, res } = exchange;
  try {
    if (!isLetIn(req)) throw forbidden(); // SEC-5
    const [path, search] = req.url.split(/\?(.*)/s);
    if (path === WS_PATH) throw isStopping ? SHUTTING_DOWN : NO_HANDSHAKE;
    if (!Object.hasOwn(ENDPOINTS, path)) throw new Refusal('not_found', 'no such path');
    const methods = [...Object.keys(ENDPOINTS[path]), 'OPTIONS'].join(', ');
    if (req.method === 'OPTIONS') {
      const allowed = { 'Access-Control-Allow-Headers': 'content-type, x-tracker-key' };
      return respond(exchange, 204, undefined, { ...allowed, 'Access-Control-Allow-Methods': methods }); // CORS-1
    }
    const endpoint = Object.hasOwn(ENDPOINTS[path], req.method) && ENDPOINTS[path][req.method];
    if (!endpoint) throw new Refusal('method_not_allowed', 'not with this method', { Allow: methods });
    respond(exchange, 200, await endpoint(exchange, new URLSearchParams(search)));
  } catch (error) {
    if (error.code === 'ECONNRESET') return; // the client has gone, and nothing is saved (HTTP-12)
    respondRefusal(exchange, toRefusal(error));
  }
}

function respondRefusal({ req, res, reqId }, refusal) {
  if (res.writableEnded || res.destroyed) return;
  respond({ req, res }, HTTP_STATUS[refusal.code] ?? 400, errorFrame(refusal, reqId), refusal.headers);
}

function authorize(req, parameters) {
  const key = req.headers['x-tracker-key'] ?? parameters.get('key'); // HTTP-8, HTTP-9
  const asUtf8 = Buffer.from(key ?? '', 'latin1').toString(); // Node reads headers as Latin-1
  if (KEY && !isKey(key) && !isKey(asUtf8)) throw unauthorized();
}

function readEvents({ req }, parameters) {
  authorize(req, parameters);
  const query = Object.fromEntries(parameters);
  for (const name of ['limit', 'page']) {
    if (/^\d+$/.test(query[name])) query[name] = Number(query[name]);
  }
  checkQuery(query); // HTTP-11
  return find(query);
}

async function writeEvents(exchange, parameters) {
  const { req } = exchange;
  authorize(req, parameters);
  const [contentType] = (req.headers['content-type'] ?? '').toLowerCase().split(/\s*;/);
  if (!['', 'application/json', 'text/plain'].includes(contentType)) throw new Refusal('unsupported', 'content type');
  const coding = (req.headers['content-encoding'] ?? '').toLowerCase();
  if (!['', 'identity'].includes(coding)) throw new Refusal('unsupported', 'content coding');
  const body = parseJson(await readBody(req));
  exchange.reqId = body?.reqId;
  if (!isObject(body) || !Array.isArray(body.events)) throw new Refusal('bad_frame', 'events: not an array');
  return ingest(body.events);
}

async function readBody(req) {
  const tooLarge = new Refusal('too_large', 'the body is over 16 MiB');
  if (Number(req.headers['content-length']) > MAX_BYTES) throw tooLarge;
  const chunks = [];
  let size = 0;
  // Node reads on after an early answer, so that the client comes to read it.
  for await (const chunk of req.iterator({ destroyOnReturn: false })) {
    size += chunk.length;
    if (size > MAX_BYTES) throw tooLarge;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks); // a body that ends too early has thrown ECONNRESET by now
}

// --- Server ----------------------------------------------------------------------------------------------------------

let isStopping = false;
const exchanges = new WeakMap(); // the latest exchange of each socket

const server = createServer((req, res) => {
  const exchange = { req, res };
  exchanges.set(req.socket, exchange);
  serveHttp(exchange);
});

/** An exchange on a socket that Node's HTTP server has handed over. */
function lastExchange(req, socket) {
  const res = new ServerResponse(req);
  res.shouldKeepAlive = false;
  res.on('finish', () => socket.destroySoon());
  socket.on('error', () => socket.destroy());
  res.assignSocket(socket);
  return { req, res };
}

server.on('upgrade', (req, socket, head) => {
  const isOffer = /^websocket$/i.test(req.headers.upgrade) && req.headers['sec-websocket-version'] === '13';
  if (isOffer && req.url.split('?')[0] === WS_PATH && !isStopping && isLetIn(req)) {
    webSockets.handleUpgrade(req, socket, head, serveWebSocket);
  } else {
    serveHttp(lastExchange(req, socket));
  }
});
webSockets.on('wsClientError', (error, socket, req) => serveHttp(lastExchange(req, socket)));

server.on('clientError', (error, socket) => {
  if (!socket.writable || error.code === 'ECONNRESET') return socket.destroy();
  const codes = { HPE_HEADER_OVERFLOW: 'head_too_large', ERR_HTTP_REQUEST_TIMEOUT: 'timeout' };
  const refusal = new Refusal(codes[error.code] ?? 'bad_request', 'not a whole HTTP request', { Connection: 'close' });
  const exchange = exchanges.get(socket);
  const isOpen = exchange && !exchange.res.writableFinished;
  respondRefusal(isOpen ? exchange : lastExchange(new IncomingMessage(socket), socket), refusal);
});

process.once('SIGTERM', async () => {
  isStopping = true;
  await sleep(GRACE_MS);
  server.close();
  for (const ws of webSockets.clients) ws.close(1001); // CLOSE-4
  setTimeout(() => process.exit(), DEADLINE_MS).unref();
});

server.listen(0, '127.0.0.1', () => console.log(`listening on ${server.address().port}`));
