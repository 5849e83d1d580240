"""A WebSocket client that sends whatever bytes a test wants."""

import struct

import trio

from tests.support import Running


def masked(opcode: int, payload: bytes, *, fin: bool = True) -> bytes:
    """A client's frame as bytes; the mask is zero, so the payload stands there as it is."""
    size = len(payload)
    length = (
        bytes([0x80 | size])
        if size < 126
        else struct.pack("!BH" if size < 65536 else "!BQ", 0xFE | (size > 65535), size)
    )
    return bytes([(0x80 if fin else 0) | opcode]) + length + bytes(4) + payload


class Peer:
    """A WebSocket client that sends whatever bytes a test wants."""

    def __init__(self, stream: trio.SocketStream, received: bytes) -> None:
        self.stream = stream
        self._received = received

    async def send_frame(self, opcode: int, payload: bytes, *, fin: bool = True) -> None:
        await self.stream.send_all(masked(opcode, payload, fin=fin))

    async def receive_frame(self) -> tuple[int, bytes]:
        """First byte and payload of the next frame."""
        with trio.fail_after(20):
            head = await self._exactly(2)
            size = head[1] & 0x7F
            if size >= 126:
                size = int.from_bytes(await self._exactly(2 if size == 126 else 8), "big")
            return head[0], await self._exactly(size)

    async def reset(self) -> None:
        """Vanish: the server's kernel learns by a reset."""
        self.stream.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, struct.pack("ii", 1, 0))
        await self.stream.aclose()

    async def _exactly(self, count: int) -> bytes:
        while len(self._received) < count:
            data = await self.stream.receive_some()
            assert data, f"the server closed after {self._received!r}"
            self._received += data
        data, self._received = self._received[:count], self._received[count:]
        return data


class raw_websocket:  # noqa: N801 - used like a function
    """A connection after its handshake, for bytes that no client library would send."""

    def __init__(self, server: Running, *, extensions: str = "", at_once: bytes = b"") -> None:
        self._server = server
        extra = f"Sec-WebSocket-Extensions: {extensions}\r\n" if extensions else ""
        self._request = (
            f"GET {server.settings.base_path}/ws HTTP/1.1\r\nHost: localhost\r\n"
            f"Upgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{extra}\r\n"
        ).encode() + at_once

    async def __aenter__(self) -> Peer:
        self._stream = await self._server.connect()
        await self._stream.send_all(self._request)
        received = b""
        while b"\r\n\r\n" not in received:
            received += await self._stream.receive_some()
        head, _, rest = received.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101"), head
        return Peer(self._stream, rest)

    async def __aexit__(self, *_: object) -> None:
        await self._stream.aclose()
