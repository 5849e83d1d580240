"""Servers that do nothing right on purpose. What the suite lets them pass has to be little, and well founded."""

import json
from typing import Any

import trio

from tests.conformance.reference import Reference
from tests.conformance.reference.frames import Peer
from tests.conformance.reference.http import Answer, Request
from tests.conformance.reference.json_text import dump
from tests.conformance.reference.wire import BINARY, encoded

__all__ = [
    "NULL_SERVERS",
    "AcksAll",
    "ClosesAtOnce",
    "Constant",
    "Echo",
    "EmptyObjects",
    "ErrorToAll",
    "Silent",
]


_NOTHING: dict[str, Any] = {"events": [], "total": 0}


class _Null(Reference):
    def takes_origin(self, origin: str | None) -> bool:
        del origin
        return True

    def cors_headers(self, request: Request, answer: Answer) -> dict[str, str]:
        del request, answer
        return {}


class Silent(_Null):
    """Says nothing."""

    def on_message(self, peer: Peer, opcode: int, data: bytes) -> None:
        """Nothing happens."""

    async def respond(self, stream: trio.abc.Stream, request: Request, answer: Answer) -> None:
        """Nothing happens."""


class Constant(_Null):
    """Answers everything with the same."""

    def on_message(self, peer: Peer, opcode: int, data: bytes) -> None:
        del opcode, data
        self.say(peer, {"type": "ok"})

    def answer(self, request: Request) -> Answer:
        del request
        return Answer(200, '{"type":"ok"}')


class Echo(_Null):
    """Says what it is told."""

    def on_message(self, peer: Peer, opcode: int, data: bytes) -> None:
        peer.put(encoded(BINARY, data) if opcode == BINARY else data.decode("utf-8", "replace"))

    def answer(self, request: Request) -> Answer:
        return Answer(200, request.body.decode("utf-8", "replace"))


class ClosesAtOnce(_Null):
    """Completes the handshake, and closes."""

    def opened(self, peer: Peer) -> None:
        self.end(peer, 1000, "")

    async def respond(self, stream: trio.abc.Stream, request: Request, answer: Answer) -> None:
        """Nothing is said before the connection is closed."""


class ErrorToAll(_Null):
    """Answers everything with an error."""

    def on_message(self, peer: Peer, opcode: int, data: bytes) -> None:
        del opcode, data
        self.say(peer, {"type": "error", "code": "internal", "message": "Something went wrong"})

    def answer(self, request: Request) -> Answer:
        del request
        return self.failed(400, "Something went wrong", code="internal")


class AcksAll(_Null):
    """Acks every event, keeps none, and knows no key."""

    def on_message(self, peer: Peer, opcode: int, data: bytes) -> None:
        del opcode
        try:
            frame = json.loads(data)
            answers: dict[str, dict[str, Any]] = {
                "auth": {"type": "auth_ok"},
                "ingest": {"type": "ack", "saved": len(frame.get("events", []))},
                "events:query": {"type": "events:response", "reqId": frame.get("reqId"), "response": _NOTHING},
            }
            self.say(peer, answers[frame["type"]])
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            self.say(peer, {"type": "error", "message": "?"})

    def answer(self, request: Request) -> Answer:
        count = request.body.count(b'"userId"')
        return Answer(200, dump({"type": "ack", "saved": count} if request.method == "POST" else _NOTHING))


class EmptyObjects(_Null):
    """Answers every request with 200 and an empty object, handshakes too."""

    def is_websocket_path(self, request: Request) -> bool:
        del request
        return False

    def answer(self, request: Request) -> Answer:
        del request
        return Answer(200, "{}")


NULL_SERVERS: tuple[type[Reference], ...] = (
    Silent,
    Constant,
    Echo,
    ClosesAtOnce,
    ErrorToAll,
    AcksAll,
    EmptyObjects,
)
