"""Section 6, filters and pages: what is offered works as specified, and what is not offered is ignored."""

from typing import Any

from tracker_conformance.model import SkippedError, demand
from tracker_conformance.probe import Probe
from tracker_conformance.registry import Judge, Send, check
from tracker_conformance.transcript import Transcript


def is_for_one_app(t: Transcript, own: str) -> bool:
    """Whether the key takes events of the suite's app only: of all that were sent in one frame, ``own`` alone."""
    return t.facts.has_key and t.saved() == [1] and t.labels("all") == [own]


def _offered(t: Transcript, name: str, expected: list[str]) -> None:
    """Compare with what a filter has to leave; where it leaves all, it is not offered."""
    found, everything = t.labels(name), t.labels("all")
    demand(len(everything) == t.note("count"), f"all {t.note('count')} events without a filter", everything)
    if found == everything:
        raise SkippedError("it is not offered: everything is returned")
    demand(sorted(found) == sorted(expected), f"{expected}", found)


async def _ask(p: Probe, events: list[dict[str, Any]], queries: dict[str, dict[str, Any]]) -> None:
    p.note("count", len(events))
    async with p.connect() as ws:
        await ws.ingest(*events)
        await ws.query("all", **p.window)
        for name, members in queries.items():
            await ws.query(name, **(p.window | members))


def _only_later(t: Transcript) -> None:
    _offered(t, "r", ["at-40", "at-30.001"])


@check("FILTER-2", judge=_only_later)
async def after(p: Probe) -> None:
    """Returns, where ``after`` is offered, only events strictly later than it."""
    events = [p.event(f"at-{second}", second) for second in (10, 30, 30.001, 40)]
    await _ask(p, events, {"r": {"after": p.at(30)}})


_EQUAL: dict[str, tuple[str, tuple[str, ...]]] = {
    "type": ("click", ("Click", "clic", "clicks", "custom")),
    "level": ("warn", ("info", "error")),
    "userId": ("Ann", ("ann", "Ann ", "An", "Anne", "%", "")),
    "sessionId": ("s_1", ("S_1", "s_10", "sx1", "s_")),
    "groupId": ("g.1", ("G.1", "g.10", "gx1", "")),
    "appId": ("shop", ("Shop", "shop2", "sho")),
}


def _equality(name: str) -> Send:
    wanted, others = _EQUAL[name]

    async def send(p: Probe) -> None:
        marks = {"appId": f"{p.target.app_id}-", "type": "", "level": ""}
        mark = marks.get(name, p.facts.prefix[1:])  # nobody else's, and no label
        others_marked = [f"{mark}{value}" for value in others]
        events = [p.event("right", 5, **_marked(p, "right", name, mark + wanted))]
        if name == "appId":
            events.append(p.event("own", 6))
        events += [p.event(f"o{n}", n, **_marked(p, f"o{n}", name, value)) for n, value in enumerate(others_marked)]
        await _ask(p, events, {"r": {name: mark + wanted}})

    send.__name__ = f"equality_of_{name}"
    send.__module__ = __name__
    send.__doc__ = f"Compares ``{name}``, where it is offered, for equality, case included."
    return send


def _marked(p: Probe, label: str, name: str, value: str) -> dict[str, Any]:
    """Members that carry the label elsewhere than in the one that is compared."""
    marked = p.facts.prefix + label
    return {"sessionId": "s", "userId": "u", "meta": {"label": marked}, "payload": {}} | {name: value}


def _leaves_the_right_one(t: Transcript) -> None:
    if is_for_one_app(t, "own"):
        raise SkippedError("the key is for one app only, so that there are no others to tell apart")
    _offered(t, "r", ["right"])


for _name in _EQUAL:
    check("FILTER-3", judge=_leaves_the_right_one)(_equality(_name))


def _searches(t: Transcript) -> None:
    _offered(t, "plain", ["key", "text"])
    demand(t.labels("case") == ["text"], "without regard to case: ['text']", t.labels("case"))
    demand(t.labels("json") == ["text"], "as JSON.stringify gives it: ['text']", t.labels("json"))
    demand(t.labels("meta") == [], "nothing of meta, for only the payload is searched", t.labels("meta"))


@check("FILTER-4", judge=_searches)
async def search(p: Probe) -> None:
    """Matches ``search``, where it is offered, in the JSON text of the payload, without regard to case."""
    events = [
        _searchable(p, "text", 30, {"text": 'Say "Needle.Case", twice', "n": [1, None, True]}),
        _searchable(p, "key", 40, {"needle.key": "x"}),
        _searchable(p, "other", 20, {"text": "nothing here, needlexcase"}),
    ]
    queries = {
        "plain": "needle.",
        "case": "NEEDLE.CASE",
        "json": r'\"needle.case\", twice","n":[1,null,true]',
        "meta": "tc-meta",
    }
    await _ask(p, events, {name: {"search": text} for name, text in queries.items()})


def _searchable(p: Probe, label: str, second: float, payload: dict[str, Any]) -> dict[str, Any]:
    return p.event(label, second, payload=payload, meta={"language": "tc-meta"})


