"""``wsproto-tracker serve`` as a process that tests kill, pause and start again, on the same port and files."""

import signal
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import attrs

from tests.command import Command, Ended, started
from tests.proxy_support import free_ports
from tests.support import Running


@attrs.define(eq=False)
class TrackerProcess:
    """One tracker: its port and its folder stay the same, its process comes and goes."""

    arguments: tuple[str, ...]
    _process: AsyncExitStack = attrs.field(factory=AsyncExitStack)
    _command: Command | None = None

    @property
    def command(self) -> Command:
        assert self._command is not None, "it was not started"
        return self._command

    @property
    def running(self) -> Running:
        """The server, for clients."""
        return self.command.running

    async def start(self) -> None:
        """Start it, and return without waiting for it to listen."""
        self._command = await self._process.enter_async_context(started(*self.arguments))

    async def wait_ready(self) -> None:
        """Wait until it listens, and has said so.

        :raises AssertionError: where it ends instead; with what it wrote.
        """
        await self.command.until("Ctrl-C stops it.\n")

    async def kill(self) -> None:
        """As ``kill -9``; returns when it is gone."""
        await self._process.aclose()

    async def terminate(self) -> Ended:
        """Stop it as an init system does; returns what it leaves."""
        return await self.command.stop()

    def pause(self) -> None:
        """Stop it where it is: connections stay, and nothing is answered."""
        self.command.signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.command.signal(signal.SIGCONT)

    async def restart(self) -> None:
        """Start it again, and wait until it listens; it is killed before, if it still runs."""
        await self.kill()
        await self.start()
        await self.wait_ready()


def stream_url(servers: str, stream: str, monitors: list[str]) -> str:
    """The URL of a store that is a stream, with where the settings of its servers can be seen.

    :param servers: as :func:`tests.nats_support.nats_url` makes it, of ports of servers or of wires to them.
    """
    return f"{servers}/{stream}?monitor={','.join(monitors)}"


@asynccontextmanager
async def tracker_process(store_url: str, folder: Path, *options: str) -> AsyncGenerator[TrackerProcess, None]:
    """A tracker that listens; it has its own copy in the folder where its store is a stream.

    :param options: more arguments of ``serve``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    local = ("--local", str(folder / "tracker.db")) if store_url.startswith("nats:") else ()
    (port,) = free_ports(1)
    common = ("--port", str(port), "--store", store_url, *local, "--durability", "full")
    tracker = TrackerProcess((*common, *options))
    try:
        await tracker.restart()
        yield tracker
    finally:
        await tracker.kill()
