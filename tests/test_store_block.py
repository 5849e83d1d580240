"""Blocks: how rows are cut into them, and what is known of one without reading it."""

from itertools import count, pairwise

from hypothesis import given
from hypothesis import strategies as st

from tests.store_contract import at
from wsproto_tracker.store.block import Shape, count_apps, cut, pack_block

SHAPE = Shape(block_events=8, block_bytes=500)


@given(sizes=st.lists(st.one_of(st.integers(2, 40), st.integers(100, 900)), max_size=60))
def test_cut(sizes: list[int]) -> None:
    """Pieces are in order and complete, none is empty or beyond the bounds, but a single event of any size."""
    rows = [(number, number, b"x" * size) for number, size in enumerate(sizes)]
    pieces = list(cut(rows, SHAPE))
    assert [row for piece in pieces for row in piece] == rows
    for piece in pieces:
        assert 1 <= len(piece) <= SHAPE.block_events
        assert len(piece) == 1 or sum(len(text) + 1 for _, _, text in piece) - 1 <= SHAPE.block_bytes


@given(number=st.integers(1, 200))
def test_cut_evenly(number: int) -> None:
    """Small events are cut into pieces of about the same number, and no more of them than need be."""
    pieces = list(cut([(n, n, b"{}") for n in range(number)], SHAPE))
    assert len(pieces) == -(-number // SHAPE.block_events)
    assert max(map(len, pieces)) - min(map(len, pieces)) <= len(pieces)


def test_description() -> None:
    """A block is described by its ends, its arrivals and its apps."""
    rows = [(5, 9, at(1, appId="shop").text), (7, 3, at(1, appId="blog").text), (7, 12, at(1, appId="shop").text)]
    packed = pack_block(rows, count(1).__next__)
    block = packed.block
    assert (block.oldest, block.newest) == ((5, 9), (7, 12))
    assert (block.first_arrival, block.last_arrival) == (3, 12)
    assert block.apps == {"shop": 2, "blog": 1}
    assert block.stored_bytes == len(packed.index) + len(packed.data)
    shares = [block.dead_share(horizon) for horizon in (0, 2, 3, 7, 11, 12, 99)]
    assert (shares[:2], shares[-2:]) == ([0, 0], [1, 1])
    assert all(earlier <= later for earlier, later in pairwise(shares))


def test_too_many_apps() -> None:
    """Apps are the sender's to choose, so no more are counted than is cheap, and no longer ones."""
    assert count_apps([(1, 1, at(1, appId=f"app{number}").text) for number in range(17)]) is None
    assert count_apps([(1, 1, at(1, appId="x" * 2000).text)]) is None
    assert count_apps([(1, 1, at(1, appId="cut \ud83d").text)]) == {"cut \ud83d": 1}
