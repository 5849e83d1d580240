"""``TimelineStore``: the event store on a timeline in SQLite.

One task writes. Batches that come while it is busy are committed together in its next transaction, so that many share
one wait for the disk. Another task seals, beside the commits but for the transaction in which it writes what it has
packed. Queries read beside both, each from one snapshot.

While nothing can be written (an *outage*), patient batches wait, impatient ones fail after the next attempt, and there
is an attempt each second. Where nothing waits, some bytes are written for a trial: who is told to come back when there
is no outage any more would wait for ever otherwise, and so would the store.
"""

import logging
import math
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import TypeVar

import trio

from wsproto_tracker.errors import StoreError, UnavailableError
from wsproto_tracker.protocol.events import Event
from wsproto_tracker.protocol.query import Query
from wsproto_tracker.store.block import Shape
from wsproto_tracker.store.connection import Durability
from wsproto_tracker.store.contract import (
    Answer,
    Appended,
    Chunk,
    Commit,
    OnCommitted,
    OnStored,
    Outage,
    Receipt,
    StoreStatus,
)
from wsproto_tracker.store.database import Database
from wsproto_tracker.store.place import Place, Position
from wsproto_tracker.store.queue import BatchQueue, Waiting
from wsproto_tracker.store.reading import Part, Reader, Segment, count_some, next_chunks, on_page
from wsproto_tracker.store.timeline import Capacity, Timeline
from wsproto_tracker.tasks import beside

__all__ = ["TimelineStore", "open_timeline"]

_LOG = logging.getLogger("wsproto_tracker.store")

_RETRY_S = 1.0
_TRIAL_BYTES = 64 * 1024
_QUERY_THREADS = 1  # there is one connection to read with, and a second thread would delay commits more than it helps

T = TypeVar("T")


