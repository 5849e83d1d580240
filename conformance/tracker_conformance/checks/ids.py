"""Section 4, ids."""

from tracker_conformance.model import demand
from tracker_conformance.probe import Probe
from tracker_conformance.registry import check
from tracker_conformance.transcript import Transcript


def _gives_ids(t: Transcript) -> None:
    ids = [event.get("id") for event in t.events("r")]
    demand(len(ids) == 60, "60 events", t.told())
    demand(all(isinstance(found, str) and found for found in ids), "ids that are strings and not empty", ids)
    demand(len(set(ids)) == len(ids), "ids that no two events share", sorted(map(str, ids)))


@check("ID-1", judge=_gives_ids)
async def gives_ids(p: Probe) -> None:
    """Gives events without an id, and those with an empty one, an id of their own, over connections too."""
    async with p.connect() as ws, p.connect() as other:
        for number in range(3):
            for where, name in ((ws, "ws"), (other, "other")):
                events = (p.event(f"{name}-{number}-{n}", n, id="" if n % 2 else ...) for n in range(10))
                await where.ingest(*events)
        await ws.query("r", **p.window)


def _keeps_ids(t: Transcript) -> None:
    expected = t.note("ids")
    ids = [event.get("id") for event in t.events("r")]
    demand(sorted(map(str, ids)) == sorted(expected), f"the ids that were sent: {sorted(expected)}", ids)


@check("ID-2", judge=_keeps_ids)
async def keeps_ids(p: Probe) -> None:
    """Keeps the ids that the client gave, whatever they look like."""
    ids = [p.facts.prefix + end for end in ("plain", "ü 😀", "0", "x" * 300, "<b>", "with space ", "null")]
    p.note("ids", ids)
    async with p.connect() as ws:
        await ws.ingest(*(p.event(f"given-{number}", id=given) for number, given in enumerate(ids)))
        await ws.query("r", **p.window)


def _keeps_answering(t: Transcript) -> None:
    answers = [
        {str(event.get("sessionId")): event.get("id") for event in t.events(name, number)} for name, number in _ASKED
    ]
    demand(len(answers[0]) == 3 and all(found == answers[0] for found in answers), "the same ids each time", answers)


_ASKED = (("r1", 1), ("r2", 1), ("r3", 2))


@check("ID-3", judge=_keeps_answering)
async def keeps_giving_the_same_ids(p: Probe) -> None:
    """Gives back the same id for an event in every answer, on every connection."""
    async with p.connect() as ws, p.connect() as other:
        await ws.ingest(*(p.event(f"e{number}", number) for number in range(3)))
        await ws.query("r1", **p.window)
        await ws.ingest(p.event("later", timestamp="2000-01-01T00:00:00Z"))
        await ws.query("r2", **p.window)
        await other.query("r3", **p.window)
