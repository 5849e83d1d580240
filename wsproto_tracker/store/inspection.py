"""Looking at a store's file, beside the server that may be writing to it: what is in it, and whether it is sound."""

from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise

import attrs

from wsproto_tracker.errors import StoreError, UnavailableError
from wsproto_tracker.protocol import json_text
from wsproto_tracker.protocol.timestamps import parse_timestamp
from wsproto_tracker.store.block import Block, count_apps, key_of
from wsproto_tracker.store.database import Database
from wsproto_tracker.store.loading import Loaded
from wsproto_tracker.store.run import DamageError, Row, read_index, read_rows

__all__ = ["Summary", "summarize", "verify"]


@attrs.frozen
class Summary:
    """What is in a store.

    :ivar events: those that queries show.
    :ivar gone: those that are beyond the capacity and still take space.
    :ivar oldest: the instant of the oldest event, ``None`` where there is none.
    :ivar newest: likewise.
    :ivar text_bytes: the text of all of them.
    """

    events: int
    gone: int
    oldest: int | None
    newest: int | None
    last_arrival: int
    blocks: int
    damages: int
    open_events: int
    text_bytes: int
    used_bytes: int


def summarize(database: Database) -> Summary:
    """Count what is in a store.

    :raises StoreError: if it cannot be read.
    """
    with database.unchanging():
        loaded = database.load()
        damaged = len(loaded.damaged) + len(loaded.problems)
        visible: list[tuple[int, int]] = []  # oldest and newest instant of each part
        events = gone = text_bytes = 0
        for block in loaded.blocks:
            try:
                index = read_index(block.seal, database.read_index(block))
            except DamageError:
                damaged += 1
                continue
            instants = [
                instant
                for instant, arrival in zip(index.instants, index.arrivals, strict=True)
                if arrival > loaded.state.horizon
            ]
            events += len(instants)
            gone += block.seal.count - len(instants)
            text_bytes += block.seal.text_bytes
            visible += [(instants[-1], instants[0])] if instants else []
        rows = [row for row in loaded.rows if row[1] > loaded.state.horizon]
        visible += [(row[0], row[0]) for row in rows]
        return Summary(
            events=events + len(rows),
            gone=gone + len(loaded.rows) - len(rows),
            oldest=min((oldest for oldest, _ in visible), default=None),
            newest=max((newest for _, newest in visible), default=None),
            last_arrival=loaded.state.last_arrival,
            blocks=len(loaded.blocks),
            damages=damaged,
            open_events=len(rows),
            text_bytes=text_bytes + sum(len(text) for _, _, text in loaded.rows),
            used_bytes=database.used_bytes,
        )


def verify(database: Database) -> list[str]:
    """Check everything there is to check; returns a sentence for each thing that is wrong."""
    with database.unchanging():
        found = database.integrity_problems()
        try:
            loaded = database.load()
        except StoreError as error:
            return [*found, str(error)]
        found += loaded.problems
        found += [f"block {number}: was found damaged before, and is left out" for number in loaded.damaged]
        found += [
            f"blocks {older.id} and {newer.id} overlap"
            for older, newer in pairwise(loaded.blocks)
            if older.newest >= newer.oldest
        ]
        seen = _Seen(loaded)
        for block in loaded.blocks:
            try:
                rows = read_rows(block.seal, *database.read(block))
            except (DamageError, UnavailableError) as error:
                found.append(f"block {block.id}: {error}")
                continue
            found += (f"block {block.id}: {problem}" for problem in (*_misfits(block, rows), *_faults(rows, seen)))
        found += (f"journal: {problem}" for problem in _faults(loaded.rows, seen))
        if not found:  # else a lost event may be the reason
            found += _lost_ids(database, loaded, seen)
        return found


def _misfits(block: Block, rows: list[Row]) -> Iterator[str]:
    """Where a block is not as it is described."""
    if any(older >= newer for older, newer in pairwise(map(key_of, rows))):
        yield "its events are not in order"
    arrivals = [arrival for _, arrival, _ in rows]
    described = (block.oldest, block.newest, block.first_arrival, block.last_arrival, block.apps)
    if described != (key_of(rows[0]), key_of(rows[-1]), min(arrivals), max(arrivals), count_apps(rows)):
        yield "its description does not fit its events"


class _Seen:
    """The arrivals that were met: a byte for each from the first that is there to the last that was given."""

    def __init__(self, loaded: Loaded) -> None:
        firsts = [*(block.first_arrival for block in loaded.blocks), *(arrival for _, arrival, _ in loaded.rows)]
        self._first = min(firsts, default=0)
        self._last = loaded.state.last_arrival
        self._met = bytearray(max(self._last - self._first + 1, 0))

    def meet(self, arrival: int) -> str | None:
        """What is wrong with meeting this arrival, if anything."""
        if not max(self._first, 1) <= arrival <= self._last:
            return f"arrival {arrival} was never given"
        if self._met[arrival - self._first]:
            return f"arrival {arrival} is there twice"
        self._met[arrival - self._first] = 1
        return None

    def has_met(self, arrival: int) -> bool:
        """Whether this arrival is there."""
        return self._first <= arrival <= self._last and bool(self._met[arrival - self._first])


def _faults(rows: list[Row], seen: _Seen) -> Iterator[str]:
    """Where an event is not as it was accepted, or is there twice."""
    for instant, arrival, text in rows:
        if fault := seen.meet(arrival):
            yield fault
        fits = False
        with suppress(ValueError, KeyError, TypeError):
            fits = parse_timestamp(json_text.loads(text.decode())["timestamp"]) == instant
        if not fits:
            yield f"the event of arrival {arrival} is not as it was accepted"


def _lost_ids(database: Database, loaded: Loaded, seen: _Seen) -> Iterator[str]:
    for arrival in database.given_arrivals():
        if not isinstance(arrival, int):
            yield "an id is remembered of an arrival that is no number"
        elif arrival > loaded.state.horizon and not seen.has_met(arrival):
            yield f"an id is remembered of arrival {arrival}, which is not there"
