"""``TimelineStore``: the event store on a timeline in SQLite.

One task writes. Batches that come while it is busy are committed together in its next transaction, so that many share
one wait for the disk. Queries read beside it, each from one snapshot.

While nothing can be written (an *outage*), patient batches wait, impatient ones fail after the next attempt, and there
is an attempt each second as long as something waits.
"""

import logging
import math
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import TypeVar

import attrs
import trio

from wsproto_tracker.errors import UnavailableError
from wsproto_tracker.protocol.events import Event
from wsproto_tracker.protocol.query import Query
from wsproto_tracker.store.block import Shape
from wsproto_tracker.store.connection import Durability
from wsproto_tracker.store.contract import Answer, Appended, Chunk, OnStored, Outage, Receipt
from wsproto_tracker.store.database import Database
from wsproto_tracker.store.reading import Reader, Segment
from wsproto_tracker.store.timeline import Capacity, Timeline

__all__ = ["TimelineStore", "open_timeline"]

_LOG = logging.getLogger("wsproto_tracker.store")

_RETRY_S = 1.0
_STEP_S = 0.02  # for which a query keeps its thread
_STEP_BYTES = 256 * 1024  # of an answer that are read ahead
_QUERY_THREADS = 2
_EVENT_OVERHEAD_BYTES = 1024  # what an event takes in memory besides its text, about

T = TypeVar("T")


@attrs.define(eq=False)
class _Waiting:
    """A batch that waits to be committed; the receipt that ``append`` returns."""

    events: Sequence[Event]
    is_patient: bool
    memory_bytes: int
    _attempted: trio.Event = attrs.field(factory=trio.Event, init=False)
    _ended: trio.Event = attrs.field(factory=trio.Event, init=False)
    _outage: Outage | None = attrs.field(default=None, init=False)
    _appended: Appended | None = attrs.field(default=None, init=False)

    async def attempted(self) -> Outage | None:
        await self._attempted.wait()
        return self._outage

    async def committed(self) -> Appended:
        await self._ended.wait()
        if self._appended is None:
            raise UnavailableError(self._outage.reason if self._outage is not None else "the store was closed")
        return self._appended

    def succeed(self, appended: Appended) -> None:
        self._appended = appended
        self._attempted.set()
        self._ended.set()

    def fail_for_now(self, outage: Outage) -> None:
        if not self._attempted.is_set():
            self._outage = outage
            self._attempted.set()

    def fail(self, outage: Outage) -> None:
        self._outage = outage
        self._attempted.set()
        self._ended.set()


