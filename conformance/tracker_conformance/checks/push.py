"""Section 7 and the extension of subscriptions: what comes without being asked for."""

from typing import Any

from tracker_conformance.checks.auth import is_refused
from tracker_conformance.model import SkippedError, demand
from tracker_conformance.probe import Probe
from tracker_conformance.registry import check
from tracker_conformance.transcript import Transcript
from tracker_conformance.websocket import WebSocket

__all__ = ["is_offered", "pushed", "subscribe"]


def pushed(t: Transcript, connection: int = 1) -> list[dict[str, Any]]:
    """The events of this check that were pushed, in their order."""
    lists = [push["events"] for push in t.of_type("push", connection) if isinstance(push.get("events"), list)]
    return [event for events in lists for event in t.mine(events)]


async def subscribe(ws: WebSocket) -> None:
    """Ask for pushes, and wait until that is confirmed or refused."""
    await ws.send({"type": "subscribe"})
    await ws.until(
        lambda seen: bool(seen.of_type("subscribed", ws.number) or seen.of_type("error", ws.number)), "an answer"
    )


async def _listen(p: Probe) -> None:
    """One connection does all that may bring pushes, while another one saves."""
    async with p.connect() as ws, p.connect() as other:
        await ws.query("before", **p.window)
        await ws.send({"type": "subscribe"})
        await ws.query("again", **p.window)
        for number in range(3):
            await other.ingest(p.event(f"e{number}-a", 60 - number), p.event(f"e{number}-b", 60 - number))
        await ws.quiet(2)
        await ws.query("r", **p.window)


def _pushes_saved_ones(t: Transcript) -> None:
    pushes = t.of_type("push")
    if not pushes:
        raise SkippedError("nothing was pushed")
    demand(
        all(isinstance(push.get("events"), list) and push["events"] for push in pushes), "events in each push", pushes
    )
    stored, found = set(t.labels("r")), t.labels_of(pushed(t))
    demand(set(found) <= stored, "only events that were saved", found)


@check("PUSH-1", judge=_pushes_saved_ones)
async def pushes_what_was_saved(p: Probe) -> None:
    """Pushes, where it pushes, frames with one or more events that were saved."""
    await _listen(p)


def _pushes_as_stored(t: Transcript) -> None:
    found, stored = pushed(t), t.events("r")
    if not found:
        raise SkippedError("nothing was pushed")
    demand(
        all(event in stored for event in found), "pushed events to be as a query returns them, with their ids", found
    )


@check("PUSH-2", judge=_pushes_as_stored)
async def pushes_as_queries_answer(p: Probe) -> None:
    """Pushes events as a query would return them, with their ids."""
    await _listen(p)


def _pushes_not_to_strangers(t: Transcript) -> None:
    demand(t.labels("r", 2) == ["a"], "the event to be stored", t.told(2))
    demand(not pushed(t, 1) and not pushed(t, 3), "no push without a key", f"{t.told(1)}; {t.told(3)}")


@check("PUSH-3", judge=_pushes_not_to_strangers, uses=("api_key",))
async def nothing_to_strangers(p: Probe) -> None:
    """Pushes nothing to a connection that has not authenticated."""
    async with p.connect(auth=False) as ws, p.connect() as other, p.connect(auth=False) as third:
        await third.send({"type": "subscribe"})
        await other.send({"type": "subscribe"})
        await other.ingest(p.event("a"))
        await other.query("r", **p.window)
        await ws.quiet(2)


def is_offered(t: Transcript, connection: int = 1) -> None:
    """Skip unless a subscription was confirmed."""
    if not t.of_type("subscribed", connection):
        raise SkippedError(f"subscriptions are not offered: {t.told(connection)[:200]}")


def _subscribes(t: Transcript) -> None:
    is_offered(t)
    expected = [f"e{number}-{label}" for number in range(3) for label in "ab"]
    found = t.labels_of(pushed(t))
    demand(found == expected, f"every event that is saved, in the order of saving: {expected}", found)


@check("X-SUB-1", judge=_subscribes)
async def subscriptions(p: Probe) -> None:
    """Pushes to a subscriber every event that is saved, in the order of saving."""
    async with p.connect() as ws, p.connect() as other:
        await subscribe(ws)
        for number in range(3):
            await other.ingest(p.event(f"e{number}-a", 60 - number), p.event(f"e{number}-b", 70 - number))
        if ws.has_received("subscribed"):
            await ws.until(lambda seen: len(pushed(Transcript(seen.entries, p.facts))) >= 6, "six pushed events")
        await ws.quiet()


def _refuses_strangers(t: Transcript) -> None:
    is_offered(t, 1)
    is_refused(t, 2)


@check("X-SUB-4", judge=_refuses_strangers, uses=("api_key",), writes=False)
async def subscriptions_of_strangers(p: Probe) -> None:
    """Answers ``subscribe`` before ``auth`` like a wrong key, where a key is configured."""
    async with p.connect() as ws:
        await subscribe(ws)
        if ws.has_received("subscribed"):
            async with p.connect(auth=False) as stranger:
                await stranger.send({"type": "subscribe"})
                await stranger.until_closed()
