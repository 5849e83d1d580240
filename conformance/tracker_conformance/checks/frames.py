"""Section 2: messages that are frames, and messages that are none."""

import json

from tracker_conformance.model import UntestableError, demand
from tracker_conformance.probe import Probe
from tracker_conformance.registry import Send, check
from tracker_conformance.transcript import Transcript
from tracker_conformance.websocket import TEXT, frame

_WRONG = {
    "no JSON": '{"type":"ingest","events":[',
    "empty": "",
    "a number": "7",
    "an array": "[]",
    "no type": "{}",
    "a type that is a number": '{"type":7}',
    "an unknown type": '{"type":"no-such-frame"}',
    "events that are a number": '{"type":"ingest","events":7}',
    "a reqId that is a number": '{"type":"events:query","reqId":7,"query":{"until":"0001-01-01T00:00:00Z"}}',
    "a query that is an array": '{"type":"events:query","reqId":"wrong","query":[]}',
}


def _has_frames(t: Transcript) -> None:
    received = [entry for entry in t.entries if entry.kind == "receive"]
    for entry in received:
        try:
            value = json.loads(entry.text)
        except ValueError:
            value = None
        is_frame = not entry.data.get("binary") and isinstance(value, dict) and isinstance(value.get("type"), str)
        demand(is_frame, "text messages that each hold one JSON object with a string type", entry.text)
    if t.saved() != [1] or not t.of_type("events:response"):
        raise UntestableError(f"no ack and answer after a message that is wrong; received {t.told()[-200:]}")


@check("FRAME-1", judge=_has_frames)
async def sends_frames(p: Probe) -> None:
    """Sends only text messages that hold one JSON object with a string ``type``."""
    async with p.connect() as ws:
        await ws.send("no JSON")
        await ws.send({"type": "no-such-frame"})
        await ws.ingest(p.event("a"))
        await ws.query("r", **p.window)
        await ws.quiet()


def _ignores(t: Transcript) -> None:
    demand(t.saved() == [1] and t.labels("r") == ["a"], "an ack, and an answer with the event", t.told())


@check("FRAME-2", judge=_ignores)
async def ignores_unknown_members(p: Probe) -> None:
    """Ignores members of ``ingest`` and ``events:query`` that it does not know."""
    async with p.connect() as ws:
        await ws.send_ingest(p.event("a"), xTracker={"deep": [1, {}]}, xNull=None)
        await ws.until_acked()
        await ws.send(
            {"type": "events:query", "reqId": "r", "query": {**p.window, "xUnknown": [1]}, "xOther": "unknown"}
        )
        await ws.until_answered("r")


def _stays_open(t: Transcript) -> None:
    demand(t.is_open(), "the connection to stay open", t.told())
    demand(t.labels("r") == ["after"], "an event sent on the same connection afterwards to be stored", t.told())


def _answers_with_error(t: Transcript) -> None:
    demand(t.of_type("error"), "an error frame", t.told())


def _wrong_message(name: str, text: str) -> Send:
    async def send(p: Probe) -> None:
        async with p.connect() as ws:
            await ws.send(text)
            await ws.ingest(p.event("after"))
            await ws.query("r", **p.window)

    send.__name__ = name.replace(" ", "_")
    send.__module__ = __name__
    return send


for _name, _text in _WRONG.items():
    for _verb, _id, _judge, _title in (
        ("survives", "FRAME-3", _stays_open, "Keeps the connection open after a message that is"),
        ("answers", "FRAME-4", _answers_with_error, "Answers with an ``error`` to a message that is"),
    ):
        _send = _wrong_message(f"{_verb} {_name}", _text)
        _send.__doc__ = f"{_title} wrong: {_name}."
        check(_id, judge=_judge)(_send)


def _saves_nothing(t: Transcript) -> None:
    demand(t.labels("r") == ["after"], "only the event of the message that is JSON to be stored", t.labels("r"))


@check("FRAME-5", judge=_saves_nothing)
async def saves_nothing_of_no_json(p: Probe) -> None:
    """Saves no event from a message that is not JSON, though events in it are whole."""
    async with p.connect() as ws:
        whole = json.dumps(p.event("within"))
        await ws.send(f'{{"type":"ingest","events":[{whole}]')
        await ws.send(f'{{"type":"ingest","events":[{whole},]}}')
        await ws.send(f'{{"type":"ingest","events":[{whole}]}}}}')
        await ws.send(f"{{'type':'ingest','events':[{whole}]}}")
        await ws.ingest(p.event("after"))
        await ws.query("r", **p.window)


@check("FRAME-6", judge=_answers_with_error)
async def answers_binary(p: Probe) -> None:
    """Answers a binary message with an ``error``."""
    async with p.connect() as ws:
        await ws.send(json.dumps({"type": "ingest", "events": [p.event("binary")]}).encode())
        await ws.ingest(p.event("after"))


def _open_after_binary(t: Transcript) -> None:
    demand(t.is_open() and t.saved(), "the connection to stay open, and an ack on it", t.told())


