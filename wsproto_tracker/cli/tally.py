"""Counting how often things come, in bounded memory, however many different ones there are. No I/O."""

from collections import Counter
from collections.abc import Hashable
from typing import Generic, TypeVar

__all__ = ["Tally"]

Thing = TypeVar("Thing", bound=Hashable)


class Tally(Generic[Thing]):
    """Counts; exact up to ``capacity`` different things.

    Beyond twice that many, the rarer half is forgotten. What is frequent stays, though a part of it that came before
    the thing was frequent may be forgotten.

    :ivar is_exact: whether nothing was forgotten.
    """

    def __init__(self, capacity: int = 10_000) -> None:
        self._capacity = capacity
        self._counts: Counter[Thing] = Counter()
        self.is_exact = True

    def add(self, thing: Thing) -> None:
        """Count one."""
        self._counts[thing] += 1
        if len(self._counts) > 2 * self._capacity:
            self._counts = Counter(dict(self._counts.most_common(self._capacity)))
            self.is_exact = False

    def top(self, limit: int | None = None) -> list[tuple[Thing, int]]:
        """The most frequent things and how often they came; of equal ones, the one first that came first."""
        return self._counts.most_common(limit)
