"""Who gets how much: connections, wrong keys, events and answers, in all, for each address and for each key.

Everything here is for one event loop; only ``admit`` and ``answering`` wait. Addresses are counted as networks
where one client has many: a /64 of IPv6.
"""

from collections import Counter
from collections.abc import AsyncGenerator, Callable, Generator, Hashable
from contextlib import asynccontextmanager, contextmanager
from ipaddress import ip_network

import attrs
import trio

from wsproto_tracker.access import Grant
from wsproto_tracker.errors import ErrorCode, FrameError
from wsproto_tracker.settings import Settings

__all__ = ["Buckets", "Limits", "group_of"]

_BURST_S = 10.0  # how long an allowance may be saved up
_MINUTE_S = 60.0
_MAX_BUCKETS = 100_000
_IPV6_PREFIX = 64
_RETRY_S = 1.0


@attrs.define
class _Bucket:
    """A token bucket. Taking more than there is makes a debt, which the rate pays off."""

    rate: float
    burst: float
    tokens: float
    at: float

    def fill(self, now: float) -> None:
        self.tokens = min(self.burst, self.tokens + (now - self.at) * self.rate)
        self.at = now

    @property
    def wait_s(self) -> float:
        """The time until there is no debt."""
        return max(0.0, -self.tokens / self.rate)


class Buckets:
    """Token buckets, one for each of those who take; a bucket that is full again is forgotten.

    :param max_buckets: beyond so many, the ones that were used least recently are forgotten.
    :param now: the clock, in seconds.
    """

    def __init__(self, now: Callable[[], float] = trio.current_time, max_buckets: int = _MAX_BUCKETS) -> None:
        self._now = now
        self._max_buckets = max_buckets
        self._buckets: dict[Hashable, _Bucket] = {}  # the one that was used last comes last

    def __len__(self) -> int:
        return len(self._buckets)

    def wait_s(self, who: Hashable) -> float:
        """The time until there is no debt."""
        bucket = self._buckets.get(who)
        if bucket is None:
            return 0.0
        bucket.fill(self._now())
        return bucket.wait_s

    def take(self, who: Hashable, count: float, rate: float, burst: float) -> None:
        """Take tokens.

        :param rate: tokens that come each second.
        :param burst: how many may be saved up.
        """
        now = self._now()
        bucket = self._buckets.pop(who, None) or _Bucket(rate, burst, burst, now)
        bucket.fill(now)
        bucket.tokens -= count
        self._buckets[who] = bucket
        self._forget(now)

    def _forget(self, now: float) -> None:
        """Forget the one that was used least recently, if it is full or there are too many; then the next."""
        while self._buckets:
            oldest, bucket = next(iter(self._buckets.items()))
            bucket.fill(now)
            if bucket.tokens < bucket.burst and len(self._buckets) <= self._max_buckets:
                return
            del self._buckets[oldest]


class Limits:
    """What the settings allow, and what of it is used."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._connections: Counter[str] = Counter()
        self._count = 0
        self._failures = Buckets()
        self._rates = Buckets()
        self._answers = trio.CapacityLimiter(settings.max_queries)
        self._answers_by_address: dict[str, trio.CapacityLimiter] = {}

    @contextmanager
    def connected(self) -> Generator[None, None, None]:
        """Count a connection.

        :raises FrameError: ``unavailable``, if there are too many of them (CLOSE-5).
        """
        if self._count >= self._settings.max_connections:
            message = "there are too many connections; try again later"
            raise FrameError(ErrorCode.UNAVAILABLE, message, retry_after_s=_RETRY_S)
        self._count += 1
        try:
            yield
        finally:
            self._count -= 1

    @contextmanager
    def connected_from(self, address: str) -> Generator[None, None, None]:
        """Count a connection from an address.

        :raises FrameError: ``rate_limited``, if there are too many of them.
        """
        group = group_of(address)
        if self._connections[group] >= self._settings.max_connections_per_address:
            raise FrameError(
                ErrorCode.RATE_LIMITED,
                f"this address has the {self._settings.max_connections_per_address} connections that it may have; "
                "close some, or try again later",
                retry_after_s=_RETRY_S,
            )
        self._connections[group] += 1
        try:
            yield
        finally:
            self._connections[group] -= 1
            if not self._connections[group]:
                del self._connections[group]

    def note_wrong_key(self, address: str) -> None:
        """Count an attempt with a wrong key."""
        allowed = self._settings.max_auth_failures
        self._failures.take(group_of(address), 1, allowed / _MINUTE_S, allowed - 1)

    def check_may_try_key(self, address: str) -> None:
        """Let an attempt with a key pass.

        :raises FrameError: ``rate_limited``, if too many with wrong ones came from there.
        """
        wait_s = self._failures.wait_s(group_of(address))
        if wait_s > 0:
            raise FrameError(ErrorCode.RATE_LIMITED, "too many wrong keys came from this address", retry_after_s=wait_s)

    async def admit(self, count: int, grant: Grant, address: str) -> None:
        """Take in a number of events; waits where they come too fast (LIMIT-7).

        :raises FrameError: ``rate_limited``, if the wait would be too long (LIMIT-6); then it has waited as long as it
            may, so that whoever does not listen is slowed all the same.
        """
        limited: dict[Hashable, tuple[float, float]] = {}  # with the rate, and how many are taken
        by_key = grant.rate or self._settings.max_event_rate
        by_address = self._settings.max_event_rate_per_address
        if by_address is not None:
            limited[group_of(address)] = by_address, count
        if by_key is not None:  # of what all with a key have together, one address uses no more than it has alone
            limited[grant.name,] = by_key, count if by_address is None else min(count, by_address * _BURST_S)
        wait_s = max(map(self._rates.wait_s, limited), default=0.0)
        if wait_s > self._settings.max_rate_delay_s:
            await trio.sleep(self._settings.max_rate_delay_s)
            raise FrameError(
                ErrorCode.RATE_LIMITED,
                "too many events in too short a time; nothing of this batch is saved",
                retry_after_s=wait_s - self._settings.max_rate_delay_s,
            )
        for who, (rate, taken) in limited.items():
            self._rates.take(who, taken, rate, rate * _BURST_S)
        if wait_s > 0:
            await trio.sleep(wait_s)

    @asynccontextmanager
    async def answering(self, address: str) -> AsyncGenerator[None, None]:
        """Have one of the places that there are for answers; waits for one.

        :raises FrameError: ``rate_limited``, if there is none for too long (LIMIT-6).
        """
        group, place = group_of(address), object()
        limiter = self._answers_by_address.get(group)
        if limiter is None:
            limiter = self._answers_by_address[group] = trio.CapacityLimiter(self._settings.max_queries_per_address)
        try:
            with trio.move_on_after(self._settings.max_query_delay_s) as waiting:
                await limiter.acquire_on_behalf_of(place)
                await self._answers.acquire_on_behalf_of(place)
            if waiting.cancelled_caught:
                raise FrameError(ErrorCode.RATE_LIMITED, "too many queries at the same time", retry_after_s=_RETRY_S)
            yield
        finally:
            for held in (self._answers, limiter):
                if place in held.statistics().borrowers:
                    held.release_on_behalf_of(place)
            statistics = limiter.statistics()
            if not statistics.borrowed_tokens and not statistics.tasks_waiting:
                self._answers_by_address.pop(group, None)


def group_of(address: str) -> str:
    """What the address of a ``Peer`` counts as: one of IPv6 as its /64, for that is what one client has."""
    return str(ip_network((address, _IPV6_PREFIX), strict=False)) if ":" in address else address
