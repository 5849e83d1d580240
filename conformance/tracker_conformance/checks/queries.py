"""Section 6: windows, their order, and what an answer says."""

from typing import Any

from tracker_conformance.model import demand
from tracker_conformance.probe import Probe
from tracker_conformance.registry import check
from tracker_conformance.transcript import Transcript

_LONG_AGO = "0001-01-01T00:00:00Z"  # so that a server that ignores the rest has nothing to return


async def _five(p: Probe, ws: Any) -> None:
    """Five events, at the seconds 10 to 50, sent out of order."""
    await ws.ingest(*(p.event(f"at-{second}", second) for second in (30, 10, 50, 20, 40)))


def _one_answer_each(t: Transcript) -> None:
    ids = [frame.get("reqId") for frame in t.of_type("events:response")]
    asked = t.note("asked")
    demand(sorted(map(str, ids)) == sorted(map(str, asked)), f"one response for each of {asked}", ids)


@check("QUERY-1", judge=_one_answer_each, writes=False)
async def answers_with_the_same_req_id(p: Probe) -> None:
    """Answers each query once, with its ``reqId``, whatever that looks like."""
    asked = ["a", "B", "", "0", "x" * 40, "ü 😀", '"quoted"', "<b>"]
    p.note("asked", asked)
    async with p.connect() as ws:
        for req_id in asked:
            await ws.query(req_id, **p.window)
        await ws.quiet()


def _since_is_inclusive(t: Transcript) -> None:
    demand(set(t.labels("r")) == {"at-50", "at-40", "at-30"}, "at-50, at-40 and at-30", t.labels("r"))


@check("QUERY-2", judge=_since_is_inclusive)
async def since_is_inclusive(p: Probe) -> None:
    """Takes ``since`` as inclusive."""
    async with p.connect() as ws:
        await _five(p, ws)
        await ws.query("r", since=p.at(30), until=p.window["until"])


def _until_is_inclusive(t: Transcript) -> None:
    demand(set(t.labels("r")) == {"at-30", "at-20", "at-10"}, "at-30, at-20 and at-10", t.labels("r"))


@check("QUERY-3", judge=_until_is_inclusive)
async def until_is_inclusive(p: Probe) -> None:
    """Takes ``until`` as inclusive."""
    async with p.connect() as ws:
        await _five(p, ws)
        await ws.query("r", since=p.window["since"], until=p.at(30))


def _open_ends(t: Transcript) -> None:
    demand(t.labels("from") == ["late"], "without until: the event of the year 9990", t.labels("from"))
    demand(t.labels("to") == ["early"], "without since: the event of the year 2", t.labels("to"))


@check("QUERY-4", judge=_open_ends)
async def open_windows(p: Probe) -> None:
    """Leaves the window open at the end for which ``since`` or ``until`` is missing."""
    async with p.connect() as ws:
        await ws.ingest(p.event("early", timestamp="0002-01-01T00:00:00Z"))
        await ws.ingest(p.event("late", timestamp="9990-01-01T00:00:00Z"))
        await ws.query("from", since="9989-01-01T00:00:00Z")
        await ws.query("to", until="0002-06-01T00:00:00Z")


def _newest_first(t: Transcript) -> None:
    expected = [f"at-{second}" for second in range(299, -1, -1)]
    demand(t.labels("r") == expected, "300 events, newest first", t.labels("r"))


@check("QUERY-5", judge=_newest_first)
async def newest_first(p: Probe) -> None:
    """Returns the events newest first, however late they came."""
    async with p.connect() as ws:
        order = [(number * 97) % 300 for number in range(300)]
        for start in range(0, 300, 60):
            await ws.ingest(*(p.event(f"at-{second}", second / 4) for second in order[start : start + 60]))
        await ws.query("r", **p.window)


def _equal_ones_keep_their_order(t: Transcript) -> None:
    expected = [f"e{number}" for number in range(19, -1, -1)]
    for name in ("r1", "r2"):
        demand(t.labels(name) == expected, "the event that arrived last first, each time", t.labels(name))


@check("QUERY-6", judge=_equal_ones_keep_their_order)
async def equal_timestamps(p: Probe) -> None:
    """Returns events of equal timestamps newest arrival first, in the same order each time."""
    async with p.connect() as ws:
        for frame in range(4):
            await ws.ingest(*(p.event(f"e{frame * 5 + number}", 33) for number in range(5)))
        await ws.query("r1", **p.window)
        await ws.ingest(p.event("other", 1, timestamp="2000-01-01T00:00:00Z"))
        await ws.query("r2", **p.window)


def _whole_window(t: Transcript) -> None:
    demand(len(t.labels("r")) == 3000, "3,000 events", f"{len(t.labels('r'))} events")


@check("QUERY-7", judge=_whole_window)
async def whole_windows(p: Probe) -> None:
    """Returns every event of a window where the query has no ``limit``."""
    async with p.connect() as ws:
        for start in range(0, 3000, 500):
            await ws.ingest(*(p.event(f"e{number}", number / 50) for number in range(start, start + 500)))
        await ws.query("r", **p.window)


def _nothing_backwards(t: Transcript) -> None:
    answer = t.answer("r")
    demand((answer["events"], answer.get("total")) == ([], 0), "no events and total 0", t.told())


@check("QUERY-8", judge=_nothing_backwards)
async def windows_backwards(p: Probe) -> None:
    """Answers a window whose ``since`` is after its ``until`` with no events and ``total`` 0."""
    async with p.connect() as ws:
        await _five(p, ws)
        await ws.query("r", since=p.window["until"], until=p.window["since"])


