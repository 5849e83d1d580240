"""Connections of the two libraries, under one interface: trio-websocket, and ``websockets`` where it has to compress.

Both are given a stream on which the suite may send as well, bytes that need not be right.
"""

from contextlib import AsyncExitStack
from typing import Any, Protocol
from urllib.parse import urlsplit

import attrs
import trio
import trio_websocket
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.trio.client import connect

from tracker_conformance.tls import tls_context

__all__ = ["GONE", "Connection", "Refused", "Shared", "connect_compressed", "connect_plain", "headers_of"]

_MAX_BYTES = 1 << 30

GONE = (trio_websocket.ConnectionClosed, ConnectionClosed, trio.BrokenResourceError, trio.ClosedResourceError)
"""What both raise where the connection has ended."""


class Connection(Protocol):
    """What both libraries are wrapped in."""

    is_deflated: bool
    stream: trio.abc.Stream

    async def send(self, message: str | bytes) -> None: ...

    async def receive(self) -> str | bytes: ...

    async def close(self) -> None: ...

    def how_closed(self) -> tuple[int | None, str]: ...


@attrs.frozen
class Refused:
    """A handshake that was not completed; the status is ``None`` where there was none."""

    status: int | None
    headers: dict[str, str]


class Shared(trio.abc.Stream):
    """A stream on which a library sends, and beside it the suite, bytes that need not be right: one after the other."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self._sending = trio.Lock()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        async with self._sending:
            await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        async with self._sending:
            await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return await self._stream.receive_some(max_bytes)

    async def aclose(self) -> None:
        await self._stream.aclose()


async def _stream(url: str, stack: AsyncExitStack, ca: str) -> trio.abc.Stream:
    """A stream to where a URL leads, TLS and all.

    :raises OSError: if nobody listens, or speaks TLS.
    """
    parts = urlsplit(url)
    is_secure = parts.scheme == "wss"
    stream: Any = await trio.open_tcp_stream(parts.hostname or "", parts.port or (443 if is_secure else 80))
    if is_secure:
        stream = trio.SSLStream(stream, tls_context(ca), server_hostname=parts.hostname)
    stack.push_async_callback(trio.aclose_forcefully, stream)
    if is_secure:
        try:
            await stream.do_handshake()
        except trio.BrokenResourceError as error:
            raise OSError(f"TLS: {error.__cause__ or error}") from None
    return Shared(stream)


class _Plain:
    is_deflated = False

    def __init__(self, connection: trio_websocket.WebSocketConnection, stream: trio.abc.Stream) -> None:
        self._connection = connection
        self.stream = stream

    async def send(self, message: str | bytes) -> None:
        await self._connection.send_message(message)

    async def receive(self) -> str | bytes:
        message: str | bytes = await self._connection.get_message()
        return message

    async def close(self) -> None:
        await self._connection.aclose()

    def how_closed(self) -> tuple[int | None, str]:
        closed = self._connection.closed
        return (closed.code, closed.reason or "") if closed is not None else (None, "")


async def connect_plain(
    url: str, stack: AsyncExitStack, headers: dict[str, str], ca: str
) -> tuple[Connection, dict[str, str]] | Refused:
    """Connect without compression; the headers of the server's answer come with it.

    :param ca: as ``tls_context`` takes it.
    :raises OSError: if nobody listens.
    """
    stream: Any = await _stream(url, stack, ca)
    parts = urlsplit(url)
    resource = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    nursery = await stack.enter_async_context(trio.open_nursery())
    stack.callback(nursery.cancel_scope.cancel)
    connection = await trio_websocket.wrap_client_stream(
        nursery,
        stream,
        parts.netloc.rpartition("@")[2],
        resource,
        extra_headers=[(name.encode(), value.encode()) for name, value in headers.items()],
        message_queue_size=1024,
        max_message_size=_MAX_BYTES,
        receive_buffer_size=256 * 1024,
    )
    return _Plain(connection, stream), headers_of(connection.handshake_headers)


def headers_of(headers: Any) -> dict[str, str]:
    """Headers by name, in lower case, of the pairs of bytes that trio-websocket gives."""
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in headers}


class _Compressed:
    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self.stream: trio.abc.Stream = connection.stream
        self.is_deflated = bool(connection.protocol.extensions)

    async def send(self, message: str | bytes) -> None:
        await self._connection.send(message)

    async def receive(self) -> str | bytes:
        message: str | bytes = await self._connection.recv()
        return message

    async def close(self) -> None:
        await self._connection.aclose()

    def how_closed(self) -> tuple[int | None, str]:
        return self._connection.close_code, self._connection.close_reason or ""


async def connect_compressed(
    url: str, stack: AsyncExitStack, headers: dict[str, str], ca: str
) -> tuple[Connection, dict[str, str]] | Refused:
    """Connect, and offer permessage-deflate; as ``connect_plain``."""
    stream = await _stream(url, stack, ca)
    plain_url = f"ws://{url.partition('://')[2]}"  # of TLS the stream takes care
    try:
        connection = await stack.enter_async_context(
            connect(plain_url, stream=stream, additional_headers=headers, compression="deflate", max_size=None)
        )
    except (InvalidHandshake, EOFError, *GONE) as error:
        response = getattr(error, "response", None)
        return Refused(getattr(response, "status_code", None), {})
    shown = connection.response.headers.raw_items() if connection.response is not None else ()
    return _Compressed(connection), {name.lower(): value for name, value in shown}
