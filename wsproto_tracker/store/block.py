"""Blocks: sealed stretches of the timeline, and how rows are cut into them."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from math import ceil

import attrs

from wsproto_tracker.store.fields import app_of
from wsproto_tracker.store.run import Row, Seal, pack

__all__ = ["Block", "Key", "Packed", "Shape", "Snapshot", "State", "count_apps", "cut", "key_of", "pack_block"]

Key = tuple[int, int]
"""A place in the timeline: (instant, arrival)."""

_MAX_COUNTED_APPS = 16
_MAX_COUNTED_APP_CHARS = 1024


@attrs.frozen
class Shape:
    """How large things become.

    :ivar block_events: events of a block, at most.
    :ivar block_bytes: text of a block, at most; an event that is larger has a block of its own.
    :ivar open_events: events that sealing leaves open, as the newest; it begins when there are four times as many.
    :ivar open_bytes: their text, likewise.
    :ivar max_rewritten: blocks that one sealing rewrites, at most; late events for others have to wait.
    """

    block_events: int = 1024
    block_bytes: int = 1024 * 1024
    open_events: int = 2048
    open_bytes: int = 4 * 1024 * 1024
    max_rewritten: int = 64


@attrs.define(eq=False)  # an identity: while somebody holds a block, its data stays (database.py)
class Block:
    """What is known of a block without reading it.

    :ivar oldest: where its oldest event stands in the timeline.
    :ivar newest: where its newest event stands.
    :ivar first_arrival: the earliest arrival among its events.
    :ivar last_arrival: the latest.
    :ivar apps: its events counted by app; ``None`` where there are too many apps to count.
    :ivar stored_bytes: what index and data take on disk.
    :ivar is_checked: whether this process wrote its data, or has found it as it was written.
    :ivar is_damaged: whether it was found not to be; then nothing of it is used any more.
    """

    id: int
    oldest: Key
    newest: Key
    first_arrival: int
    last_arrival: int
    apps: dict[str, int] | None
    stored_bytes: int
    seal: Seal
    is_checked: bool = False
    is_damaged: bool = False

    def dead_share(self, horizon: int) -> float:
        """How much of the block is beyond the horizon, were its arrivals spread evenly: 0 for nothing, 1 for all."""
        arrivals = self.last_arrival - self.first_arrival + 1
        return min(max((horizon - self.first_arrival + 1) / arrivals, 0.0), 1.0)


@attrs.frozen
class State:
    """Where a store stands.

    :ivar last_arrival: the number that the newest arrival got.
    :ivar batch_begins: the first arrival of the batch that came last.
    :ivar horizon: events whose arrival is not above it are gone.
    """

    last_arrival: int = 0
    batch_begins: int = 1
    horizon: int = 0

    def with_horizon(self, horizon: int) -> "State":
        """With the horizon moved on to there; it never moves back."""
        return attrs.evolve(self, horizon=max(self.horizon, horizon))

    def with_at_most(self, max_events: int) -> "State":
        """With so many events left, or with those of the batch that came last if these are more."""
        return self.with_horizon(min(self.last_arrival - max_events, self.batch_begins - 1))


@attrs.frozen
class Snapshot:
    """The timeline at a moment.

    :ivar blocks: oldest first.
    :ivar rows: the open rows, oldest first.
    """

    blocks: tuple[Block, ...]
    rows: tuple[Row, ...]
    state: State

    @property
    def horizon(self) -> int:
        """Events whose arrival is not above it are gone."""
        return self.state.horizon

    @property
    def visible_events(self) -> int:
        """How many events are not gone, were the arrivals of each block spread evenly."""
        horizon = self.horizon
        sound = (block for block in self.blocks if not block.is_damaged)
        sealed = sum(block.seal.count * (1 - block.dead_share(horizon)) for block in sound)
        return round(sealed) + sum(arrival > horizon for _, arrival, _ in self.rows)

    @property
    def stored_bytes(self) -> int:
        """What blocks take on disk, and the text of the open rows."""
        return sum(block.stored_bytes for block in self.blocks) + sum(len(text) for _, _, text in self.rows)


@attrs.frozen
class Packed:
    """A new block, to be written."""

    block: Block
    index: bytes
    data: bytes


def key_of(row: Row) -> Key:
    """Where a row stands in the timeline."""
    return row[0], row[1]


def cut(rows: Sequence[Row], shape: Shape) -> Iterator[Sequence[Row]]:
    """Cut rows into stretches for blocks, of about the same number of events."""
    if not rows:
        return
    count = ceil(len(rows) / ceil(len(rows) / shape.block_events))
    ends = list(accumulate(len(text) + 1 for _, _, text in rows))
    start = 0
    while start < len(rows):
        before = ends[start - 1] if start else 0
        fitting = bisect_right(ends, before + shape.block_bytes + 1, start)
        stop = min(max(fitting, start + 1), start + count, len(rows))
        yield rows[start:stop]
        start = stop


def pack_block(rows: Sequence[Row], new_id: Callable[[], int]) -> Packed:
    """Seal rows, at least one, oldest first."""
    seal, index, data = pack(rows)
    arrivals = [arrival for _, arrival, _ in rows]
    block = Block(
        id=new_id(),
        oldest=key_of(rows[0]),
        newest=key_of(rows[-1]),
        first_arrival=min(arrivals),
        last_arrival=max(arrivals),
        apps=count_apps(rows),
        stored_bytes=len(index) + len(data),
        seal=seal,
        is_checked=True,
    )
    return Packed(block, index, data)


def count_apps(rows: Sequence[Row]) -> dict[str, int] | None:
    """Rows counted by app; ``None`` where there are too many apps to count."""
    apps = Counter(app_of(text) for _, _, text in rows)
    if len(apps) > _MAX_COUNTED_APPS or sum(map(len, apps)) > _MAX_COUNTED_APP_CHARS:
        return None
    return dict(apps)
