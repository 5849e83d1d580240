"""RFC 6455 and 7692 in bytes, without any input or output."""

import struct
import zlib
from collections.abc import Callable

import attrs

__all__ = [
    "BINARY",
    "CLOSE",
    "CONTINUATION",
    "PING",
    "PONG",
    "TEXT",
    "Deflate",
    "Frame",
    "Reader",
    "WireError",
    "closing",
    "encoded",
]

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
_TAIL = b"\x00\x00\xff\xff"


class WireError(Exception):
    """A client breaks a rule, and has to be told by a close frame."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code, self.reason = code, reason


@attrs.frozen
class Frame:
    """One frame that came: a control frame, or a fragment of a message."""

    opcode: int
    is_last: bool
    is_compressed: bool
    payload: bytes


def encoded(opcode: int, payload: bytes, *, is_last: bool = True, is_compressed: bool = False) -> bytes:
    """A frame as a server sends it."""
    first = (0x80 if is_last else 0) | (0x40 if is_compressed else 0) | opcode
    size = len(payload)
    if size < 126:
        head = struct.pack("!BB", first, size)
    elif size < 1 << 16:
        head = struct.pack("!BBH", first, 126, size)
    else:
        head = struct.pack("!BBQ", first, 127, size)
    return head + payload


def closing(code: int, reason: str = "") -> bytes:
    """The payload of a close frame."""
    return struct.pack("!H", code) + reason.encode()


@attrs.define
class Reader:
    """Takes bytes, gives frames.

    :ivar is_deflated: whether frames may be compressed.
    :ivar judge_size: raises what it wants for a frame that claims to be of a size.
    """

    is_deflated: bool
    judge_size: Callable[[int], None]
    _buffer: bytearray = attrs.field(factory=bytearray, init=False)

    def feed(self, data: bytes) -> None:
        """Take what came."""
        self._buffer += data

    def next(self) -> Frame | None:
        """The next frame, if it is all there.

        :raises WireError: if there cannot be one.
        """
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        first, second = buffer[0], buffer[1]
        opcode, size, begin = first & 0x0F, second & 0x7F, 2
        if size >= 126:
            begin = 4 if size == 126 else 10
            if len(buffer) < begin:
                return None
            size = int.from_bytes(buffer[2:begin], "big")
        self._judge_head(first, second, opcode, size)
        if len(buffer) < begin + 4 + size:
            return None
        mask = bytes(buffer[begin : begin + 4])
        payload = _unmasked(bytes(buffer[begin + 4 : begin + 4 + size]), mask)
        del buffer[: begin + 4 + size]
        return Frame(opcode, bool(first & 0x80), bool(first & 0x40), payload)

    def _judge_head(self, first: int, second: int, opcode: int, size: int) -> None:
        is_control = opcode >= CLOSE
        if opcode not in (CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG) or first & 0x30 or not second & 0x80:
            raise WireError(1002, "no frame of a client")
        if first & 0x40 and (not self.is_deflated or is_control or opcode == CONTINUATION):
            raise WireError(1002, "a compressed frame where none may be")
        if is_control and (size > 125 or not first & 0x80):
            raise WireError(1002, "a control frame that is too long or cut")
        self.judge_size(size)


def _unmasked(payload: bytes, mask: bytes) -> bytes:
    repeated = (mask * (len(payload) // 4 + 1))[: len(payload)]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")).to_bytes(len(payload), "big")


class Deflate:
    """permessage-deflate, once it is agreed."""

    def __init__(self, parameters: dict[str, str]) -> None:
        self._keeps_own = "server_no_context_takeover" not in parameters
        self._keeps_theirs = "client_no_context_takeover" not in parameters
        self._bits = -int(parameters.get("server_max_window_bits", 15))
        self._compressor = zlib.compressobj(wbits=self._bits)
        self._decompressor = zlib.decompressobj(-15)

    @classmethod
    def agreed(cls, offers: str) -> "tuple[Deflate, str] | None":
        """The first offer that can be met, and what answers it."""
        for offer in offers.split(","):
            name, *given = (part.strip() for part in offer.split(";"))
            pairs = (part.partition("=") for part in given)
            parameters = {key.strip(): value.strip().strip('"') for key, _, value in pairs}
            kept = {key: value for key, value in parameters.items() if key != "client_max_window_bits"}
            known = {"server_no_context_takeover", "client_no_context_takeover", "server_max_window_bits"}
            bits = kept.get("server_max_window_bits", "15")
            if name == "permessage-deflate" and set(kept) <= known and bits.isdigit() and 9 <= int(bits) <= 15:
                answer = [name, *(f"{key}={value}" if value else key for key, value in kept.items())]
                return cls(kept), "; ".join(answer)
        return None

    def compressed(self, data: bytes) -> bytes:
        """A message as it is sent."""
        compressed = self._compressor.compress(data) + self._compressor.flush(zlib.Z_SYNC_FLUSH)
        if not self._keeps_own:
            self._compressor = zlib.compressobj(wbits=self._bits)
        return compressed.removesuffix(_TAIL)

    def decompressed(self, data: bytes, most: int) -> bytes:
        """A message as it was before.

        :raises WireError: if it is no such message, or larger than it may be.
        """
        try:
            found = self._decompressor.decompress(data + _TAIL, most + 1)
        except zlib.error:
            raise WireError(1007, "compressed wrongly") from None
        if len(found) > most:
            raise WireError(1009, "too large")
        if not self._keeps_theirs:
            self._decompressor = zlib.decompressobj(-15)
        return found
