"""A picture of ack latency over load."""

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from bench.workloads import Figures

__all__ = ["draw"]


def draw(found: Sequence[Figures], file: Path) -> None:
    """Draw the p99 of each subject over the rate, both on logarithmic axes."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    lines: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for figures in found:
        if match := re.fullmatch(r"ack at ([0-9,]+) events/s, p99", figures.workload):
            for name, values in figures.values.items():
                lines[name].append((int(match[1].replace(",", "")), median(values)))
    picture, axes = pyplot.subplots(figsize=(8, 5))
    for name, points in lines.items():
        axes.plot(*zip(*points, strict=True), marker="o", label=name)
    axes.set(xscale="log", yscale="log", xlabel="events per second", ylabel="time until the ack, p99 (ms)")
    axes.grid(visible=True, which="both", alpha=0.3)
    axes.legend()
    picture.savefig(file, dpi=120)
