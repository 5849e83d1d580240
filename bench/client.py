"""The load generator: it sends frames that were made before, counts acks, and takes no answer apart.

It is one loop over plain sockets. How much of a processor it used stands in each result, so that it shows when it was
the bottleneck and not the subject.
"""

import base64
import selectors
import socket
import struct
import time
import zlib
from collections import deque
from collections.abc import Iterator, Sequence

import attrs

__all__ = ["Connection", "Load", "frames_of", "ingest", "paced", "query", "read_http", "read_window"]

_MASK = bytes(4)  # a mask of zeros is a mask
_RECEIVE_BYTES = 1 << 20
_PING, _PONG = 0x89, 0x8A


def framed(text: bytes, *, deflate: bool = False, window_bits: int = zlib.MAX_WBITS) -> bytes:
    """A client's text frame.

    :param window_bits: how far a deflated one may refer back, as a power of two.
    """
    if deflate:
        compressor = zlib.compressobj(6, zlib.DEFLATED, -window_bits)
        text = (compressor.compress(text) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]
    size = len(text)
    first = 0xC1 if deflate else 0x81
    if size < 126:
        return struct.pack("!BB", first, 0x80 | size) + _MASK + text
    if size < 65536:
        return struct.pack("!BBH", first, 0xFE, size) + _MASK + text
    return struct.pack("!BBQ", first, 0xFF, size) + _MASK + text


def frames_of(
    events: Sequence[bytes], size: int = 25, *, deflate: bool = False, window_bits: int = zlib.MAX_WBITS
) -> list[bytes]:
    """``ingest`` frames of so many events each, as the plugin sends them."""
    starts = range(0, len(events), size)
    texts = (b'{"type":"ingest","events":[%b]}' % b",".join(events[start : start + size]) for start in starts)
    return [framed(text, deflate=deflate, window_bits=window_bits) for text in texts]


