"""The timeline: what it is at a moment, and the changes that the one writer makes to it.

Invariants:

- Blocks do not overlap, and are ordered by (instant, arrival). Open rows may lie anywhere: most are newer than every
  block; a late one lies before the end of the blocks, until sealing merges it into the block that covers it.
- An arrival is given once, one after the other. Visible is what has an arrival above the horizon, which only grows.
- A snapshot never changes. It is replaced when what it shows is on disk, and an answer is read from one snapshot.

The methods that change it block. They run in a worker thread, one at a time. A sealing may be planned beside commits,
but not beside anything else that changes blocks.
"""

import logging
import time
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from hashlib import blake2b
from itertools import chain, zip_longest

import attrs

from wsproto_tracker.errors import UnavailableError
from wsproto_tracker.protocol.events import Event
from wsproto_tracker.store.block import Block, Packed, Shape, Snapshot, State
from wsproto_tracker.store.damage import read_block
from wsproto_tracker.store.database import Database
from wsproto_tracker.store.maintenance import Erasure, plan_compaction, plan_erasure
from wsproto_tracker.store.place import Place
from wsproto_tracker.store.run import DamageError, Row, read_index
from wsproto_tracker.store.sealing import Sealing, is_due, plan_sealing

__all__ = ["Capacity", "Timeline"]

_LOG = logging.getLogger("wsproto_tracker.store")

_MAX_MARK_INTERVAL_S = 60
_DIGEST_BYTES = 16
_UUID_CHARS = 36
_SHORT_CHARS = 256  # names of apps that are longer are not worth keeping


@attrs.frozen
class Capacity:
    """What is kept: the last to arrive. The batch that arrived last goes by its age only.

    :ivar max_events: how many; an erased event keeps its place until its turn comes.
    :ivar max_age_s: for how long since they arrived, give or take a minute.
    :ivar max_bytes: on how much of the disk, about.
    """

    max_events: int = 500_000
    max_age_s: float | None = None
    max_bytes: int | None = None

    @property
    def mark_interval_s(self) -> int:
        """How often it is noted when events arrive, and looked whether some are too old."""
        return (
            _MAX_MARK_INTERVAL_S if self.max_age_s is None else min(_MAX_MARK_INTERVAL_S, int(self.max_age_s / 10) + 1)
        )