class TimelineStore:
    """An event store on a timeline. ``open_timeline`` makes it, and runs the task that writes.

    :param max_uncommitted_bytes: memory that batches may take on their way to the disk; one alone may take more.
    """

    def __init__(
        self,
        database: Database,
        timeline: Timeline,
        capacity: Capacity,
        on_stored: OnStored,
        max_uncommitted_bytes: int,
    ) -> None:
        self._database = database
        self._timeline = timeline
        self._capacity = capacity
        self._on_stored = on_stored
        self._max_uncommitted_bytes = max_uncommitted_bytes
        self._waiting: deque[_Waiting] = deque()
        self._waiting_bytes = 0
        self._entrance = trio.Lock()  # first come, first served
        self._room = trio.lowlevel.ParkingLot()
        self._wake_writer = trio.lowlevel.ParkingLot()
        self._changing = trio.Lock()
        self._outage: Outage | None = None
        self._retry_at = -math.inf
        self._seal_at = -math.inf
        self._is_closing = False
        self._readers = trio.CapacityLimiter(_QUERY_THREADS)

    async def append(self, events: Sequence[Event], *, is_patient: bool = True) -> Receipt:
        """Take a batch in; see the contract."""
        memory_bytes = sum(len(event.text) for event in events) + _EVENT_OVERHEAD_BYTES * (len(events) + 1)
        async with self._entrance:
            while self._waiting and self._waiting_bytes + memory_bytes > self._max_uncommitted_bytes:
                if self._outage is not None and not is_patient:
                    raise UnavailableError(self._outage.reason)
                await self._room.park()
            if self._is_closing:
                raise UnavailableError("the store is closed")
            waiting = _Waiting(events, is_patient, memory_bytes)
            self._waiting.append(waiting)
            self._waiting_bytes += memory_bytes
            self._wake_writer.unpark_all()
            return waiting

    async def query(self, query: Query) -> Answer:
        """Answer from what is committed; see the contract."""
        reader = Reader(self._database, self._timeline.snapshot, query)
        remaining = reader.segments()
        segments: list[Segment] = []
        is_done = False
        while not is_done:
            counted, is_done = await self._read(partial(_count, reader, remaining))
            segments += (segment for segment in counted if segment.count)
        total = sum(segment.count for segment in segments)
        newest = segments[0].newest if segments else None
        return Answer(total, newest, self._chunks(reader, _on_page(segments, *query.on_page.indices(total)[:2])))

    async def erase(self, *, user: str | None = None, app: str | None = None) -> int:
        """Erase the events of a user, of an app, or of a user in an app; returns how many there were.

        :raises ValueError: if neither is given.
        :raises UnavailableError: if it is not possible now.
        """
        if user is None and app is None:
            raise ValueError("expected a user, an app, or both")
        return await self._change(partial(self._timeline.erase, user, app))

    @property
    def damaged_blocks(self) -> int:
        """How many blocks were found damaged; what they held is left out of all answers."""
        return self._timeline.damaged_blocks

    async def compact(self) -> None:
        """Make the file as small as it can be.

        :raises UnavailableError: if it is not possible now.
        """
        await self._change(self._timeline.compact)

    # --- the writer

    async def write(self) -> None:
        """Commit what comes, until ``close`` was called and nothing waits. A cancellation does not end it."""
        with trio.CancelScope(shield=True):
            while not (self._is_closing and not self._waiting):
                await self._pause()
                if self._timeline.sealing_is_overdue and not await self._seal():
                    continue  # this is an outage: what is committed has to be sealed some time, or memory overflows
                if self._waiting:
                    await self._commit()
                if self._timeline.sealing_is_due or await self._expired():
                    await self._seal()

    def close(self) -> None:
        """Commit what waits, if it can be done at once, and end ``write``."""
        self._is_closing = True
        self._wake_writer.unpark_all()

    async def _pause(self) -> None:
        """Wait until there is something to write and, in an outage, until it is time for an attempt."""
        interval_s = math.inf if self._capacity.max_age_s is None else self._capacity.mark_interval_s
        with trio.move_on_after(interval_s):
            while not (self._waiting or self._is_closing):
                await self._wake_writer.park()
        with trio.move_on_at(self._retry_at):
            while not self._is_closing:
                await self._wake_writer.park()

    async def _commit(self) -> None:
        group = list(self._waiting)
        try:
            appended = await self._change(partial(self._timeline.commit, [waiting.events for waiting in group]))
        except UnavailableError as error:
            self._begin_outage(str(error))
            return
        self._end_outage()
        for waiting, outcome in zip(group, appended, strict=True):
            self._leave(waiting)
            if outcome.stored:
                self._on_stored(outcome.stored)
            waiting.succeed(outcome)

    async def _seal(self) -> bool:
        """Seal, unless that failed a moment ago; whether it was done."""
        if trio.current_time() < self._seal_at and not self._is_closing:
            self._retry_at = self._seal_at if self._timeline.sealing_is_overdue else self._retry_at
            return False
        try:
            await self._change(self._timeline.seal)
            await trio.to_thread.run_sync(self._database.checkpoint)
        except UnavailableError as error:
            self._seal_at = trio.current_time() + _RETRY_S
            if self._timeline.sealing_is_overdue:
                self._begin_outage(str(error))
            else:
                _LOG.warning("sealing is delayed: %s", error)
            return False
        return True

    async def _expired(self) -> bool:
        """Whether events have become too old."""
        if self._capacity.max_age_s is None or self._outage is not None:
            return False
        try:
            return await self._change(self._timeline.expire)
        except UnavailableError:
            return False  # the next commit tells

    def _begin_outage(self, reason: str) -> None:
        if self._outage is None:
            self._outage = Outage(reason)
            _LOG.error("nothing can be saved: %s; trying again every %g s", reason, _RETRY_S)
        self._retry_at = trio.current_time() + _RETRY_S
        for waiting in list(self._waiting):
            waiting.fail_for_now(self._outage)
            if self._is_closing or not waiting.is_patient:
                self._leave(waiting)
                waiting.fail(self._outage)
                if waiting.is_patient:
                    _LOG.error("%d events are lost that were not acked", len(waiting.events))
        self._room.unpark_all()

    def _end_outage(self) -> None:
        if self._outage is not None:
            _LOG.warning("events are saved again")
        self._outage = None
        self._retry_at = -math.inf

    def _leave(self, waiting: _Waiting) -> None:
        self._waiting.remove(waiting)
        self._waiting_bytes -= waiting.memory_bytes
        self._room.unpark_all()

    async def _change(self, function: Callable[[], T]) -> T:
        """Change the timeline in a thread, one change at a time; a change that has begun is not given up."""
        async with self._changing:
            return await trio.to_thread.run_sync(function)  # once begun it is waited for, cancelled or not

    # --- reading

    async def _read(self, function: Callable[[], T]) -> T:
        return await trio.to_thread.run_sync(function, limiter=self._readers)

    async def _chunks(self, reader: Reader, parts: list["_Part"]) -> AsyncGenerator[Chunk, None]:
        remaining = iter(parts)
        while chunks := await self._read(partial(_next_chunks, reader, remaining)):
            for chunk in chunks:
                yield chunk


