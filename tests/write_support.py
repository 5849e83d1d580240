"""What the tests of the writing commands share: a command in a process of its own, that is fed and interrupted."""

import json
import signal
import subprocess
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any

import attrs
import trio
from websockets.exceptions import ConnectionClosed
from websockets.trio.server import ServerConnection, serve

from tests.command import DEADLINE_S, MODULE, Ended, environment
from tests.support import ROOT, Running, event


@attrs.define
class Process:
    """A command that runs."""

    process: trio.Process
    _errors: IO[bytes]
    output: str = ""

    async def write(self, data: bytes) -> None:
        """Give it something to read."""
        assert self.process.stdin is not None
        with trio.fail_after(DEADLINE_S):
            await self.process.stdin.send_all(data)

    async def until(self, text: str) -> None:
        """Wait until it has printed this."""
        assert self.process.stdout is not None
        with trio.fail_after(DEADLINE_S):
            while text not in self.output:
                received = await self.process.stdout.receive_some()
                assert received, f"ended after {self.output!r} and {self.errors()!r}"
                self.output += received.decode()

    async def until_told(self, text: str) -> None:
        """Wait until it has told this on stderr."""
        with trio.fail_after(DEADLINE_S):
            while text not in self.errors():
                await trio.sleep(0.02)

    async def end(self, number: signal.Signals | None = None) -> Ended:
        """Wait for its end, of which a signal may be the reason, or that there is no more to read."""
        if number is not None:
            self.process.send_signal(number)
        elif self.process.stdin is not None:
            await self.process.stdin.aclose()
        assert self.process.stdout is not None
        with trio.fail_after(DEADLINE_S):
            self.output += b"".join([received async for received in self.process.stdout]).decode()
            return Ended(await self.process.wait(), self.output, self.errors())

    def errors(self) -> str:
        """What it has told on stderr."""
        self._errors.seek(0)
        return self._errors.read().decode()


@asynccontextmanager
async def command(
    *arguments: str, variables: dict[str, str] | None = None, directory: Path = ROOT
) -> AsyncGenerator[Process, None]:
    """Run a command, and see to it that it ends."""
    with tempfile.TemporaryFile() as errors:
        process = await trio.lowlevel.open_process(
            [*MODULE, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            cwd=directory,
            env=environment(variables),
        )
        try:
            yield Process(process, errors)
        finally:
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()
                for stream in (process.stdin, process.stdout):
                    if stream is not None:
                        await stream.aclose()


def numbered(count: int, first: int = 0, **members: Any) -> list[dict[str, Any]]:
    """Events of one moment, which only their numbers tell apart; without ids."""
    return [
        event(**({"id": ..., "type": "custom", "payload": {"name": "n", "data": {"n": n}}} | members))
        for n in range(first, first + count)
    ]


def lines(events: Sequence[Any]) -> bytes:
    """JSON lines."""
    return b"".join(json.dumps(each).encode() + b"\n" for each in events)


async def stored(running: Running) -> list[dict[str, Any]]:
    """What the server has, in the order in which it came, where the moments are the same."""
    async with running.client() as client:
        return (await client.events())[::-1]


async def numbers(running: Running) -> list[int]:
    """The numbers of ``numbered`` events that the server has, in the order in which they came."""
    return [each["payload"]["data"]["n"] for each in await stored(running)]


async def until_stored(running: Running, least: int) -> None:
    """Wait until the server has so many events."""
    with trio.fail_after(DEADLINE_S):
        while True:
            answer = (await running.http("GET", "?limit=0")).json()
            if answer["total"] >= least:
                return
            await trio.sleep(0.02)


Answer = Callable[[ServerConnection, int, list[Any]], Awaitable[None]]


@asynccontextmanager
async def backend(answer: Answer) -> AsyncGenerator[str, None]:
    """A backend that answers batches with events as the test wants; ``answer`` is told the number of each as well."""
    batches = 0

    async def talk(websocket: ServerConnection) -> None:
        nonlocal batches
        try:
            while True:
                events = json.loads(await websocket.recv())["events"]
                if events:
                    batches += 1
                    await answer(websocket, batches, events)
                else:
                    await websocket.send('{"type":"ack","saved":0}')
        except ConnectionClosed:
            pass

    async with trio.open_nursery() as nursery:
        server = await nursery.start(partial(serve, talk, 0, host="127.0.0.1"))
        yield f"ws://127.0.0.1:{server.listeners[0].socket.getsockname()[1]}/ws"
        nursery.cancel_scope.cancel()
