"""Section 11: what is too much, as far as it can be seen without asking more of a server than it has to take."""

import json
from typing import Any

from tracker_conformance.model import SkippedError, demand
from tracker_conformance.probe import Probe
from tracker_conformance.registry import check
from tracker_conformance.transcript import Transcript
from tracker_conformance.websocket import TEXT, WebSocket, frame

_MANY = 6000
_LARGE_CHARS = 7 * 512 * 1024
_MIB = 1024 * 1024
_AT_ONCE = 100


def _saved(t: Transcript) -> int:
    demand(len(t.saved()) == 1, "an ack, of what it takes of the frame", t.told()[:500])
    saved = t.saved()[0]
    demand(isinstance(saved, int), "a whole number saved", saved)
    return int(saved)


def _rejects_beyond(t: Transcript) -> None:
    saved = _saved(t)
    if saved == _MANY == t.note("stored"):
        raise SkippedError(f"it takes {_MANY} events in one frame")
    expected = f"the first {saved} events to be stored, as the ack says, and the others to be rejected"
    demand(saved > 0 and t.note("stored") == saved, expected, f"{t.note('stored')} stored")
    demand(t.note("are first"), expected, "others stored")
    places = t.rejected()
    is_beyond = places == list(range(saved, saved + len(places)))
    demand(is_beyond, f"in rejected the places from {saved} on", f"{places[:3]}… ({len(places)})")


@check("LIMIT-5", judge=_rejects_beyond)
async def rejects_events_beyond(p: Probe) -> None:
    """Saves, of 6,000 events in one frame, those up to its bound, if that is lower, and rejects the others."""
    labels = [f"e{number:04}" for number in range(_MANY)]
    async with p.connect() as ws:
        await ws.ingest(*(p.event(label, number / 100, payload={}, meta={}) for number, label in enumerate(labels)))
        await ws.query("r", **p.window)
        stored = sorted(p.seen.labels_if_any("r"))
        p.note("stored", len(stored))
        p.note("are first", stored == labels[: len(stored)])
        p.recorder.shorten(_MIB)


def _rejects_the_large_one(t: Transcript) -> None:
    if _saved(t) == 3 == t.note("stored"):
        raise SkippedError(f"it takes an event of {_LARGE_CHARS / _MIB:g} MiB")
    demand(t.saved() == [2] and t.note("labels") == ["first", "last"], "the two small events saved", t.told()[:500])
    demand(t.rejected() in ([], [1]), "the place of the large event, 1, in rejected", t.told()[:500])


@check("LIMIT-5", judge=_rejects_the_large_one)
async def rejects_large_events(p: Probe) -> None:
    """Rejects an event of 3.5 MiB, if that is beyond its bound, and saves its neighbours."""
    async with p.connect() as ws:
        text = "".join(f"{number:07}" for number in range(_LARGE_CHARS // 7))
        large = p.event("large", 2, payload={"text": text})
        await ws.ingest(p.event("first", 1), large, p.event("last", 3))
        await ws.query("r", **p.window)
        labels = sorted(p.seen.labels_if_any("r"))
        p.note("stored", len(labels))
        p.note("labels", labels)
        p.recorder.shorten(_MIB)


def _refuses_well(t: Transcript) -> None:
    limited = [error for error in t.of_type("error") if error.get("code") == "rate_limited"]
    acks, answers = t.of_type("ack"), t.of_type("events:response")
    told = f"{len(acks)} acks, {len(answers)} answers, {len(limited)} x rate_limited; {t.told()[-200:]}"
    demand(len(acks) + len(answers) + len(limited) == 2 * _AT_ONCE, "one answer to each frame", told)
    if not limited:
        raise SkippedError(f"{2 * _AT_ONCE} small frames at once are not too much")
    demand(t.is_open(), "a connection that stays open", told)
    stored = t.labels("all", 2)
    refused = {f"e{error['reqId'][1:]}" for error in limited if str(error.get("reqId")).startswith("i")}
    demand(not refused & set(stored), "nothing stored of what was refused", sorted(refused & set(stored)))
    saved = sum(count for count in t.saved() if isinstance(count, int))
    demand(len(stored) == saved, f"{saved} events stored, as the acks say", len(stored))


async def _received(ws: WebSocket, count: int) -> None:
    await ws.until(
        lambda seen: sum(entry.kind == "receive" and entry.connection == ws.number for entry in seen.entries) >= count,
        f"{count} messages",
    )


@check("LIMIT-6", judge=_refuses_well)
async def refuses_what_is_too_much(p: Probe) -> None:
    """Keeps, of 200 small frames at once, nothing that it refuses as ``rate_limited``, and the connection open."""
    messages: list[dict[str, Any]] = []
    for number in range(_AT_ONCE):
        messages.append({"type": "events:query", "reqId": f"q{number}", "query": {"since": p.at(0), "until": p.at(0)}})
        messages.append({"type": "ingest", "reqId": f"i{number}", "events": [p.event(f"e{number}", 2)]})
    data = b"".join(frame(TEXT, json.dumps(message).encode()) for message in messages)
    async with p.connect() as ws, p.connect() as other:
        await ws.send_raw(data, f"at once: {_AT_ONCE} queries of an empty window, and as many batches of one event")
        for count in range(_AT_ONCE // 2, 2 * _AT_ONCE + 1, _AT_ONCE // 2):
            await _received(ws, count + bool(p.target.api_key))
        await other.query("all", **p.window)
