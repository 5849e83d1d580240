"""Mutants of section 1."""

from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from tests.conformance.mutants.registry import later, mutant
from tests.conformance.reference import Reference
from tests.conformance.reference.frames import Peer
from tests.conformance.reference.http import Answer, Request
from tests.conformance.reference.websocket import Connection
from tests.conformance.reference.wire import CONTINUATION, Deflate, Frame, WireError


@mutant("CONN-1")
class WrongAccept(Reference):
    """Answers the handshake with the key that it was sent."""

    def accept_key(self, key: str) -> str:
        return key


@mutant("CONN-2")
class WantsSubprotocol(Reference):
    """Refuses a handshake without a subprotocol."""

    def refusal(self, headers: Mapping[str, str]) -> tuple[int, dict[str, str]] | None:
        return super().refusal(headers) or (None if "sec-websocket-protocol" in headers else (400, {}))


@mutant(
    "CONN-3",
    skips=("connection.answers-over-deflate", "connection.takes-compressed-and-plain-messages"),
)
class NoDeflate(Reference):
    """Does not agree to permessage-deflate."""

    has_deflate = False


@mutant("CONN-4", fails=("connection.takes-compressed-and-plain-messages",))
class WantsCompression(Reference):
    """Takes only compressed messages, once permessage-deflate is agreed."""

    def on_fragment(self, connection: Connection, frame: Frame) -> None:
        if connection.deflate is not None and frame.opcode != CONTINUATION and not frame.is_compressed:
            raise WireError(1002, "not compressed")
        super().on_fragment(connection, frame)


@mutant("CONN-4")
class ForgetsContext(Reference):
    """Inflates each message as if it were the first."""

    def on_fragment(self, connection: Connection, frame: Frame) -> None:
        if connection.deflate is not None:
            connection.deflate = Deflate({})
        super().on_fragment(connection, frame)


@mutant("CONN-5")
class ReadsFirstFragment(Reference):
    """Takes the first fragment of a message for all of it."""

    def on_fragment(self, connection: Connection, frame: Frame) -> None:
        if frame.opcode != CONTINUATION:
            super().on_fragment(connection, Frame(frame.opcode, True, frame.is_compressed, frame.payload))


@mutant("CONN-6", also=("auth.frames-that-do-not-wait", "extensions.pings"))
class SavesBeside(Reference):
    """Saves each batch in a task of its own, while later frames are handled."""

    def __init__(self, key: str = "") -> None:
        super().__init__(key)
        self.waiting: deque[Callable[[], None]] = deque()

    def on_ingest(self, peer: Peer, frame: dict[str, Any], text: str) -> None:
        self.waiting.append(partial(super().on_ingest, peer, frame, text))
        later(0.01, lambda: self.waiting.popleft()())


@mutant("CONN-7", disturbs=True)
class FallsWithOne(Reference):
    """Closes every connection when one sends what is no frame of WebSocket."""

    def take(self, connection: Connection) -> None:
        try:
            super().take(connection)
        except WireError:
            for peer in self.peers:
                self.end(peer, 1011, "")


@mutant("CONN-8", fails=("connection.refuses-other-versions",))
class TakesAnyVersion(Reference):
    """Completes a handshake of another WebSocket version."""

    def is_version(self, headers: Mapping[str, str]) -> bool:
        return "sec-websocket-version" in headers


@mutant("CONN-8", fails=("connection.refuses-unknown-paths",))
class TakesAnyPath(Reference):
    """Completes a handshake at any path."""

    def is_websocket_path(self, request: Request) -> bool:
        return "upgrade" in request.headers


@mutant("CONN-8", fails=("connection.refuses-other-versions",))
class RefusesWithout13(Reference):
    """Refuses another WebSocket version without saying which one it speaks."""

    def on_refused_handshake(self, request: Request) -> Answer:  # noqa: ARG002 - always the same
        return self.failed(400, "no handshake")
