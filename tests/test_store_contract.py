"""What the store contract says of its own values."""

import zlib

from wsproto_tracker.store import Chunk


def test_deflated_chunk_inflates() -> None:
    """A chunk that is raw deflate up to a sync flush reads as its text."""
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    text = b'{"id":"1"},{"id":"2"}' * 1000
    data = compressor.compress(text) + compressor.flush(zlib.Z_SYNC_FLUSH)
    assert Chunk(data, is_deflated=True).text == text
    assert Chunk(text).text == text
