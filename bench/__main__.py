"""``python -m bench``: measure, beside what others would do, and print one table.

Figures of one run are compared with each other only: a ratio holds when the machine's speed does not. Subjects take
turns, and the median of several runs is what counts.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import attrs
import trio

from bench import subjects
from bench.events import made_up
from wsproto_tracker.protocol.events import Event, new_id, read_event
from wsproto_tracker.store import Capacity, open_timeline

RUNS = 5
BATCH = 500


@attrs.frozen
class Row:
    """A line of the table: a figure of ours, and of what it is compared with."""

    workload: str
    unit: str
    ours: float
    peer: str
    theirs: float

    @property
    def ratio(self) -> float:
        """Ours as a part of theirs."""
        return self.ours / self.theirs


def main() -> int:
    """Run what is asked for; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure the store beside JSON lines.")
    parser.add_argument("--quick", action="store_true", help="a hundredth of the events, to see that it works")
    parser.add_argument("--json", action="store_true", help="print JSON in place of the table")
    asked = parser.parse_args()
    part = 100 if asked.quick else 1
    with tempfile.TemporaryDirectory() as directory:
        rows = [*restart(Path(directory), 1_000_000 // part), *memory(Path(directory), 500_000 // part)]
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    if asked.json:
        print(json.dumps({"machine": machine, "rows": [attrs.asdict(row) | {"ratio": row.ratio} for row in rows]}))
    else:
        print(table(rows, machine))
    return 0


def table(rows: Sequence[Row], machine: str) -> str:
    """The rows as a Markdown table."""
    head = ["| | ours | theirs | ratio |", "|---|---|---|---|"]
    lines = [
        f"| {row.workload} | {row.ours:,.2f} {row.unit} | {row.peer}: {row.theirs:,.2f} {row.unit} | {row.ratio:.3f} |"
        for row in rows
    ]
    return "\n".join([*head, *lines, "", f"On {machine}; medians of {RUNS}."])


def restart(directory: Path, count: int) -> list[Row]:
    """From the start of the process until it can be asked."""
    store, lines = prepared(directory, count)
    ready: dict[str, list[float]] = {"ours": [], "theirs": []}
    for _ in range(RUNS):
        with subjects.started(subjects.ours(store), "Ctrl-C") as subject:
            ready["ours"].append(subject.ready_s)
        with subjects.started(subjects.dictionaries(lines)) as subject:
            ready["theirs"].append(subject.ready_s)
    name = f"restart with {count:,} events"
    return [Row(name, "s", median(ready["ours"]), "JSON lines in Python", median(ready["theirs"]))]


def memory(directory: Path, count: int) -> list[Row]:
    """Resident memory of the process that holds the events; ours before and after it was asked for all of them."""
    store, lines = prepared(directory, count)
    with subjects.started(subjects.dictionaries(lines)) as subject:
        theirs = subject.resident_bytes / 1e6
    with subjects.started(subjects.ours(store), "Ctrl-C") as subject:
        before = subject.resident_bytes / 1e6
        for _ in range(RUNS):
            read_everything(subject.url)
        after = subject.resident_bytes / 1e6
    name = f"memory with {count:,} events"
    return [
        Row(name, "MB", before, "Python dictionaries", theirs),
        Row(f"{name}, after {RUNS} queries for all of them", "MB", after, "Python dictionaries", theirs),
    ]


def read_everything(url: str) -> None:
    """Ask for every event, and let the answer go by."""
    with urllib.request.urlopen(url, timeout=120) as answer:
        while answer.read(1 << 20):
            pass


def prepared(directory: Path, count: int) -> tuple[Path, Path]:
    """A store and a file of JSON lines with the same events."""
    store, lines = directory / f"{count}.db", directory / f"{count}.jsonl"

    async def fill() -> None:
        with lines.open("wb") as file:
            async with open_timeline(store, Capacity(10**9), durability="normal") as timeline:
                batch: list[Event] = []
                for number, text in enumerate(made_up(count), 1):
                    event = read_event(text, 0, new_id)
                    assert isinstance(event, Event)
                    batch.append(event)
                    if len(batch) == BATCH or number == count:
                        file.write(b"".join(event.text + b"\n" for event in batch))
                        await timeline.append(batch)
                        batch = []

    print(f"making {count:,} events", file=sys.stderr)
    trio.run(fill)
    return store, lines


if __name__ == "__main__":
    sys.exit(main())
