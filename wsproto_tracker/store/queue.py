"""The batches on their way to the disk: bounded, first come first served, and told of outages and of the end."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager

import attrs
import trio

from wsproto_tracker.errors import UnavailableError
from wsproto_tracker.protocol.events import Event
from wsproto_tracker.store.contract import Appended, Outage
from wsproto_tracker.store.place import Place

__all__ = ["BatchQueue", "Waiting"]

_EVENT_OVERHEAD_BYTES = 512  # what an event takes in memory besides its text, about


@attrs.define(eq=False)
class Waiting:
    """A batch that waits to be committed: the ``Receipt`` that ``append`` returns."""

    batches: Sequence[Sequence[Event]]  # one, or those of a message of the stream
    is_patient: bool
    memory_bytes: int
    place: Place | None = None
    outcomes: Sequence[Appended] | None = None  # what became of each batch, once they are kept
    may_be_kept: bool = False  # whether it has left this process
    _attempted: trio.Event = attrs.field(factory=trio.Event, init=False)
    _ended: trio.Event = attrs.field(factory=trio.Event, init=False)
    _outage: Outage | None = attrs.field(default=None, init=False)

    @property
    def has_ended(self) -> bool:
        return self._ended.is_set()

    async def attempted(self) -> Outage | None:
        await self._attempted.wait()
        return self._outage

    async def committed(self) -> Appended:
        await self._ended.wait()
        if self.outcomes is None:
            reason = "the store was closed" if self._outage is None else self._outage.reason
            raise UnavailableError(reason, may_be_kept=self.may_be_kept)
        return Appended(
            sum(appended.stored for appended in self.outcomes), sum(appended.duplicates for appended in self.outcomes)
        )

    def succeed(self, *outcomes: Appended) -> None:
        """Tell that it is kept, and what became of each batch."""
        self.outcomes = outcomes
        self.batches = ()  # who waits for the ack need not hold them
        self._attempted.set()
        self._ended.set()

    def fail_for_now(self, outage: Outage) -> None:
        """Tell that an attempt has failed, if it was the first."""
        if not self._attempted.is_set():
            self._outage = outage
            self._attempted.set()

    def fail(self, outage: Outage) -> None:
        """Tell that it is given up."""
        self._outage = outage
        self._attempted.set()
        self._ended.set()


def _memory_bytes(batches: Sequence[Sequence[Event]]) -> int:
    return _EVENT_OVERHEAD_BYTES + sum(
        len(event.text) + _EVENT_OVERHEAD_BYTES for events in batches for event in events
    )


class BatchQueue:
    """Takes batches in as long as there is room; the one that writes looks at ``batches``, and lets go of them.

    :param max_bytes: memory that batches may take; one alone may take more.
    :ivar outage: the time in which nothing can be saved, if this is one.
    :ivar is_closed: whether nothing is taken in any more.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._batches: dict[Waiting, None] = {}  # in their order
        self._bytes = 0
        self._entrance = trio.Lock()  # first come, first served
        self._room = trio.lowlevel.ParkingLot()
        self._news = trio.lowlevel.ParkingLot()
        self._impatient: set[trio.CancelScope] = set()
        self._why_closed = ""
        self.outage: Outage | None = None
        self.is_closed = False

    @property
    def waiting_bytes(self) -> int:
        """Memory that the batches take that wait."""
        return self._bytes

    @property
    def batches(self) -> list[Waiting]:
        """The batches that wait, in the order in which they were taken in."""
        return list(self._batches)

    async def put(self, *batches: Sequence[Event], is_patient: bool = True, place: Place | None = None) -> Waiting:
        """Take a batch in, all or nothing; waits while there is no room.

        :param batches: one, or those of a message, which are committed together.
        :param place: where that message stands in the stream.
        :raises UnavailableError: if it is closed; for an impatient batch, if it would have to wait in an outage.
        """
        waiting = Waiting(batches, is_patient, _memory_bytes(batches), place)
        must_not_wait = not is_patient and self.outage is not None and self._batches
        if not self._entrance.locked() and self._has_room_for(waiting) and not must_not_wait:
            await trio.lowlevel.checkpoint_if_cancelled()
            return self._take_in(waiting)
        with self._unless_outage(is_patient):
            async with self._entrance:
                while not self._has_room_for(waiting):
                    await self._room.park()
                return self._take_in(waiting)
        raise UnavailableError("nothing could be saved" if self.outage is None else self.outage.reason)

    def _has_room_for(self, waiting: Waiting) -> bool:
        return not self._batches or self._bytes + waiting.memory_bytes <= self._max_bytes

    def _take_in(self, waiting: Waiting) -> Waiting:
        if self.is_closed:
            raise UnavailableError(self._why_closed)
        self._batches[waiting] = None
        self._bytes += waiting.memory_bytes
        self._news.unpark_all()
        return waiting

    @contextmanager
    def _unless_outage(self, is_patient: bool) -> Generator[None, None, None]:
        """Wait for as long as it takes, or only while there is no outage; then go on after the ``with``."""
        with trio.CancelScope() as scope:
            if not is_patient:
                self._impatient.add(scope)
                if self.outage is not None and (self._entrance.locked() or self._batches):
                    scope.cancel()
            try:
                yield
            finally:
                self._impatient.discard(scope)

    async def wait(self) -> None:
        """Wait until there is a batch, or it is closed."""
        while not (self._batches or self.is_closed):
            await self._news.park()

    async def wait_closed(self) -> None:
        """Wait until it is closed."""
        while not self.is_closed:
            await self._news.park()

    def let_go(self, waiting: Waiting) -> None:
        """Take a batch out, whatever became of it."""
        del self._batches[waiting]
        self._bytes -= waiting.memory_bytes
        self._room.unpark_all()

    def begin_outage(self, reason: str) -> int:
        """Tell all that an attempt has failed, and let go of those that do not wait for the next.

        :returns: how many events are lost that were to be kept: those that wait when it is closed.
        """
        self.outage = outage = self.outage or Outage(reason)
        for scope in self._impatient:
            scope.cancel()
        lost = 0
        for waiting in self.batches:
            waiting.fail_for_now(outage)
            if self.is_closed or not waiting.is_patient:
                lost += sum(map(len, waiting.batches)) if waiting.is_patient else 0
                self.let_go(waiting)
                waiting.fail(outage)
        return lost

    def close(self, why: str) -> None:
        """Take nothing in any more; what waits may still be committed."""
        self.is_closed = True
        self._why_closed = self._why_closed or why
        self._news.unpark_all()

    def give_up(self, why: str) -> None:
        """Close it, and let go of all that waits."""
        self.close(why)
        for waiting in self.batches:
            self.let_go(waiting)
            waiting.fail(Outage(why))
