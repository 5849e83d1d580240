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
    count: int
    apps: frozenset[str] | None
    dropped: int


class Subscription:
    """The pushes that wait for one connection (X-SUB-2).

    :param max_bytes: how much may wait; one push that waits alone may be larger.
    :ivar apps: the apps whose events are pushed; ``None`` for all (X-SCOPE-5). Where others are set, what waits and is
        not for them alone is dropped.
    """

    def __init__(self, max_bytes: int, apps: frozenset[str] | None = None) -> None:
        self._max_bytes = max_bytes
        self.apps = apps
        self._send, self._receive = trio.open_memory_channel[_Waiting](math.inf)  # bounded by bytes
        self.waiting_bytes = 0
        self._dropped = 0

    def offer(self, events: bytes, count: int) -> bool:
        """Put a push of ``count`` events in the queue, or count them as dropped where it is full.

        :returns: whether it is in the queue.
        """
        if self.waiting_bytes and self.waiting_bytes + len(events) > self._max_bytes:
            self._dropped += count
            return False
        self.waiting_bytes += len(events)
        self._send.send_nowait(_Waiting(events, count, self.apps, self._dropped))
        self._dropped = 0
        return True

    async def next(self) -> bytes:
        """Wait for the next ``push`` frame."""
        dropped = 0
        while True:
            waiting = await self._receive.receive()
            self.waiting_bytes -= len(waiting.events)
            dropped += waiting.dropped
            if self.apps is None or (waiting.apps is not None and waiting.apps <= self.apps):
                return frames.push(waiting.events, dropped)
            dropped += waiting.count  # it was for another key (X-SCOPE-3)

    def end(self) -> None:
        """Let whoever waits for the next know that none comes, by ``trio.EndOfChannel``."""
        self._send.close()


class Hub:
    """All subscriptions.

    :param max_bytes: the bound of each.
    :param max_subscriptions: how many there may be.
    :ivar dropped: how many events were not pushed to somebody who reads too slowly.
    """

    def __init__(self, max_bytes: int, max_subscriptions: int) -> None:
        self._max_bytes = max_bytes
        self._max_subscriptions = max_subscriptions
        self._subscriptions: set[Subscription] = set()
        self.dropped = 0

    @property
    def subscriptions(self) -> int:
        """How many there are."""
        return len(self._subscriptions)

    @property
    def waiting_bytes(self) -> int:
        """How much waits for readers."""
        return sum(subscription.waiting_bytes for subscription in self._subscriptions)

    @property
    def is_full(self) -> bool:
        """Whether there are as many subscriptions as there may be."""
        return len(self._subscriptions) >= self._max_subscriptions

    def subscribe(self, apps: frozenset[str] | None = None) -> Subscription:
        """A subscription to everything of these apps, or of all, that is published from now on."""
        subscription = Subscription(self._max_bytes, apps)
        self._subscriptions.add(subscription)
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """End it; harmless when it has ended."""
        self._subscriptions.discard(subscription)

    def publish(self, events: Sequence[Event]) -> None:
        """Offer events that were saved to every subscription; never waits (PUSH-2)."""
        by_apps: dict[frozenset[str] | None, list[Subscription]] = {}
        for subscription in self._subscriptions:
            by_apps.setdefault(subscription.apps, []).append(subscription)
        for apps, subscriptions in by_apps.items():
            for push in _split([event for event in events if apps is None or event.app in apps]):
                text = b",".join(push)
                for subscription in subscriptions:
                    self.dropped += 0 if subscription.offer(text, len(push)) else len(push)


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
