"""Streams and a listener between the front and the WebSocket server."""

import math
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Any

import trio
from trio.abc import HalfCloseableStream, Listener

from wsproto_tracker.server.budget import Account, Held
from wsproto_tracker.server.framing import FrameCutter
from wsproto_tracker.server.peer import Peer
from wsproto_tracker.server.tally import Tally
from wsproto_tracker.settings import Settings

__all__ = ["HELD_BYTES", "UpgradeListener", "UpgradedStream", "send_in_pieces"]

HELD_BYTES = 64 * 1024
"""How much of data frames is held back, to be sent together."""

_PIECE_BYTES = 256 * 1024
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
    And it counts what the messages that come in take of the memory, and reads no further where that is too much. What
    was read it gives out a few frames at a time, for what it gives out becomes objects.

    :param stream: the connection.
    :param handshake: the request head, to be given out again.
    :param received: the bytes that were read behind it.
    :param peer: who is at its other end.
    :param account: where messages are counted until they are handled.
    :param tally: what happens on it.
    """

    def __init__(
        self,
        stream: HalfCloseableStream,
        handshake: bytes,
        received: bytes,
        peer: Peer,
        settings: Settings,
        account: Account,
        tally: Tally,
    ) -> None:
        self.tally = tally
        self._stream = stream
        self._handshake = handshake
        self._may_go_on = trio.Event()
        self._settings = settings
        self.account = account
        self._cutter = FrameCutter()
        self._uncut = Held(account, 0)
        self._within_message_s = 0.0
        self.peer = peer
        self._put(received)
        self._sending = trio.Lock()
        self._held = bytearray()
        self.holds = False
        """Whether data frames are held back, for more will be sent at once; who sets it, calls ``flush`` in the end."""
        self.closed = trio.Event()
        self.received_bytes = 0
        self.sent_bytes = 0
        self.is_receiving = False
        """Whether the server waits for bytes from the peer."""

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:  # noqa: ARG002 - nobody gives one
        if self._handshake:
            await trio.lowlevel.checkpoint()
            handshake, self._handshake = self._handshake, b""
            return handshake
        # What follows the handshake waits for the conversation to begin: a frame that is wrong would end the connection
        # before, and what came before that frame would be lost (ACK-6).
        await self._may_go_on.wait()
        max_received = await self.account.wait_to_receive()
        if self._cutter.left_bytes:
            await trio.lowlevel.checkpoint()
        else:
            self._put(await self._receive(max_received))
        return self._cut()

    async def _receive(self, max_bytes: int) -> bytes | bytearray:
        """What comes next of the connection, within the time that a message has."""
        began = trio.current_time()
        self.is_receiving = True
        try:
            with trio.move_on_after(self._patience_s) as waiting:
                data = await self._stream.receive_some(max_bytes)
        finally:
            self.is_receiving = False
        if waiting.cancelled_caught:
            await self.abort()
            raise trio.BrokenResourceError("the peer takes too long over a message")
        if self.account.is_within_message:
            self._within_message_s += trio.current_time() - began
        return data

    def _put(self, data: bytes | bytearray) -> None:
        self._cutter.put(data)
        self._uncut.resize(self._cutter.left_bytes)

    def _cut(self) -> bytes | bytearray:
        """The next few frames, which are counted from now on as what they become."""
        piece, frames = self._cutter.cut()
        for takes, ends in frames:
            self.account.add(takes, ends=ends)
            if ends:
                self._within_message_s = 0.0
        self._uncut.resize(self._cutter.left_bytes)  # last: who held less in between would be the first no more
        self.received_bytes += len(piece)
        return piece

    @property
    def _patience_s(self) -> float:
        """How long to wait for more: without an end between messages, for those who say nothing do no harm."""
        if not self.account.is_within_message:
            return math.inf
        left_s = self._settings.message_timeout_s - self._within_message_s
        return max(min(left_s, self._settings.receive_timeout_s), 0.0)

    def go_on(self) -> None:
        """Let what follows the handshake be received."""
        self._may_go_on.set()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send in pieces, each within the time that a slow reader has.

        A peer that has gone is no error here: what it sent before is still to be read (ACK-6), and the end of that
        tells that it has gone.
        """
        is_data = data and not data[0] & _CONTROL
        if self.holds and is_data and len(self._held) + len(data) < HELD_BYTES:
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
                async for count in send_in_pieces(self._stream, data, self._settings.send_timeout_s):
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
            self._may_go_on.set()
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
