"""The command as a process of its own, for tests that run it as users do."""

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

import attrs
import trio

from tests.support import ROOT, Running, elsewhere
from wsproto_tracker import Address, Settings

DEADLINE_S = 20
MODULE = (sys.executable, "-m", "wsproto_tracker")


def environment(variables: dict[str, str] | None) -> dict[str, str]:
    """The environment of this process without what would configure the command, and with a store in memory.

    Warnings are errors in it as well.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("TRACKER_")}
    return inherited | {"COLUMNS": "300", "PYTHONWARNINGS": "error", "TRACKER_STORE": "memory:"} | (variables or {})


@attrs.frozen
class Ended:
    """What a command that has ended leaves."""

    status: int
    output: str
    errors: str

    @property
    def problems(self) -> list[str]:
        """What was written to stderr, without the lines that tell what went well."""
        return [line for line in self.errors.splitlines() if not re.match(r"\S+Z \[info +\] ", line)]

    @property
    def is_clean(self) -> bool:
        """Whether it ended as intended, and nothing was thrown at the user."""
        return self.status == 0 and not self.problems


async def run(
    *arguments: str,
    command: tuple[str, ...] = MODULE,
    variables: dict[str, str] | None = None,
    directory: Path = ROOT,
) -> Ended:
    """Run the command to its end."""
    with trio.fail_after(DEADLINE_S):
        process = await trio.run_process(
            [*command, *arguments],
            capture_stdout=True,
            capture_stderr=True,
            check=False,
            cwd=directory,
            env=environment(variables),
        )
    return Ended(process.returncode, process.stdout.decode(), process.stderr.decode())


@attrs.define
class Command:
    """``serve`` in a process of its own."""

    process: trio.Process
    _errors: IO[bytes]
    output: str = ""

    @property
    def endpoint(self) -> str:
        """What the snippet has for the WebSocket."""
        return self.snippet["wsEndpoint"]

    @property
    def snippet(self) -> dict[str, str]:
        """The members of the snippet that are strings."""
        return dict(re.findall(r"^ +(\w+): '([^']*)',$", self.output, re.MULTILINE))

    @property
    def running(self) -> Running:
        """The server, for clients."""
        url = urlsplit(self.endpoint)
        assert url.hostname is not None
        assert url.port is not None
        settings = Settings(host=url.hostname, port=url.port, base_path=url.path.removesuffix("/ws"))
        return Running(elsewhere(Address(settings.host, settings.port)), settings)

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def until(self, text: str) -> None:
        """Wait until the text is printed."""
        assert self.process.stdout is not None
        with trio.fail_after(DEADLINE_S):
            while text not in self.output:
                received = await self.process.stdout.receive_some()
                assert received, f"ended after {self.output!r} and {self.errors()!r}"
                self.output += received.decode()

    async def end(self) -> Ended:
        """Wait for its end."""
        with trio.fail_after(DEADLINE_S):
            if self.process.stdout is not None:
                with suppress(trio.ClosedResourceError):  # a test may have closed it
                    self.output += b"".join([received async for received in self.process.stdout]).decode()
            return Ended(await self.process.wait(), self.output, self.errors())

    async def stop(self) -> Ended:
        """Stop it as an init system does."""
        self.signal(signal.SIGTERM)
        return await self.end()

    def errors(self) -> str:
        self._errors.seek(0)
        return self._errors.read().decode()


@asynccontextmanager
async def started(
    *arguments: str,
    command: tuple[str, ...] = MODULE,
    variables: dict[str, str] | None = None,
    stdout: int = subprocess.PIPE,
    directory: Path = ROOT,
) -> AsyncGenerator[Command, None]:
    """Start ``serve``, and see to it that it ends."""
    with tempfile.TemporaryFile() as errors:
        process = await trio.lowlevel.open_process(
            [*command, "serve", *arguments], stdout=stdout, stderr=errors, cwd=directory, env=environment(variables)
        )
        try:
            yield Command(process, errors)
        finally:
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()
                if process.stdout is not None:
                    await process.stdout.aclose()


@asynccontextmanager
async def serving(
    *arguments: str,
    command: tuple[str, ...] = MODULE,
    variables: dict[str, str] | None = None,
    directory: Path = ROOT,
) -> AsyncGenerator[Command, None]:
    """Start ``serve`` on a free port, and wait until it listens and has said so."""
    async with started("--port", "0", *arguments, command=command, variables=variables, directory=directory) as it:
        await it.until("Ctrl-C stops it.\n")
        yield it
