"""The server in a process of its own: started on one file again and again, and ended in every way."""

import re
import resource
import subprocess
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import attrs
import psutil
import trio

from bench.soak.tally import Tally
from bench.subjects import OURS

__all__ = ["Life", "Serving"]

_READY_S = 60
_STOP_S = 30


@attrs.define
class Life:
    """One process of the server.

    :ivar began_s: seconds since the beginning of the soak.
    :ivar acked_before: events that were acked before it.
    :ivar ready_s: from its start until it listened.
    :ivar ready_mb: resident memory then, in megabytes.
    :ivar most_mb: the most that was seen.
    :ivar seconds: how long it lived.
    :ivar end: what ended it.
    """

    began_s: float
    acked_before: int
    ready_s: float = 0.0
    ready_mb: float = 0.0
    most_mb: float = 0.0
    seconds: float = 0.0
    end: str = ""


class Serving:
    """The server.

    :param directory: where its file is, and what it logs.
    :ivar port: where it listens, while it does.
    """

    def __init__(self, directory: Path, tally: Tally) -> None:
        self.file = directory / "store" / f"tracker{OURS.suffix}"
        self.file.parent.mkdir()
        self._log = directory / "serve.log"
        self._tally = tally
        self._process: trio.Process | None = None
        self.port: int | None = None
        self.lives: list[Life] = []

    @property
    def log(self) -> str:
        """What all processes together have logged."""
        return self._log.read_text()

    async def start(self, acked: int) -> None:
        """Start it, and wait until it listens.

        :param acked: how many events are acked so far.
        """
        life = Life(self._tally.seconds, acked)
        command = [part.format(file=self.file) for part in OURS.command]
        with self._log.open("ab") as log:
            process = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE, stderr=log)
        self._process = process
        with trio.fail_after(_READY_S):
            self.port = await _listening(process)
        life.ready_s = self._tally.seconds - life.began_s
        self.lives.append(life)
        self.look()
        life.ready_mb = life.most_mb

    def look(self) -> None:
        """Look how much memory it takes, if it is there."""
        if self._process is not None:
            with suppress(psutil.Error):
                resident_mb = psutil.Process(self._process.pid).memory_info().rss / 1e6
                self.lives[-1].most_mb = max(self.lives[-1].most_mb, resident_mb)

    async def kill(self) -> None:
        """End it by SIGKILL."""
        if self._process is not None:
            self._process.kill()
            await self._ended("SIGKILL")

    async def stop(self) -> None:
        """End it as an init system does; it has to end by itself, and well."""
        if self._process is None:
            return
        self._process.terminate()
        with trio.move_on_after(_STOP_S) as scope:
            status = await self._ended("SIGTERM")
            if status != 0:
                self._tally.violated("stopped, it ends with status 0", f"not with {status}")
        if scope.cancelled_caught:
            self._tally.violated(f"stopped, it ends within {_STOP_S} s")
            await self.kill()

    async def _ended(self, by: str) -> int:
        assert self._process is not None
        status = await self._process.wait()
        if self._process.stdout is not None:
            await self._process.stdout.aclose()
        self._process = self.port = None
        self.lives[-1].seconds = self._tally.seconds - self.lives[-1].began_s
        self.lives[-1].end = by
        return status

    def fill_disk(self) -> None:
        """Let it write no file beyond its largest: to it, the disk fails."""
        self._limit_files(max(file.stat().st_size for file in self.file.parent.iterdir()))

    def free_disk(self) -> None:
        """Let it write again."""
        self._limit_files(resource.RLIM_INFINITY)

    def _limit_files(self, size: int) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                resource.prlimit(self._process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


async def _listening(process: trio.Process) -> int:
    """Wait until the server has said where it listens; the port."""
    assert process.stdout is not None
    output = ""
    async for received in process.stdout:
        output += received.decode()
        if "Ctrl-C" in output:
            break
    url = re.search(r"http://[^\s/]+", output)
    port = urlsplit(url[0]).port if url else None
    if port is None:
        raise RuntimeError(f"the server ended before it listened, and said {output!r}")
    return port
