"""What happens in a soak: counted, told as it happens, and whether it may happen."""

import time
from collections import Counter

import attrs

__all__ = ["Tally"]

_TOLD_VIOLATIONS = 20


@attrs.define
class Tally:
    """Counts, and what broke a promise.

    :ivar counts: how often what happened.
    :ivar violations: how often which promise was broken; the first are told with their circumstances.
    """

    counts: Counter[str] = attrs.field(factory=Counter)
    violations: Counter[str] = attrs.field(factory=Counter)
    _begin: float = attrs.field(factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return time.monotonic() - self._begin

    def tell(self, text: str) -> None:
        """Print a line with the time."""
        print(f"{self.seconds:8.1f} s  {text}", flush=True)

    def violated(self, promise: str, circumstances: object = "") -> None:
        """Note that a promise was broken."""
        self.violations[promise] += 1
        if self.violations.total() <= _TOLD_VIOLATIONS:
            self.tell(f"VIOLATED: {promise} {circumstances}")
