"""How long to wait before the next attempt: exponential, with full jitter."""

import random

__all__ = ["MAX_RETRY_AFTER_S", "Backoff"]

MAX_RETRY_AFTER_S = 300.0
"""The longest that a server can send a client away for."""

_MAX_DOUBLINGS = 32


class Backoff:
    """The n-th wait in a row is anything from 0 to ``min_s`` times 2ⁿ, and never over ``max_s``.

    Clients that lost their server at the same moment come back spread over that time.
    """

    def __init__(self, min_s: float, max_s: float, chance: random.Random | None = None) -> None:
        self._min_s = min_s
        self._max_s = max_s
        self._attempts = 0
        self._chance = chance or random.Random()  # noqa: S311 - it spreads attempts, it keeps no secret

    def next_s(self, retry_after_s: float = 0.0) -> float:
        """The seconds to wait now.

        :param retry_after_s: what the server asked for; the jitter comes on top (LIMIT-6).
        """
        ceiling_s = min(self._max_s, self._min_s * 2**self._attempts)
        self._attempts = min(self._attempts + 1, _MAX_DOUBLINGS)
        return min(retry_after_s, MAX_RETRY_AFTER_S) + self._chance.uniform(0, ceiling_s)

    def reset(self) -> None:
        """Begin anew: it has worked."""
        self._attempts = 0
