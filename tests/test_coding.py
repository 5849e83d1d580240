"""Answers on the wire: whatever the coding, the same text comes out of it, and deflated blocks go in as they lie."""

import gzip
import random
import zlib
from collections.abc import AsyncGenerator, Sequence

import trio
from hypothesis import given
from hypothesis import strategies as st

from wsproto_tracker.server.coding import Coding, Deflated, encoded
from wsproto_tracker.store import Chunk, combine_crc32
from wsproto_tracker.store.checksum import _combine
from wsproto_tracker.store.run import pack

texts = st.binary(min_size=1, max_size=300)
chunks = st.lists(st.one_of(texts.map(Chunk), st.lists(texts, min_size=1, max_size=5).map(lambda found: sealed(found))))


def sealed(found: Sequence[bytes]) -> Chunk:
    seal, _, data = pack([(number, number, text) for number, text in enumerate(reversed(found))])
    return Chunk(data, seal)


def inflated(data: bytes) -> bytes:
    """What is inside of a raw deflate that is cut at a sync flush."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    text = inflater.decompress(data)
    assert not inflater.eof
    assert not inflater.unused_data
    return text


def pieces_of(coding: Coding, head: bytes, found: Sequence[Chunk], tail: bytes) -> list[bytes | bytearray]:
    async def given_chunks() -> AsyncGenerator[Chunk, None]:
        for chunk in found:
            yield chunk

    async def collect() -> list[bytes | bytearray]:
        return [piece async for piece in encoded(coding, head, given_chunks(), tail)]

    return trio.run(collect)


@given(head=texts, found=chunks, tail=texts)
def test_same_text(head: bytes, found: list[Chunk], tail: bytes) -> None:
    """Plain, deflated and gzipped, an answer is its head, its events with commas between them, and its tail."""
    expected = head + b",".join(chunk.text for chunk in found) + tail
    assert b"".join(pieces_of(Coding.PLAIN, head, found, tail)) == expected
    deflated = pieces_of(Coding.DEFLATED, head, found, tail)
    assert all(isinstance(piece, Deflated) for piece in deflated)
    assert inflated(b"".join(deflated)) == expected
    assert gzip.decompress(b"".join(pieces_of(Coding.GZIP, head, found, tail))) == expected


def test_as_they_lie() -> None:
    """The very bytes of the blocks are on the wire, and no piece holds many of them."""
    blocks = [sealed([bytes([65 + number]) * 100_000 + number.to_bytes(400, "big")]) for number in range(20)]
    for coding in (Coding.DEFLATED, Coding.GZIP):
        wire = b"".join(pieces_of(coding, b"[", blocks, b"]"))
        assert all(block.data in wire for block in blocks)


def test_pieces_are_bounded() -> None:
    """However long an answer is, its pieces are of half a megabyte, or of one block where it is plain."""
    chance = random.Random(3)
    blocks = [sealed([chance.randbytes(60_000)]) for _ in range(100)]
    for coding in Coding:
        sizes = [len(piece) for piece in pieces_of(coding, b"[", blocks, b"]")]
        assert len(sizes) > 9
        assert max(sizes) < 700_000


@given(first=st.binary(), second=st.binary(max_size=5000), repeated=st.integers(0, 2000))
def test_combine_crc32(first: bytes, second: bytes, repeated: int) -> None:
    """Checksums are combined rightly, by the library and without it."""
    text = second * repeated
    expected = zlib.crc32(first + text)
    assert combine_crc32(zlib.crc32(first), zlib.crc32(text), len(text)) == expected
    assert _combine(zlib.crc32(first), zlib.crc32(text), len(text)) == expected
