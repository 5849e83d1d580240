"""From the stream into the node's own timeline: every message once, in its order."""

import logging
import math
from collections.abc import Callable, Sequence

import attrs
import trio

from wsproto_tracker.cluster.message import Batches, BrokenMessageError, Content, Erasure, NewerMessageError, decode
from wsproto_tracker.cluster.pulling import Received
from wsproto_tracker.errors import UnavailableError
from wsproto_tracker.store import Appended, Outage, TimelineStore
from wsproto_tracker.store.place import Place, Position
from wsproto_tracker.store.queue import Waiting

__all__ = ["Inbox", "OnApplied"]

_LOG = logging.getLogger("wsproto_tracker.cluster")

_LARGE_BYTES = 16 * 1024  # decoding so much takes a millisecond
_MOST_BEGUN = 64  # messages on their way to the disk
_NOTE_S = 10.0  # after which the position is written down, though nothing was stored
_RETRY_S = 1.0
_MAX_PAUSE_S = 600.0

OnApplied = Callable[[str, dict[int, Appended]], None]
"""Is told of a message that is applied: its id, and what became of its batches, by their numbers."""


@attrs.frozen
class _Begun:
    """A message whose batches are on their way to the disk."""

    received: Received
    numbers: Sequence[int] = ()
    receipt: Waiting | None = None


class Inbox:
    """Applies messages.

    :param local: the timeline.
    :param on_applied: what it tells of those that are applied.
    :param on_erased: is told of an erasure: the id of its message, and how many events it erased.
    :param on_outage: is told when the timeline can save nothing.
    :param on_room: is told how much memory messages need no more, in bytes.
    :ivar stream: what the stream is known by.
    :ivar news_after: what comes later in the stream was published since this node came to it.
    :ivar applied: the sequence up to which everything is in the timeline.
    :ivar received: the sequence of the last message that came.
    :ivar why_stuck: why nothing more can be applied; empty where it can.
    """

    def __init__(
        self,
        local: TimelineStore,
        on_applied: OnApplied,
        on_erased: Callable[[str, int], None],
        on_outage: Callable[[Outage], None],
        on_room: Callable[[int], None],
    ) -> None:
        self._local = local
        self._on_erased = on_erased
        self._on_applied = on_applied
        self._on_outage = on_outage
        self._on_room = on_room
        self.stream = ""
        self.news_after: int | None = None
        self.applied = self.received = 0 if local.position is None else local.position.sequence
        self.why_stuck = ""
        self._progress = trio.lowlevel.ParkingLot()
        self._send, self._receive = trio.open_memory_channel[Received](math.inf)  # the link bounds what it delivers
        self._begun = 0  # the sequence of the last message that is on its way to the disk, or there
        self._on_their_way: set[str] = set()
        self._purge_wanted = trio.Event()
        self._noted_at = trio.current_time()

    def begin_at(self, stream: str, first_sequence: int, last_sequence: int) -> None:
        """Go on with a stream as it is now."""
        self.stream = stream
        if self.news_after is None:
            self.news_after = last_sequence
        self.applied = max(self.applied, first_sequence - 1)
        self.received = max(self.received, first_sequence - 1)

    def deliver(self, received: Received) -> None:
        """Take the next message; never waits."""
        if received.sequence > self.received:
            self.received = received.sequence
            self._send.send_nowait(received)
        else:
            self._on_room(received.memory_bytes)

    async def wait_applied(self, sequence: int) -> None:
        """Wait until everything up to this message is in the timeline."""
        while self.applied < sequence:
            await self._progress.park()

    async def run(self) -> None:
        """Apply what comes, until it is cancelled."""
        send, receive = trio.open_memory_channel[_Begun](_MOST_BEGUN)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._finish_all, receive)
            nursery.start_soon(self._purge)
            async for received in self._receive:
                await send.send(await self._begin(received))
                self._begun = received.sequence

    async def _begin(self, received: Received) -> _Begun:
        """Put what a message holds on its way to the disk."""
        content = await self._content_of(received)
        match content:
            case Batches(batches):
                self._on_their_way.add(received.message_id)
                receipt = await self._local.apply([events for _, events in batches], self._place(received))
                return _Begun(received, [number for number, _ in batches], receipt)
            case Erasure(user, app):
                await self.wait_applied(self._begun)
                self._on_erased(received.message_id, await self._erase(user, app))
        if trio.current_time() > self._noted_at + _NOTE_S or content is not None:
            return _Begun(received, (), await self._local.apply((), self._place(received)))
        return _Begun(received)

    async def _content_of(self, received: Received) -> Content | None:
        """What a message holds; ``None`` for a mark, and for one that is to be passed over."""
        if not received.data or received.message_id in self._on_their_way:  # twice in the stream
            return None
        try:
            if len(received.data) < _LARGE_BYTES:
                return decode(received.data)
            return await trio.to_thread.run_sync(decode, received.data)
        except BrokenMessageError as error:
            _LOG.error(
                "message %d of the stream is none of a tracker, and is passed over: %s", received.sequence, error
            )
            return None
        except NewerMessageError as error:
            self.why_stuck = f"message {received.sequence} was written by a newer release ({error}); update this node"
            _LOG.error("%s", self.why_stuck)
            await trio.sleep_forever()
            raise AssertionError from None

    def _place(self, received: Received) -> Place:
        self._noted_at = trio.current_time()
        is_news = self.news_after is not None and received.sequence > self.news_after
        return Place(Position(self.stream, received.sequence), received.message_id, received.at_s, is_news)

    async def _erase(self, user: str | None, app: str | None) -> int:
        """Erase from the timeline, however long the disk lets it wait."""
        while True:
            try:
                erased = await self._local.hide(user, app)
            except UnavailableError as error:
                self._on_outage(Outage(str(error)))
                await trio.sleep(_RETRY_S)
            else:
                _LOG.info("erased %d events of %s", erased, " in ".join(filter(None, (user, app))))
                self._purge_wanted.set()
                return erased

    async def _purge(self) -> None:
        """Leave no trace in the file of what was erased; where that is not possible now, later."""
        while True:
            await self._purge_wanted.wait()
            self._purge_wanted = trio.Event()
            pause_s = _RETRY_S
            while True:
                try:
                    await self._local.purge()
                    break
                except UnavailableError as error:
                    _LOG.warning("traces of what was erased are left for %g s: %s", pause_s, error)
                    await trio.sleep(pause_s)
                    pause_s = min(2 * pause_s, _MAX_PAUSE_S)

    async def _finish_all(self, begun: trio.MemoryReceiveChannel[_Begun]) -> None:
        async for one in begun:
            outcomes: Sequence[Appended] = ()
            if one.receipt is not None:
                if (outage := await one.receipt.attempted()) is not None:
                    self._on_outage(outage)
                await one.receipt.committed()
                outcomes = one.receipt.outcomes or ()
            self._on_their_way.discard(one.received.message_id)
            self.applied = one.received.sequence
            self._on_applied(one.received.message_id, dict(zip(one.numbers, outcomes, strict=True)))
            self._progress.unpark_all()
            self._on_room(one.received.memory_bytes)
