"""From the node's clients into the stream: batches are gathered in messages, and published until they are stored.

A message that may have been stored is published again with the same id, so that it is stored once. A few messages are
on their way at a time; while one fails, none is begun beside it, so that batches of one client hardly change places.
"""

import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

import attrs
import trio

from wsproto_tracker.cluster.errors import LostError
from wsproto_tracker.cluster.message import Batches, Content, encode
from wsproto_tracker.protocol.events import Event
from wsproto_tracker.protocol.ids import new_id
from wsproto_tracker.store import Appended, Outage, Receipt
from wsproto_tracker.store.queue import BatchQueue, Waiting

__all__ = ["Outbox", "Pace"]

_LOG = logging.getLogger("wsproto_tracker.cluster")

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


@attrs.define(eq=False)
class _Message:
    """A message on its way.

    :ivar batches: what it holds, by number; parts of batches where these are too large for one message.
    :ivar outcomes: what became of them, once it was applied here.
    """

    batches: dict[int, tuple["_Sending", Sequence[Event]]]
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

    :param publish: publishes a message, by its id and data; returns its sequence, or raises ``LostError``.
    :param wait_applied: waits until a message, by its sequence, is in the node's own timeline.
    """

    def __init__(
        self,
        publish: Callable[[str, bytes], Awaitable[int]],
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
        self._failing_since: float | None = None
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
                        message = self._gather()
                        self._on_their_way[message.id] = message
                        nursery.start_soon(self._deliver, message)
                    else:
                        await self._change.park()
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
        if (message := self._on_their_way.get(message_id)) is not None:
            message.outcomes = outcomes

    # --- outages

    def failed(self, reason: str, *, for_good: bool = False) -> None:
        """Note that nothing could be saved.

        :param for_good: whether that will not pass in a moment.
        """
        now = trio.current_time()
        self._failing_since = now if self._failing_since is None else self._failing_since
        if self.outage is None and not for_good and now < self._failing_since + self._pace.outage_s:
            return
        if self.outage is None:
            _LOG.error("nothing can be saved: %s; trying again every %g s", reason, self._pace.retry_s)
        if lost := self._queue.begin_outage(reason):
            _LOG.error("%d events are lost, none of which was acked: %s", lost, reason)
        self._change.unpark_all()

    def succeeded(self) -> None:
        """Note that something was saved."""
        if self.outage is not None:
            _LOG.warning("events are saved again")
        self._failing_since = None
        self._queue.outage = None
        self.succeeded_at = trio.current_time()
        self._change.unpark_all()

    # --- messages

    def _has_unsent(self) -> bool:
        while self._unsent and self._unsent[0].waiting.has_ended:  # given up
            self._unsent.popleft()
        return bool(self._unsent)

    @property
    def _most(self) -> int:
        """How many messages may be on their way."""
        return _MOST_PUBLISHED if self._failing_since is None else 1

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

    async def _deliver(self, message: _Message) -> None:
        """Publish a message until it is stored, or nobody waits for it; then wait until it is applied here."""
        try:
            for part in await self._fitting(message):
                self._on_their_way[part.id] = part
                await self._deliver_part(part)
                self._on_their_way.pop(part.id, None)
        finally:
            self._on_their_way.pop(message.id, None)
            self._change.unpark_all()

    async def _fitting(self, message: _Message) -> Sequence[_Message]:
        """The message, or several in its place, each small enough to be published."""
        if sum(len(event.text) for _, events in message.batches.values() for event in events) <= _MESSAGE_BYTES:
            return (message,)
        if len(await _encoded(message)) <= _MESSAGE_BYTES:
            return (message,)
        if [len(events) for _, events in message.batches.values()] == [1]:  # larger than MAX_EVENT_BYTES
            return (message,)
        found: list[_Message] = []
        for sending, events in message.batches.values():
            sending.parts -= 1
            for half in (events[: len(events) // 2], events[len(events) // 2 :]):
                if half:
                    sending.parts += 1
                    found += await self._fitting(_Message({0: (sending, half)}))
        return found

    async def _deliver_part(self, message: _Message) -> None:
        while True:
            # what is given up now, and was never sent, is never sent: its sender may have been told so (HTTP-17)
            message.batches = {number: it for number, it in message.batches.items() if not it[0].waiting.has_ended}
            if not message.batches:
                return
            for sending, _ in message.batches.values():
                sending.waiting.may_be_kept = True
            try:
                sequence = await self._publish(message.id, await _encoded(message))
            except LostError as error:
                self.failed(str(error))
                await trio.sleep(self._pace.retry_s)
            else:
                await self._wait_applied(sequence)
                self.succeeded()
                self._finish(message)
                return

    def _finish(self, message: _Message) -> None:
        """Tell those who wait what became of their batches."""
        for number, (sending, events) in message.batches.items():
            sending.parts -= 1
            # where its outcome is not known, an earlier process had begun to send it, which no id of ours can be
            sending.outcomes.append((message.outcomes or {}).get(number, Appended(0, len(events))))
            if sending.parts == 0 and not sending.waiting.has_ended:
                self._queue.let_go(sending.waiting)
                sending.waiting.succeed(*sending.outcomes)


async def _encoded(message: _Message) -> bytes:
    content: Content = Batches([(number, events) for number, (_, events) in message.batches.items()])
    if sum(one.waiting.memory_bytes for one, _ in message.batches.values()) < _LARGE_BYTES:
        return encode(content)
    return await trio.to_thread.run_sync(encode, content)
