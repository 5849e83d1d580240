"""What the store contract says of its own values."""

from wsproto_tracker.store import Chunk
from wsproto_tracker.store.run import pack


def test_deflated_chunk_inflates() -> None:
    """A chunk that is raw deflate up to a sync flush reads as its text."""
    text = b'{"id":"1"},{"id":"2"}'
    seal, _, data = pack([(1, 1, b'{"id":"2"}'), (2, 2, b'{"id":"1"}')])
    assert Chunk(data, seal).text == text
    assert Chunk(text).text == text
