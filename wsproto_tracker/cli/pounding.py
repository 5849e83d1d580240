"""The load of ``load``: connections that send made-up batches, each over its own WebSocket, and time their acks.

Latency counts from when a batch was due, not from when it was sent: a server that lets senders wait makes what they
wanted to send late, and that is to be seen. Without a rate, a batch is due when there is room for it in flight.
"""

import json
import math
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime

import attrs
import trio

from wsproto_tracker.cli.latency import Latencies
from wsproto_tracker.cli.made_up import Traffic
from wsproto_tracker.client.backoff import MAX_RETRY_AFTER_S, Backoff
from wsproto_tracker.client.incoming import Ack, Error
from wsproto_tracker.client.link import Link, Lost, open_link
from wsproto_tracker.client.options import ClientOptions
from wsproto_tracker.errors import ErrorCode, ForbiddenError, NotATrackerError
from wsproto_tracker.protocol.timestamps import format_instant
from wsproto_tracker.tasks import beside, together

__all__ = ["Plan", "Pounding"]

_IN_FLIGHT = 4  # batches of one connection that may be without their acks
_TAILS = 5_000  # events that are made before; what is sent differs in its timestamps
_LAST_ACKS_S = 5.0
_LEAST_WAIT_S = 0.05
_BACKOFF_S = (0.1, 2.0)
_BEFORE, _AFTER = b'{"type":"ingest","events":[', b"]}"
_MARK = "\x00moment\x00"


@attrs.frozen(kw_only=True)
class Plan:
    """What is to be done.

    :ivar rate: events per second on all connections; 0 for as many as are acked.
    """

    connections: int
    rate: float
    batch_events: int
    duration_s: float
    slices: int


@attrs.define
class Counts:
    """What came of it, in events where nothing else is said.

    :ivar rejected: that the server did not take, one by one.
    :ivar refused: in batches that were answered by an error in place of an ack, by its code.
    :ivar outages: how often the server said that acks would be late (X-LATE-1).
    :ivar unanswered: sent on a connection that was lost, or without an ack at the end.
    :ivar lost: connections, by why.
    """

    batches: int = 0
    sent: int = 0
    acked: int = 0
    rejected: int = 0
    unanswered: int = 0
    outages: int = 0
    refused: Counter[str] = attrs.field(factory=Counter)
    lost: Counter[str] = attrs.field(factory=Counter)


