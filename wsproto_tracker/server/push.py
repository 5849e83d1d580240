"""Push: what is saved goes to those who asked for it, and a slow reader costs no more than its bound."""

import math
from collections.abc import Iterator, Sequence

import attrs
import trio

from wsproto_tracker.protocol import frames
from wsproto_tracker.protocol.events import Event

__all__ = ["Hub", "Subscription"]

_PUSH_BYTES = 64 * 1024


@attrs.frozen
class _Waiting:
    events: bytes
    dropped: int


class Subscription:
    """The pushes that wait for one connection (X-SUB-2).

    :param max_bytes: how much may wait; one push that waits alone may be larger.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._send, self._receive = trio.open_memory_channel[_Waiting](math.inf)  # bounded by bytes
        self._waiting_bytes = 0
        self._dropped = 0

    def offer(self, events: bytes, count: int) -> None:
        """Put a push of ``count`` events in the queue, or count them as dropped where it is full."""
        if self._waiting_bytes and self._waiting_bytes + len(events) > self._max_bytes:
            self._dropped += count
            return
        self._waiting_bytes += len(events)
        self._send.send_nowait(_Waiting(events, self._dropped))
        self._dropped = 0

    async def next(self) -> bytes:
        """Wait for the next ``push`` frame."""
        waiting = await self._receive.receive()
        self._waiting_bytes -= len(waiting.events)
        return frames.push(waiting.events, waiting.dropped)


class Hub:
    """All subscriptions.

    :param max_bytes: the bound of each.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._subscriptions: set[Subscription] = set()

    def subscribe(self) -> Subscription:
        """A subscription to everything that is published from now on."""
        subscription = Subscription(self._max_bytes)
        self._subscriptions.add(subscription)
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """End it; harmless when it has ended."""
        self._subscriptions.discard(subscription)

    def publish(self, events: Sequence[Event]) -> None:
        """Offer events that were saved to every subscription; never waits (PUSH-2)."""
        if not self._subscriptions:
            return
        for push in _split(events):
            text = b",".join(push)
            for subscription in self._subscriptions:
                subscription.offer(text, len(push))


def _split(events: Sequence[Event]) -> Iterator[list[bytes]]:
    """Cut a batch into pushes that every client can take: a batch may be as large as a message may be."""
    push: list[bytes] = []
    size = 0
    for event in events:
        if push and size + len(event.text) > _PUSH_BYTES:
            yield push
            push, size = [], 0
        push.append(event.text)
        size += len(event.text)
    if push:
        yield push