_Part = tuple[Segment, int, int]


def _count(reader: Reader, remaining: Iterator[Segment]) -> tuple[list[Segment], bool]:
    """Count some segments; returns them, and whether these were the last."""
    until = perf_counter() + _STEP_S
    counted = []
    for segment in remaining:
        counted.append(reader.count(segment))
        if perf_counter() > until:
            return counted, False
    return counted, True


def _on_page(segments: list[Segment], start: int, stop: int) -> list[_Part]:
    """The segments that a page has events of, each with the first of them and the one after the last."""
    parts = []
    position = 0
    for segment in segments:
        first, last = max(start - position, 0), min(stop - position, segment.count)
        if first < last:
            parts.append((segment, first, last))
        position += segment.count
    return parts


def _next_chunks(reader: Reader, remaining: Iterator[_Part]) -> list[Chunk]:
    """The chunks of some of the parts; none where nothing remains."""
    chunks: list[Chunk] = []
    size = 0
    for segment, start, stop in remaining:
        read = reader.chunks(segment, start, stop)
        chunks += read
        size += sum(len(chunk.data) for chunk in read)
        if size >= _STEP_BYTES:
            break
    return chunks


@asynccontextmanager
async def open_timeline(
    path: Path | None,
    capacity: Capacity = Capacity(),
    *,
    on_stored: OnStored = lambda _events: None,
    durability: Durability = "full",
    max_uncommitted_bytes: int = 32 * 1024 * 1024,
    shape: Shape = Shape(),
    now_s: Callable[[], float] = time.time,
) -> AsyncGenerator[TimelineStore, None]:
    """Open a store, and close it at the end, when everything that was appended is committed.

    :param path: its SQLite file, made where there is none; ``None`` for a store in memory.
    :param durability: ``full``: committed is what is on disk. ``normal``: what the system has; it survives the loss of
        the process, not of the machine.
    :param now_s: the clock, in seconds since 1970, for ``max_age_s``.
    :raises StoreError: if the file cannot be opened, is in use, not ours, newer than this release, or damaged.
    """
    database = await trio.to_thread.run_sync(Database, path, durability)
    try:
        timeline = await trio.to_thread.run_sync(Timeline, database, capacity, shape, now_s)
        store = TimelineStore(database, timeline, capacity, on_stored, max_uncommitted_bytes)
        failure = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store.write)
            try:
                yield store
            except Exception as error:  # the caller's own: a nursery would wrap it in a group
                failure = error
            finally:
                store.close()
        if failure is not None:
            raise failure
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(database.close)
