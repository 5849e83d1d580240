"""Section 5: batches, and what an ack says."""

from typing import Any

from tracker_conformance.model import demand
from tracker_conformance.probe import Probe
from tracker_conformance.registry import check
from tracker_conformance.transcript import Transcript


def _acks_empty(t: Transcript) -> None:
    demand(t.saved() == [0, 1], "an ack with saved 0, and one with saved 1", t.told())


@check("INGEST-1", judge=_acks_empty)
async def accepts_no_events(p: Probe) -> None:
    """Accepts an ``ingest`` without events."""
    async with p.connect() as ws:
        await ws.ingest()
        await ws.ingest(p.event("a"))


def _takes_many(t: Transcript) -> None:
    count = len(t.labels("r"))
    demand(count == 5000, "5,000 events in the answer", f"{count}; acks: {t.saved()}; {t.told()[:300]}")


@check("INGEST-1", judge=_takes_many)
async def accepts_5000_events(p: Probe) -> None:
    """Accepts 5,000 events in one frame, as a page sends them after an outage."""
    async with p.connect() as ws:
        await ws.ingest(*(p.event(f"e{number}", number / 50) for number in range(5000)))
        await ws.query("r", **p.window)


def _saves_the_valid(t: Transcript) -> None:
    expected = ["a", "b", "c"]
    demand(sorted(t.labels("r")) == expected, "the three valid events to be stored", sorted(t.labels("r")))


@check("INGEST-2", judge=_saves_the_valid)
async def saves_valid_neighbours(p: Probe) -> None:
    """Saves every valid event of a frame, whatever its neighbours are."""
    async with p.connect() as ws:
        bad: list[Any] = [None, [], 7, "text", {}, p.event("bad", meta=...)]
        await ws.ingest(*bad, p.event("a"), *bad, p.event("b"), *bad)
        await ws.ingest(*bad[:1], p.event("c"))
        await ws.query("r", **p.window)


def _saves_no_invalid(t: Transcript) -> None:
    demand(t.labels("r") == ["sentinel"], "only the valid event to be stored", t.labels("r"))


@check("INGEST-3", judge=_saves_no_invalid)
async def saves_no_invalid(p: Probe) -> None:
    """Saves none of a frame's events where none is valid, and none later."""
    async with p.connect() as ws:
        await ws.ingest(p.event("no-meta", meta=...), p.event("no-user", userId=None), p.event("level", level="loud"))
        await ws.ingest(p.event("sentinel"))
        await ws.query("r", **p.window)


def _answers_with_error(t: Transcript) -> None:
    errors = len(t.of_type("error"))
    demand(errors == 3, "three error frames", t.told())


@check("INGEST-4", judge=_answers_with_error)
async def answers_without_events(p: Probe) -> None:
    """Answers an ``ingest`` whose ``events`` is missing or no array with an ``error``."""
    async with p.connect() as ws:
        await ws.send({"type": "ingest"})
        await ws.send({"type": "ingest", "events": p.event("object")})
        await ws.send({"type": "ingest", "events": None})
        await ws.until_type("error", 3)
        await ws.ingest(p.event("sentinel"))


def _saves_none_of_them(t: Transcript) -> None:
    demand(t.labels("r") == ["sentinel"], "nothing but the next event to be stored", t.labels("r"))


@check("INGEST-4", judge=_saves_none_of_them)
async def saves_nothing_without_events(p: Probe) -> None:
    """Saves nothing of an ``ingest`` whose ``events`` is no array."""
    async with p.connect() as ws:
        await ws.send({"type": "ingest", "events": p.event("object")})
        await ws.send({"type": "ingest", "events": {"0": p.event("member"), "length": 1}})
        await ws.ingest(p.event("sentinel"))
        await ws.query("r", **p.window)


def _acks_each_once(t: Transcript) -> None:
    demand(len(t.saved()) == 24, "24 acks for 24 frames", f"{len(t.saved())}: {t.saved()}")


@check("ACK-1", judge=_acks_each_once)
async def acks_each_frame_once(p: Probe) -> None:
    """Sends exactly one ack for each ``ingest``: with events, without, with rejected ones, with a reqId."""
    async with p.connect() as ws:
        for number in range(6):
            await ws.send_ingest(p.event(f"a{number}"), p.event(f"b{number}"))
            await ws.send_ingest()
            await ws.send_ingest(None, p.event(f"bad{number}", meta=7))
            await ws.send_ingest(p.event(f"c{number}"), reqId=f"i{number}")
        await ws.until_acked()
        await ws.query("r", **p.window)
        await ws.quiet()


def _acks_in_order(t: Transcript) -> None:
    expected = t.note("counts")
    demand(t.saved() == expected, f"acks in the order of their frames: saved {expected}", t.saved())


@check("ACK-2", judge=_acks_in_order)
async def acks_in_order(p: Probe) -> None:
    """Sends the acks of one connection in the order of their frames, however large these are."""
    counts = [400, 1, 0, 150, 2, 0, 30, 3, 80, 4]
    p.note("counts", counts)
    async with p.connect() as ws:
        for frame, count in enumerate(counts):
            await ws.send_ingest(*(p.event(f"e{frame}-{number}") for number in range(count)))
        await ws.until_acked()


def _counts_what_it_keeps(t: Transcript) -> None:
    stored = [len([label for label in t.labels("r") if label.startswith(f"f{frame}-")]) for frame in range(3)]
    demand(t.saved() == stored, f"saved to be what is stored of each frame: {stored}", t.saved())


@check("ACK-3", judge=_counts_what_it_keeps)
async def counts_what_it_keeps(p: Probe) -> None:
    """Counts in ``saved`` the events of the frame that it keeps, rejected ones not."""
    async with p.connect() as ws:
        await ws.ingest(*(p.event(f"f0-{number}") for number in range(3)))
        await ws.ingest(p.event("f1-a"), None, p.event("f1-b", level="loud"), p.event("f1-c"))
        await ws.ingest(p.event("f2-a", userId=7))
        await ws.query("r", **p.window)


def _shows_what_it_acked(t: Transcript) -> None:
    for number in range(10):
        label = f"e{number}"
        demand(
            label in t.labels(f"r{number}", 2),
            f"{label} in the answer to a query after its ack",
            t.labels(f"r{number}", 2),
        )


@check("ACK-4", judge=_shows_what_it_acked)
async def shows_what_it_acked(p: Probe) -> None:
    """Shows what it acked to a query on another connection that comes after the ack."""
    async with p.connect() as ws, p.connect() as other:
        for number in range(10):
            await ws.ingest(p.event(f"e{number}", number))
            await other.query(f"r{number}", **p.window)


def _saves_before_close(t: Transcript) -> None:
    found = t.labels(t.note("last"), 2)
    demand(len(found) == 20, "all 20 frames that were sent before the close frame to be stored", found)


@check("ACK-6", judge=_saves_before_close)
async def saves_what_came_before_the_close(p: Probe) -> None:
    """Saves the frames that come before the client's close frame, though it does not wait for acks."""
    async with p.connect() as ws:
        for number in range(20):
            await ws.send_ingest(p.event(f"e{number}", number))
        await ws.close()
    async with p.connect() as other:
        for number in range(10):  # it may still be at it
            name = f"r{number}"
            await other.query(name, **p.window)
            if len(p.seen.labels_if_any(name, 2)) == 20:
                break
            await other.quiet()
    p.note("last", name)
