"""WebSocket connections that a program accepted itself, whatever it accepted them with."""

import logging
from collections.abc import Awaitable, Callable
from contextlib import aclosing, suppress
from enum import Enum, auto
from typing import Protocol

import attrs
import trio
import trio_websocket
import websockets.exceptions
from websockets.trio.connection import Connection as WebsocketsConnection

from wsproto_tracker.errors import ErrorCode, FrameError, UnavailableError
from wsproto_tracker.protocol import frames
from wsproto_tracker.server.budget import Account, Budget
from wsproto_tracker.server.coding import Pieces
from wsproto_tracker.server.limits import group_of
from wsproto_tracker.server.link import Link
from wsproto_tracker.server.peer import Peer
from wsproto_tracker.server.tally import Tally
from wsproto_tracker.settings import Settings

__all__ = ["UNKNOWN", "AcceptedElsewhere", "HostedLink", "Unknown", "WebSocket", "accepted_elsewhere", "origin_of"]


class Unknown(Enum):
    """What stands for the origin of a handshake of which nothing is known."""

    ORIGIN = auto()


UNKNOWN = Unknown.ORIGIN

_log = logging.getLogger("wsproto_tracker")

_NORMAL_CLOSURE = 1000
_INTERNAL_ERROR = 1011
_CLOSE_TIMEOUT_S = 5.0
_MISSED_PONGS = 3  # one large message, which comes slowly, lets no pong through
_GONE = (trio.BrokenResourceError, trio.ClosedResourceError, trio.EndOfChannel)


class WebSocket(Protocol):
    """What a connection has to have to be handed to ``Tracker.handle``.

    ``receive`` and ``send`` raise ``trio.EndOfChannel``, ``trio.ClosedResourceError`` or ``trio.BrokenResourceError``
    where it has been closed or its peer has gone. What comes in and is not received yet is the program's to bound.
    """

    async def receive(self) -> str | bytes:
        """Wait for the next message: ``str`` from a text message, ``bytes`` from a binary one."""
        ...

    async def send(self, text: str, /) -> None:
        """Send a text message; returns when it is on its way."""
        ...

    async def aclose(self, code: int, reason: str, /) -> None:
        """Close with a code and a reason (RFC 6455, section 7.4); harmless when it is closed."""
        ...


@attrs.frozen
class AcceptedElsewhere:
    """A connection of any kind, in one form.

    :ivar ping: sends a ping and waits for its pong, where that is possible.
    :ivar origin: the header ``Origin`` of its handshake; ``None`` where it had none.
    :ivar address: the IP address at its other end, where that is known.
    """

    websocket: WebSocket
    ping: Callable[[], Awaitable[object]] | None = None
    origin: str | Unknown | None = UNKNOWN
    address: str = ""


def accepted_elsewhere(given: object) -> AcceptedElsewhere:
    """What ``Tracker.handle`` was given, in one form.

    :raises TypeError: if that is no connection.
    """
    if isinstance(given, trio_websocket.WebSocketConnection):
        address = getattr(given.remote, "address", "")
        return AcceptedElsewhere(_OfTrioWebSocket(given), ping=given.ping, address=str(address))
    if isinstance(given, WebsocketsConnection):
        websocket = _OfWebsockets(given)
        request = given.request
        origin: str | Unknown | None = UNKNOWN if request is None else request.headers.get("Origin")
        remote = given.remote_address
        address = remote[0] if isinstance(remote, tuple) else ""
        return AcceptedElsewhere(websocket, ping=websocket.ping, origin=origin, address=address)
    if all(callable(getattr(given, name, None)) for name in ("receive", "send", "aclose")):
        return AcceptedElsewhere(given)  # type: ignore[arg-type]  # its methods were looked for just now
    raise TypeError(
        f"handle: {type(given).__name__} is no WebSocket connection; expected one of trio_websocket or "
        "websockets.trio, or an object with receive(), send(text) and aclose(code, reason)"
    )


def origin_of(request: trio_websocket.WebSocketRequest) -> str | None:
    """The header ``Origin`` of a handshake."""
    headers = {name.lower(): value.decode("latin-1") for name, value in request.headers}
    return headers.get(b"origin")


class _OfTrioWebSocket:
    def __init__(self, connection: trio_websocket.WebSocketConnection) -> None:
        self._connection = connection

    async def receive(self) -> str | bytes:
        try:
            return await self._connection.get_message()
        except trio_websocket.ConnectionClosed:
            raise trio.EndOfChannel from None

    async def send(self, text: str) -> None:
        try:
            await self._connection.send_message(text)
        except trio_websocket.ConnectionClosed:
            raise trio.ClosedResourceError from None

    async def aclose(self, code: int, reason: str) -> None:
        await self._connection.aclose(code, reason)


