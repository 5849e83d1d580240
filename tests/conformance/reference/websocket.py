"""WebSocket: the handshake, and connections (sections 1 and 8 of the specification)."""

import base64
import hashlib
from collections.abc import Mapping
from contextlib import suppress

import attrs
import trio

from tests.conformance.reference import wire
from tests.conformance.reference.access import is_loopback
from tests.conformance.reference.frames import Frames, Goodbye, Peer

__all__ = ["Connection", "WebSockets", "headed"]

_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_CHUNK_BYTES = 256 * 1024
_LEAVE_S = 2.0
_GONE = (trio.BrokenResourceError, trio.ClosedResourceError)


@attrs.define(eq=False)
class Connection:
    """One connection, as far as bytes go."""

    stream: trio.abc.Stream
    peer: Peer
    reader: wire.Reader
    deflate: wire.Deflate | None
    opcode: int | None = None
    is_compressed: bool = False
    payload: bytearray = attrs.field(factory=bytearray)


class WebSockets(Frames):
    """The WebSocket side."""

    max_message = 32 * 1024 * 1024
    has_deflate = True

    # The handshake

    def refusal(self, headers: Mapping[str, str]) -> tuple[int, dict[str, str]] | None:
        """Status and headers that refuse a handshake, if it is refused."""
        if not self.takes_origin(headers.get("origin")):
            return 403, {}
        if headers.get("upgrade", "").lower() != "websocket" or not self.is_version(headers):
            return 426, {"Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
        return None if headers.get("sec-websocket-key") else (400, {})

    def takes_origin(self, origin: str | None) -> bool:
        """SEC-4: with a key, pages of any origin that is one; without, only those of this machine."""
        return origin is None or (origin != "null" and (bool(self.key) or is_loopback(origin)))

    def is_version(self, headers: Mapping[str, str]) -> bool:
        """CONN-8."""
        return headers.get("sec-websocket-version") == "13"

    def accept_key(self, key: str) -> str:
        """CONN-1."""
        return base64.b64encode(hashlib.sha1(f"{key}{_GUID}".encode()).digest()).decode()

    def agreed(self, headers: Mapping[str, str]) -> tuple[wire.Deflate, str] | None:
        """CONN-3."""
        return wire.Deflate.agreed(headers.get("sec-websocket-extensions", "")) if self.has_deflate else None

    def judge_size(self, size: int) -> None:
        """CLOSE-3."""
        if size > self.max_message:
            raise wire.WireError(1009, "too large")

    async def converse(self, stream: trio.abc.Stream, headers: Mapping[str, str], received: bytes) -> None:
        """Complete a handshake and hold the connection."""
        agreed = self.agreed(headers)
        answer = {
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Accept": self.accept_key(headers["sec-websocket-key"]),
        } | ({"Sec-WebSocket-Extensions": agreed[1]} if agreed else {})
        await stream.send_all(headed("101 Switching Protocols", answer))
        peer = Peer(is_trusted=not self.key, origin=headers.get("origin"))
        reader = wire.Reader(agreed is not None, self.judge_size)
        connection = Connection(stream, peer, reader, agreed[0] if agreed else None)
        self.peers.append(peer)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.write, connection)
                self.opened(peer)
                await self.read_all(connection, received)
                nursery.cancel_scope.cancel()
        finally:
            self.peers.remove(peer)

    def opened(self, peer: Peer) -> None:
        """A connection begins."""

    # Reading

    async def read_all(self, connection: Connection, received: bytes) -> None:
        """Handle what comes, until the connection ends."""
        peer = connection.peer
        data = received
        with suppress(*_GONE):
            while True:
                connection.reader.feed(data)
                try:
                    self.take(connection)
                except wire.WireError as error:
                    self.end(peer, error.code, error.reason)
                if peer.is_leaving:
                    break
                data = bytes(await connection.stream.receive_some(_CHUNK_BYTES))
                if not data:
                    return
            with trio.move_on_after(_LEAVE_S):
                while await connection.stream.receive_some(_CHUNK_BYTES):
                    pass

    def take(self, connection: Connection) -> None:
        """Handle the frames that are there.

        :raises WireError: if one of them must not be.
        """
        while not connection.peer.is_leaving and (frame := connection.reader.next()) is not None:
            if frame.opcode == wire.PING:
                self.on_wire_ping(connection, frame.payload)
            elif frame.opcode == wire.CLOSE:
                self.on_close(connection, frame.payload)
            elif frame.opcode != wire.PONG:
                self.on_fragment(connection, frame)

    def on_wire_ping(self, connection: Connection, payload: bytes) -> None:
        """RFC 6455, 5.5.3."""
        connection.peer.put(wire.encoded(wire.PONG, payload))

    def on_close(self, connection: Connection, payload: bytes) -> None:
        """RFC 6455, 5.5.1."""
        code = int.from_bytes(payload[:2], "big") if len(payload) >= 2 else 1000
        self.end(connection.peer, code, "")

    def on_fragment(self, connection: Connection, frame: wire.Frame) -> None:
        """CONN-5, CLOSE-3."""
        if (frame.opcode == wire.CONTINUATION) == (connection.opcode is None):
            raise wire.WireError(1002, "a fragment out of its order")
        if connection.opcode is None:
            connection.opcode, connection.is_compressed = frame.opcode, frame.is_compressed
        connection.payload += frame.payload
        self.judge_size(len(connection.payload))
        if frame.is_last:
            opcode, data = connection.opcode, bytes(connection.payload)
            connection.opcode = None
            connection.payload.clear()
            if connection.is_compressed and connection.deflate is not None:
                data = connection.deflate.decompressed(data, self.max_message)
            self.on_message(connection.peer, opcode, data)

    def on_message(self, peer: Peer, opcode: int, data: bytes) -> None:
        """A whole message."""
        if opcode == wire.BINARY:
            self.on_binary(peer, data)
            return
        try:
            text = data.decode()
        except UnicodeDecodeError:
            self.on_bad_utf8(peer, data)
        else:
            self.on_text(peer, text)

    def on_bad_utf8(self, peer: Peer, data: bytes) -> None:  # noqa: ARG002 - for subclasses
        """FRAME-7, FRAME-12."""
        raise wire.WireError(1007, "not UTF-8")

    # Writing

    async def write(self, connection: Connection) -> None:
        """Send what there is to send, one after the other."""
        peer = connection.peer
        with suppress(*_GONE):
            while True:
                await peer.news.wait()
                await self.pause()
                peer.news = trio.Event()
                outbox, peer.outbox = peer.outbox, []
                for item in outbox:
                    await self.send(connection, item)

    async def pause(self) -> None:
        """Before something is sent."""
        await trio.lowlevel.checkpoint()

    async def send(self, connection: Connection, item: str | bytes | Goodbye) -> None:
        """Send a text, bytes as they are, or the close frame, behind which nothing comes."""
        if isinstance(item, Goodbye):
            payload = wire.closing(item.code, item.reason)
            await connection.stream.send_all(wire.encoded(wire.CLOSE, payload))
            if isinstance(connection.stream, trio.SocketStream):
                await connection.stream.send_eof()
            await trio.sleep_forever()
        else:
            data = self.message(connection, item) if isinstance(item, str) else item
            await connection.stream.send_all(data)

    def message(self, connection: Connection, text: str) -> bytes:
        """FRAME-1: a text as it is sent."""
        data = text.encode()
        if connection.deflate is None:
            return wire.encoded(wire.TEXT, data)
        return wire.encoded(wire.TEXT, connection.deflate.compressed(data), is_compressed=True)


def headed(status: str, headers: Mapping[str, str]) -> bytes:
    """The head of a response."""
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode()