class _Frames:
    """Makes frames, quickly enough not to be what is measured."""

    def __init__(self) -> None:
        traffic, moment = Traffic(seed=1, visitors=40), datetime.now(UTC)
        events = (traffic.event(moment) | {"timestamp": _MARK} for _ in range(_TAILS))
        texts = (json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode() for event in events)
        mark = json.dumps(_MARK)[1:-1].encode()
        self._halves = [text.partition(mark)[::2] for text in texts]
        self._next = 0

    def batch(self, size: int) -> bytes:
        """A frame of so many events, of now."""
        now = format_instant(time.time_ns() // 1_000_000 * 1000).encode()
        return _BEFORE + b",".join(head + now + tail for head, tail in self._take(size)) + _AFTER

    def _take(self, size: int) -> Iterator[tuple[bytes, bytes]]:
        for _ in range(size):
            yield self._halves[self._next]
            self._next = (self._next + 1) % _TAILS


class Pounding:
    """One run.

    :ivar took_s: from the beginning to the end of sending.
    :ivar processor_share: of one core, that this process used meanwhile.
    """

    def __init__(self, plan: Plan, options: ClientOptions) -> None:
        self.plan = plan
        self.options = options
        self.counts = Counts()
        self.latencies = Latencies()
        self.took_s = 0.0
        self.processor_share = 0.0
        self.frames = _Frames()
        self.began = trio.Event()
        self.began_s = math.inf
        self.over = trio.Event()
        self._slices = [Latencies() for _ in range(plan.slices)]
        self._senders = [_Sender(self, number) for number in range(plan.connections)]

    @property
    def slices(self) -> list[Latencies]:
        """The latencies by when batches were due, in equal parts of the time that it took."""
        share = self.took_s / self.plan.duration_s
        return self._slices[: max(math.ceil(share * len(self._slices)), 1)]

    async def run(self) -> None:
        """Send, until the time is up or ``stop`` is called, and wait a moment for the last acks.

        :raises ClientError: where the key is refused, or what answers is no tracker.
        """
        async with beside(*(sender.run for sender in self._senders)):
            await self.began.wait()
            used_s = time.process_time()
            with trio.move_on_after(self.plan.duration_s):
                await self.over.wait()
            self.took_s = max(trio.current_time() - self.began_s, _LEAST_WAIT_S)
            self.processor_share = (time.process_time() - used_s) / self.took_s
            self.stop()
            with trio.move_on_after(_LAST_ACKS_S):
                for sender in self._senders:
                    await sender.ended.wait()

    def stop(self) -> None:
        """Send no more."""
        self.over.set()
        for sender in self._senders:
            sender.wake()

    def tried(self) -> None:
        """Begin, where each connection is there, or was tried to make."""
        if not self.began.is_set() and all(sender.has_tried for sender in self._senders):
            self.began_s = trio.current_time()
            self.began.set()

    def acked(self, due_s: float, size: int, saved: int) -> None:
        """Count an ack."""
        latency_s = trio.current_time() - due_s
        self.counts.acked += saved
        self.counts.rejected += size - saved
        self.latencies.add(latency_s)
        place = int((due_s - self.began_s) / self.plan.duration_s * len(self._slices))
        self._slices[min(max(place, 0), len(self._slices) - 1)].add(latency_s)


class _Over(Exception):  # noqa: N818 - not an error
    """Everything is sent and answered."""


class _Sender:
    """One connection, and those that follow where it is lost."""

    def __init__(self, pounding: Pounding, number: int) -> None:
        self._all = pounding
        self._number = number
        self._batch_events = pounding.plan.batch_events
        self._in_flight: deque[float] = deque()  # when each batch was due
        self._news = trio.Event()
        self._due_s = -math.inf
        self._interval_s = 0.0
        self._not_before_s = -math.inf
        self._backoff = Backoff(*_BACKOFF_S)
        self.has_tried = False
        self.ended = trio.Event()

    def wake(self) -> None:
        """Look again: something has changed."""
        self._news.set()
        self._news = trio.Event()

    async def run(self) -> None:
        """Send until it is over."""
        while not self._all.over.is_set():
            retry_after_s = 0.0
            try:
                async with open_link(self._all.options) as link:
                    await self._begin()
                    await self._use(link)
            except Lost as lost:
                self._all.counts.lost[str(lost)] += 1
                retry_after_s = lost.retry_after_s
            finally:  # the time for the last acks may be up as well
                self._all.counts.unanswered += len(self._in_flight) * self._batch_events
                self._in_flight.clear()
            await self._begin()
            with trio.move_on_after(self._backoff.next_s(retry_after_s)):
                await self._all.over.wait()
        self.ended.set()

    async def _begin(self) -> None:
        """Wait until all begin."""
        if self.has_tried:
            return
        self.has_tried = True
        self._all.tried()
        await self._all.began.wait()
        plan = self._all.plan
        if plan.rate:
            self._interval_s = self._batch_events * plan.connections / plan.rate
            self._due_s = self._all.began_s + self._interval_s * self._number / plan.connections

    async def _use(self, link: Link) -> None:
        with suppress(_Over):
            await together(lambda: self._send(link), lambda: self._receive(link))

    async def _send(self, link: Link) -> None:
        while self._in_flight or not self._all.over.is_set():
            may_send = len(self._in_flight) < _IN_FLIGHT and not self._all.over.is_set()
            at_s = max(self._due_s, self._not_before_s) if may_send else math.inf
            if at_s > trio.current_time():
                news = self._news
                with trio.move_on_at(at_s):
                    await news.wait()
                continue
            self._in_flight.append(self._due_s if self._interval_s else trio.current_time())
            self._due_s += self._interval_s
            self._all.counts.batches += 1
            self._all.counts.sent += self._batch_events
            await link.send(self._all.frames.batch(self._batch_events))
        raise _Over

    async def _receive(self, link: Link) -> None:
        while True:
            frame = await link.receive()
            if isinstance(frame, Ack):
                self._all.acked(self._answered("an ack"), self._batch_events, frame.saved)
                self._backoff.reset()
            elif isinstance(frame, Error) and frame.reqId is None:
                self._error(frame)
            self.wake()

    def _error(self, error: Error) -> None:
        """Take an error; but for ``unavailable`` it stands in place of an ack (FRAME-10, LIMIT-6, X-SCOPE-2)."""
        if error.code == ErrorCode.UNAVAILABLE:
            self._all.counts.outages += 1
            return
        self._answered(error.name)
        self._all.counts.refused[error.name] += self._batch_events
        if error.code == ErrorCode.FORBIDDEN:
            raise ForbiddenError(f"{self._all.options.address}: this key is not for sending events; use one that is")
        if error.code == ErrorCode.UNKNOWN_TYPE:
            raise NotATrackerError(f"{self._all.options.address}: it knows no ingest; a tracker answers it with an ack")
        if error.code == ErrorCode.RATE_LIMITED:
            wait_s = max(min(error.retry_after_s, MAX_RETRY_AFTER_S), _LEAST_WAIT_S)
            self._not_before_s = max(self._not_before_s, trio.current_time() + wait_s)

    def _answered(self, what: str) -> float:
        """When the batch was due that is answered: the first that is in flight (ACK-2)."""
        if not self._in_flight:
            raise NotATrackerError(f"{self._all.options.address}: it sent {what}, and no batch was waiting for one")
        return self._in_flight.popleft()
