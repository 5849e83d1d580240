"""What all else rests on: a connection, a key, and an event there and back."""

from tracker_conformance.model import demand
from tracker_conformance.probe import Probe
from tracker_conformance.registry import check
from tracker_conformance.transcript import Transcript


def _connects(t: Transcript) -> None:
    demand(t.is_open(), "a completed handshake, and a connection that stays open", t.told())


@check("CONN-1", "CONN-2", judge=_connects, needs=(), writes=False)
async def connects(p: Probe) -> None:
    """Completes an opening handshake without a key and without a subprotocol."""
    async with p.connect(auth=False) as ws:
        await ws.quiet()


def _authenticates(t: Transcript) -> None:
    demand([frame.get("type") for frame in t.frames()] == ["auth_ok"] and t.is_open(), '{"type":"auth_ok"}', t.told())


@check("AUTH-1", judge=_authenticates, needs=("basics.connects",), uses=("api_key",), writes=False)
async def authenticates(p: Probe) -> None:
    """Answers an ``auth`` with the right key with ``auth_ok``."""
    async with p.connect() as ws:
        await ws.quiet()


def _round_trip(t: Transcript) -> None:
    demand(t.saved() == [2], '{"type":"ack","saved":2}', t.told())
    demand(sorted(t.labels("r")) == ["a", "b"], "both events in the answer to a query for their window", t.told())


@check("INGEST-2", "ACK-1", "ACK-4", "QUERY-1", judge=_round_trip, needs=("basics.connects", "basics.authenticates"))
async def round_trip(p: Probe) -> None:
    """Acks two events, and returns them to a query for their window."""
    async with p.connect() as ws:
        await ws.ingest(p.event("a"), p.event("b", 2))
        await ws.query("r", **p.window)
