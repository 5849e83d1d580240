"""From the node's clients into the stream: batches are gathered in messages, and published until they are stored.

A message that may have been stored is published again with the same id, so that it is stored once. A few messages are
on their way at a time; while one fails, none is begun beside it, so that batches of one client hardly change places.
"""

import logging
import math
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import attrs
import trio

from wsproto_tracker.cluster.errors import LostError
from wsproto_tracker.cluster.message import Batches, encode
from wsproto_tracker.protocol.events import Event
from wsproto_tracker.protocol.ids import new_id
from wsproto_tracker.store import Appended, Outage, Receipt
from wsproto_tracker.store.queue import BatchQueue, Waiting

__all__ = ["THE_WAY", "Outbox", "Pace", "Publishing"]

_LOG = logging.getLogger("wsproto_tracker.cluster")

THE_WAY = "the way"
"""What fails where it is not a message: the link to the stream, or the node's own file."""

_MESSAGE_BYTES = 1024 * 1024 - 16 * 1024  # without the headers
_GATHERED_BYTES = 512 * 1024  # text of one message, about; deflated it is a tenth of that
_MOST_PUBLISHED = 8  # messages on their way at a time
_LARGE_BYTES = 64 * 1024  # encoding so much takes a millisecond


@attrs.frozen
class Pace:
    """How long things are waited for, in seconds.

    :ivar retry_s: between two attempts.
    :ivar outage_s: how long nothing succeeds before that is called an outage; electing a leader takes 4 to 7.
    :ivar read_s: what a query waits for the stream before it is answered from what is here.
    :ivar trial_s: after which something is published where nothing else was, to notice an outage.
    :ivar start_s: what the start waits for the stream.
    """

    retry_s: float = 0.25
    outage_s: float = 8.0
    read_s: float = 2.0
    trial_s: float = 5.0
    start_s: float = 10.0


class Publishing(Protocol):
    """A message that is being published."""

    async def wait(self) -> int:
        """Wait until it is stored; returns its sequence.

        :raises LostError: if that is not known in time.
        """
        ...


@attrs.define(eq=False)
class _Message:
    """A message on its way.

    :ivar batches: what it holds, by number; parts of batches where these are too large for one message.
    :ivar data: its content, encoded.
    :ivar outcomes: what became of them, once it was applied here.
    """

    batches: dict[int, tuple["_Sending", Sequence[Event]]]
    data: bytes = b""
    id: str = attrs.field(factory=new_id)
    outcomes: dict[int, Appended] | None = None


@attrs.define(eq=False)
class _Sending:
    """A batch on its way, in one message or several.

    :ivar parts: how many messages it is in that are not done.
    """

    waiting: Waiting
    parts: int = 0
    outcomes: list[Appended] = attrs.field(factory=list)


