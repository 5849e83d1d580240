"""Ids of events: UUIDs of version 7 (RFC 9562), which grow with time."""

import secrets
import time
from collections.abc import Callable
from threading import Lock
from uuid import UUID

__all__ = ["IdMaker", "new_event_id"]

_COUNTER_BITS = 12
_RANDOM_BITS = 62
_VERSION = 0x7 << 76
_VARIANT = 0b10 << _RANDOM_BITS


class IdMaker:
    """Makes ids that grow strictly, however many are made in a millisecond and whatever the clock does.

    The 12 bits after the milliseconds count (RFC 9562, 6.2, method 3: they are the fraction of a millisecond); where
    they overflow, the next millisecond begins early.
    """

    def __init__(self, now_ns: Callable[[], int] = time.time_ns) -> None:
        self._now_ns = now_ns
        self._last = 0
        self._lock = Lock()  # clients of several threads share the one of the process

    def __call__(self) -> str:
        with self._lock:
            self._last = max((self._now_ns() << _COUNTER_BITS) // 1_000_000, self._last + 1)
            milliseconds, counter = divmod(self._last, 1 << _COUNTER_BITS)
        number = (milliseconds << 80) | _VERSION | (counter << 64) | _VARIANT | secrets.randbits(_RANDOM_BITS)
        return str(UUID(int=number))


new_event_id = IdMaker()