class _OfWebsockets:
    def __init__(self, connection: WebsocketsConnection) -> None:
        self._connection = connection

    async def receive(self) -> str | bytes:
        try:
            return await self._connection.recv()
        except websockets.exceptions.ConnectionClosed:
            raise trio.EndOfChannel from None

    async def send(self, text: str) -> None:
        try:
            await self._connection.send(text)
        except websockets.exceptions.ConnectionClosed:
            raise trio.ClosedResourceError from None

    async def aclose(self, code: int, reason: str) -> None:
        await self._connection.aclose(code, reason)

    async def ping(self) -> None:
        with suppress(websockets.exceptions.ConnectionClosed):
            await (await self._connection.ping()).wait()


class HostedLink(Link):
    """A connection that the program accepted.

    Its messages are sent whole, so an answer in pieces is joined first.

    :param joins: how many answers may be joined at the same time, of all connections.
    """

    def __init__(
        self,
        accepted: AcceptedElsewhere,
        peer: Peer,
        settings: Settings,
        budget: Budget,
        tally: Tally,
        joins: trio.CapacityLimiter,
    ) -> None:
        self._websocket = accepted.websocket
        self._ping = accepted.ping
        self._settings = settings
        self._joins = joins
        self.peer = peer
        self.tally = tally
        self.account = Account(budget, group_of(peer.address))
        self._receiving: trio.CancelScope | None = None
        self._received = 0
        self._close_code: int | None = None

    async def receive(self) -> str | bytes | None:
        await self.account.wait_for_room()
        message = None
        with trio.CancelScope() as self._receiving, suppress(*_GONE):
            if self._close_code is None:
                message = await self._websocket.receive()
        self._receiving = None
        if message is not None:
            self._received += 1
            self.account.add(len(message), ends=True)
        return message

    async def send(self, text: bytes | bytearray, *, more_follows: bool = False) -> None:  # noqa: ARG002
        with trio.move_on_after(self._settings.send_timeout_s) as scope, suppress(*_GONE):
            await self._websocket.send(text.decode())
        if scope.cancelled_caught:
            await self.abort()

    async def send_pieces(self, pieces: Pieces) -> None:
        """Send the pieces as one message; where there are several, they have to wait for a place to be joined in."""
        async with aclosing(pieces):
            first, second = await anext(pieces), await anext(pieces)
            if not second:
                await self.send(first)
                await anext(pieces, b"")  # nothing comes, but the answer is known to be over
                return
            async with self._joins:
                joined = bytearray(first + second)
                try:
                    async for piece in pieces:
                        joined += piece
                except UnavailableError as error:
                    _log.error("an answer was cut short: %s", error, extra={"address": self.tally.address})
                    await self.close(_INTERNAL_ERROR, "the answer cannot be read")
                else:
                    await self.send(joined)

    async def refuse(self, message: str) -> None:
        """Say why its page is not let in, and close it; not with 1008, at which the plugin would stop for ever."""
        self.tally.failed(ErrorCode.FORBIDDEN)
        await self.send(frames.encode(frames.error(FrameError(ErrorCode.FORBIDDEN, message))))
        await self.close(_NORMAL_CLOSURE, "this page is not let in")

    async def close(self, code: int, reason: str) -> None:
        if self._close_code is None:
            self._close_code = code
            with trio.move_on_after(_CLOSE_TIMEOUT_S), suppress(*_GONE):
                await self._websocket.aclose(code, reason)
            if self._receiving is not None:
                self._receiving.cancel()

    async def abort(self) -> None:
        await self.close(_INTERNAL_ERROR, "the peer takes too long")

    async def keep_alive(self) -> None:
        """Ping, if that is possible, and close where neither a pong nor a message comes while one is waited for."""
        missed = 0
        while self._ping is not None and self._close_code is None:
            await trio.sleep(self._settings.ping_interval_s)
            before = self._received
            with trio.move_on_after(self._settings.ping_timeout_s) as waiting:
                try:
                    await self._ping()
                except (*_GONE, trio_websocket.ConnectionClosed):
                    return
            is_silent = waiting.cancelled_caught and self._receiving is not None and self._received == before
            missed = missed + 1 if is_silent else 0
            if missed == _MISSED_PONGS:
                await self.close(_INTERNAL_ERROR, "keepalive ping timeout")

    @property
    def close_code(self) -> int | None:
        return self._close_code

    @property
    def progress(self) -> int:
        return self._received
