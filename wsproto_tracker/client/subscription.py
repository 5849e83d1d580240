"""A subscription: the events that are saved from now on, over a connection of its own (X-SUB-1, X-SUB-2)."""

from collections import deque
from collections.abc import AsyncIterator
from typing import Any, NoReturn, Self

import trio

from wsproto_tracker.client.backoff import Backoff
from wsproto_tracker.client.incoming import Error, Push, Subscribed
from wsproto_tracker.client.link import Link, Lost, open_link
from wsproto_tracker.client.options import ClientOptions
from wsproto_tracker.errors import ClientError, ConnectError, ErrorCode, QueryError

__all__ = ["Subscription"]

_FRAME = b'{"type":"subscribe"}'


class Subscription(AsyncIterator[dict[str, Any]]):
    """Iterate it for events, in the order of saving. What an iteration does not take waits, up to a bound.

    :ivar dropped: how many events came and were dropped, by the server or here, for they were not taken in time.
    :ivar gaps: how often the connection was lost; events that were saved until it was back are not told.
    """

    def __init__(self, options: ClientOptions, max_waiting_events: int) -> None:
        self._options = options
        self._max_waiting_events = max_waiting_events
        self._waiting: deque[dict[str, Any]] = deque()
        self._news = trio.Event()
        self._backoff = Backoff(options.backoff_min_s, options.backoff_max_s)
        self._is_subscribed = False
        self._failure: ClientError | None = None
        self._trouble = ""
        self.dropped = 0
        self.gaps = 0

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> dict[str, Any]:
        """The next event.

        :raises ClientError: where there will be none: the key is wrong now, or push is switched off.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        while not self._waiting:
            if self._failure is not None:
                raise self._failure
            await self._news.wait()
        return self._waiting.popleft()

    async def subscribed(self) -> None:
        """Wait until the server has confirmed.

        :raises QueryError: where it does not push (X-SUB-3), or not to this key (X-SCOPE-1).
        :raises ConnectError: where there is no connection within ``connect_timeout_s``.
        """
        with trio.move_on_after(self._options.connect_timeout_s):
            while not self._is_subscribed and self._failure is None:
                await self._news.wait()
        if self._failure is not None:
            raise self._failure
        if not self._is_subscribed:
            reason = self._trouble or "the server does not confirm it; perhaps it has no subscriptions"
            within = f"within {self._options.connect_timeout_s:g} s"
            raise ConnectError(f"{self._options.address}: no subscription {within}: {reason}")

    async def run(self) -> None:
        """Receive, until it is cancelled or has failed for good."""
        while self._failure is None:
            began_s, retry_after_s = trio.current_time(), 0.0
            try:
                async with open_link(self._options) as link:
                    await self._subscribe(link)
                    await self._receive(link)
            except Lost as lost:
                retry_after_s = lost.retry_after_s
                self._trouble = str(lost)
            except ClientError as error:
                self._failure = error
            if trio.current_time() - began_s > self._options.backoff_max_s:
                self._backoff.reset()
            self._changed()
            await trio.sleep(self._backoff.next_s(retry_after_s))

    async def _subscribe(self, link: Link) -> None:
        await link.send(_FRAME)
        with trio.move_on_after(self._options.connect_timeout_s):
            while not isinstance(frame := await link.receive(), Subscribed):
                if isinstance(frame, Error):
                    self._refused(frame)
            self.gaps += self._is_subscribed
            self._is_subscribed = True
            self._changed()
            return
        raise Lost("the server does not confirm it; perhaps it has no subscriptions")

    def _refused(self, error: Error) -> NoReturn:
        if error.code in (ErrorCode.RATE_LIMITED, ErrorCode.UNAVAILABLE):
            raise Lost("the server has no place for a subscription now", error.retry_after_s)
        raise QueryError(error.code or ErrorCode.INTERNAL, error.message)

    async def _receive(self, link: Link) -> None:
        while True:
            frame = await link.receive()
            if isinstance(frame, Push):
                self._take(frame)

    def _take(self, push: Push) -> None:
        self.dropped += push.dropped
        room = self._max_waiting_events - len(self._waiting)
        self._waiting.extend(push.events[:room])
        self.dropped += max(len(push.events) - room, 0)
        self._changed()

    def _changed(self) -> None:
        self._news.set()
        self._news = trio.Event()
