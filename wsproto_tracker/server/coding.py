"""Answers on the wire: plain, or deflated as they lie in the store (RFC 1951), for WebSocket and for gzip alike.

Deflated runs can stand one after the other, whoever made them, as long as each ends on a byte and refers to nothing
before it. So a deflated answer is a head, the blocks as they lie with commas between them, and a tail; nothing of it is
inflated, joined or deflated again.
"""

import struct
from collections.abc import AsyncGenerator
from contextlib import aclosing
from enum import Enum, auto

import trio

from wsproto_tracker.store import Chunk, combine_crc32, crc32, deflated, inflate

__all__ = ["Coding", "Deflated", "Pieces", "encoded"]

Pieces = AsyncGenerator[bytes | bytearray, None]
"""An answer, piece by piece; to be iterated once, and closed."""

_PLAIN_BYTES = 64 * 1024
_DEFLATED_BYTES = 512 * 1024
_LARGE_BYTES = 256 * 1024  # deflating so much takes a millisecond

_COMMA = b"\x00\x01\x00\xfe\xff,"  # a stored block of RFC 1951 that holds a comma
_LAST_BLOCK = b"\x03\x00"  # an empty one that is final
_GZIP_HEAD = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"  # RFC 1952: deflate, no name, no time, any system


class Coding(Enum):
    """How an answer is sent."""

    PLAIN = auto()
    DEFLATED = auto()  # pieces are ``Deflated``, each of whole runs
    GZIP = auto()


class Deflated(bytearray):
    """A part of a WebSocket message that is deflated already; see ``server/deflate.py``."""

    __slots__ = ()


def encoded(coding: Coding, head: bytes, chunks: AsyncGenerator[Chunk, None], tail: bytes) -> Pieces:
    """The text of an answer in pieces, at least one, each of about half a megabyte at most and one block."""
    return _plain(head, chunks, tail) if coding is Coding.PLAIN else _deflated(coding, head, chunks, tail)


async def _plain(head: bytes, chunks: AsyncGenerator[Chunk, None], tail: bytes) -> Pieces:
    piece, comma = [head], b""
    async with aclosing(chunks):
        async for chunk in chunks:
            if sum(map(len, piece)) >= _PLAIN_BYTES:
                yield b"".join(piece) if len(piece) > 1 else piece[0]
                piece = []
            if chunk.seal is None:
                piece += [comma, chunk.data]
            else:  # a comma comes out of it as well: joining it would copy the text
                data = _COMMA + chunk.data if comma else chunk.data
                piece.append(await trio.to_thread.run_sync(inflate, data, chunk.seal.text_bytes + 2))
            comma = b","
    yield b"".join([*piece, tail])


async def _deflated(coding: Coding, head: bytes, chunks: AsyncGenerator[Chunk, None], tail: bytes) -> Pieces:
    summed = _Sum(head)
    piece, comma = Deflated(_GZIP_HEAD if coding is Coding.GZIP else b""), b""
    piece += deflated(head)
    async with aclosing(chunks):
        async for chunk in chunks:
            if len(piece) >= _DEFLATED_BYTES:
                yield piece
                piece = Deflated()
            if comma:
                piece += comma
                summed.add_text(b",")
            if chunk.seal is None:
                is_large = len(chunk.data) >= _LARGE_BYTES
                summed.add_text(chunk.data)
                data = await trio.to_thread.run_sync(deflated, chunk.data) if is_large else deflated(chunk.data)
                piece += data
            else:
                summed.add(chunk.seal.text_crc32, chunk.seal.text_bytes)
                piece += chunk.data
            comma = _COMMA
    summed.add_text(tail)
    piece += deflated(tail)
    if coding is Coding.GZIP:
        piece += _LAST_BLOCK + summed.trailer
    yield piece


class _Sum:
    """Checksum and length of a text that is put together, as the end of a gzip member tells them."""

    def __init__(self, text: bytes) -> None:
        self._crc32, self._bytes = crc32(text), len(text)

    def add_text(self, text: bytes) -> None:
        """Go on with a text."""
        self._crc32 = crc32(text, self._crc32)
        self._bytes += len(text)

    def add(self, checksum: int, text_bytes: int) -> None:
        """Go on with a text of which no more is known than this."""
        self._crc32 = combine_crc32(self._crc32, checksum, text_bytes)
        self._bytes += text_bytes

    @property
    def trailer(self) -> bytes:
        return struct.pack("<II", self._crc32, self._bytes & 0xFFFFFFFF)