class Connection:
    """A WebSocket connection, of which only the ends of messages are looked at.

    :param deflate: whether compressed frames are taken, and sent without a context, so that they can be made before.
    :param as_plugin: whether it offers what browsers do.
    :param source: the address of the loopback that it comes from.
    """

    def __init__(self, port: int, *, deflate: bool = False, as_plugin: bool = False, source: str = "127.0.0.1") -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), source_address=(source, 0))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        offered = "client_max_window_bits" if as_plugin else "client_no_context_takeover"
        offer = f"Sec-WebSocket-Extensions: permessage-deflate; {offered}\r\n" if deflate or as_plugin else ""
        key = base64.b64encode(bytes(16)).decode()
        self.socket.sendall(
            f"GET /_tracker/ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n{offer}\r\n".encode()
        )
        received = b""
        while b"\r\n\r\n" not in received:
            received += self.socket.recv(65536)
        if b" 101 " not in received.partition(b"\r\n")[0]:
            raise RuntimeError(f"no WebSocket: {received!r}")
        self._buffer = bytearray()
        self._skip = 0
        self._is_last = False
        self.received_bytes = 0

    def receive(self) -> int:
        """Read what is there; returns how many messages have ended in it."""
        data = self.socket.recv(_RECEIVE_BYTES)
        if not data:
            raise RuntimeError("the subject has closed the connection")
        self.received_bytes += len(data)
        ended = 0
        position = min(self._skip, len(data))
        self._skip -= position
        if self._skip == 0 and position and self._is_last:
            ended += 1
        self._buffer += data[position:]
        while self._skip == 0 and (head := self._head()) is not None:
            size, self._is_last = head
            there = min(size, len(self._buffer))
            del self._buffer[:there]
            self._skip = size - there
            ended += self._skip == 0 and self._is_last
        return ended

    def _head(self) -> tuple[int, bool] | None:
        """Take a frame's head off: the size of what follows, and whether a message ends with it."""
        if len(self._buffer) < 2:
            return None
        size, taken = self._buffer[1] & 0x7F, 2
        if size >= 126:
            taken = 4 if size == 126 else 10
            if len(self._buffer) < taken:
                return None
            size = int.from_bytes(self._buffer[2:taken], "big")
        is_message = bool(self._buffer[0] & 0x80) and not self._buffer[0] & 0x08  # a ping is none
        del self._buffer[:taken]
        return size, is_message

    def ask(self, text: bytes) -> None:
        """Send a text, and wait for the end of one message."""
        self.exchange(framed(text))

    def exchange(self, frame: bytes) -> None:
        """Send a frame, and wait for the end of one message."""
        self.socket.sendall(frame)
        while not self.receive():
            pass

    def answer_pings(self) -> None:
        """Answer the pings that have come, where nothing else is on its way: who does not counts as gone."""
        try:
            data = self.socket.recv(_RECEIVE_BYTES, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        if not data:
            raise RuntimeError("the subject has closed the connection")
        while data:
            size = 2 + data[1]
            if data[0] != _PING or len(data) < size:
                raise RuntimeError(f"no ping: {data!r}")
            self.socket.sendall(bytes([_PONG, 0x80 | data[1]]) + _MASK + data[2:size])
            data = data[size:]


@attrs.frozen
class Load:
    """What came of a load.

    :ivar seconds: from the first frame to the last ack.
    :ivar own_cpu_s: processor time of the generator.
    :ivar latencies_s: of each frame, from when it was to be sent to its ack.
    """

    seconds: float
    own_cpu_s: float
    latencies_s: tuple[float, ...]


@attrs.define
class _Sender:
    connection: Connection
    todo: Iterator[bytes]
    out: memoryview = attrs.field(factory=lambda: memoryview(b""))
    unacked: deque[float] = attrs.field(factory=deque)  # when each was sent
    is_done: bool = False


def ingest(port: int, frames: Sequence[bytes], *, connections: int, in_flight: int, deflate: bool = False) -> Load:
    """Send all frames over some connections, so many of each without their acks, as fast as they are acked."""
    senders = [
        _Sender(Connection(port, deflate=deflate), iter(frames[number::connections])) for number in range(connections)
    ]
    selector = selectors.DefaultSelector()
    both = selectors.EVENT_READ | selectors.EVENT_WRITE
    for sender in senders:
        sender.connection.socket.setblocking(False)
        selector.register(sender.connection.socket, both, sender)
    before, own = time.perf_counter(), time.process_time()
    latencies: list[float] = []
    remaining = len(senders)
    while remaining:
        for key, events in selector.select():
            sender = key.data
            if events & selectors.EVENT_READ:
                acks, now = sender.connection.receive(), time.perf_counter()
                latencies += (now - sender.unacked.popleft() for _ in range(acks))
            _fill(sender, in_flight)
            if sender.is_done and not sender.unacked and not sender.out:
                selector.unregister(sender.connection.socket)
                remaining -= 1
                continue
            wanted = both if sender.out else selectors.EVENT_READ
            if key.events != wanted:
                selector.modify(sender.connection.socket, wanted, sender)
    result = Load(time.perf_counter() - before, time.process_time() - own, tuple(latencies))
    for sender in senders:
        sender.connection.socket.close()
    return result


def _fill(sender: _Sender, in_flight: int) -> None:
    """Send as long as the connection takes it and there may be more in flight."""
    while True:
        if not sender.out:
            if sender.is_done or len(sender.unacked) >= in_flight:
                return
            frame = next(sender.todo, None)
            if frame is None:
                sender.is_done = True
                return
            sender.out = memoryview(frame)
            sender.unacked.append(time.perf_counter())
        try:
            sender.out = sender.out[sender.connection.socket.send(sender.out) :]
        except BlockingIOError:
            return


def paced(port: int, frames: Sequence[bytes], *, per_second: float) -> Load:
    """Send frames at a fixed rate over one connection, whatever the acks do, and take the time until each ack."""
    connection = Connection(port)
    connection.socket.setblocking(False)
    waiting: deque[float] = deque()
    latencies: list[float] = []
    out = memoryview(b"")
    begin, own = time.perf_counter(), time.process_time()
    sent = 0
    while len(latencies) < len(frames):
        now = time.perf_counter()
        if not out and sent < len(frames) and now >= begin + sent / per_second:
            waiting.append(begin + sent / per_second)
            out = memoryview(frames[sent])
            sent += 1
        try:
            if out:
                out = out[connection.socket.send(out) :]
            acks, now = connection.receive(), time.perf_counter()
            latencies += (now - waiting.popleft() for _ in range(acks))
        except BlockingIOError:
            due = begin + sent / per_second if sent < len(frames) else now + 1
            _wait_readable(connection.socket, 0.001 if out else max(due - now, 0))
    connection.socket.close()
    return Load(time.perf_counter() - begin, time.process_time() - own, tuple(latencies))


def _wait_readable(waited: socket.socket, seconds: float) -> None:
    with selectors.DefaultSelector() as selector:
        selector.register(waited, selectors.EVENT_READ)
        selector.select(seconds)


def query(**window: str) -> bytes:
    """An ``events:query``."""
    members = ",".join(f'"{name}":"{value}"' for name, value in window.items())
    return b'{"type":"events:query","reqId":"r","query":{%b}}' % members.encode()


def read_window(port: int, text: bytes, *, deflate: bool) -> tuple[float, int]:
    """Ask over WebSocket; seconds until the last byte, and bytes."""
    connection = Connection(port, deflate=deflate)
    before = time.perf_counter()
    connection.ask(text)
    seconds = time.perf_counter() - before
    connection.socket.close()
    return seconds, connection.received_bytes


def read_http(port: int, *, gzip: bool) -> tuple[float, int]:
    """Ask over HTTP; seconds until the last byte, and bytes."""
    accepted = "gzip" if gzip else "identity"
    with socket.create_connection(("127.0.0.1", port)) as connection:
        before, received = time.perf_counter(), 0
        head = f"GET /_tracker HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAccept-Encoding: {accepted}"
        connection.sendall(f"{head}\r\n\r\n".encode())
        while data := connection.recv(_RECEIVE_BYTES):
            received += len(data)
        return time.perf_counter() - before, received