@check("FRAME-6", judge=_open_after_binary)
async def survives_binary(p: Probe) -> None:
    """Keeps the connection open after a binary message."""
    async with p.connect() as ws:
        await ws.send(b"\x00\x01\x02")
        await ws.ingest(p.event("after"))


def _closes_1007(t: Transcript) -> None:
    closed = t.closed()
    demand(closed is not None and closed.data["code"] == 1007, "a close with 1007", t.told())


@check("FRAME-7", judge=_closes_1007, writes=False)
async def closes_on_bad_utf8(p: Probe) -> None:
    """Closes with 1007 on a text message that is not UTF-8."""
    async with p.connect() as ws:
        await ws.send_raw(frame(TEXT, b'{"type":"\xff"}'), 'the text message {"type":"\\xff"}')
        await ws.until_closed()


def _ends(t: Transcript) -> None:
    demand(t.closed() is not None, "the connection to end", t.told())
    found = t.labels("r", 2)
    demand(found == ["beside"], "only the event that came by another connection in the answer", found)


@check("FRAME-12", judge=_ends)
async def ends_on_bad_utf8(p: Probe) -> None:
    """Ends the connection on a text message that is not UTF-8, and saves neither that nor what follows."""
    async with p.connect() as ws, p.connect() as beside:
        text = json.dumps({"type": "ingest", "events": [p.event("bad", payload={"text": "HERE"})]})
        after = json.dumps({"type": "ingest", "events": [p.event("after")]})
        messages = frame(TEXT, text.encode().replace(b"HERE", b"\xff")) + frame(TEXT, after.encode())
        await ws.send_raw(messages, f"{text}, with the byte ff in place of HERE, and {after}")
        await ws.until_closed()
        await beside.ingest(p.event("beside"))
        await beside.query("r", **p.window)


def _keeps_surrogates(t: Transcript) -> None:
    events = t.events("r")
    demand(len(events) == 1, "the event to be stored", t.told())
    demand(events[0]["payload"] == {"text": "cut \ud83d"}, r'the payload {"text":"cut \ud83d"}', events[0]["payload"])


@check("FRAME-8", judge=_keeps_surrogates)
async def keeps_lone_surrogates(p: Probe) -> None:
    """Accepts escaped lone surrogates, and gives them back."""
    async with p.connect() as ws:
        await ws.ingest(p.event("cut", payload={"text": "cut \ud83d"}))
        await ws.query("r", **p.window)


def _accepts_depth(t: Transcript) -> None:
    events = t.events("r")
    demand(t.saved()[:1] == [1] and len(events) == 1, "an ack of the event, and the event stored", t.told())


@check("FRAME-9", judge=_accepts_depth)
async def accepts_depth_128(p: Probe) -> None:
    """Accepts JSON that is nested 128 levels deep."""
    async with p.connect() as ws:
        # the frame, its events, the event and its payload are the first four levels
        await ws.send(_nested(p, "deep", 128 - 4))
        await ws.until(lambda seen: bool(seen.of_type("ack") or seen.of_type("error")), "an ack or an error")
        await ws.query("r", **p.window)


def _survives_depth(t: Transcript) -> None:
    demand(t.is_open(), "the connection to go on", t.told())
    is_refused = t.saved() == [0, 1] or (t.saved() == [1] and bool(t.of_type("error")))
    demand(is_refused, "the event rejected (an ack with saved 0) or an error, then an ack of the next event", t.told())
    demand(t.labels("r") == ["after"], "only the next event to be stored", t.labels("r"))


def _deeper(levels: int) -> Send:
    async def send(p: Probe) -> None:
        async with p.connect() as ws:
            await ws.send(_nested(p, "deep", levels))
            await ws.send_ingest(p.event("after"))
            await ws.until(lambda seen: 1 in seen.saved(), "an ack of one event")
            await ws.query("r", **p.window)

    send.__name__ = f"survives_depth_{levels}"
    send.__module__ = __name__
    send.__doc__ = f"Refuses an event that is nested {levels:,} levels deep, and goes on."
    return send


for _levels in (1_000, 100_000):
    check("FRAME-10", judge=_survives_depth)(_deeper(_levels))


def _nested(p: Probe, label: str, levels: int) -> str:
    """An ``ingest`` frame with an event whose payload holds so many arrays in one another."""
    text = json.dumps({"type": "ingest", "events": [p.event(label, payload={"deep": "HERE"})]})
    return text.replace('"HERE"', "[" * levels + "]" * levels)


def _takes_the_last(t: Transcript) -> None:
    levels = [event.get("level") for event in t.events("r")]
    demand(levels == ["warn"], 'the event with the level "warn"', levels)


@check("FRAME-11", judge=_takes_the_last)
async def takes_the_last_member(p: Probe) -> None:
    """Takes the last of several members with the same name."""
    async with p.connect() as ws:
        text = json.dumps(p.event("twice", level="warn")).replace('"level"', '"level": 7, "level": "info", "level"')
        await ws.send(f'{{"type":"ingest","events":[],"events":[{text}]}}')
        await ws.until_acked(1)
        await ws.query("r", **p.window)
