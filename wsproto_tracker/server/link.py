"""What a conversation needs of a connection, and the connections that the server accepts itself."""

import logging
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress

import trio
from websockets.exceptions import ConnectionClosed
from websockets.trio.server import ServerConnection

from wsproto_tracker.errors import UnavailableError
from wsproto_tracker.server.budget import Account
from wsproto_tracker.server.coding import Coding, Pieces
from wsproto_tracker.server.deflate import BlockDeflate, takes_blocks
from wsproto_tracker.server.peer import Peer
from wsproto_tracker.server.streams import UpgradedStream
from wsproto_tracker.server.tally import Tally
from wsproto_tracker.settings import Settings

__all__ = ["AcceptedLink", "Link"]

_log = logging.getLogger("wsproto_tracker")

_INTERNAL_ERROR = 1011


class Link(ABC):
    """One WebSocket connection after its handshake. To a peer that has gone, sending does nothing.

    :ivar peer: who is at the other end.
    :ivar tally: what happens on it.
    :ivar account: where messages are counted that came and are not handled yet.
    :ivar coding: how it takes answers.
    """

    peer: Peer
    tally: Tally
    account: Account
    coding = Coding.PLAIN

    @abstractmethod
    async def receive(self) -> str | bytes | None:
        """The next message: ``str`` from a text message, ``bytes`` from a binary one, ``None`` at the end."""

    @abstractmethod
    async def send(self, text: bytes | bytearray, *, more_follows: bool = False) -> None:
        """Send a text message; where more follows at once, it may be held back until then, or until ``flush``."""

    @abstractmethod
    async def send_pieces(self, pieces: Pieces) -> None:
        """Send a text message that comes in pieces."""

    @abstractmethod
    async def close(self, code: int, reason: str) -> None:
        """Close it; nothing is sent afterwards."""

    @abstractmethod
    async def abort(self) -> None:
        """End it at once, for its peer takes too long."""

    @abstractmethod
    async def keep_alive(self) -> None:
        """See to it that a peer that has vanished is noticed; to be run beside the conversation (CONN-9)."""

    async def flush(self) -> None:  # noqa: B027 - most hold nothing back
        """Send what was held back."""

    @property
    @abstractmethod
    def close_code(self) -> int | None:
        """How it was closed; ``None`` where that is not known."""

    @property
    @abstractmethod
    def progress(self) -> int:
        """A number that changes with everything that comes in."""


class AcceptedLink(Link):
    """A connection that came by the server's own front."""

    def __init__(self, websocket: ServerConnection, settings: Settings) -> None:
        if not isinstance(websocket.stream, UpgradedStream):
            raise TypeError(f"expected an UpgradedStream, not {websocket.stream!r}")
        self._websocket = websocket
        self._stream = websocket.stream
        self._settings = settings
        self.peer = self._stream.peer
        self.tally = self._stream.tally
        self.account = self._stream.account
        self.account.is_in_use = True
        self.coding = Coding.DEFLATED if takes_blocks(websocket.response) else Coding.PLAIN
        for extension in websocket.protocol.extensions:
            if isinstance(extension, BlockDeflate):
                extension.report_to(self.account.add_inflated)
        self._stream.go_on()

    async def receive(self) -> str | bytes | None:
        try:
            return await self._websocket.recv()
        except ConnectionClosed:
            return None

    async def send(self, text: bytes | bytearray, *, more_follows: bool = False) -> None:
        self._stream.holds = more_follows
        with suppress(ConnectionClosed):
            await self._websocket.send(text, text=True)
        self._stream.holds = False

    async def send_pieces(self, pieces: Pieces) -> None:
        """Send each piece as a fragment of the message; a single one, before an empty, goes whole."""
        async with aclosing(pieces):
            first, second = await anext(pieces), await anext(pieces)
            if not second:
                await self.send(first)
                await anext(pieces, b"")  # nothing comes, but the answer is known to be over
                return
            async with aclosing(_chain(first, second, pieces)) as fragments:
                try:
                    await self._websocket.send(fragments, text=True)
                except ConnectionClosed:
                    pass
                except UnavailableError as error:  # by which it was closed (1011)
                    _log.error("an answer was cut short: %s", error, extra={"address": self.tally.address})

    async def close(self, code: int, reason: str) -> None:
        await self._websocket.aclose(code, reason)

    async def abort(self) -> None:
        await self._stream.abort()

    async def keep_alive(self) -> None:
        """Ping, and close where neither a pong comes nor a byte moves while the server reads (CONN-9)."""
        while True:
            await trio.sleep(self._settings.ping_interval_s)
            try:
                pong = await self._websocket.ping()
            except ConnectionClosed:
                return
            while not pong.is_set():
                progress = self._stream.received_bytes, self._stream.sent_bytes
                with trio.move_on_after(self._settings.ping_timeout_s):
                    await pong.wait()
                is_still = progress == (self._stream.received_bytes, self._stream.sent_bytes)
                if not pong.is_set() and is_still and self._stream.is_receiving:
                    await self._websocket.aclose(_INTERNAL_ERROR, "keepalive ping timeout")
                    return

    async def flush(self) -> None:
        await self._stream.flush()

    @property
    def close_code(self) -> int | None:
        code = self._websocket.close_code
        return None if code is None else int(code)  # some are of an enumeration, which a log would show as such

    @property
    def progress(self) -> int:
        return self._stream.received_bytes


async def _chain(
    first: bytes | bytearray, second: bytes | bytearray, rest: Pieces
) -> AsyncGenerator[bytes | bytearray, None]:
    yield first
    yield second
    async for piece in rest:
        yield piece