class Outbox:
    """Publishes batches.

    :param publish: begins to publish a message, by its id and data, in the order of the calls; what it returns is
        waited on for the sequence, or ``LostError``.
    :param wait_applied: waits until a message, by its sequence, is in the node's own timeline.
    """

    def __init__(
        self,
        publish: Callable[[str, bytes], Publishing],
        wait_applied: Callable[[int], Awaitable[None]],
        max_bytes: int,
        pace: Pace,
    ) -> None:
        self._publish = publish
        self._wait_applied = wait_applied
        self._pace = pace
        self._queue = BatchQueue(max_bytes)
        self._unsent: deque[_Sending] = deque()
        self._on_their_way: dict[str, _Message] = {}
        self._change = trio.lowlevel.ParkingLot()
        self._failing: dict[str, float] = {}  # since when, by the id of a message, or THE_WAY
        self.succeeded_at = trio.current_time()

    @property
    def outage(self) -> Outage | None:
        """The time in which nothing can be saved, if this is one."""
        return self._queue.outage

    @property
    def waiting_bytes(self) -> int:
        """Memory that the batches take that wait."""
        return self._queue.waiting_bytes

    async def append(self, events: Sequence[Event], *, is_patient: bool) -> Receipt:
        """Take a batch in; see the contract of stores."""
        waiting = await self._queue.put(events, is_patient=is_patient)
        if events:
            self._unsent.append(_Sending(waiting))
            self._change.unpark_all()
        else:
            self._queue.let_go(waiting)
            waiting.succeed(Appended(0, 0))
        return waiting

    async def run(self) -> None:
        """Publish what comes, until ``close`` was called and nothing waits, or nothing can be saved."""
        try:
            async with trio.open_nursery() as nursery:
                while self._has_unsent() or not self._queue.is_closed:
                    if self._has_unsent() and len(self._on_their_way) < self._most:
                        for message in await _fitting(self._gather()):
                            if await _without_ended(message):
                                self._on_their_way[message.id] = message
                                nursery.start_soon(self._deliver, message, self._begin(message))
                    else:
                        await self._change.park()
                while self._on_their_way and self.outage is None:
                    await self._change.park()
                nursery.cancel_scope.cancel()
        finally:
            self._queue.give_up("the store is closed")

    def close(self) -> None:
        """Take nothing in any more; what is on its way is waited for, unless nothing can be saved."""
        self._queue.close("the store is closed")
        if self.outage is not None:
            self._queue.give_up("the store is closed")
        self._change.unpark_all()

    def applied(self, message_id: str, outcomes: dict[int, Appended]) -> None:
        """Note what became of a message, if it is one of this node's that is on its way."""
        message = self._on_their_way.get(message_id)
        if message is not None and message.outcomes is None:  # else it is in the stream twice, and is passed over
            message.outcomes = outcomes

    # --- outages

    def failed(self, reason: str, what: str, *, for_good: bool = False) -> None:
        """Note that nothing could be saved.

        :param what: the id of the message that could not, or ``THE_WAY``.
        :param for_good: whether that will not pass in a moment.
        """
        since = self._failing.setdefault(what, trio.current_time())
        if for_good:
            since = self._failing[what] = -math.inf
        if self.outage is None and trio.current_time() < since + self._pace.outage_s:
            return
        if self.outage is None:
            _LOG.error("nothing can be saved: %s; trying again every %g s", reason, self._pace.retry_s)
        if lost := self._queue.begin_outage(reason):
            _LOG.error("%d events are lost, none of which was acked: %s", lost, reason)
        self._change.unpark_all()

    def succeeded(self, what: str) -> None:
        """Note that something went all the way and came back; that ends an outage, unless something else cannot."""
        self._failing.pop(THE_WAY, None)
        self._failing.pop(what, None)
        self.succeeded_at = now = trio.current_time()
        if all(now < since + self._pace.outage_s for since in self._failing.values()):
            if self.outage is not None:
                _LOG.warning("events are saved again")
            self._queue.outage = None
        self._change.unpark_all()

    # --- messages

    def _has_unsent(self) -> bool:
        while self._unsent and self._unsent[0].waiting.has_ended:  # given up
            self._unsent.popleft()
        return bool(self._unsent)

    @property
    def _most(self) -> int:
        """How many messages may be on their way."""
        return 1 if self._failing else _MOST_PUBLISHED

    def _gather(self) -> _Message:
        """The next message: some batches, or a part of one that is large."""
        gathered: dict[int, tuple[_Sending, Sequence[Event]]] = {}
        size = 0
        while self._has_unsent() and (not gathered or size + self._unsent[0].waiting.memory_bytes <= _GATHERED_BYTES):
            sending = self._unsent.popleft()
            size += sending.waiting.memory_bytes
            sending.parts = 1
            gathered[len(gathered)] = (sending, sending.waiting.batches[0])
        return _Message(gathered)

    def _begin(self, message: _Message) -> Publishing:
        for sending, _ in message.batches.values():
            sending.waiting.may_be_kept = True
        return self._publish(message.id, message.data)

    async def _deliver(self, message: _Message, publishing: Publishing) -> None:
        """Publish a message until it is stored, or nobody waits for it; then wait until it is applied here."""
        try:
            while True:
                try:
                    await self._wait_applied(await publishing.wait())
                    self._finish(message)
                except LostError as error:
                    self.failed(str(error), message.id)
                else:
                    self.succeeded(message.id)
                    return
                await trio.sleep(self._pace.retry_s)
                if not await _without_ended(message):
                    return
                publishing = self._begin(message)
        finally:
            del self._on_their_way[message.id]
            self._failing.pop(message.id, None)
            self._change.unpark_all()

    def _finish(self, message: _Message) -> None:
        """Tell those who wait what became of their batches.

        :raises LostError: if it did not come back, though what stands in its place in the stream did.
        """
        if message.outcomes is None:
            raise LostError("the stream is not what it was: a message that it has acked is not in it")
        for number, (sending, _) in message.batches.items():
            sending.parts -= 1
            sending.outcomes.append(message.outcomes[number])
            if sending.parts == 0 and not sending.waiting.has_ended:
                self._queue.let_go(sending.waiting)
                sending.waiting.succeed(*sending.outcomes)


async def _fitting(message: _Message) -> Sequence[_Message]:
    """The message, or several in its place, encoded, and each small enough to be published."""
    await _encode(message)
    is_one_event = [len(events) for _, events in message.batches.values()] == [1]  # then it is MAX_EVENT_BYTES at most
    if len(message.data) <= _MESSAGE_BYTES or is_one_event:
        return (message,)
    found: list[_Message] = []
    for sending, events in message.batches.values():
        sending.parts -= 1
        for half in (events[: len(events) // 2], events[len(events) // 2 :]):
            if half:
                sending.parts += 1
                found += await _fitting(_Message({0: (sending, half)}))
    return found


async def _without_ended(message: _Message) -> bool:
    """Leave out of a message what was given up, whose sender may have been told that nothing is kept (HTTP-17).

    Returns whether something is left; then nothing of it has been given up.
    """
    while any(sending.waiting.has_ended for sending, _ in message.batches.values()):
        message.batches = {number: one for number, one in message.batches.items() if not one[0].waiting.has_ended}
        await _encode(message)
    return bool(message.batches)


async def _encode(message: _Message) -> None:
    content = Batches([(number, events) for number, (_, events) in message.batches.items()])
    if sum(one.waiting.memory_bytes for one, _ in message.batches.values()) < _LARGE_BYTES:
        message.data = encode(content)
    else:
        message.data = await trio.to_thread.run_sync(encode, content)
