"""What tests of the reading commands need: the commands as processes, a terminal, servers that offer little."""

import fcntl
import json
import os
import pty
import struct
import subprocess
import tempfile
import termios
import unicodedata
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import trio
from rich.cells import cell_len

from tests.client_support import Peer, scripted
from tests.command import DEADLINE_S, MODULE, Command, Ended, environment, run
from tests.support import ROOT, Running, event
from wsproto_tracker.protocol.timestamps import parse_timestamp

EMOJI = "\U0001f1e9\U0001f1ea\U0001f44d\U0001f3fd\u2764\ufe0f"  # a flag, a thumb with its colour, a red heart
HOSTILE = "\x1b[2J\x1b]0;owned\x07\r\n\x9b31m[bold red]markup[/] \u202egnal \u2028 \x7f \x00 :boom:"


def at(second: int, **members: Any) -> dict[str, Any]:
    """An event of some second of a certain day, whose id says which."""
    moment = datetime(2026, 11, 23, tzinfo=UTC) + timedelta(seconds=second)
    timestamp = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return event(**({"id": f"e{second}", "timestamp": timestamp} | members))


def ago(seconds: float, **members: Any) -> dict[str, Any]:
    """An event of so many seconds ago."""
    moment = datetime.now(UTC) - timedelta(seconds=seconds)
    return event(**({"timestamp": moment.isoformat(timespec="milliseconds")} | members))


async def save(server: Running, *events: dict[str, Any]) -> None:
    """Have a server save events, in this order."""
    async with server.client() as client:
        for start in range(0, len(events), 1000):
            batch = list(events[start : start + 1000])
            assert await client.ask({"type": "ingest", "events": batch}) == {"type": "ack", "saved": len(batch)}


async def asked(url: str, *arguments: str, **variables: str) -> Ended:
    """Run a command against a server, to its end."""
    return await run(*arguments, "--url", url, variables={"TZ": "UTC"} | variables)


def ids(output: str) -> list[str]:
    """The ids of JSON lines."""
    return [json.loads(line)["id"] for line in output.splitlines()]


@asynccontextmanager
async def begun(
    url: str | None, *arguments: str, variables: dict[str, str] | None = None, stdout: int = subprocess.PIPE
) -> AsyncGenerator[Command, None]:
    """Start a command, against a server where it wants one, and see to it that it ends."""
    server = () if url is None else ("--url", url)
    with tempfile.TemporaryFile() as errors:
        process = await trio.lowlevel.open_process(
            [*MODULE, *arguments, *server],
            stdout=stdout,
            stderr=errors,
            cwd=ROOT,
            env=environment({"TZ": "UTC"} | (variables or {})),
        )
        try:
            yield Command(process, errors)
        finally:
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()
                if process.stdout is not None:
                    await process.stdout.aclose()


async def told(command: Command, text: str) -> None:
    """Wait until the command has said something on stderr."""
    with trio.fail_after(DEADLINE_S):
        while text not in command.errors():
            await trio.sleep(0.01)


async def on_terminal(url: str | None, *arguments: str, columns: int, **variables: str) -> str:
    """What a command prints to its end on a terminal that is so wide."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    printed = bytearray()

    def read() -> None:
        with suppress(OSError):  # EIO: nobody has the terminal open any more
            while received := os.read(ours, 65536):
                printed.extend(received)

    try:
        terminal = {"COLUMNS": str(columns), "TERM": "xterm-256color"} | variables
        async with begun(url, *arguments, variables=terminal, stdout=theirs) as command, trio.open_nursery() as nursery:
            nursery.start_soon(trio.to_thread.run_sync, read)
            with trio.fail_after(DEADLINE_S):
                assert await command.process.wait() == 0, command.errors()
            os.close(theirs)
    finally:
        os.close(ours)
    return printed.decode().replace("\r\n", "\n")


def cells_of(line: str) -> int:
    """The cells that a line takes in a terminal that shows each part of an emoji by itself."""
    wide = (unicodedata.east_asian_width(each) in "WF" or "\U0001f1e6" <= each <= "\U0001f1ff" for each in line)
    return sum(2 if is_wide else cell_len(each) for is_wide, each in zip(wide, line, strict=True))


class Bare:
    """A tracker that offers no filters, no pages and no push: windows only.

    :ivar queries: what it was asked.
    :ivar is_away: whether it has no answers for now.
    :ivar miscounted: how many events it counts that there are not.
    """

    def __init__(self, *events: dict[str, Any]) -> None:
        self.events = list(events)
        self.queries: list[dict[str, Any]] = []
        self.is_away = False
        self.miscounted = 0

    def served(self) -> AbstractAsyncContextManager[str]:
        """Serve; the URL."""
        return scripted(self._converse)

    async def _converse(self, peer: Peer) -> None:
        while True:
            frame = await peer.receive()
            if frame["type"] == "ingest":
                await peer.ack(frame)
            elif frame["type"] == "events:query" and not self.is_away:
                response = self._answer(frame["query"])
                self.queries.append(frame["query"])
                await peer.send({"type": "events:response", "reqId": frame["reqId"], "response": response})
            elif frame["type"] == "events:query":
                self.queries.append(frame["query"])
                error = {"type": "error", "code": "unavailable", "message": "the disk is full"}
                await peer.send(error | {"reqId": frame["reqId"], "retryAfterMs": 1})
            else:
                await peer.send({"type": "error", "code": "unknown_type", "message": "no such type"})

    def _answer(self, query: dict[str, Any]) -> dict[str, Any]:
        since = parse_timestamp(query.get("since", "0001-01-01T00:00:00Z"))
        until = parse_timestamp(query.get("until", "9999-12-31T00:00:00Z"))
        found = [event for event in reversed(self.events) if since <= parse_timestamp(event["timestamp"]) <= until]
        found.sort(key=lambda event: parse_timestamp(event["timestamp"]), reverse=True)
        return {"events": found, "total": len(found) + self.miscounted}
