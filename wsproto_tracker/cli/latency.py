"""Latencies, in memory that does not grow with their number: percentiles, and a plot of them over time."""

import math
from collections import Counter
from collections.abc import Sequence

__all__ = ["Latencies", "milliseconds", "plotted"]

_LEAST_S = 1e-6
_STEP = math.log(1.02)  # so percentiles are right to 2 %
_EIGHTHS = " ▁▂▃▄▅▆▇█"
_SHADE = "░"
_PLAIN_EIGHTHS = "    #####"
_ROWS = 8


class Latencies:
    """Counts of latencies, by what they are about.

    :ivar max_s: the longest of them.
    """

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()
        self.max_s = 0.0
        self.count = 0

    def add(self, latency_s: float) -> None:
        """Count one."""
        self._counts[math.ceil(math.log(max(latency_s, _LEAST_S) / _LEAST_S) / _STEP)] += 1
        self.max_s = max(self.max_s, latency_s)
        self.count += 1

    def percentile_s(self, percent: float) -> float:
        """What so many of them do not exceed; 0 where there are none."""
        wanted = math.ceil(self.count * percent / 100)
        for step in sorted(self._counts):
            wanted -= self._counts[step]
            if wanted <= 0:
                return min(_LEAST_S * math.exp(step * _STEP), self.max_s)
        return 0.0


def milliseconds(seconds: float) -> str:
    """A time for people, in milliseconds, with three digits."""
    value = seconds * 1000
    rounded = max(float(f"{value:.3g}"), 0.01)  # 9.9999 has as many digits as 10
    return f"{value:,.{max(0, 2 - math.floor(math.log10(rounded)))}f}"


def plotted(slices: Sequence[Latencies], duration_s: float, *, is_ascii: bool = False) -> list[str]:
    """A plot of lines of text: a column for each slice, up to its median, and in lighter shade to its 99th percentile.

    :param duration_s: of all the slices.
    :param is_ascii: whether nothing else can be printed.
    """
    medians = [each.percentile_s(50) for each in slices]
    tops = [each.percentile_s(99) for each in slices]
    highest = max(tops, default=0.0)
    if highest <= 0:
        return []
    eighths, shade = (_PLAIN_EIGHTHS, ":") if is_ascii else (_EIGHTHS, _SHADE)
    lines = []
    for row in reversed(range(_ROWS)):
        label = f"{milliseconds(highest * (row + 1) / _ROWS)} ms" if row % 2 else ""
        cells = (
            _cell(median / highest * _ROWS - row, top / highest * _ROWS - row, eighths, shade)
            for median, top in zip(medians, tops, strict=True)
        )
        lines.append(f"{label:>10} |{''.join(cells)}".rstrip())
    lines.append(f"{'0':>10} +{'-' * len(slices)}")
    end = f"{duration_s:.3g} s"
    lines.append(f"{'':11} 0{end:>{max(len(slices) - 1, len(end) + 1)}}")
    return lines


def _cell(median: float, top: float, eighths: str, shade: str) -> str:
    """One character, of which so much (1 being all) is below the median and the top."""
    filled = min(max(round(median * 8), 0), 8)
    if eighths[filled] != " ":
        return eighths[filled]
    return shade if top > 0 else " "
