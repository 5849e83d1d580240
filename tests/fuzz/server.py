"""Targets of the server: what comes on a connection before WebSocket begins, and compressed messages."""

import logging
import re
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from http import HTTPStatus
from typing import cast

import trio
from trio.abc import HalfCloseableStream
from trio.testing import MockClock
from websockets.exceptions import InvalidHeader, NegotiationError, PayloadTooBig, ProtocolError
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame, Opcode
from websockets.headers import parse_extension
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol

from tests.fuzz.cutter import Cutter
from wsproto_tracker.errors import HTTP_STATUS
from wsproto_tracker.server.coding import Deflated
from wsproto_tracker.server.core import Core
from wsproto_tracker.server.deflate import BlockDeflateFactory
from wsproto_tracker.server.front import Front
from wsproto_tracker.server.metrics import Metrics
from wsproto_tracker.server.push import Hub
from wsproto_tracker.server.streams import UpgradedStream, UpgradeListener
from wsproto_tracker.settings import Settings
from wsproto_tracker.store import MemoryStore, deflated

__all__ = ["DEFLATE_WORDS", "HEAD_WORDS", "deflate", "head", "messages"]

HEAD_WORDS = (
    *(b"GET ", b"POST ", b"HEAD ", b"OPTIONS ", b" HTTP/1.1\r\n", b" HTTP/1.0\r\n", b"\r\n", b"\n", b"\r\n\r\n", b": "),
    *(
        b"/_tracker",
        b"/_tracker/ws",
        b"/_tracker/events",
        b"/_tracker/ping",
        b"/health",
        b"http://x",
        b"*",
        b"//",
        b"?",
    ),
    *(b"key=k", b"since=2026-11-23T21:05:13Z", b"&limit=1", b"%00", b"%", b"#", b"[", b"]", b"\xe9", b"\xff", b"\0"),
    *(b"Host: x\r\n", b"Origin: null\r\n", b"Origin: ", b"X-Tracker-Key: k\r\n", b"Cookie: a=b\r\n", b"Connection: "),
    *(b"Upgrade: websocket\r\n", b"Upgrade", b"close", b"Sec-WebSocket-Version: 13\r\n", b"Sec-WebSocket-Protocol: "),
    *(b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", b"Sec-WebSocket-Extensions: permessage-deflate\r\n"),
    *(
        b"Content-Length: ",
        b"Content-Length: 13\r\n\r\n" + b'{"events":[]}',
        b"Transfer-Encoding: chunked\r\n",
        b"5\r\n",
    ),
    *(
        b"Content-Type: text/plain\r\n",
        b"Content-Encoding: gzip\r\n",
        b"Expect: 100-continue\r\n",
        b"0\r\n\r\n",
        b"9" * 30,
    ),
    *(
        b"Accept-Encoding: ",
        b"gzip",
        b"gzip;q=",
        b"identity;q=0",
        b"nan",
        b"inf",
        b"1e9",
        b",",
        b";",
        b"\t",
        b"a" * 200,
    ),
)
DEFLATE_WORDS = (
    *(b"permessage-deflate", b"; client_max_window_bits", b"; server_max_window_bits", b"=8", b"=9", b"=15", b'="15"'),
    *(b"; server_no_context_takeover", b"; client_no_context_takeover", b"\n", b"\0", b"\1", b"\2", b"\x81", b"\xc1"),
    *(
        b"\x41",
        b"\x01",
        b"\x80",
        b"\0\0\xff\xff",
        b"\x03\0",
        b"\0\0\0\0",
        deflated(b"a" * 2000),
        deflated(bytes(10**6)),
    ),
)
_OFFERS = (
    b"permessage-deflate",
    b"permessage-deflate; client_max_window_bits; server_max_window_bits=9",
    b"permessage-deflate; client_no_context_takeover; server_no_context_takeover; client_max_window_bits=15",
)
_MAX_MESSAGE_BYTES = 1024
_MAX_RATIO = 500
_FULL_WINDOW_BITS = 15
_LEAST_WINDOW_BITS = 9  # zlib deflates with no smaller one
_FAILURES = (ProtocolError, PayloadTooBig, UnicodeDecodeError, EOFError, type(None))
_STATUSES = {100, 200, 204, *HTTP_STATUS.values()}
_HANDED_ON = {"host", "origin", "connection", "upgrade"}
_END_OF_HEAD = re.compile(rb"\n\r?\n\Z")


# Requests


def head(data: bytes) -> None:
    """All that a client sends on one connection, in pieces whose size the first byte tells: every request is answered,
    and a handshake is handed on as one that the WebSocket server reads.
    """
    sent = data[1:]
    wire = _Wire(sent, piece_bytes=1 + 4 * data[0] if data else 1)
    with _raising_what_is_logged():
        upgraded = trio.run(_handle, wire, clock=MockClock(autojump_threshold=0))
    if upgraded is not None:
        _check_handshake(upgraded, sent)
    else:
        assert bool(wire.sent) == bool(sent)
    assert not wire.sent or wire.sent.startswith(b"HTTP/1.1 ")
    for status in re.findall(rb"^HTTP/1\.1 (\d+) [A-Za-z -]+\r$", wire.sent, re.M):
        assert int(status) in _STATUSES


async def _handle(wire: "_Wire") -> bytes | None:
    """Serve a connection to its end; returns what the WebSocket server gets of it."""
    settings = Settings(store="memory:", api_key="k", max_frame_bytes=1024, max_head_bytes=2048)
    hub = Hub(settings.max_push_bytes, settings.max_subscriptions)
    core = Core(settings, hub, MemoryStore(on_stored=hub.publish), Metrics())
    upgrades = _Upgrades()
    front = Front(core, cast(UpgradeListener, upgrades), None)
    await front.handle(cast(trio.SocketStream, wire))
    return upgrades.received


def _check_handshake(received: bytes, sent: bytes) -> None:
    """The WebSocket server takes what it is handed for the handshake that it is, and reads on where its head ended."""
    begin, _, rest = received.partition(b"\r\n\r\n")
    assert sent.endswith(rest)
    assert _END_OF_HEAD.search(sent[: len(sent) - len(rest)])
    protocol = ServerProtocol(extensions=[BlockDeflateFactory(_MAX_RATIO)], max_size=_MAX_MESSAGE_BYTES)
    protocol.receive_data(begin + b"\r\n\r\n")
    assert protocol.handshake_exc is None, protocol.handshake_exc
    (request,) = protocol.events_received()
    assert isinstance(request, Request)
    assert "?" not in request.path
    assert all(name in _HANDED_ON or name.startswith("sec-websocket-") for name in map(str.lower, request.headers))
    response = protocol.accept(request)
    assert response.status_code != HTTPStatus.INTERNAL_SERVER_ERROR, protocol.handshake_exc
    protocol.send_response(response)
    _receive(protocol, rest)


class _Upgrades:
    """Takes handshakes, and reads them to the end of the connection."""

    def __init__(self) -> None:
        self.received: bytes | None = None

    async def hand_over(self, stream: UpgradedStream) -> None:
        self.received = b""
        stream.go_on()
        while data := await stream.receive_some():
            self.received += data


class _Socket:
    """What the front asks of a socket."""

    family = trio.socket.AF_INET

    def getpeername(self) -> tuple[str, int]:
        return "192.0.2.1", 50_000

    def getsockname(self) -> tuple[str, int]:
        return "192.0.2.2", 4242


class _Wire(HalfCloseableStream):
    """A connection whose client sends pieces of some size, and then ends its side."""

    def __init__(self, data: bytes, piece_bytes: int) -> None:
        self._data = data
        self._piece_bytes = piece_bytes
        self.sent = b""
        self.socket = _Socket()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        await trio.lowlevel.checkpoint()
        size = min(self._piece_bytes, max_bytes or self._piece_bytes)
        piece, self._data = self._data[:size], self._data[size:]
        return piece

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await trio.lowlevel.checkpoint()
        self.sent += data

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.checkpoint()

    async def send_eof(self) -> None:
        await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


class _Raising(logging.Handler):
    """The front catches whatever goes wrong with a connection, and logs it; here it is raised again."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and record.exc_info[1]:
            raise record.exc_info[1]


@contextmanager
def _raising_what_is_logged() -> Generator[None, None, None]:
    log, handler = logging.getLogger("wsproto_tracker"), _Raising()
    log.addHandler(handler)
    log.propagate = False
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.propagate = True


# Compressed messages


def deflate(data: bytes) -> None:
    """What a client offers, on a line; then messages, behind a byte that tells whether one goes to the client (0) or
    comes from it (1); then, behind any other byte, what comes from a client that keeps to nothing. Messages come out as
    they went in. For the rest the connection is failed, or no message is larger than allowed.
    """
    offer, _, rest = data.partition(b"\n")
    extension = _agreed(offer.decode("latin-1"))
    if extension is None:
        return
    client = _client_of(extension)
    messages = Cutter(rest)
    while messages:
        match messages.number():
            case 0:
                as_blocks = bool(messages.number() % 2) and extension.local_max_window_bits == _FULL_WINDOW_BITS
                parts = messages.piece(messages.number()), messages.piece(messages.number())
                sent = [Deflated(deflated(part)) if as_blocks else part for part in parts]
                assert _passed(sent, extension, client) == list(parts)
            case 1 if extension.remote_max_window_bits >= _LEAST_WINDOW_BITS:
                parts = messages.piece(messages.number()), messages.piece(messages.number())
                assert _passed(parts, client, extension) == list(parts)
            case _:
                protocol = ServerProtocol(state=State.OPEN, max_size=_MAX_MESSAGE_BYTES)
                protocol.extensions = [extension]
                _receive(protocol, messages.rest())


def messages() -> list[bytes]:
    """Messages both ways, and such as a client may send that keeps to nothing, after each kind of offer."""
    text = b'{"type":"ping"}' * 3
    both = b"".join(
        bytes([*kind, len(text)]) + text + bytes([len(text)]) + text for kind in (b"\0\0", b"\0\1", b"\1", b"\1")
    )
    frames = (
        (0xC1, deflated(text)[:-4]),
        (0x41, deflated(text)),
        (0x89, b""),  # a ping
        (0x80, b"\x03\0"),
        (0x81, text),
        (0xC2, deflated(bytes(10_000))[:-4]),  # more than a message may have
    )
    unmasked = (bytes([head, 0x80 | len(payload)]) + bytes(4) + payload for head, payload in frames)
    raw = b"".join(unmasked)  # a mask of zeros is one as well, and the frames can be read as they lie
    return [offer + b"\n" + both + b"\2" + raw for offer in _OFFERS]


def _agreed(offer: str) -> PerMessageDeflate | None:
    """The extension that is agreed to, if it is."""
    with suppress(InvalidHeader, NegotiationError):
        for name, parameters in parse_extension(offer):
            if name == PerMessageDeflate.name:
                return BlockDeflateFactory(_MAX_RATIO).process_request_params(parameters, [])[1]
    return None


def _client_of(server: PerMessageDeflate) -> PerMessageDeflate:
    """The other side of a connection."""
    return PerMessageDeflate(
        server.local_no_context_takeover,
        server.remote_no_context_takeover,
        server.local_max_window_bits,
        max(server.remote_max_window_bits, _LEAST_WINDOW_BITS),
    )


def _passed(parts: Sequence[bytes | Deflated], sender: PerMessageDeflate, receiver: PerMessageDeflate) -> list[bytes]:
    """What comes out of a message that is sent in parts."""
    frames = [
        Frame(Opcode.CONT if number else Opcode.TEXT, part, fin=number == len(parts) - 1)
        for number, part in enumerate(parts)
    ]
    encoded = [sender.encode(frame) for frame in frames]
    return [bytes(receiver.decode(frame, max_size=_MAX_MESSAGE_BYTES).data) for frame in encoded]


def _receive(protocol: ServerProtocol, data: bytes) -> None:
    """Let a connection receive anything: it is closed, failed as RFC 6455 says, or holds no more than it may."""
    protocol.receive_data(data)
    assert isinstance(protocol.parser_exc, _FAILURES), protocol.parser_exc
    for frame in protocol.events_received():
        assert isinstance(frame, Frame)
        assert len(frame.data) <= _MAX_MESSAGE_BYTES
