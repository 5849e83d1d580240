"""Section 3: keys."""

import json
from typing import Any

from tracker_conformance.model import SkippedError, demand
from tracker_conformance.probe import Probe
from tracker_conformance.registry import check
from tracker_conformance.transcript import Transcript
from tracker_conformance.websocket import TEXT, frame

_KEYED = ("api_key",)


def _right_key(p: Probe) -> dict[str, str]:
    return {"type": "auth", "key": p.target.api_key}


def _wrong_key(p: Probe) -> dict[str, str]:
    return {"type": "auth", "key": f"{p.facts.prefix}wrong"}


def _types(t: Transcript) -> list[Any]:
    return [frame.get("type") for frame in t.frames()]


def _ok_without_key(t: Transcript) -> None:
    demand(_types(t) == ["auth_ok"] * 2 and t.is_open(), "auth_ok twice", t.told())


@check("AUTH-2", judge=_ok_without_key, needs=("basics.connects",), uses=("no_key",), writes=False)
async def any_key_where_none_is_configured(p: Probe) -> None:
    """Answers any ``auth`` with ``auth_ok`` where no key is configured."""
    async with p.connect() as ws:
        await ws.send(_wrong_key(p))
        await ws.until_type("auth_ok")
        await ws.send({"type": "auth", "key": ""})
        await ws.until_type("auth_ok", 2)


def is_refused(t: Transcript, connection: int = 1) -> None:
    """A connection is told ``Unauthorized``, and closed with 1008 (AUTH-3)."""
    expected = 'an error with the message "Unauthorized", then a close with 1008'
    closed = t.closed(connection)
    demand(closed is not None and closed.data["code"] == 1008, expected, t.told(connection))
    frames = t.frames(connection)
    demand([frame.get("message") for frame in frames] == ["Unauthorized"], expected, t.told(connection))
    demand(frames[0].get("type") == "error", expected, t.told(connection))


def _all_are_refused(t: Transcript) -> None:
    for connection in range(1, 5):
        is_refused(t, connection)


@check("AUTH-3", judge=_all_are_refused, needs=("basics.authenticates",), uses=_KEYED, writes=False)
async def wrong_keys(p: Probe) -> None:
    """Answers a wrong, an empty and a missing key with ``Unauthorized``, and closes with 1008."""
    key = p.target.api_key
    for message in (_wrong_key(p), {"type": "auth", "key": ""}, {"type": "auth"}, {"type": "auth", "key": f"{key}x"}):
        async with p.connect(auth=False) as ws:
            await ws.send(message)
            await ws.until_refused()


def _handles_what_follows(t: Transcript) -> None:
    demand(t.labels("r") == ["a"], "an ack, and an answer with the event", t.told())
    types = _types(t)
    demand(
        types[:1] == ["auth_ok"] and sorted(map(str, types[1:])) == ["ack", "events:response"],
        "auth_ok first",
        t.told(),
    )


@check("AUTH-4", judge=_handles_what_follows)
async def frames_that_do_not_wait(p: Probe) -> None:
    """Handles the frames that come right behind ``auth``, before it has answered."""
    async with p.connect(auth=False) as ws:
        await ws.send(_right_key(p))
        await ws.send_ingest(p.event("a"))
        await ws.query("r", **p.window)
        await ws.until_acked()


def _is_refused_and_not_saved(t: Transcript) -> None:
    is_refused(t)
    demand(t.labels("r", 2) == ["sentinel"], "nothing of it to be stored", t.told(2))


@check("AUTH-5", judge=_is_refused_and_not_saved, uses=_KEYED)
async def ingest_before_auth(p: Probe) -> None:
    """Answers an ``ingest`` before ``auth`` like a wrong key, and saves nothing of it."""
    async with p.connect(auth=False) as ws:
        await ws.send({"type": "ingest", "events": [p.event("early")]})
        await ws.until_refused()
    async with p.connect() as other:
        await other.ingest(p.event("sentinel"))
        await other.query("r", **p.window)


@check("AUTH-5", judge=is_refused, needs=("basics.authenticates",), uses=_KEYED, writes=False)
async def query_before_auth(p: Probe) -> None:
    """Answers an ``events:query`` before ``auth`` like a wrong key."""
    async with p.connect(auth=False) as ws:
        await ws.send({"type": "events:query", "reqId": "r", "query": p.window})
        await ws.until_refused()


def _needs_no_auth(t: Transcript) -> None:
    demand(t.saved() == [1] and t.labels("r") == ["a"], "an ack, and an answer with the event", t.told())


@check("AUTH-6", judge=_needs_no_auth, needs=("basics.connects",), uses=("no_key",))
async def no_auth_where_no_key_is_configured(p: Probe) -> None:
    """Takes events and answers queries without ``auth`` where no key is configured."""
    async with p.connect(auth=False) as ws:
        await ws.ingest(p.event("a"))
        await ws.query("r", **p.window)


def _stops_at_a_wrong_key(t: Transcript) -> None:
    answers = [frame for frame in t.frames() if frame.get("type") != "error"]
    demand(not answers, "no answer to what follows a wrong key", t.told())
    demand(t.labels("r", 2) == ["sentinel"], "nothing of it to be stored", t.told(2))


@check("AUTH-7", judge=_stops_at_a_wrong_key, uses=_KEYED)
async def nothing_after_a_wrong_key(p: Probe) -> None:
    """Saves and answers nothing that follows a wrong key on the same connection."""
    ingest = {"type": "ingest", "events": [p.event("late")]}
    query = {"type": "events:query", "reqId": "late", "query": p.window}
    messages = (_wrong_key(p), ingest, query, _right_key(p), ingest, query)
    data = b"".join(frame(TEXT, json.dumps(message).encode()) for message in messages)
    async with p.connect(auth=False) as ws:
        await ws.send_raw(data, "at once: a wrong key, an ingest, a query, the right key, an ingest and a query")
        await ws.until_closed()
    async with p.connect() as ws:
        await ws.ingest(p.event("sentinel"))
        await ws.query("r", **p.window)


def _counts_again(t: Transcript) -> None:
    if len(t.of_type("auth_ok")) < 2:
        raise SkippedError("a second auth is not accepted")
    closed = t.closed()
    told = 'auth_ok twice, then an error "Unauthorized" and a close with 1008'
    messages = [error.get("message") for error in t.of_type("error")]
    demand(closed is not None and closed.data["code"] == 1008 and messages == ["Unauthorized"], told, t.told())


@check("AUTH-8", judge=_counts_again, needs=("basics.authenticates",), uses=_KEYED, writes=False)
async def auth_again(p: Probe) -> None:
    """Where it accepts ``auth`` again, a wrong key counts as one."""
    async with p.connect(auth=False) as ws:
        await ws.send(_right_key(p))
        await ws.send(_right_key(p))
        await ws.until(lambda seen: len(seen.of_type("auth_ok")) > 1 or bool(seen.of_type("error")), "an answer")
        await ws.send(_wrong_key(p))
        await ws.until_closed()