def _ids(t: Transcript, name: str) -> list[str]:
    """The ids of all events of an answer, for limits and pages count those of others too."""
    return [str(event.get("id")) if isinstance(event, dict) else "" for event in t.answer(name)["events"]]


def _limits(t: Transcript) -> None:
    everything = _ids(t, "all")
    demand(len(everything) >= 5, "at least the five events sent without a limit", len(everything))
    if _ids(t, "three") == everything:
        raise SkippedError("it is not offered: everything is returned")
    demand(_ids(t, "three") == everything[:3], "the three newest events", t.answer("three")["events"])
    demand(_ids(t, "none") == [], "no events with limit 0", t.answer("none")["events"])
    demand(_ids(t, "many") == everything, "all events with a limit above their number", len(_ids(t, "many")))


async def _ask_of_five(p: Probe, queries: dict[str, dict[str, Any]]) -> None:
    await _ask(p, [p.event(f"at-{second}", second) for second in (10, 20, 30, 40, 50)], queries)


@check("FILTER-5", judge=_limits)
async def limit(p: Probe) -> None:
    """Returns, where ``limit`` is offered, at most that many events, 0 included."""
    await _ask_of_five(p, {"three": {"limit": 3}, "none": {"limit": 0}, "many": {"limit": 1_000_000}})


def _are_offered(t: Transcript) -> None:
    if len(_ids(t, "one")) != 2:
        raise SkippedError("limit is not offered, so pages are not")
    if _ids(t, "two") == _ids(t, "one"):
        raise SkippedError("it is not offered: each page is the first")


def _pages(t: Transcript) -> None:
    _are_offered(t)
    everything = _ids(t, "all")
    for number, name in enumerate(("one", "two", "three")):
        expected = everything[2 * number : 2 * number + 2]
        demand(_ids(t, name) == expected, f"page {number + 1} of two events each: {expected}", _ids(t, name))
    demand(_ids(t, "whole") == everything, "all events on page 1 without a limit", len(_ids(t, "whole")))


@check("FILTER-6", judge=_pages)
async def page(p: Probe) -> None:
    """Returns, where ``page`` is offered, the events from number (page - 1) x limit on."""
    pages = {name: {"limit": 2, "page": number} for number, name in enumerate(("one", "two", "three"), 1)}
    await _ask_of_five(p, pages | {"whole": {"page": 1}})


def _past_the_end(t: Transcript) -> None:
    _are_offered(t)
    total = len(_ids(t, "all"))
    told = (t.answer("past")["events"], t.answer("past").get("total"))
    demand(told == ([], total), f"no events and total {total}", told)


@check("FILTER-7", judge=_past_the_end)
async def page_past_the_end(p: Probe) -> None:
    """Answers a page past the end with no events and the full ``total``."""
    pages = {name: {"limit": 2, "page": number} for name, number in (("one", 1), ("two", 2), ("past", 400_000))}
    await _ask_of_five(p, pages)


_UNREADABLE: dict[str, dict[str, Any]] = {
    "limit": {"negative": -1, "fraction": 1.5, "text": "many"},
    "page": {"zero": 0, "negative": -1, "fraction": 1.5},
    "level": {"loud": "loud", "upper": "WARN"},
}


def _unreadable(name: str) -> tuple[Send, Judge]:
    right: dict[str, Any] = {"limit": 1, "page": 2, "level": "warn"}

    async def send(p: Probe) -> None:
        queries = {key: {name: value} for key, value in _UNREADABLE[name].items()}
        with_limit = {"limit": 1} if name == "page" else {}
        await _ask_of_five(p, {"offered": {name: right[name], **with_limit}, "first": with_limit, **queries})

    def judge(t: Transcript) -> None:
        if _ids(t, "offered") == _ids(t, "first" if name == "page" else "all"):
            raise SkippedError("it is not offered")
        for key, value in _UNREADABLE[name].items():
            demand(t.error(key) is not None, f"an error for {name} {value!r}, with its reqId", t.told())

    send.__name__ = f"unreadable_{name}"
    send.__module__ = __name__
    send.__doc__ = f"Answers a ``{name}`` that cannot be, where it is offered, with an ``error``."
    return send, judge


for _name in _UNREADABLE:
    _send, _judge = _unreadable(_name)
    check("FILTER-8", judge=_judge)(_send)


def _combines(t: Transcript) -> None:
    if any(t.labels(name) == t.labels("all") for name in ("type", "level")):
        raise SkippedError("type and level are not both offered")
    demand(t.labels("both") == ["both"], "only the event that matches both", t.labels("both"))


@check("FILTER-3", judge=_combines)
async def combined(p: Probe) -> None:
    """Returns, where several filters are given, the events that match all of them."""
    events = [
        p.event("both", 3, type="custom", level="warn"),
        p.event("type", 2, type="custom"),
        p.event("level", 1, level="warn"),
    ]
    filters: dict[str, dict[str, Any]] = {"type": {"type": "custom"}, "level": {"level": "warn"}}
    await _ask(p, events, filters | {"both": {"type": "custom", "level": "warn"}})
