"""Section 4: which events are kept, and as what."""

import json
from typing import Any

from tracker_conformance.model import FailedError, demand
from tracker_conformance.probe import Probe
from tracker_conformance.registry import Judge, Send, check
from tracker_conformance.transcript import Transcript

_MEMBERS = ("timestamp", "level", "type", "appId", "sessionId", "userId", "payload", "meta")
_WRONG_TYPES: tuple[Any, ...] = (None, 7, True, [], {}, "text")
_PAYLOADS: dict[str, Any] = {
    "click": {"tag": "button", "coordinates": {"x": 1, "y": 2}},
    "http": {"method": "GET", "url": "/api", "status": 500, "duration": 12.5},
    "error": {"message": "it broke", "stack": "at x"},
    "navigation": {"from": "/", "to": "/a"},
    "console": {"method": "warn", "args": ["a", 1, None]},
    "custom": {"name": "checkout", "data": {"items": [1, 2]}},
    "session": {"action": "start", "trigger": "init"},
}


def one_frame(name: str, title: str, make: Any) -> Send:
    """A check's ``send``: events in one frame between two plain ones, then a query for the window."""

    async def send(p: Probe) -> None:
        events = make(p)
        p.note("count", len(events))
        async with p.connect() as ws:
            await ws.ingest(p.event("first", 0), *events, p.event("last", 100))
            await ws.query("r", **p.window)

    send.__name__ = name
    send.__module__ = make.__module__
    send.__doc__ = title
    return send


def _stored(t: Transcript) -> list[str]:
    found = sorted(set(t.labels("r")))
    demand({"first", "last"} <= set(found), "the valid neighbours to be stored", found)
    return [label for label in found if label not in ("first", "last")]


def all_are_kept(t: Transcript) -> None:
    """Every event between the two plain ones is stored."""
    count = t.note("count")
    stored = len([event for event in t.labels("r") if event not in ("first", "last")])
    rejected = f"{stored} of {count}: {', '.join(_stored(t))}; {json.dumps(t.of_type('ack'))}"
    demand(stored == count, f"all {count} events to be stored", rejected)


def none_is_kept(t: Transcript) -> None:
    """None of the events between the two plain ones is stored."""
    found = _stored(t)
    demand(not found, "only the two valid neighbours to be stored", f"also stored: {', '.join(found)}")


def none_is_acked(t: Transcript) -> None:
    """None of them is stored, in the window or anywhere else."""
    none_is_kept(t)
    demand(t.saved() == [2], "an ack with saved 2: of the two valid neighbours only", t.told())


def _add(id_: str, name: str, title: str, judge: Judge, make: Any) -> None:
    check(id_, judge=judge)(one_frame(name, title, make))


def _without_members(p: Probe) -> list[Any]:
    return [p.event(f"without-{name}", **{name: ...}) for name in _MEMBERS]


def _no_objects(p: Probe) -> list[Any]:
    return [None, 7, f"{p.facts.prefix}text", [p.event("in-an-array")], True]


def _wrong_types(p: Probe) -> list[Any]:
    return [
        p.event(f"{name}-{type(value).__name__}", **{name: value})
        for name in _MEMBERS
        for value in _WRONG_TYPES
        if not isinstance(value, dict if name in ("payload", "meta") else str)
    ]


def _levels(p: Probe) -> list[Any]:
    levels = ("fatal", "INFO", "Info", "", " info", "info\n", "trace", "warning", "<img src=x onerror=alert(1)>")
    return [p.event(f"level-{number}", level=level) for number, level in enumerate(levels)]


def _types(p: Probe) -> list[Any]:
    types = (
        "",
        "1st",
        "_x",
        "a b",
        "click\n",
        "<script>alert(1)</script>",
        "a" * 65,
        "é",
        "a/b",
        "-a",
        'a"b',
        "click ",
    )
    return [p.event(f"type-{number}", type=name) for number, name in enumerate(types)]


def _later_types(p: Probe) -> list[Any]:
    types = ("web-vitals", "a", "A", "a" * 64, "x.y_z:1-2", "Z9", "replay", "perf:long_task")
    return [p.event(f"type-{number}", type=name) for number, name in enumerate(types)]


def _poison(p: Probe) -> list[Any]:
    payloads: tuple[Any, ...] = ({}, {"message": None}, {"message": 7}, {"message": ["text"]}, {"text": "no message"})
    return [p.event(f"error-{number}", type="error", payload=payload) for number, payload in enumerate(payloads)]


def _wrong_options(p: Probe) -> list[Any]:
    strings: tuple[Any, ...] = (7, None, [], {})
    objects: tuple[Any, ...] = (7, None, [], "text")
    wrong = [
        p.event(f"{name}-{number}", **{name: strings[number]}) for name in ("id", "groupId") for number in range(4)
    ]
    return wrong + [p.event(f"context-{number}", context=value) for number, value in enumerate(objects)]