class Timeline:
    """The timeline of one store.

    :param now_s: the clock, in seconds since 1970.
    """

    def __init__(
        self, database: Database, capacity: Capacity, shape: Shape, now_s: Callable[[], float] = time.time
    ) -> None:
        loaded = database.load()
        self._database = database
        self._capacity = capacity
        self._shape = shape
        self._now_s = now_s
        self._received = loaded.received
        self.position = loaded.position
        self._damaged_before = len(loaded.damaged) + len(loaded.problems)
        state = loaded.state.with_at_most(capacity.max_events)
        self.snapshot = Snapshot(tuple(loaded.blocks), tuple(sorted(loaded.rows)), state)
        self._open_bytes = sum(len(text) for _, _, text in self.snapshot.rows)
        if state.horizon > loaded.state.horizon:
            gone = state.horizon - loaded.state.horizon
            _LOG.warning("%d events are gone, those that came first: %d may be kept", gone, capacity.max_events)
        for problem in loaded.problems:
            _LOG.error("the store is damaged: %s; what it held is left out", problem)
        lost = self._lost_arrivals(loaded.blocks, loaded.rows) if loaded.problems else ()
        if loaded.is_new or loaded.problems or state != loaded.state or not loaded.is_journal_in_order:
            try:
                with database.transaction():
                    if not loaded.is_journal_in_order:
                        database.rewrite_journal(state.last_arrival, self.snapshot.rows)
                    database.set_state(state)
                    database.forget_given_ids(state.horizon, lost)
            except UnavailableError:
                if loaded.is_new or loaded.problems or not loaded.is_journal_in_order:
                    raise
                # a full disk: the next commit writes it, and until then there is something to read
        database.retire_orphans()
        database.delete_retired()

    @property
    def damages(self) -> int:
        """How many blocks, entries of the journal and other parts were found damaged, and are left out."""
        return self._damaged_before + sum(block.is_damaged for block in self.snapshot.blocks)

    @property
    def sealing_is_due(self) -> bool:
        """Whether there are enough open rows."""
        return is_due(len(self.snapshot.rows), self._open_bytes, self._shape)

    @property
    def sealing_is_overdue(self) -> bool:
        """Whether there are so many open rows that memory is at stake."""
        return is_due(len(self.snapshot.rows) // 2, self._open_bytes // 2, self._shape)

    def commit(
        self, batches: Sequence[Sequence[Event]], messages: Sequence[tuple[Place, int]] = ()
    ) -> list[tuple[Sequence[Event], int]]:
        """Store batches in one transaction, as if one came after the other.

        Returns for each what was stored of it, and how many were duplicates.

        :param messages: where they come from, if that is a stream, each with the number of its batches; the last is
            the position then. The batches of a message that was applied before are duplicates.
        :raises UnavailableError: if that is not possible now; then nothing is stored.
        """
        before = self.snapshot
        state = before.state.with_horizon(self._horizon_by_age())
        rows: list[Row] = []
        digests = [[_digest(event) for event in events if event.has_given_id] for events in batches]
        origins = [_digest_of_message(place) for place, count in messages for _ in range(count)]
        position = messages[-1][0].position if messages else self.position
        given: dict[bytes, int] = {}
        outcomes: list[tuple[Sequence[Event], int]] = []
        text_bytes = 0
        with self._database.transaction():
            known = self._database.arrivals_of([*chain.from_iterable(digests), *origins])
            for events, own, origin in zip_longest(batches, digests, origins):
                if known.get(origin, 0) > state.horizon:
                    outcomes.append(((), len(events)))
                    continue
                stored = self._new_ones(events, iter(own), given, known, state)
                if stored:
                    first = state.last_arrival + 1
                    if origin is not None:
                        given.setdefault(origin, first)
                    rows += [(event.instant, arrival, event.text) for arrival, event in enumerate(stored, first)]
                    state = State(rows[-1][1], first, state.horizon).with_at_most(self._capacity.max_events)
                outcomes.append((stored, len(events) - len(stored)))
            rows.sort()
            at_s = messages[0][0].at_s if messages else int(self._now_s())
            mark = self._mark(before.state.last_arrival + 1, at_s) if rows else None
            if rows:
                text_bytes = self._database.add_to_journal(rows)
                self._database.add_given_ids(given)
            if mark is not None:
                self._database.add_received(*mark)
            if position is not None and position != self.position:
                self._database.set_position(position)
            if state != before.state:
                self._database.set_state(state, before=before.state)
        self.position = position
        if mark is not None:
            self._received.append(mark)
        self._open_bytes += text_bytes
        self.snapshot = Snapshot(before.blocks, _merged(before.rows, rows), state)
        return outcomes

    def _new_ones(
        self,
        events: Sequence[Event],
        digests: Iterator[bytes],
        given: dict[bytes, int],
        known: Mapping[bytes, int],
        state: State,
    ) -> Sequence[Event]:
        """The events of a batch that are not there already (X-DUP-1).

        :param digests: those of the given ids of this batch come next.
        :param given: the arrivals of ids that this transaction brings, by digest; those of this batch are added.
        :param known: the arrivals of ids that were there before.
        """
        if not any(event.has_given_id for event in events):
            return events
        new: list[Event] = []
        for event in events:
            if event.has_given_id:
                digest = next(digests)
                if (given.get(digest) or known.get(digest, 0)) > state.horizon:
                    continue
                given[digest] = state.last_arrival + len(new) + 1
            new.append(event)
        return new

    def expire(self) -> bool:
        """Let go of what is too old; whether there was something."""
        before = self.snapshot.state
        state = before.with_horizon(self._horizon_by_age())
        if state == before:
            return False
        with self._database.transaction():
            self._database.set_state(state, before=before)
        self.snapshot = attrs.evolve(self.snapshot, state=state)
        return True

    def seal(self) -> None:
        """Seal the older of the open rows, and leave behind what is dead.

        :raises UnavailableError: if that is not possible now; then nothing changes.
        """
        self.apply_sealing(*self.plan_sealing())

    def plan_sealing(self) -> tuple[Sealing, State]:
        """Plan and pack what ``seal`` does, and change nothing; returns the state that it is planned for as well.

        :raises UnavailableError: if that is not possible now.
        """
        before = self.snapshot
        state = before.state.with_horizon(self._horizon_by_bytes(before))
        sealing = plan_sealing(
            before.blocks, before.rows, state.horizon, self._shape, self._read_block, self._database.new_block_id
        )
        return sealing, state

    def apply_sealing(self, sealing: Sealing, planned: State) -> None:
        """Do what was planned, after whatever was committed since.

        :raises UnavailableError: if that is not possible now; then nothing changes.
        """
        self._database.delete_retired()
        self._apply(sealing, planned)

    def erase(self, user: str | None, app: str | None) -> int:
        """Erase the events of a user, of an app, or of a user in an app; returns how many were visible.

        :raises UnavailableError: if that is not possible now; then nothing changes.
        """
        before = self.snapshot
        erasure = Erasure(user, app)
        sealing, erased = plan_erasure(before, erasure, self._shape, self._read_block, self._database.new_block_id)
        self._apply(sealing, before.state, erased)
        return sum(arrival > before.horizon for arrival in erased)

    def repack(self) -> None:
        """Rewrite blocks that are not full or partly dead, and let go of the damaged ones.

        :raises UnavailableError: if that is not possible now; then all of it, or some blocks only, are as they were.
        """
        before = self.snapshot
        for sealing in plan_compaction(before, self._shape, self._read_block, self._database.new_block_id):
            self._apply(sealing, before.state)
        with self._database.transaction():
            self._database.delete_blocks_but(block.id for block in self.snapshot.blocks)
            self._database.rewrite_journal(self.snapshot.state.last_arrival, self.snapshot.rows)
        self._damaged_before = 0
        self._database.retire_orphans()

    def purge(self) -> None:
        """Leave nothing of what was replaced in the file, but what an answer is still reading.

        :raises UnavailableError: if that is not possible now.
        """
        self._database.delete_retired()
        self._database.vacuum()

    def _apply(self, sealing: Sealing, planned: State, erased: Sequence[int] = ()) -> None:
        """Replace blocks and rows by others.

        :param planned: the state of the moment that it was planned for; what came later stays open.
        """
        before = self.snapshot
        state = before.state.with_horizon(planned.horizon)
        newer = [row for row in before.rows if row[1] > planned.last_arrival]
        open_rows = sorted([*sealing.open_rows, *newer])
        blocks = sealing.apply(before.blocks)
        lost = self._lost_arrivals(blocks, open_rows, sealing.added) if sealing.damaged else ()
        with self._database.transaction():
            self._database.replace(sealing.removed, sealing.added, sealing.damaged)
            self._database.rewrite_journal(sealing.gone_until, open_rows)
            self._database.set_state(state, before=before.state)
            self._database.forget_given_ids(state.horizon, [*erased, *lost])
            self._database.forget_received(state.horizon)
        self._database.retire(sealing.removed)
        self._damaged_before += len(sealing.damaged)
        reached = bisect_right(self._received, state.horizon, key=lambda mark: mark[0])
        self._received = self._received[max(reached - 1, 0) :]
        self._open_bytes = sum(len(text) for _, _, text in open_rows)
        self.snapshot = Snapshot(blocks, tuple(open_rows), state)

    def _read_block(self, block: Block) -> list[Row]:
        return read_block(self._database, block)

    def _lost_arrivals(self, blocks: Sequence[Block], rows: Sequence[Row], added: Sequence[Packed] = ()) -> set[object]:
        """The arrivals of given ids that are in none of these: their events were lost, and may come again (X-DUP-1).

        :param added: those of the blocks that are not written yet.
        """
        new = {packed.block.id: packed.index for packed in added}
        lost = set(self._database.given_arrivals())
        lost.difference_update(arrival for _, arrival, _ in rows)
        for block in blocks:
            with suppress(DamageError):  # which is noted when it is next read
                index = new.get(block.id) or self._database.read_index(block)
                lost.difference_update(read_index(block.seal, index).arrivals)
        return lost

    def _mark(self, arrival: int, at_s: int) -> tuple[int, int] | None:
        """When this arrival came, if it is time to note it; the clock may jump back, marks do not."""
        if self._received and at_s < self._received[-1][1] + self._capacity.mark_interval_s:
            return None
        return arrival, at_s

    def _horizon_by_age(self) -> int:
        """The arrivals from one mark to the next came before another mark would have been due."""
        if self._capacity.max_age_s is None:
            return 0
        oldest_s = self._now_s() - self._capacity.max_age_s - self._capacity.mark_interval_s
        number = bisect_right(self._received, oldest_s, key=lambda mark: mark[1])
        if number == 0:
            return 0
        return self._received[number][0] - 1 if number < len(self._received) else self.snapshot.state.last_arrival

    def _horizon_by_bytes(self, snapshot: Snapshot) -> int:
        """The horizon that leaves about what may be kept, were the arrivals of each block spread evenly."""
        if self._capacity.max_bytes is None:
            return snapshot.horizon
        blocks = snapshot.blocks
        other_bytes = self._database.used_bytes - sum(block.stored_bytes for block in blocks)
        allowed = self._capacity.max_bytes - max(other_bytes, 0)

        def fits(horizon: int) -> bool:
            return sum(block.stored_bytes * (1 - block.dead_share(horizon)) for block in blocks) <= allowed

        possible = range(snapshot.horizon, max(snapshot.horizon, snapshot.state.batch_begins - 1))
        return snapshot.horizon + bisect_left(possible, True, key=fits)


def _digest(event: Event) -> bytes:
    """What stands for a given id: apps and ids may be of any length, and hold lone surrogates.

    That of a UUIDv7 begins with its time, so that ids of one time lie together in the file.
    """
    key = _key_of(event.app) if len(event.app) <= _SHORT_CHARS else _key_of.__wrapped__(event.app)
    digest = blake2b(event.id.encode("utf-8", "surrogatepass"), digest_size=_DIGEST_BYTES, key=key).digest()
    if len(event.id) == _UUID_CHARS and event.id[14] == "7":
        with suppress(ValueError):  # it only looks like one
            return (bytes.fromhex(event.id[:8] + event.id[9:13]) + digest)[:_DIGEST_BYTES]
    return digest


def _digest_of_message(place: Place) -> bytes:
    """What stands for a message; it is longer than what stands for the id of an event."""
    return b"m" + blake2b(place.message_id.encode(), digest_size=_DIGEST_BYTES).digest()


@lru_cache(maxsize=64)
def _key_of(app: str) -> bytes:
    """What makes the digests of one app others than those of another."""
    return blake2b(app.encode("utf-8", "surrogatepass")).digest()


def _merged(old: tuple[Row, ...], new: list[Row]) -> tuple[Row, ...]:
    """Two sorted lists as one; the new rows are newer than all but a few of the old, usually."""
    if not new:
        return old
    place = bisect_left(old, new[0])
    return (*old[:place], *sorted([*old[place:], *new]))