class TimelineStore:
    """An event store on a timeline. ``open_timeline`` makes it, and runs the tasks that write and seal.

    :param max_uncommitted_bytes: memory that batches may take on their way to the disk; one alone may take more.
    """

    def __init__(
        self,
        database: Database,
        timeline: Timeline,
        capacity: Capacity,
        on_stored: OnStored,
        on_committed: OnCommitted,
        max_uncommitted_bytes: int,
    ) -> None:
        self._database = database
        self._timeline = timeline
        self._capacity = capacity
        self._on_stored = on_stored
        self._on_committed = on_committed
        self._queue = BatchQueue(max_uncommitted_bytes)
        self._changing = trio.Lock()
        self._rewriting = trio.Lock()  # blocks are replaced by one at a time; taken before ``_changing``
        self._sealing_wanted = trio.Event()
        self._retry_at = -math.inf
        self._seal_at = -math.inf
        self._why_not_sealed = ""
        self._readers = trio.CapacityLimiter(_QUERY_THREADS)

    async def append(self, events: Sequence[Event], *, is_patient: bool = True) -> Receipt:
        """Take a batch in; see the contract."""
        return await self._queue.put(events, is_patient=is_patient)

    async def apply(self, batches: Sequence[Sequence[Event]], place: Place) -> Waiting:
        """Take in what a message of the stream holds, which is then the position; waits as ``append`` does.

        Messages come in their order, and none while one with the same id is on its way.
        """
        return await self._queue.put(*batches, place=place)

    @property
    def position(self) -> Position | None:
        """What was applied last of a stream, if it is of a node of a cluster."""
        return self._timeline.position

    async def query(self, query: Query, apps: frozenset[str] | None = None) -> Answer:
        """Answer from what is committed; see the contract."""
        reader = Reader(self._database, self._timeline.snapshot, query, apps)
        remaining = reader.segments()
        segments: list[Segment] = []
        is_done = False
        while not is_done:
            counted, is_done = await self._read(partial(count_some, reader, remaining))
            segments += (segment for segment in counted if segment.count)
        total = sum(segment.count for segment in segments)
        newest = segments[0].newest if segments else None
        return Answer(total, newest, self._chunks(reader, on_page(segments, *query.on_page.indices(total)[:2])))

    async def erase(self, *, user: str | None = None, app: str | None = None) -> int:
        """Erase the events of a user, of an app, or of a user in an app; returns how many there were.

        :raises ValueError: if neither is given.
        :raises UnavailableError: if it is not possible now, or if they are erased, and the file could not be rewritten
            to be without a trace of them.
        """
        if user is None and app is None:
            raise ValueError("expected a user, an app, or both")
        erased = await self.hide(user, app)
        try:
            await self.purge()
        except UnavailableError as error:
            raise UnavailableError(
                f"{error}; {erased} events are erased, but the file may hold traces of them; compact it later"
            ) from None
        return erased

    async def hide(self, user: str | None, app: str | None) -> int:
        """Erase events, of which the file may hold traces until ``purge``; returns how many there were.

        :raises UnavailableError: if it is not possible now.
        """
        async with self._rewriting:
            return await self._change(partial(self._timeline.erase, user, app))

    async def purge(self) -> None:
        """Leave nothing in the file of what was erased or replaced.

        :raises UnavailableError: if it is not possible now.
        """
        await self._change(self._timeline.purge)

    @property
    def damages(self) -> int:
        """How many blocks and other parts were found damaged; what they held is left out of all answers."""
        return self._timeline.damages

    @property
    def outage(self) -> Outage | None:
        """The outage that the last attempt to save something has met; see the contract."""
        return self._queue.outage

    @property
    def why_incomplete(self) -> str:
        """Nothing: there is no other node that may have more; see the contract."""
        return ""

    def status(self) -> StoreStatus:
        """Where it stands; see the contract."""
        snapshot = self._timeline.snapshot
        return StoreStatus(
            events=snapshot.visible_events,
            blocks=len(snapshot.blocks),
            stored_bytes=snapshot.stored_bytes,
            file_bytes=self._database.file_bytes,
            evicted=snapshot.horizon,
            uncommitted_bytes=self._queue.waiting_bytes,
            damages=self.damages,
        )

    async def compact(self) -> None:
        """Make the file as small as it can be.

        :raises UnavailableError: if it is not possible now.
        """
        async with self._rewriting:
            await self._change(self._timeline.repack)
        await self.purge()

    # --- the writer

    async def write(self) -> None:
        """Commit what comes, until ``close`` was called and nothing waits. A cancellation does not end it.

        :raises StoreError: if the store cannot go on; nobody waits for a commit then.
        """
        try:
            with trio.CancelScope(shield=True):
                while self._queue.batches or not self._queue.is_closed:
                    await self._pause()
                    await self._write()
        except BaseException as error:
            self._queue.give_up(f"the store has failed: {error}")
            raise

    async def seal(self) -> None:
        """Seal when it is time, until ``close`` was called. A cancellation does not end it.

        :raises StoreError: if the store cannot go on.
        """
        with trio.CancelScope(shield=True):
            while True:
                with trio.move_on_at(self._seal_at if self._why_not_sealed else math.inf):
                    await self._sealing_wanted.wait()
                if self._queue.is_closed:
                    break
                self._sealing_wanted = trio.Event()
                async with self._rewriting:
                    await self._seal()

    async def _write(self) -> None:
        """Commit what waits, and ask for a sealing if it is time. Where far too much is open, that comes first."""
        if self._timeline.sealing_is_overdue and not self._queue.is_closed:
            async with self._rewriting:  # the sealing that goes on may be enough
                if self._timeline.sealing_is_overdue and not await self._seal():
                    self._begin_outage(self._why_not_sealed)
                    return
        if self._queue.batches:
            await self._commit()
        elif self._queue.outage is not None:
            await self._try()
        is_due = self._timeline.sealing_is_due and not self._rewriting.locked()  # else that sees to it
        if self._queue.outage is None and (is_due or await self._expired()):
            self._sealing_wanted.set()

    def close(self) -> None:
        """Commit what waits, if it can be done at once, and end ``write`` and ``seal``."""
        self._queue.close("the store is closed")
        self._sealing_wanted.set()

    async def _pause(self) -> None:
        """Wait until there is something to write or, in an outage, until it is time for an attempt."""
        if self._queue.outage is None:
            interval_s = math.inf if self._capacity.max_age_s is None else self._capacity.mark_interval_s
            with trio.move_on_after(interval_s):
                await self._queue.wait()
        with trio.move_on_at(self._retry_at):
            await self._queue.wait_closed()

    async def _commit(self) -> None:
        group = self._queue.batches
        before = perf_counter()
        try:
            outcomes = iter(await self._change(partial(self._timeline.commit, *_parts(group))))
        except UnavailableError as error:
            self._begin_outage(str(error))
            return
        seconds, count = perf_counter() - before, 0
        for waiting in group:
            self._queue.let_go(waiting)
            appended = []
            for stored, duplicates in islice(outcomes, len(waiting.batches)):
                count += len(stored)
                if stored and (waiting.place is None or waiting.place.is_news):
                    self._on_stored(stored)
                appended.append(Appended(len(stored), duplicates))
            waiting.succeed(*appended)
        self._on_committed(Commit(count, seconds))
        if count or any(waiting.place is not None for waiting in group):
            self._end_outage()

    async def _try(self) -> None:
        """Try whether the outage is over, though nothing waits."""
        try:
            await self._change(partial(self._database.probe, _TRIAL_BYTES))
        except UnavailableError as error:
            self._begin_outage(str(error))
        else:
            self._end_outage()

    async def _seal(self) -> bool:
        """Seal, unless that failed a moment ago; whether it was done. ``_rewriting`` is held meanwhile."""
        if trio.current_time() < self._seal_at:
            return False
        try:
            planned = await trio.to_thread.run_sync(self._timeline.plan_sealing)
            await self._change(partial(self._timeline.apply_sealing, *planned))
            await trio.to_thread.run_sync(self._database.checkpoint)
        except UnavailableError as error:
            if not self._why_not_sealed:
                _LOG.warning("sealing is delayed: %s; trying again every %g s", error, _RETRY_S)
            self._why_not_sealed = str(error)
            self._seal_at = trio.current_time() + _RETRY_S
            return False
        self._why_not_sealed = ""
        self._seal_at = -math.inf
        return True

    async def _expired(self) -> bool:
        """Whether events have become too old."""
        if self._capacity.max_age_s is None or self._queue.outage is not None:
            return False
        try:
            return await self._change(self._timeline.expire)
        except UnavailableError:
            return False  # the next commit tells

    def _begin_outage(self, reason: str) -> None:
        if self._queue.outage is None:
            _LOG.error("nothing can be saved: %s; trying again every %g s", reason, _RETRY_S)
        self._retry_at = trio.current_time() + _RETRY_S
        if lost := self._queue.begin_outage(reason):
            _LOG.error("%d events are lost, none of which was acked: %s", lost, reason)

    def _end_outage(self) -> None:
        if self._queue.outage is not None:
            _LOG.warning("events are saved again")
        self._queue.outage = None
        self._retry_at = -math.inf

    async def _change(self, function: Callable[[], T]) -> T:
        """Change the timeline in a thread, one change at a time; a change that has begun is not given up."""
        async with self._changing:
            return await trio.to_thread.run_sync(function)  # once begun it is waited for, cancelled or not

    # --- reading

    async def _read(self, function: Callable[[], T]) -> T:
        return await trio.to_thread.run_sync(function, limiter=self._readers)

    async def _chunks(self, reader: Reader, parts: list[Part]) -> AsyncGenerator[Chunk, None]:
        remaining = (chunk for part in parts for chunk in reader.chunks(*part))
        while chunks := await self._read(partial(next_chunks, remaining)):
            for chunk in chunks:
                yield chunk


