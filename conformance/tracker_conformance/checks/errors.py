"""Sections 8, 10 and 11: errors, close codes, secrets and limits."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tracker_conformance.model import SkippedError, UntestableError, demand
from tracker_conformance.probe import Probe
from tracker_conformance.registry import Send, check
from tracker_conformance.spec import error_codes
from tracker_conformance.transcript import Transcript
from tracker_conformance.websocket import TEXT, WebSocket, frame

_SCRIPT = "<script>alert(1)</script>"
_MIB = 1024 * 1024
_LONG_AGO = "0001-01-01T00:00:00Z"  # so that a server that ignores the rest of a query has nothing to return
_WITH_REQ_ID: tuple[dict[str, Any], ...] = (
    {"type": "events:query", "reqId": "q1", "query": 7},
    {"type": "events:query", "reqId": "q2", "query": {"since": "yesterday", "until": _LONG_AGO}},
    {"type": "ingest", "reqId": "i1", "events": "none"},
    {"type": "no-such-frame", "reqId": "u1"},
)


@asynccontextmanager
async def _after_wrong_messages(p: Probe) -> AsyncIterator[WebSocket]:
    async with p.connect() as ws:
        for text in ("no JSON", "[]", "{}", '{"type":7}', '{"type":"no-such-frame"}', '{"type":"ingest","events":7}'):
            await ws.send(text)
        for wrong in _WITH_REQ_ID:
            await ws.send(wrong)
        await ws.ingest(p.event("sentinel"))
        await ws.query("r", **p.window)
        yield ws


def _require_the_end(t: Transcript) -> None:
    if t.saved()[-1:] != [1]:
        raise UntestableError(f"no ack of the event sent after what was wrong; received {t.told()[-200:]}")


def _errors(t: Transcript) -> list[dict[str, Any]]:
    """The errors, once it is clear that the server had its turn."""
    _require_the_end(t)
    errors = t.of_type("error")
    if not errors:
        raise SkippedError("it answers nothing that is wrong with an error")
    return errors


def _have_messages(t: Transcript) -> None:
    for error in _errors(t):
        demand(isinstance(error.get("message"), str), "a string message in every error", json.dumps(error))


@check("ERR-1", judge=_have_messages)
async def errors_have_messages(p: Probe) -> None:
    """Puts a string ``message`` into every ``error``."""
    async with _after_wrong_messages(p):
        pass


def _have_codes(t: Transcript) -> None:
    for error in _errors(t):
        code = error.get("code")
        told = f"a code from the table: {', '.join(sorted(error_codes()))}"
        demand(isinstance(code, str) and code in error_codes(), told, json.dumps(error))


@check("ERR-2", judge=_have_codes)
async def errors_have_codes(p: Probe) -> None:
    """Puts a ``code`` of the closed list into every ``error``."""
    async with _after_wrong_messages(p):
        pass


def _have_req_ids(t: Transcript) -> None:
    about = [json.dumps(wrong["reqId"]) for wrong in _WITH_REQ_ID]
    found = [json.dumps(error.get("reqId")) for error in _errors(t)]
    demand(set(found) <= set(about) and len(found) == len(set(found)), f"in each error one of {about}", found)


@check("ERR-3", judge=_have_req_ids)
async def errors_have_req_ids(p: Probe) -> None:
    """Puts the ``reqId`` into an ``error`` that answers a frame with one."""
    async with p.connect() as ws:
        for wrong in _WITH_REQ_ID:
            await ws.send(wrong)
        await ws.ingest(p.event("sentinel"))
        await ws.query("r", **p.window)


def _closes_nothing(t: Transcript) -> None:
    closed = t.closed()
    demand(closed is None or closed.data.get("code") != 1008, "no close with 1008, for no key is wrong", t.told())


def _goes_on(t: Transcript) -> None:
    _closes_nothing(t)
    _require_the_end(t)


def _leaves_it(t: Transcript) -> None:
    demand(any(entry.kind == "open" for entry in t.entries), "a connection", t.told())
    _closes_nothing(t)


@check("CLOSE-1", judge=_goes_on)
async def no_1008_without_a_wrong_key(p: Probe) -> None:
    """Closes with 1008 for nothing but a wrong key: not for messages that are wrong."""
    async with _after_wrong_messages(p) as ws:
        await ws.quiet()


@check("CLOSE-2", judge=_leaves_it, needs=("basics.connects",), writes=False)
async def no_1008_for_silence(p: Probe) -> None:
    """Does not close with 1008 a connection that sends nothing for some seconds."""
    async with p.connect(auth=False) as ws:
        await ws.quiet(12)


def _closes_1000(t: Transcript) -> None:
    closed = t.closed()
    if closed is None and t.is_open():
        raise SkippedError("it does not close so soon, if at all; --timeout-scale 10 waits for longer")
    demand(closed is not None and closed.data.get("code") == 1000, "a close with 1000", t.told())


@check("CLOSE-6", judge=_closes_1000, needs=("basics.connects",), uses=("api_key",), writes=False)
async def leaves_the_silent_with_1000(p: Probe) -> None:
    """Closes with 1000 where it closes a connection that shows no key for some seconds."""
    async with p.connect(auth=False) as ws:
        await ws.until_closed()


def _closes_1009(t: Transcript) -> None:
    closed = t.closed()
    if closed is None and t.is_open():
        raise SkippedError("it counts what has arrived, and so much cannot be sent here")
    demand(closed is not None and closed.data["code"] == 1009, "a close with 1009", t.told())


@check("CLOSE-3", judge=_closes_1009, writes=False)
async def closes_on_too_much(p: Probe) -> None:
    """Closes with 1009 on a message beyond its limit: one that claims to have a terabyte."""
    async with p.connect() as ws:
        await ws.send_raw(frame(TEXT, b"{" * 1000, claimed=1 << 40), "a frame that claims to have 2^40 bytes")
        await ws.until_closed()


def _tells_no_key(t: Transcript) -> None:
    demand(t.of_type("auth_ok", 3) and t.frames(1) and t.frames(2), "answers to right and wrong keys", t.told(3))
    for entry in t.entries:
        if entry.kind in ("receive", "close", "response"):
            told = entry.text + json.dumps(entry.data)
            demand("[key]" not in told and t.facts.prefix not in told, "no key in what a server says", told)


@check("SEC-1", judge=_tells_no_key, uses=("api_key",), needs=("basics.authenticates",), writes=False)
async def tells_no_key(p: Probe) -> None:
    """Repeats no key, right or wrong, in an error, an answer or a close reason."""
    key = p.target.api_key
    for message in ({"type": "auth", "key": f"{p.facts.prefix}wrong"}, {"type": "auth", "key": f"{key}{key}"}):
        async with p.connect(auth=False) as ws:
            await ws.send(message)
            await ws.until_closed()
    async with p.connect(auth=False) as ws:
        await ws.send({"type": "auth", "key": key})
        await ws.until_type("auth_ok")
        await ws.send({"type": "auth", "key": [key]})
        await ws.send({"type": key})
        await ws.send(f'{{"type":"auth","key":"{key}"')
        await ws.query("r", since=key, until=_LONG_AGO)


def _tells_no_script(t: Transcript) -> None:
    demand(t.saved() == [1], "an ack of the one valid event", t.told())
    for answer in t.frames():
        told = json.dumps(answer, ensure_ascii=False)
        demand(_SCRIPT not in told, "answers that do not repeat what was sent", told)


@check("SEC-3", judge=_tells_no_script)
async def tells_no_script(p: Probe) -> None:
    """Keeps scripts that an event carries out of its own messages."""
    async with p.connect() as ws:
        events = [p.event("bad", **{name: _SCRIPT}) for name in ("level", "type", "timestamp", "payload", "context")]
        await ws.ingest(*events, p.event("a"))
        await ws.send({"type": _SCRIPT})
        await ws.query("r1", since=_SCRIPT, until=_LONG_AGO)
        await ws.query("r2", **p.window, level=_SCRIPT)


def _kept(t: Transcript) -> None:
    count = t.note("count")
    if t.note("over") == "http":
        demand(200 <= t.response().status < 300, "2xx", str(t.response()))
    else:
        demand(t.saved() == [count], f"an ack with saved {count}", t.told()[:300])
    demand(t.note("stored") == count, f"all {count} events stored", str(t.note("stored")))


def _large(mib: int, over: str) -> Send:
    async def send(p: Probe) -> None:
        size = mib * _MIB
        text = {"text": "x" * 8000}
        each = len(json.dumps(p.event("e000000", payload=text))) + 2
        count = (size - 100) // each
        events = [p.event(f"e{number:06}", payload=text) for number in range(count)]
        body = json.dumps({"type": "ingest", "events": events})
        body += " " * (size - len(body))
        p.note("count", count)
        p.note("over", over)
        async with p.connect() as ws:
            if over == "http":
                await p.request("POST", p.target.write_url, body.encode(), headers={"Content-Type": "application/json"})
            else:
                await ws.send(body)
                await ws.until_acked(1)
        async with p.connect() as ws:
            await ws.query("r", **p.window)
            p.note("stored", len(set(p.seen.labels_if_any("r", ws.number))))
            p.recorder.shorten(_MIB)

    send.__name__ = f"{over}_of_{mib}_mib"
    send.__module__ = __name__
    send.__doc__ = f"Accepts {'a body' if over == 'http' else 'a message'} of {mib} MiB."
    return send


for _mib, _id in ((4, "LIMIT-1"), (16, "LIMIT-2")):
    check(_id, judge=_kept)(_large(_mib, "message"))
    check(_id, judge=_kept, uses=("write_url",))(_large(_mib, "http"))
