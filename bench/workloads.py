"""The workloads. Subjects take turns, and each figure is taken several times."""

import random
import resource
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from itertools import islice
from pathlib import Path
from statistics import quantiles
from typing import TypeVar

import attrs

from bench import client
from bench.events import SPACING, START, made_up
from bench.steps import cost_of_steps
from bench.subjects import CEILING, DICTIONARIES, NODE_LINES, NODE_RING, OURS, STARLETTE, Started, Subject

__all__ = ["WORKLOADS", "Figures", "Plan", "available", "in_turn"]

_FRAME_EVENTS = 25
_ADDRESS_CONNECTIONS = 500  # as many come from one address: a server may have a limit for each
_AGREED_WINDOW_BITS = 12  # what the servers that shrink a browser's window shrink it to

T = TypeVar("T")


@attrs.frozen
class Plan:
    """How much is done.

    :ivar runs: how often each figure is taken.
    :ivar part: the share of the events that a workload is meant for.
    """

    runs: int = 5
    part: float = 1.0

    def events(self, count: int) -> int:
        """So many events, or the share of them."""
        return max(int(count * self.part), 4 * _FRAME_EVENTS)


@attrs.frozen
class Figures:
    """What was measured in one workload: for each subject a value a run."""

    workload: str
    unit: str
    values: dict[str, list[float]]


def available(*subjects: Subject) -> list[Subject]:
    """Those that can be measured here."""
    return [subject for subject in subjects if not subject.missing]


@lru_cache(maxsize=1)
def _events(count: int) -> list[bytes]:
    return list(made_up(count))


def in_turn(items: Sequence[T], run: int) -> list[T]:
    """The items, beginning with another one in each run."""
    start = run % len(items)
    return [*items[start:], *items[:start]]


@contextmanager
def _directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        yield Path(name)


@contextmanager
def _started(subject: Subject, directory: Path, name: str = "store") -> Iterator[Started]:
    file = directory / f"{name}{subject.suffix}" if subject.suffix else None
    with subject.started(file) as started:
        yield started


