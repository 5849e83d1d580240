"""What is measured, each in a process of its own: ours, and what others would write in its place."""

import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

import attrs
import psutil

__all__ = [
    "CEILING",
    "DICTIONARIES",
    "NODE_LINES",
    "NODE_RING",
    "OURS",
    "STARLETTE",
    "WATCHED",
    "Started",
    "Subject",
    "cpu_s",
    "ours",
]

_PEERS = Path(__file__).parent / "peers"
_READY_S = 600


@attrs.frozen
class Started:
    """A subject that is ready.

    :ivar ready_s: seconds from its start until it said so.
    :ivar port: where it listens on the loopback, if it does.
    :ivar pipes: its input and output.
    """

    process: psutil.Process
    ready_s: float
    port: int
    pipes: "subprocess.Popen[str]"

    @property
    def resident_mb(self) -> float:
        """Its resident memory now, in megabytes."""
        return float(self.process.memory_info().rss / 1e6)

    @property
    def cpu_s(self) -> float:
        """The processor time that it has used so far."""
        return cpu_s(self.process)


def cpu_s(process: psutil.Process) -> float:
    """The processor time that a process has used so far."""
    times = process.cpu_times()
    return float(times.user + times.system)


@attrs.frozen
class Subject:
    """Something to measure.

    :ivar command: starts it; ``{file}`` stands for the file that keeps its events.
    :ivar suffix: of that file; empty for a subject that keeps none.
    :ivar missing: why it cannot be measured here, if so.
    """

    name: str
    command: tuple[str, ...]
    suffix: str = ""
    missing: str = ""

    @contextmanager
    def started(self, file: Path | None = None) -> Iterator[Started]:
        """Start it, wait until it says that it is ready, and end it."""
        command = [part.format(file=file) for part in self.command if file is not None or part != "{file}"]
        before = time.perf_counter()
        with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True) as process:
            try:
                output = ""
                assert process.stdout is not None
                for line in process.stdout:
                    output += line
                    if "ready" in line or "Ctrl-C" in line:
                        break
                else:
                    raise RuntimeError(f"{self.name} ended before it was ready: {output}")
                url = re.search(r"http://[^\s/]+", output)
                port = urlsplit(url[0]).port if url else None
                yield Started(psutil.Process(process.pid), time.perf_counter() - before, port or 0, process)
            finally:
                process.terminate()


def _node(name: str, *arguments: str, suffix: str = "") -> Subject:
    missing = "" if shutil.which("node") else "node is not installed"
    if not (_PEERS / "node_modules").exists():
        missing = missing or "run: npm install --prefix bench/peers"
    return Subject(name, ("node", "--max-old-space-size=12000", str(_PEERS / "node.mjs"), *arguments), suffix, missing)


def _python(name: str, script: str, *arguments: str, suffix: str = "", needs: str = "trio") -> Subject:
    missing = "" if find_spec(needs) else f"{needs} is not installed"
    return Subject(name, (sys.executable, str(_PEERS / script), *arguments), suffix, missing)


_LIMITS = ("--max-events", "100000000", "--max-connections", "11000", "--max-connections-per-address", "11000")
_SERVE = ("-m", "wsproto_tracker", "serve", "--port", "0", *_LIMITS)


def ours(name: str, *options: str) -> Subject:
    """Our server with some options."""
    return Subject(name, (sys.executable, *_SERVE, *options), suffix=".db")


OURS = ours("ours", "--store", "sqlite:{file}")
WATCHED = Subject("ours, watched", (sys.executable, "-m", "bench.watched", "{file}"), suffix=".db")
NODE_RING = _node("Node, ring")
NODE_LINES = _node("Node, JSON lines", "{file}", suffix=".jsonl")
STARLETTE = _python("Starlette, list", "starlette_list.py", needs="starlette")
CEILING = _python("ceiling", "ceiling.py")
DICTIONARIES = _python("Python, JSON lines", "dictionaries.py", "{file}", suffix=".jsonl")
