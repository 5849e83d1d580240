"""Streams and a listener between the front and the WebSocket server."""

from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Any

import trio
from trio.abc import HalfCloseableStream, Listener

__all__ = ["UpgradeListener", "UpgradedStream", "send_in_pieces"]

_PIECE_BYTES = 256 * 1024
_HELD_BYTES = 64 * 1024
_CONTROL = 0x08  # the bit of the opcode that close, ping and pong have (RFC 6455, section 5.2)


async def send_in_pieces(
    stream: trio.abc.SendStream, data: bytes | bytearray | memoryview, timeout_s: float
) -> AsyncGenerator[int, None]:
    """Send data piece by piece, and yield the size of each piece that the kernel took.

    :raises trio.TooSlowError: where one of them takes longer than the timeout; then nothing more can be sent.
    """
    with memoryview(data) as view:
        for start in range(0, len(view), _PIECE_BYTES):
            piece = view[start : start + _PIECE_BYTES]
            with trio.fail_after(timeout_s):
                await stream.send_all(piece)
            yield len(piece)


class UpgradedStream(HalfCloseableStream):
    """A connection whose request head was read already; it is given out again first.

    It keeps account of its progress, because a keepalive needs to know: a peer that sends one large frame, or reads one
    large answer, is alive though no pong comes, and a peer that the server does not read from cannot show that it is.

    :param stream: the connection.
    :param received: the bytes that were read from it.
    :param send_timeout_s: how long the peer may take nothing of what is sent, before it counts as gone.
    """

    def __init__(self, stream: trio.SocketStream, received: bytes, send_timeout_s: float) -> None:
        self._stream = stream
        self._received = received
        self._send_timeout_s = send_timeout_s
        self._sending = trio.Lock()
        self._held = bytearray()
        self.holds = False
        """Whether data frames are held back, for more will be sent at once; who sets it, calls ``flush`` in the end."""
        self.closed = trio.Event()
        self.received_bytes = 0
        self.sent_bytes = 0
        self.is_receiving = False
        """Whether the server waits for bytes from the peer."""

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        if self._received:
            await trio.lowlevel.checkpoint()
            data, self._received = self._received, b""
            return data
        self.is_receiving = True
        try:
            data = await self._stream.receive_some(max_bytes)
        finally:
            self.is_receiving = False
        self.received_bytes += len(data)
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send in pieces, each within the time that a slow reader has.

        A peer that has gone is no error here: what it sent before is still to be read (ACK-6), and the end of that
        tells that it has gone.
        """
        is_data = data and not data[0] & _CONTROL
        if self.holds and is_data and len(self._held) + len(data) < _HELD_BYTES:
            await trio.lowlevel.checkpoint()
            self._held += data
            return
        await self._send(data)

    async def flush(self) -> None:
        """Send what was held back; to a peer that has gone, nothing."""
        if self._held:
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                await self._send(b"")

    async def _send(self, data: bytes | bytearray | memoryview) -> None:
        """Send what was held back, and this; one task after the other."""
        async with self._sending:
            if self._held:
                data, self._held = self._held + data, bytearray()
            try:
                async for count in send_in_pieces(self._stream, data, self._send_timeout_s):
                    self.sent_bytes += count
            except trio.BrokenResourceError:
                return
            except trio.TooSlowError:
                await self.abort()
                raise trio.BrokenResourceError("the peer does not read") from None

    async def abort(self) -> None:
        """Close the connection at once."""
        await trio.aclose_forcefully(self._stream)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        async with self._sending:
            await self._stream.send_eof()

    async def aclose(self) -> None:
        try:
            await self._stream.aclose()
        finally:
            self.closed.set()


class UpgradeListener(Listener[UpgradedStream]):
    """Hands connections that ask for WebSocket to the WebSocket server, as if it had accepted them itself.

    :param socket: the front's; the WebSocket server logs its name.
    """

    def __init__(self, socket: Any) -> None:
        self.socket = socket
        self._send, self._receive = trio.open_memory_channel[UpgradedStream](0)

    async def hand_over(self, stream: UpgradedStream) -> None:
        """Give the connection to the WebSocket server, and stay until it is closed.

        :raises trio.BrokenResourceError: when the WebSocket server takes no more.
        """
        await self._send.send(stream)
        await stream.closed.wait()  # returning earlier would let trio close the connection

    async def accept(self) -> UpgradedStream:
        return await self._receive.receive()

    async def aclose(self) -> None:
        await self._receive.aclose()
