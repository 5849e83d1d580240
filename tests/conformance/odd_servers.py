"""Servers that are right, and not as one expects. The suite must find nothing in them."""

import itertools
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import trio

from tests.conformance.mutants.registry import later
from tests.conformance.reference import Reference
from tests.conformance.reference.frames import Peer
from tests.conformance.reference.store import Stored
from tests.conformance.reference.websocket import Connection
from tests.conformance.reference.wire import CONTINUATION, PING, TEXT, encoded

__all__ = [
    "ODD_SERVERS",
    "Bare",
    "Distant",
    "Fragments",
    "Impatient",
    "OtherIds",
    "OutOfStep",
    "PushesInBetween",
    "Talkative",
    "WithHistory",
]


class Fragments(Reference):
    """Cuts its messages into fragments, with pings between them."""

    def message(self, connection: Connection, text: str) -> bytes:
        data = text.encode()
        is_compressed = connection.deflate is not None
        if connection.deflate is not None:
            data = connection.deflate.compressed(data)
        size = max(1, len(data) // 4)
        pieces = [data[begin : begin + size] for begin in range(0, len(data), size)]
        frames = [
            encoded(
                CONTINUATION if number else TEXT,
                piece,
                is_last=number == len(pieces) - 1,
                is_compressed=is_compressed and not number,
            )
            for number, piece in enumerate(pieces)
        ]
        return encoded(PING, b"between").join(frames)


class Distant(Reference):
    """Answers after 150 ms."""

    async def pause(self) -> None:
        await trio.sleep(0.15)


class OutOfStep(Reference):
    """Sends the answer to a query a little later than it could, behind acks that come after it."""

    def say(self, peer: Peer, frame: dict[str, Any]) -> None:
        if frame["type"] == "events:response":
            text = self.frame_text(frame)
            later(0.02, lambda: peer.put(text))
        else:
            super().say(peer, frame)


class Talkative(Reference):
    """Puts members into every frame of which nobody knows anything."""

    def frame_text(self, frame: dict[str, Any]) -> str | bytes:
        return super().frame_text(self.with_more(frame))

    def with_more(self, frame: dict[str, Any]) -> dict[str, Any]:
        """A frame with more members."""
        return {"xServer": {"name": "talkative", "load": [0.5, None]}, **frame, "xId": 7}

    def response(self, query: Mapping[str, Any]) -> dict[str, Any]:
        return self.with_more(super().response(query))

    def ack(self, saved: int, rejected: list[dict[str, Any]], duplicates: int) -> dict[str, Any]:
        return self.with_more(super().ack(saved, rejected, duplicates))


class OtherIds(Reference):
    """Gives ids that are long numbers, or no ASCII."""

    def new_id(self, number: int) -> str:
        made = str(10**40 + number) if number % 2 else f"№ {number} 😀"
        return made if made not in self._ids else super().new_id(number)


class WithHistory(Reference):
    """Holds events of other pages already: one for every half minute of four days, in the suite's windows too."""

    def __init__(self, key: str = "") -> None:
        super().__init__(key)
        now = datetime.now(UTC)
        for number in range(4 * 24 * 120):
            moment = now - timedelta(seconds=30 * number)
            event = {
                "id": f"old-{number}",
                "timestamp": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
                "level": ("info", "warn", "error")[number % 3],
                "type": ("click", "custom", "navigation")[number % 3],
                "appId": "shop",
                "sessionId": "s_1",
                "userId": "Ann",
                "groupId": "g.1",
                "payload": {"message": 'Say "Needle.Case", twice'},
                "meta": {"language": "tc-meta"},
            }
            self.save(event, json.dumps(event))


class PushesInBetween(WithHistory):
    """Pushes, before each answer, some event that it holds from before."""

    def __init__(self, key: str = "") -> None:
        super().__init__(key)
        self.history = itertools.cycle(self.kept)

    def say(self, peer: Peer, frame: dict[str, Any]) -> None:
        if peer.is_trusted:
            super().say(peer, {"type": "push", "events": [self.pushed(next(self.history))]})
        super().say(peer, frame)


class Impatient(Reference):
    """Closes with 1000 when no key is shown within a second."""

    def opened(self, peer: Peer) -> None:
        later(1.0, lambda: None if peer.is_trusted else self.end(peer, 1000, "no key was shown"))


class Bare(Reference):
    """Offers nothing that it need not offer."""

    offers_http = False
    has_deflate = False
    filters: tuple[str, ...] = ()

    def handlers(self) -> dict[str, Callable[[Peer, dict[str, Any], str], None]]:
        return {name: handler for name, handler in super().handlers().items() if name not in ("ping", "subscribe")}

    def ack(self, saved: int, rejected: list[dict[str, Any]], duplicates: int) -> dict[str, Any]:
        del rejected, duplicates
        return {"type": "ack", "saved": saved}

    def is_duplicate(self, event: dict[str, Any]) -> bool:
        del event
        return False

    def shown(self, stored: Stored) -> Any:
        return stored.event


ODD_SERVERS: tuple[type[Reference], ...] = (
    Fragments,
    Distant,
    OutOfStep,
    Talkative,
    OtherIds,
    WithHistory,
    PushesInBetween,
    Impatient,
    Bare,
)
