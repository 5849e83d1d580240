"""Trackers of a cluster, and who reads from them."""

import http.client
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path

from bench.cluster.servers import NatsServers
from bench.subjects import Started, Subject, ours

__all__ = ["FILE", "Reader", "new_stream", "node", "ready", "settle", "trackers"]

FILE = "sqlite"
_READY_S = 600
_POLL_S = 0.01
_NUMBERS = count()


def new_stream() -> str:
    """The name of a stream that there is none of yet."""
    return f"BENCH{next(_NUMBERS)}"


def node(servers: NatsServers, stream: str, *, read: str = "latest") -> Subject:
    """A tracker of a cluster.

    :param read: what its queries see.
    """
    return ours("node", "--store", servers.store(stream), "--local", "{file}", "--read", read)


class Reader:
    """Reads over one HTTP connection."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_READY_S)

    def __enter__(self) -> "Reader":
        return self

    def __exit__(self, *_error: object) -> None:
        self._connection.close()

    def read(self, limit: int) -> int:
        """Read the newest events; returns how many there are in all."""
        return int(self._ask(f"/_tracker?limit={limit}")[1].rpartition(b'"total":')[2].partition(b",")[0])

    def is_ready(self) -> bool:
        """Whether events may go there."""
        return self._ask("/ready")[0] == 200

    def _ask(self, path: str) -> tuple[int, bytes]:
        self._connection.request("GET", path)
        response = self._connection.getresponse()
        return response.status, response.read()


@contextmanager
def ready(subject: Subject, file: Path) -> Iterator[tuple[Started, float]]:
    """Start a tracker, and wait until events may go there; it, and how many seconds that took."""
    before = time.perf_counter()
    with subject.started(file) as started, Reader(started.port) as reader:
        while not reader.is_ready():
            if time.perf_counter() > before + _READY_S:
                raise RuntimeError(f"{subject.name} is not ready after {_READY_S} s")
            time.sleep(_POLL_S)
        yield started, time.perf_counter() - before


@contextmanager
def trackers(subjects: Sequence[Subject]) -> Iterator[list[Started]]:
    """Trackers that are ready, each with a new file."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name, ExitStack() as stack:
        yield [
            stack.enter_context(ready(subject, Path(name) / f"{number}.db"))[0]
            for number, subject in enumerate(subjects)
        ]


def settle(found: Sequence[Started]) -> None:
    """Wait until each of them, for which ``--read latest`` holds, has everything that was acked."""
    for tracker in found:
        with Reader(tracker.port) as reader:
            reader.read(1)
