"""Erasing and compacting: which blocks have to be rewritten, and what is in them afterwards."""

from collections.abc import Callable, Iterator, Sequence

import attrs

from wsproto_tracker.store.block import Block, Packed, Shape, Snapshot, cut, pack_block
from wsproto_tracker.store.fields import app_of, fields_of
from wsproto_tracker.store.run import DamageError, Row
from wsproto_tracker.store.sealing import ReadRows, Sealing, gone_until

__all__ = ["Erasure", "plan_compaction", "plan_erasure"]

_STRETCH = 64  # blocks that are compacted together


@attrs.frozen
class Erasure:
    """Whose events go: a user's, an app's, or a user's in an app; at least one of the two is given."""

    user: str | None
    app: str | None

    def concerns(self, text: bytes) -> bool:
        """Whether this event goes."""
        if self.user is None:
            return app_of(text) == self.app
        fields = fields_of(text)
        return fields.userId == self.user and (self.app is None or fields.appId == self.app)

    def may_concern(self, block: Block) -> bool:
        """Whether some event of a block may have to go."""
        return not block.is_damaged and (self.app is None or block.apps is None or self.app in block.apps)


def plan_erasure(
    snapshot: Snapshot, erasure: Erasure, shape: Shape, read_rows: ReadRows, new_id: Callable[[], int]
) -> tuple[Sealing, list[int]]:
    """Rewrite the blocks that hold something to erase; returns the arrivals of what is erased as well."""
    removed: list[Block] = []
    damaged: list[Block] = []
    added: list[Packed] = []
    open_rows = [row for row in snapshot.rows if not erasure.concerns(row[2])]
    erased = [row[1] for row in snapshot.rows if erasure.concerns(row[2])]
    for block in filter(erasure.may_concern, snapshot.blocks):
        try:
            rows = read_rows(block)
        except DamageError:
            damaged.append(block)
            continue
        gone = [row for row in rows if erasure.concerns(row[2])]
        if gone:
            erased += (arrival for _, arrival, _ in gone)
            kept = _alive(sorted(set(rows).difference(gone)), snapshot.horizon)
            removed.append(block)
            added += (pack_block(piece, new_id) for piece in cut(kept, shape))
    return Sealing(tuple(removed), tuple(damaged), tuple(added), open_rows, snapshot.state.last_arrival), erased


def plan_compaction(
    snapshot: Snapshot, shape: Shape, read_rows: ReadRows, new_id: Callable[[], int]
) -> Iterator[Sealing]:
    """Rewrite stretches of blocks that would become fewer, or that hold what is gone, one stretch after the other."""
    open_rows = _alive(snapshot.rows, snapshot.horizon)
    open_until = gone_until(snapshot.rows, open_rows)
    for start in range(0, len(snapshot.blocks), _STRETCH):
        stretch = snapshot.blocks[start : start + _STRETCH]
        rows: list[Row] = []
        removed: list[Block] = []
        damaged: list[Block] = []
        for block in stretch:
            try:
                rows += _alive(read_rows(block), snapshot.horizon)
                removed.append(block)
            except DamageError:  # also of one that was known to be damaged
                damaged.append(block)
        pieces = list(cut(rows, shape))
        if len(pieces) < len(removed) or len(rows) < sum(block.seal.count for block in removed) or damaged:
            added = tuple(pack_block(piece, new_id) for piece in pieces)
            yield Sealing(tuple(removed), tuple(damaged), added, open_rows, open_until)


def _alive(rows: Sequence[Row], horizon: int) -> list[Row]:
    return [row for row in rows if row[1] > horizon]