def _refuses_what_it_cannot_read(t: Transcript) -> None:
    for name in ("r1", "r2", "r3"):
        demand(t.error(name) is not None, f'an error with reqId "{name}"', t.told())


@check("QUERY-9", judge=_refuses_what_it_cannot_read, writes=False)
async def bad_windows(p: Probe) -> None:
    """Answers a ``since`` or ``until`` that is no timestamp with an ``error`` that carries the ``reqId``."""
    async with p.connect() as ws:
        await ws.query("r1", since="yesterday", until=_LONG_AGO)
        await ws.query("r2", since="9999-12-31T00:00:00Z", until=p.at(2)[:10])
        await ws.query("r3", since=7, until=_LONG_AGO)


def _answers_all(t: Transcript) -> None:
    ids = sorted(str(frame.get("reqId")) for frame in t.of_type("events:response"))
    demand(ids == sorted(f"r{number}" for number in range(30)), "30 answers", f"{len(ids)}: {ids}")


@check("QUERY-10", judge=_answers_all)
async def many_queries(p: Probe) -> None:
    """Answers every query of a connection that sends 30 without waiting."""
    async with p.connect() as ws:
        await _five(p, ws)
        for number in range(30):
            window = {"since": p.at(10), "until": p.at(11)}
            await ws.send({"type": "events:query", "reqId": f"r{number}", "query": window})
        await ws.until_type("events:response", 30)


def _in_time(t: Transcript) -> None:
    demand(len(t.labels("r")) == 5000, "5,000 events", f"{len(t.labels('r'))} events")
    sent = max(entry.at_s for entry in t.entries if entry.kind == "send")
    received = max(entry.at_s for entry in t.entries if entry.kind == "receive")
    demand(received - sent <= 5, "an answer within 5 s", f"one after {received - sent:.1f} s")


@check("QUERY-11", judge=_in_time)
async def answers_in_time(p: Probe) -> None:
    """Answers a query for a window of 5,000 events within 5 seconds."""
    async with p.connect() as ws:
        for start in range(0, 5000, 1000):
            await ws.ingest(*(p.event(f"e{number}", number / 50) for number in range(start, start + 1000)))
        await ws.query("r", **p.window)


def _has_events_and_total(t: Transcript) -> None:
    for name in ("empty", "r"):
        total = t.answer(name).get("total")
        demand(isinstance(total, int) and not isinstance(total, bool), "an integer total", total)


@check("RESP-1", judge=_has_events_and_total)
async def events_and_total(p: Probe) -> None:
    """Puts an array ``events`` and an integer ``total`` into a response, for an empty window too."""
    async with p.connect() as ws:
        await ws.query("empty", since=p.at(90.000123), until=p.at(90.000123))
        await _five(p, ws)
        await ws.query("r", **p.window)


def _counts_all(t: Transcript) -> None:
    whole = t.answer("r")
    demand(whole.get("total") == len(whole["events"]), f"total {len(whole['events'])}", whole.get("total"))
    limited = t.answer("limited")
    expected = f"total {whole['total']} with a limit and a page, too"
    demand(limited.get("total") == whole["total"], expected, limited.get("total"))


@check("RESP-2", judge=_counts_all)
async def total_counts_all(p: Probe) -> None:
    """Counts in ``total`` every event that matches, whatever ``limit`` and ``page`` say."""
    async with p.connect() as ws:
        await _five(p, ws)
        await ws.query("r", **p.window)
        await ws.query("limited", **p.window, limit=2, page=2)


def _tells_page_and_limit(t: Transcript) -> None:
    plain, paged = t.answer("r"), t.answer("paged")
    is_default = (plain.get("page"), plain.get("limit")) == (1, plain.get("total"))
    demand(is_default, f"page 1 and limit {plain.get('total')}", (plain.get("page"), plain.get("limit")))
    if len(paged["events"]) == 2:  # it offers them
        found = (paged.get("page"), paged.get("limit"))
        demand(found == (2, 2), "page 2 and limit 2, as asked for", found)


@check("RESP-3", judge=_tells_page_and_limit)
async def page_and_limit(p: Probe) -> None:
    """Puts ``page`` and ``limit`` into a response: the ones asked for, else 1 and the number that match."""
    async with p.connect() as ws:
        await _five(p, ws)
        await ws.query("r", **p.window)
        await ws.query("paged", **p.window, limit=2, page=2)


def _tells_the_newest(t: Transcript) -> None:
    events = t.answer("r")["events"]
    newest = events[0].get("timestamp") if isinstance(events, list) and events and isinstance(events[0], dict) else None
    demand(isinstance(newest, str), "the events of the window, with their timestamps", events)
    cursor = t.answer("r").get("nextCursor")
    is_right = isinstance(cursor, str) and _instant(cursor) == _instant(str(newest))
    demand(is_right, f"nextCursor {newest}, the newest that matches", cursor)
    empty = t.answer("empty")
    demand(empty.get("nextCursor") is None, "no nextCursor where nothing matches", empty)


def _instant(text: str) -> float | None:
    from datetime import datetime

    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return None


@check("RESP-4", judge=_tells_the_newest)
async def next_cursor(p: Probe) -> None:
    """Puts the timestamp of the newest event that matches into ``nextCursor``, and leaves it out where none does."""
    async with p.connect() as ws:
        await _five(p, ws)
        await ws.query("r", **p.window)
        await ws.query("empty", since=p.at(90.000123), until=p.at(90.000123))
