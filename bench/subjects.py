"""What is measured, each in a process of its own: ours, and what it is compared with."""

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs

__all__ = ["Started", "dictionaries", "ours", "started"]

_PEERS = Path(__file__).parent / "peers"
_READY = "ready"


@attrs.frozen
class Started:
    """A subject that is ready.

    :ivar ready_s: seconds from its start until it said so.
    :ivar url: where it can be read from over HTTP, if it said that; empty otherwise.
    """

    process: "subprocess.Popen[str]"
    ready_s: float
    url: str

    @property
    def resident_bytes(self) -> int:
        """Its resident memory now."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise RuntimeError("the system does not tell the resident memory of a process")


def ours(store: Path) -> list[str]:
    """The server, with a store that is there."""
    options = ["--port", "0", "--store", f"sqlite:{store}", "--max-events", str(10**9)]
    return [sys.executable, "-m", "wsproto_tracker", "serve", *options]


def dictionaries(lines: Path) -> list[str]:
    """A Python program that holds the events of a file of JSON lines as dictionaries."""
    return [sys.executable, str(_PEERS / "dictionaries.py"), str(lines)]


@contextmanager
def started(command: list[str], ready: str = _READY) -> Iterator[Started]:
    """Start a subject, wait until it prints that it is ready, and end it."""
    before = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = ""
            for line in process.stdout:
                if ready in line:
                    break
                found = re.search(r"http://\S+", line)
                url = url or (found[0] if found else "")
            else:
                raise RuntimeError(f"ended before it was ready: {command}")
            yield Started(process, time.perf_counter() - before, url)
        finally:
            process.terminate()