def _parts(group: Sequence[Waiting]) -> tuple[list[Sequence[Event]], list[tuple[Place, int]]]:
    """The batches that wait, and where they come from."""
    batches = [events for waiting in group for events in waiting.batches]
    return batches, [(waiting.place, len(waiting.batches)) for waiting in group if waiting.place is not None]


@asynccontextmanager
async def open_timeline(
    path: Path | None,
    capacity: Capacity = Capacity(),
    *,
    on_stored: OnStored = lambda _events: None,
    on_committed: OnCommitted = lambda _commit: None,
    durability: Durability = "full",
    max_uncommitted_bytes: int = 32 * 1024 * 1024,
    shape: Shape = Shape(),
    now_s: Callable[[], float] = time.time,
    is_node: bool = False,
) -> AsyncGenerator[TimelineStore, None]:
    """Open a store, and close it at the end, when everything that was appended is committed.

    :param path: its SQLite file, made where there is none; ``None`` for a store in memory.
    :param durability: ``full``: committed is what is on disk. ``normal``: what the system has; it survives the loss of
        the process, not of the machine.
    :param now_s: the clock, in seconds since 1970, for ``max_age_s``.
    :param is_node: whether it may be of a node of a cluster, to which only what is in its stream may be added.
    :raises StoreError: if the file cannot be opened, is in use, not ours, newer than this release, or damaged.
    """
    database = await trio.to_thread.run_sync(Database, path, durability)
    try:
        timeline = await trio.to_thread.run_sync(Timeline, database, capacity, shape, now_s)
        if timeline.position is not None and not is_node:
            raise StoreError(
                f"{path}: this file is of a node of the cluster with the stream {timeline.position.stream}, and can be "
                "changed through that only; expected --store nats://HOST:4222,…/STREAM, and the file as --local"
            )
        if capacity.max_bytes is not None:
            with suppress(UnavailableError):  # the next sealing sees to it
                await trio.to_thread.run_sync(timeline.seal)
        store = TimelineStore(database, timeline, capacity, on_stored, on_committed, max_uncommitted_bytes)
        async with beside(store.write, store.seal, at_end=store.close):
            yield store
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(database.close)
