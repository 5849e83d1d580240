"""Sealing: open events become blocks, late ones are merged into the blocks that cover them, dead ones are left behind.

It is planned from a snapshot, beside the commits that go on meanwhile, written in one transaction, and shown to queries
after that. Blocks never overlap, before or after.
"""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import groupby
from operator import attrgetter

import attrs

from wsproto_tracker.errors import UnavailableError
from wsproto_tracker.store.block import Block, Packed, Shape, cut, key_of, pack_block
from wsproto_tracker.store.run import DamageError, Row

__all__ = ["Sealing", "gone_until", "is_due", "plan_sealing"]

_MAX_TIDIED = 4
_DEAD_ENOUGH = 0.5

ReadRows = Callable[[Block], list[Row]]


@attrs.frozen
class Sealing:
    """What a sealing changes.

    :ivar removed: blocks that go, replaced or dead.
    :ivar damaged: blocks that could not be read; they go as well.
    :ivar added: blocks that come.
    :ivar open_rows: the rows that stay open of those that were, oldest first.
    :ivar gone_until: up to this arrival the journal is written anew: the newest of a row that stays open no more, or,
        so that nothing else is left in the journal either, the newest there is.
    """

    removed: tuple[Block, ...]
    damaged: tuple[Block, ...]
    added: tuple[Packed, ...]
    open_rows: list[Row]
    gone_until: int

    def apply(self, blocks: Sequence[Block]) -> tuple[Block, ...]:
        """The blocks afterwards, oldest first."""
        gone = {block.id for block in (*self.removed, *self.damaged)}
        left = [block for block in blocks if block.id not in gone]
        return tuple(sorted([*left, *(packed.block for packed in self.added)], key=attrgetter("oldest")))


def is_due(count: int, text_bytes: int, shape: Shape) -> bool:
    """Whether so many open events, of so much text, are enough to seal some."""
    return count >= 4 * shape.open_events or text_bytes >= 4 * shape.open_bytes


def plan_sealing(
    blocks: Sequence[Block],
    open_rows: Sequence[Row],
    horizon: int,
    shape: Shape,
    read_rows: ReadRows,
    new_id: Callable[[], int],
) -> Sealing:
    """Seal all but the newest open rows.

    :param blocks: the blocks there are, oldest first.
    :param open_rows: the rows that are in no block, oldest first.
    :param horizon: rows whose arrival is not above it are left out.
    :param read_rows: reads a block, or raises ``DamageError`` or ``UnavailableError``.
    """
    alive = [row for row in open_rows if row[1] > horizon]
    keep_from = _keep_from(alive, shape)
    left = alive[keep_from:]
    damaged = [block for block in blocks if block.is_damaged]
    found = set(map(id, damaged))  # asked once: a query may find another one meanwhile
    removed = [block for block in blocks if block.last_arrival <= horizon and id(block) not in found]
    blocks = [block for block in blocks if block.last_arrival > horizon and id(block) not in found]
    added: list[Packed] = []

    groups = _groups(blocks, alive[:keep_from], shape)
    rewritten = sorted((group for group in groups if group[0]), key=lambda group: len(group[1]), reverse=True)
    for _, rows in rewritten[shape.max_rewritten :]:
        left += rows
    todo = [*rewritten[: shape.max_rewritten], *(group for group in groups if not group[0])]
    busy = {block.id for block, _ in groups if block}
    todo += [(block, []) for block in _worth_tidying(blocks, horizon) if block.id not in busy]
    for block, rows in todo:
        if block is not None:
            try:
                rows = sorted([*rows, *(row for row in read_rows(block) if row[1] > horizon)])
                removed.append(block)
            except DamageError:
                damaged.append(block)
            except UnavailableError:  # the disk does not give it now: it stays as it is, and so do the rows for it
                left += rows
                continue
        added += (pack_block(piece, new_id) for piece in cut(rows, shape))
    left.sort()
    return Sealing(tuple(removed), tuple(damaged), tuple(added), left, gone_until(open_rows, left))


def gone_until(rows: Sequence[Row], left: Sequence[Row]) -> int:
    """The newest arrival of the rows that are not among those that are left; 0 if there is none."""
    return max({arrival for _, arrival, _ in rows}.difference(arrival for _, arrival, _ in left), default=0)


def _keep_from(rows: Sequence[Row], shape: Shape) -> int:
    """Where the rows begin that stay open: the newest."""
    start = max(len(rows) - shape.open_events, 0)
    size = 0
    for position in range(len(rows) - 1, start - 1, -1):
        size += len(rows[position][2])
        if size > shape.open_bytes:
            return position + 1
    return start


def _groups(blocks: Sequence[Block], rows: Sequence[Row], shape: Shape) -> list[tuple[Block | None, list[Row]]]:
    """Rows, each with the block that it is to be merged with, or with none where they are to have blocks of their own.

    Rows between two blocks belong to the older of them. They leave it alone if they are enough for a block.
    """
    if not blocks:
        return [(None, list(rows))] if rows else []
    begins = [block.oldest for block in blocks]
    groups: list[tuple[Block | None, list[Row]]] = []
    newer = bisect_right(rows, blocks[-1].newest, key=key_of)
    if len(rows) - newer >= shape.block_events // 2:  # most of them, and enough: they need not be looked at one by one
        groups.append((None, list(rows[newer:])))
        rows = rows[:newer]
    for number, grouped in groupby(rows, key=lambda row: max(bisect_right(begins, key_of(row)) - 1, 0)):
        group, block = list(grouped), blocks[number]
        is_apart = key_of(group[0]) > block.newest or key_of(group[-1]) < block.oldest
        is_enough = len(group) >= shape.block_events // 2
        groups.append((None if is_apart and is_enough else block, group))
    return groups


def _worth_tidying(blocks: Sequence[Block], horizon: int) -> list[Block]:
    """Some of the blocks that are half dead; the others' turn comes."""
    half_dead = [block for block in blocks if block.dead_share(horizon) >= _DEAD_ENOUGH]
    return half_dead[:_MAX_TIDIED]
