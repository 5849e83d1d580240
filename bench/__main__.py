"""``python -m bench``: measure, beside what others would write, and print one table.

Figures of one run are compared with each other only: a ratio holds where the machine's speed does not. Subjects take
turns, and the median of several runs is what counts.
"""

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median

import attrs

from bench import churn, soak
from bench.cluster import cluster
from bench.subjects import CEILING, DICTIONARIES, NODE_LINES, NODE_RING, OURS, STARLETTE
from bench.workloads import WORKLOADS as OF_ONE
from bench.workloads import Figures, Plan

WORKLOADS: dict[str, Callable[[Plan], Iterator[Figures]]] = {**OF_ONE, "cluster": cluster}
_SUBJECTS = (OURS, NODE_RING, NODE_LINES, STARLETTE, CEILING, DICTIONARIES)
_TRIALS: dict[str, Callable[[Sequence[str]], int]] = {"churn": churn.main, "soak": soak.main}
_QUICK = Plan(runs=1, part=0.02)
_EPILOG = """\
examples:
  python -m bench                   everything, about three quarters of an hour on two cores
  python -m bench ingest window     some of it
  python -m bench --quick           a fiftieth of it, to see that it works: its figures mean nothing

trials, which pass or fail (each has a --help):
  python -m bench churn             connections that come and go, and what of them stays in memory
  python -m bench soak              load with kills, restarts, a full disk and a bad network: what is acked is kept

The peers in Node need: npm install --prefix bench/peers
"""


def command_line() -> argparse.ArgumentParser:
    """The parser of the command line, but for those of the trials."""
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measure the server beside what others would write.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    names = ", ".join(WORKLOADS)
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", help=f"one of {names} (default: all)")
    parser.add_argument("--quick", action="store_true", help="a fiftieth of the events, one run")
    parser.add_argument("--json", action="store_true", help="print JSON in place of a table")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw ack latency over load into this PNG file")
    return parser


def main() -> int:
    """Run what is asked for; the exit status."""
    if sys.argv[1:] and (trial := _TRIALS.get(sys.argv[1])):
        return trial(sys.argv[2:])
    parser = command_line()
    asked = parser.parse_args()
    if unknown := [name for name in asked.workloads if name not in WORKLOADS]:
        parser.error(f"{', '.join(unknown)}: no such workload; there are {', '.join(WORKLOADS)}")
    if asked.plot and "latency" not in (asked.workloads or WORKLOADS):
        parser.error("--plot needs the workload latency")
    plan = _QUICK if asked.quick else Plan()
    for subject in _SUBJECTS:
        if subject.missing:
            print(f"without {subject.name}: {subject.missing}", file=sys.stderr)
    found: list[Figures] = []
    for name in asked.workloads or WORKLOADS:
        for figures in WORKLOADS[name](plan):
            print(f"{figures.workload}: {_told(figures)}", file=sys.stderr)
            found.append(figures)
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, {plan.runs} runs"
    if asked.json:
        print(json.dumps({"machine": machine, "figures": [attrs.asdict(figures) for figures in found]}))
    else:
        print(table(found, machine))
    if asked.plot:
        from bench.plot import draw

        draw(found, asked.plot)
    return 0


def table(found: Sequence[Figures], machine: str) -> str:
    """A line a workload: our median, and each other's with the ratio of ours to it."""
    lines = ["| | ours | others, and the ratio of ours to theirs |", "|---|---|---|"]
    for figures in found:
        (_, own), *others = figures.values.items()
        cells = [f"{name}: {_number(median(theirs))}{_ratio(own, theirs)}" for name, theirs in others]
        lines.append(f"| {figures.workload} | {_number(median(own))} {figures.unit} | {'; '.join(cells)} |")
    return "\n".join([*lines, "", f"Medians, on {machine}."])


def _ratio(own: Sequence[float], theirs: Sequence[float]) -> str:
    return f" ({_number(median(own) / median(theirs))})" if median(theirs) > 0 else ""


def _told(figures: Figures) -> str:
    return ", ".join(f"{name} {_number(median(values))} {figures.unit}" for name, values in figures.values.items())


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


if __name__ == "__main__":
    sys.exit(main())