def ingest(plan: Plan) -> Iterator[Figures]:
    """Events a second, as fast as they are acked; for ours and the ceiling, processor time for each as well."""
    subjects = available(OURS, NODE_RING, NODE_LINES, STARLETTE, CEILING)
    count = plan.events(50_000)
    for deflate in (False, True):
        frames = client.frames_of(_events(count), _FRAME_EVENTS, deflate=deflate)
        warm_up = frames[: len(frames) // 10]
        for connections in (1, 4, 32):
            for in_flight in (8, 32):
                rates: dict[str, list[float]] = defaultdict(list)
                costs: dict[str, list[float]] = defaultdict(list)
                for run in range(plan.runs):
                    for subject in in_turn(subjects, run):
                        with _directory() as directory, _started(subject, directory) as started:
                            client.ingest(started.port, warm_up, connections=1, in_flight=8, deflate=deflate)
                            before = started.cpu_s
                            load = client.ingest(
                                started.port, frames, connections=connections, in_flight=in_flight, deflate=deflate
                            )
                            rates[subject.name].append(count / load.seconds)
                            costs[subject.name].append((started.cpu_s - before) / count * 1e6)
                            costs["generator"].append(load.own_cpu_s / count * 1e6)
                name = f"ingest{', deflate' if deflate else ''}, {connections} x {in_flight} frames in flight"
                yield Figures(f"{name} (more is better)", "events/s", dict(rates))
                yield Figures(f"{name}: processor time", "µs/event", dict(costs))


def ids(plan: Plan) -> Iterator[Figures]:
    """Events a second with ids that the client gives, each looked up and remembered (X-DUP-1), beside those without."""
    events = _events(plan.events(100_000))
    given = [event.replace(b'"id":""', b'"id":"%b"' % _uuid7(number), 1) for number, event in enumerate(events)]
    frames = {"with ids": client.frames_of(given, _FRAME_EVENTS), "without": client.frames_of(events, _FRAME_EVENTS)}
    rates: dict[str, list[float]] = {name: [] for name in frames}
    costs: dict[str, list[float]] = {name: [] for name in frames}
    for run in range(plan.runs):
        for name in in_turn(list(frames), run):
            with _directory() as directory, _started(OURS, directory) as started:
                before = started.cpu_s
                load = client.ingest(started.port, frames[name], connections=4, in_flight=32)
                rates[name].append(len(events) / load.seconds)
                costs[name].append((started.cpu_s - before) / len(events) * 1e6)
    yield Figures("ingest of ours, 4 x 32 frames in flight (more is better)", "events/s", rates)
    yield Figures("ingest of ours, 4 x 32 frames in flight: processor time", "µs/event", costs)


def _uuid7(number: int) -> bytes:
    """An id as the client gives them: 48 bits of time, which goes on by a millisecond every ten events, and chance."""
    chance = random.Random(number)
    return b"%012x-7%03x-%04x-%012x" % (
        int(START.timestamp() * 1000) + number // 10,
        chance.getrandbits(12),
        0x8000 | chance.getrandbits(14),
        chance.getrandbits(48),
    )


def steps(plan: Plan) -> Iterator[Figures]:
    """What an ingested event costs ours, step by step."""
    values: dict[str, list[float]] = defaultdict(list)
    for _ in range(plan.runs):
        cost = cost_of_steps(_events(plan.events(50_000)), _FRAME_EVENTS)
        for step, microseconds in {"together": sum(cost.values()), **cost}.items():
            values[step].append(microseconds)
    yield Figures("processor time of an ingested event, each step alone", "µs/event", dict(values))


def latency(plan: Plan) -> Iterator[Figures]:
    """Time until the ack at a fixed rate over one connection."""
    subjects = available(OURS, NODE_RING, NODE_LINES, STARLETTE, CEILING)
    for rate, seconds in ((200, 6), (800, 3), (1600, 2)):
        frames = client.frames_of(_events(plan.events(rate * _FRAME_EVENTS * seconds)), _FRAME_EVENTS)
        middle: dict[str, list[float]] = defaultdict(list)
        last: dict[str, list[float]] = defaultdict(list)
        for run in range(plan.runs):
            for subject in in_turn(subjects, run):
                with _directory() as directory, _started(subject, directory) as started:
                    latencies = client.paced(started.port, frames, per_second=rate).latencies_s
                    cuts = quantiles(latencies[len(latencies) // 10 :], n=100)  # the first are slow in any language
                    middle[subject.name].append(cuts[49] * 1000)
                    last[subject.name].append(cuts[98] * 1000)
        yield Figures(f"ack at {rate * _FRAME_EVENTS:,} events/s, median", "ms", dict(middle))
        yield Figures(f"ack at {rate * _FRAME_EVENTS:,} events/s, p99", "ms", dict(last))


def window(plan: Plan) -> Iterator[Figures]:
    """Whole windows until the last byte, and memory before and after. Others answer plain: they compress far longer."""
    subjects = available(OURS, NODE_RING, STARLETTE)
    for count in map(plan.events, (10_000, 100_000, 500_000)):
        with _filled(subjects, count) as filled:
            memory = {subject.name: [started.resident_mb] for subject, started in filled}
            for coding in ("deflate", "gzip", "plain"):
                seconds: dict[str, list[float]] = defaultdict(list)
                busy: dict[str, list[float]] = defaultdict(list)
                for run in range(plan.runs):
                    for subject, started in in_turn(filled, run):
                        before = started.cpu_s
                        seconds[subject.name].append(_read(started, coding if subject is OURS else "plain") * 1000)
                        busy[subject.name].append((started.cpu_s - before) * 1000)
                name = f"window of {count:,} events, {coding}{'' if coding == 'plain' else ' (others plain)'}"
                yield Figures(name, "ms", dict(seconds))
                yield Figures(f"{name}: processor time", "ms", dict(busy))
            yield Figures(f"memory with {count:,} events", "MB", memory)
            after = {subject.name: [started.resident_mb] for subject, started in filled}
            yield Figures(f"memory with {count:,} events, after the windows", "MB", after)


def _read(started: Started, coding: str) -> float:
    if coding == "gzip":
        return client.read_http(started.port, gzip=True)[0]
    return client.read_window(started.port, client.query(), deflate=coding == "deflate")[0]


@contextmanager
def _filled(subjects: Sequence[Subject], count: int) -> Iterator[list[tuple[Subject, Started]]]:
    """Subjects that hold so many events."""
    frames = client.frames_of(_events(count), 500)
    with ExitStack() as stack:
        directory = stack.enter_context(_directory())
        filled = []
        for subject in subjects:
            started = stack.enter_context(_started(subject, directory, subject.name))
            client.ingest(started.port, frames, connections=1, in_flight=4)
            filled.append((subject, started))
        yield filled


def polls(plan: Plan) -> Iterator[Figures]:
    """Time until the ack while four dashboards ask for 100,000 events each second, beside that without them."""
    rate, count = 40, plan.events(100_000)
    frames = client.frames_of(_events(plan.events(rate * _FRAME_EVENTS * 10)), _FRAME_EVENTS)
    values: dict[str, list[float]] = defaultdict(list)
    for _ in range(plan.runs):
        for subject in available(OURS, NODE_RING):
            with _filled([subject], count) as [(_, started)]:
                for dashboards in (0, 4):
                    with ExitStack() as stack:
                        for _ in range(dashboards):
                            stack.enter_context(_dashboard(started.port, "deflate" if subject is OURS else "plain"))
                        latencies = client.paced(started.port, frames, per_second=rate).latencies_s
                    values[f"{subject.name}, {dashboards}"].append(quantiles(latencies, n=100)[98] * 1000)
    for subject in available(OURS, NODE_RING):
        found = {"with": values[f"{subject.name}, 4"], "without": values[f"{subject.name}, 0"]}
        yield Figures(f"ack p99 of {subject.name} with four dashboards that poll {count:,} events", "ms", found)


@contextmanager
def _dashboard(port: int, coding: str) -> Iterator[None]:
    command = [sys.executable, "-m", "bench.dashboard", str(port), coding]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield
        finally:
            process.terminate()


def idle(plan: Plan) -> Iterator[Figures]:
    """Memory of an open connection with deflate as browsers have it: never used, and after one compressed batch."""
    count = max(int(10_000 * plan.part), 50)
    _allow_files(count + 1000)
    frames = client.frames_of(_events(count), 1, deflate=True, window_bits=_AGREED_WINDOW_BITS)
    taken: dict[str, dict[str, list[float]]] = {"never used": {}, "after a compressed batch": {}}
    unused, used = taken.values()
    for subject in available(OURS, NODE_RING, STARLETTE, CEILING):
        with _directory() as directory, _started(subject, directory) as started, ExitStack() as stack:
            before = started.resident_mb
            connections: list[client.Connection] = []
            for number in range(count):
                source = f"127.0.0.{2 + number // _ADDRESS_CONNECTIONS}"
                connections.append(client.Connection(started.port, as_plugin=True, source=source))
                stack.callback(connections[-1].socket.close)
                if number % 1000 == 0:
                    _answer_pings(connections)
            unused[subject.name] = [(_settled_mb(started, connections) - before) / count * 1000]
            for connection, frame in zip(connections, frames, strict=True):
                connection.answer_pings()
                connection.exchange(frame)
            used[subject.name] = [(_settled_mb(started, connections) - before) / count * 1000]
    for state, values in taken.items():
        yield Figures(f"memory of each of {count:,} idle connections with deflate, {state}", "kB", values)


def _allow_files(count: int) -> None:
    """Let this process and those that it starts open so many files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count:
        raise SystemExit(f"idle needs {count} open files, and {hard} are allowed (ulimit -Hn)")
    if soft != resource.RLIM_INFINITY and soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


def _answer_pings(connections: Sequence[client.Connection]) -> None:
    for connection in connections:
        connection.answer_pings()


def _settled_mb(started: Started, connections: Sequence[client.Connection]) -> float:
    """Resident memory a moment after the last thing happened, with all connections still there."""
    time.sleep(1)
    _answer_pings(connections)
    return started.resident_mb


def restart(plan: Plan) -> Iterator[Figures]:
    """From the start of the process until it can be asked, with the events of its last run."""
    subjects = available(OURS, NODE_LINES, DICTIONARIES)
    count = plan.events(1_000_000)
    with _directory() as directory:
        with _started(OURS, directory) as started:
            client.ingest(started.port, client.frames_of(_events(count), 500), connections=1, in_flight=4)
        with (directory / f"store{NODE_LINES.suffix}").open("wb") as lines:
            lines.writelines(event + b"\n" for event in _events(count))
        seconds: dict[str, list[float]] = defaultdict(list)
        for run in range(plan.runs):
            for subject in in_turn(subjects, run):
                with _started(subject, directory) as started:
                    seconds[subject.name].append(started.ready_s * 1000)
        yield Figures(f"restart with {count:,} events", "ms", dict(seconds))


def growth(plan: Plan) -> Iterator[Figures]:
    """A window of 10,000 events out of the middle of ever larger stores."""
    values: dict[str, list[float]] = {}
    for count in map(plan.events, (100_000, 1_000_000, 5_000_000)):
        first = START + count // 2 * SPACING
        last = first + plan.events(10_000) * SPACING
        asked = client.query(since=first.isoformat(), until=last.isoformat())
        with _directory() as directory, _started(OURS, directory) as started:
            events = made_up(count)
            while some := list(islice(events, 50_000)):
                client.ingest(started.port, client.frames_of(some, 500), connections=1, in_flight=4)
            reads = [client.read_window(started.port, asked, deflate=True)[0] for _ in range(10 * plan.runs)]
            values[f"of {count:,}"] = [seconds * 1000 for seconds in reads]
    yield Figures("10,000 events out of the middle of a store", "ms", values)


WORKLOADS: dict[str, Callable[[Plan], Iterator[Figures]]] = {
    "ingest": ingest,
    "ids": ids,
    "steps": steps,
    "latency": latency,
    "window": window,
    "polls": polls,
    "idle": idle,
    "restart": restart,
    "growth": growth,
}
