"""Reading: the answer to a query from one snapshot of the timeline.

An answer is a list of *segments*, newest first. A segment is a block with the open rows that lie between its events, or
a stretch of open rows between two blocks. What matches in it is counted first, for ``total``, and read again when its
turn comes to be sent; so an answer holds no more than a few blocks at a time, however large it is. A segment that is
wanted whole is neither taken apart nor inflated.

All of this blocks and is called in worker threads, some milliseconds at a time.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from time import perf_counter
from typing import TypeVar

import attrs

from wsproto_tracker.protocol.query import Query
from wsproto_tracker.store.block import Block, Snapshot, key_of
from wsproto_tracker.store.contract import Chunk
from wsproto_tracker.store.damage import noting_damage, read_block
from wsproto_tracker.store.database import Database
from wsproto_tracker.store.fields import app_of, matches_fields
from wsproto_tracker.store.run import DamageError, Row, check_data, check_index, read_index

__all__ = ["Part", "Reader", "Segment", "count_some", "next_chunks", "on_page"]

_FOREVER = 2**63
_CHUNK_BYTES = 64 * 1024
_SEGMENT_ROWS = 1024
_STEP_S = 0.02  # for which a query keeps its thread
_STEP_BYTES = 512 * 1024  # of an answer that are read ahead

T = TypeVar("T")


@attrs.frozen
class Segment:
    """A part of an answer.

    :ivar block: its block, if it has one.
    :ivar rows: open rows that lie between the block's events, or without a block, oldest first.
    :ivar is_whole: whether all of the block is wanted, and nothing else.
    :ivar count: how many of its events match.
    :ivar newest: the instant of the newest of these, where no segment before it has any.
    """

    block: Block | None
    rows: tuple[Row, ...]
    is_whole: bool = False
    count: int = 0
    newest: int = 0


class Reader:
    """Reads what matches a query out of a snapshot. What a damaged block held is left out, and a line logged.

    :param apps: the apps whose events are seen; ``None`` for all.
    """

    def __init__(
        self, database: Database, snapshot: Snapshot, query: Query, apps: frozenset[str] | None = None
    ) -> None:
        self._database = database
        self._snapshot = snapshot
        self._query = query
        since = -_FOREVER if query.since is None else query.since
        self._since = since if query.after is None else max(since, query.after + 1)
        self._until = _FOREVER if query.until is None else query.until
        filters = (query.type, query.level, query.userId, query.sessionId, query.groupId, query.search)
        self._has_content_filters = any(value is not None for value in filters)
        asked = None if query.appId is None else frozenset([query.appId])
        self._apps = apps if asked is None else asked if apps is None else asked & apps
        self._has_filters = self._has_content_filters or self._apps is not None
        self._has_found = False

    def segments(self) -> Iterator[Segment]:
        """Every segment that the window touches, newest first, not yet counted."""
        horizon = self._snapshot.horizon
        rows = [row for row in self._in_window(self._snapshot.rows, _instant, _instant) if row[1] > horizon]
        end = len(rows)
        for block in reversed(self._in_window(self._snapshot.blocks, _first_instant, _last_instant)):
            if block.is_damaged or block.last_arrival <= horizon:
                continue
            after = bisect_right(rows, block.newest, 0, end, key=key_of)
            yield from _open_segments(rows[after:end])
            end = bisect_left(rows, block.oldest, 0, after, key=key_of)
            yield Segment(block, tuple(rows[end:after]))
        yield from _open_segments(rows[:end])

    def _in_window(self, items: Sequence[T], first: Callable[[T], int], last: Callable[[T], int]) -> Sequence[T]:
        """Those of some items, oldest first and without overlap, that the window touches."""
        return items[bisect_left(items, self._since, key=last) : bisect_right(items, self._until, key=first)]

    def count(self, segment: Segment) -> Segment:
        """Find out how many events of a segment match; segments are counted in their order, newest first."""
        block = segment.block
        if block is not None and not segment.rows and self._is_inside(block):
            known = self._known_count(block)
            if known == 0 or (known == block.seal.count and self._is_sound(block)):
                self._has_found |= known > 0
                return attrs.evolve(segment, is_whole=True, count=known, newest=block.newest[0])
            if known is not None and self._has_found and self._is_sound(block):
                return attrs.evolve(segment, count=known)
        matching = self._matching(segment, read=self._read if self._has_filters else self._read_keys_if_sound)
        self._has_found |= bool(matching)
        return attrs.evolve(segment, count=len(matching), newest=matching[-1][0] if matching else 0)

    def chunks(self, segment: Segment, start: int, stop: int) -> Iterator[Chunk]:
        """Events of a segment that match, from one place to another, counted from the newest."""
        if segment.is_whole and segment.block is not None and (start, stop) == (0, segment.count):
            data = self._read_data(segment.block)
            if data is not None:
                yield Chunk(data, segment.block.seal)
            return
        matching = self._matching(segment, self._read)
        matching.reverse()
        yield from _chunks(text for _, _, text in matching[start:stop])

    def _matching(self, segment: Segment, read: Callable[[Block], list[Row]]) -> list[Row]:
        """The rows of a segment that match, oldest first."""
        rows = list(segment.rows)
        if segment.block is not None:
            rows += read(segment.block)
            rows.sort()
        return [row for row in rows if self._matches(row)]

    def _matches(self, row: Row) -> bool:
        instant, arrival, text = row
        return (
            self._since <= instant <= self._until
            and arrival > self._snapshot.horizon
            and (self._apps is None or app_of(text) in self._apps)
            and (not self._has_content_filters or matches_fields(text, self._query))
        )

    def _is_inside(self, block: Block) -> bool:
        """Whether all of the block is in the window, and none of it beyond the horizon."""
        is_inside = self._since <= block.oldest[0] and block.newest[0] <= self._until
        return is_inside and block.first_arrival > self._snapshot.horizon

    def _known_count(self, block: Block) -> int | None:
        """How many events of a block in the window match, where that is known without reading it."""
        if self._apps is None:
            known = block.seal.count
        elif block.apps is not None:
            known = sum(count for app, count in block.apps.items() if app in self._apps)
        else:
            return None
        return None if known and self._has_content_filters else known

    def _is_sound(self, block: Block) -> bool:
        """Whether the block is as it was written; looked at once for each block and process."""
        if not block.is_checked:
            block.is_checked = self._read_data(block) is not None
        return block.is_checked

    def _read(self, block: Block) -> list[Row]:
        try:
            return read_block(self._database, block)
        except DamageError:
            return []

    def _read_keys_if_sound(self, block: Block) -> list[Row]:
        """As ``_read``, but without the texts."""
        if not self._is_sound(block):
            return []
        try:
            with noting_damage(block):
                index = read_index(block.seal, self._database.read_index(block))
        except DamageError:
            return []
        return [(instant, arrival, b"") for instant, arrival in zip(index.instants, index.arrivals, strict=True)]

    def _read_data(self, block: Block) -> bytes | None:
        try:
            with noting_damage(block):
                index, data = self._database.read(block)
                check_index(block.seal, index)
                check_data(block.seal, data)
        except DamageError:
            return None
        return data


def _instant(row: Row) -> int:
    return row[0]


def _first_instant(block: Block) -> int:
    return block.oldest[0]


def _last_instant(block: Block) -> int:
    return block.newest[0]


def _open_segments(rows: Sequence[Row]) -> Iterator[Segment]:
    """Open rows in segments that are not too large, newest first."""
    for stop in range(len(rows), 0, -_SEGMENT_ROWS):
        yield Segment(None, tuple(rows[max(stop - _SEGMENT_ROWS, 0) : stop]))


def _chunks(texts: Iterable[bytes]) -> Iterator[Chunk]:
    piece: list[bytes] = []
    size = 0
    for text in texts:
        piece.append(text)
        size += len(text)
        if size >= _CHUNK_BYTES:
            yield Chunk(b",".join(piece))
            piece, size = [], 0
    if piece:
        yield Chunk(b",".join(piece))


Part = tuple[Segment, int, int]
"""A segment that a page has events of, the first of them, and the one after the last."""


def count_some(reader: Reader, remaining: Iterator[Segment]) -> tuple[list[Segment], bool]:
    """Count some segments; returns them, and whether these were the last."""
    until = perf_counter() + _STEP_S
    counted = []
    for segment in remaining:
        counted.append(reader.count(segment))
        if perf_counter() > until:
            return counted, False
    return counted, True


def on_page(segments: list[Segment], start: int, stop: int) -> list[Part]:
    """The parts of a page, which begins and ends at these places among all that match."""
    parts = []
    position = 0
    for segment in segments:
        first, last = max(start - position, 0), min(stop - position, segment.count)
        if first < last:
            parts.append((segment, first, last))
        position += segment.count
    return parts


def next_chunks(remaining: Iterator[Chunk]) -> list[Chunk]:
    """Some of the chunks; none where nothing remains."""
    chunks: list[Chunk] = []
    size = 0
    for chunk in remaining:
        chunks.append(chunk)
        size += len(chunk.data)
        if size >= _STEP_BYTES:
            break
    return chunks
