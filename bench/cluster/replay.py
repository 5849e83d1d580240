"""How long a new tracker of a cluster takes until it has everything that the stream holds."""

import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import attrs

from bench import client
from bench.cluster.servers import NatsServers
from bench.cluster.trackers import FILE, Reader, new_stream, node, ready
from bench.events import made_up
from bench.subjects import OURS, Subject
from bench.workloads import Figures, Plan, in_turn

__all__ = ["replay"]

_FRAME_EVENTS = 32
_CHUNK_EVENTS = 32_000
_NEW, _RESTARTED = "a new tracker", "one that has its file"
_FILE_RESTARTED, _IMPORT = f"{FILE}, restarted", f"import of as many with {FILE}"


@attrs.frozen
class _Filled:
    """What holds the same events: a stream, the file of one of its trackers, one of a tracker alone, and JSON lines.

    :ivar stream: starts a tracker of the cluster.
    """

    stream: Subject
    count: int
    directory: Path

    @property
    def node(self) -> Path:
        return self.directory / "node.db"

    @property
    def file(self) -> Path:
        return self.directory / "file.db"

    @property
    def lines(self) -> Path:
        return self.directory / "events.jsonl"


def replay(plan: Plan, servers: NatsServers) -> Iterator[Figures]:
    """From the start of a process until it is ready and has all events."""
    seconds: dict[str, list[float]] = defaultdict(list)
    count = plan.events(500_000)
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        filled = _Filled(node(servers, new_stream()), count, Path(name))
        _fill(filled)
        for run in range(plan.runs):
            for way in in_turn([_NEW, _RESTARTED, _FILE_RESTARTED], run):
                seconds[way].append(_seconds(way, filled))
        seconds[_IMPORT].append(_seconds(_IMPORT, filled))  # once, for it takes long
    rates = {way: [count / taken for taken in seconds[way]] for way in (_NEW, _IMPORT)}
    yield Figures(f"cluster, until a tracker has the {count:,} events of the stream and is ready", "s", dict(seconds))
    yield Figures("cluster, replay into a new tracker (more is better)", "events/s", rates)


def _fill(filled: _Filled) -> None:
    events, written = made_up(filled.count), 0
    with (
        ready(filled.stream, filled.node) as (of_stream, _),
        ready(OURS, filled.file) as (of_file, _),
        filled.lines.open("wb") as lines,
    ):
        while some := list(islice(events, _CHUNK_EVENTS)):
            frames = client.frames_of(some, _FRAME_EVENTS)
            for port in (of_stream.port, of_file.port):
                client.ingest(port, frames, connections=4, in_flight=8)
            for event in some:
                written += 1
                lines.write(event.replace(b'"id":""', b'"id":"%d"' % written, 1) + b"\n")


def _seconds(way: str, filled: _Filled) -> float:
    new = filled.directory / "new.db"
    try:
        if way == _NEW:
            return _until_ready(filled.stream, new, filled.count)
        if way == _RESTARTED:
            return _until_ready(filled.stream, filled.node, filled.count)
        if way == _FILE_RESTARTED:
            return _until_ready(OURS, filled.file, filled.count)
        return _import(filled.lines, new)
    finally:
        for path in filled.directory.glob(f"{new.name}*"):
            path.unlink()


def _until_ready(subject: Subject, file: Path, count: int) -> float:
    with ready(subject, file) as (started, seconds), Reader(started.port) as reader:
        if (found := reader.read(1)) != count:
            raise RuntimeError(f"{subject.name} has {found:,} events, and {count:,} were acked")
        return seconds


def _import(lines: Path, file: Path) -> float:
    with ready(OURS, file) as (started, _):
        url = f"ws://127.0.0.1:{started.port}/_tracker/ws"
        before = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "wsproto_tracker", "import", str(lines), "--url", url],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        return time.perf_counter() - before