def _all_kinds(p: Probe) -> list[Any]:
    kinds = [p.event(f"kind-{kind}", type=kind, payload=payload) for kind, payload in _PAYLOADS.items()]
    levels = [p.event(f"level-{level}", level=level) for level in ("debug", "info", "warn", "error")]
    options = [
        p.event("with-options", groupId="group", context={"page": {"x": 1}}, id=""),
        p.event("without-id", id=...),
        p.event("empty", sessionId="", payload={}, meta={}, groupId="", context={}),
        p.event("long", userId=p.facts.prefix + "long" + "x" * 5000),
        p.event("unknown-members", xNew={"a": [1, 2, {"b": None}]}, xNull=None),
    ]
    return [*kinds, *levels, *options]


def _payloads_that_fit_nothing(p: Probe) -> list[Any]:
    odd: tuple[Any, ...] = (
        {},
        {"coordinates": "nowhere"},
        {"status": "ok", "duration": None},
        {"args": 7},
        {"name": ["x"]},
    )
    return [
        p.event(f"odd-{kind}-{number}", type=kind, payload=payload)
        for kind in ("click", "http", "console", "custom", "navigation", "session")
        for number, payload in enumerate(odd)
    ]


_add(
    "EVENT-1",
    "keeps_what_no_rule_rejects",
    "Keeps events of every kind, with and without options.",
    all_are_kept,
    _all_kinds,
)
_add("EVENT-2", "rejects_no_objects", "Rejects elements of ``events`` that are no objects.", none_is_acked, _no_objects)
_add("EVENT-2", "rejects_without_members", "Rejects an event that lacks a member.", none_is_acked, _without_members)
_add(
    "EVENT-2",
    "rejects_wrong_types",
    "Rejects members of another JSON type.",
    none_is_acked,
    _wrong_types,
)
_add("EVENT-3", "rejects_levels", "Rejects an event whose level is none of the four.", none_is_acked, _levels)
_add(
    "EVENT-4", "rejects_types", "Rejects an event whose type does not match, scripts among them.", none_is_kept, _types
)
_add("EVENT-5", "keeps_later_types", "Keeps events of types that are not known today.", all_are_kept, _later_types)
_add("EVENT-6", "rejects_poison", "Rejects an ``error`` whose ``payload.message`` is no string.", none_is_kept, _poison)
_add("EVENT-7", "rejects_wrong_options", "Rejects optional members of another JSON type.", none_is_kept, _wrong_options)
_add(
    "EVENT-9",
    "keeps_odd_payloads",
    "Keeps events whose payload fits no schema.",
    all_are_kept,
    _payloads_that_fit_nothing,
)


def _strict(value: Any) -> Any:
    """A value of JSON that equals another only where they are JSON-equal: 1 is 1.0, and not true."""
    if isinstance(value, dict):
        return {name: _strict(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_strict(inner) for inner in value]
    return (type(value).__name__ if isinstance(value, bool) else "", value)


def _is_equal(t: Transcript) -> None:
    sent = {event["sessionId"]: event for event in t.note("events")}
    for found in t.events("r"):
        expected = sent.pop(str(found.get("sessionId")), None)
        if expected is None:
            raise FailedError("each event once, with its sessionId", t.told())
        names = {*expected, *found} - {"id"}
        wrong = [name for name in names if _strict(expected.get(name, ...)) != _strict(found.get(name, ...))]
        told = {name: found.get(name, "nothing") for name in wrong}
        demand(not wrong, f"the members as sent: { {name: expected.get(name) for name in wrong} }", told)
    demand(not sent, "every event in the answer", f"without {', '.join(sent)}")


@check("EVENT-8", judge=_is_equal)
async def gives_back_what_was_sent(p: Probe) -> None:
    """Gives events back JSON-equal to what was sent, unknown members, numbers and text included."""
    texts = ["", "ü€😀", 'quote " and \\', "\u0000\u001f\u007f\u2028\u2029", "<b>&amp;</b>", "null", "e\u0301 \ufeff"]
    numbers = [0, -1, 1.5, 1e-7, 123456789012345, 0.1, -0.5, 1e21, 5e-324]
    values: list[Any] = [None, True, False, [], {}, [[]], {"": {}}, {"__proto__": {"x": 1}, "constructor": 7}]
    events = [
        p.event("texts", payload={"texts": texts, **{text: text for text in texts}}),
        p.event("numbers", payload={"numbers": numbers}),
        p.event("values", payload={"values": values}, context={"values": values}),
        p.event("unknown", xNew={"a": [1, {"b": None}]}, groupId="g", meta={"language": "de", "xMeta": [values]}),
        p.event("offset", timestamp=p.at(2).replace("Z", "+00:00")),
    ]
    p.note("events", events)
    async with p.connect() as ws:
        await ws.ingest(*events)
        await ws.query("r", **p.window)
