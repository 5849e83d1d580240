"""Runs: events as they are kept, deflated, with what it takes to check them and to take them apart again.

A *row* is one event as the timeline sees it: ``(instant, arrival, text)``. Rows compare by instant, then by arrival,
which no two share: this is the order of the timeline (QUERY-5, QUERY-6). Lists of rows are oldest first. Inside a run
they are newest first, as answers are.

A run has two parts, and a seal that both are checked against when they are read back:

- *index*: instants, arrivals and lengths of the rows, as MessagePack, deflated.
- *data*: the rows' texts joined by commas, as raw deflate cut at a sync flush, so that runs can be concatenated.
"""

import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import attrs
import msgspec

if TYPE_CHECKING:
    import zlib as deflate
else:
    try:
        from isal import isal_zlib as deflate  # several times as fast, where there are wheels of it
    except ImportError:
        import zlib as deflate

__all__ = [
    "DamageError",
    "Index",
    "Row",
    "Seal",
    "check_data",
    "check_index",
    "crc32",
    "deflated",
    "inflate",
    "pack",
    "read_index",
    "read_rows",
    "read_text",
]

Row = tuple[int, int, bytes]

_LEVEL = 2 if deflate is not zlib else 1
_INDEX_LEVEL = 1


class DamageError(Exception):
    """Something read back is not what was written; the message says what does not fit."""


@attrs.frozen
class Seal:
    """What a run has to be.

    :ivar count: its rows.
    :ivar text_bytes: its text, inflated.
    """

    count: int
    text_bytes: int
    text_crc32: int
    data_crc32: int
    index_crc32: int


@attrs.frozen
class Index:
    """Instants, arrivals and lengths of a run's rows, newest first."""

    instants: list[int]
    arrivals: list[int]
    lengths: list[int]


_INDEX = msgspec.msgpack.Decoder(tuple[list[int], list[int], list[int]])


def pack(rows: Sequence[Row]) -> tuple[Seal, bytes, bytes]:
    """Make a run of rows, at least one, oldest first; returns its seal, its index and its data."""
    newest_first = rows[::-1]
    instants, arrivals, texts = zip(*newest_first, strict=True)
    text = b",".join(texts)
    data = deflated(text)
    index = deflate.compress(msgspec.msgpack.encode((instants, arrivals, list(map(len, texts)))), _INDEX_LEVEL)
    seal = Seal(len(rows), len(text), deflate.crc32(text), deflate.crc32(data), deflate.crc32(index))
    return seal, index, data


def deflated(text: bytes) -> bytes:
    """Raw deflate of a text, cut at a sync flush (RFC 1951 blocks, byte-aligned, none final)."""
    compressor = deflate.compressobj(_LEVEL, deflate.DEFLATED, -zlib.MAX_WBITS)
    data: bytes = compressor.compress(text) + compressor.flush(deflate.Z_SYNC_FLUSH)
    return data


def crc32(text: bytes, before: int = 0) -> int:
    """The checksum of a text that follows what has the checksum before (RFC 1952)."""
    checksum: int = deflate.crc32(text, before)
    return checksum


def read_index(seal: Seal, index: bytes) -> Index:
    """Read an index back.

    :raises DamageError: if it is not the one that was sealed.
    """
    check_index(seal, index)
    try:
        instants, arrivals, lengths = _INDEX.decode(zlib.decompress(index))
    except (zlib.error, msgspec.DecodeError) as error:
        raise DamageError(f"its index cannot be read: {error}") from None
    if not seal.count == len(instants) == len(arrivals) == len(lengths):
        raise DamageError(f"its index has {len(lengths)} events in place of {seal.count}")
    if sum(lengths) + len(lengths) - 1 != seal.text_bytes:
        raise DamageError("its index does not match the length of its text")
    return Index(instants, arrivals, lengths)


def check_index(seal: Seal, index: bytes) -> None:
    """Check an index without reading it.

    :raises DamageError: if it is not what was sealed.
    """
    if not isinstance(index, bytes) or deflate.crc32(index) != seal.index_crc32:
        raise DamageError("the checksum of its index does not match")


def check_data(seal: Seal, data: bytes) -> None:
    """Check data without inflating it.

    :raises DamageError: if it is not what was sealed.
    """
    if not isinstance(data, bytes) or deflate.crc32(data) != seal.data_crc32:  # SQLite keeps anything in any column
        raise DamageError("the checksum of its data does not match")


def read_text(seal: Seal, data: bytes) -> bytes:
    """Inflate data.

    :raises DamageError: if it is not what was sealed.
    """
    check_data(seal, data)
    try:
        text = inflate(data, seal.text_bytes + 1)
    except deflate.error as error:
        raise DamageError(f"its data cannot be inflated: {error}") from None
    if len(text) != seal.text_bytes or deflate.crc32(text) != seal.text_crc32:
        raise DamageError("its text does not match its length and checksum")
    return text


def inflate(data: bytes, max_bytes: int = 0) -> bytes:
    """Inflate the data of runs, up to so many bytes of text; 0 for all of it."""
    text: bytes = deflate.decompressobj(-zlib.MAX_WBITS).decompress(data, max_bytes)
    return text


def read_rows(seal: Seal, index: bytes, data: bytes) -> list[Row]:
    """The rows of a run, oldest first.

    :raises DamageError: if they are not what was sealed.
    """
    parts = read_index(seal, index)
    text = read_text(seal, data)
    rows = []
    position = 0
    for instant, arrival, length in zip(parts.instants, parts.arrivals, parts.lengths, strict=True):
        rows.append((instant, arrival, text[position : position + length]))
        position += length + 1
    rows.reverse()
    return rows
