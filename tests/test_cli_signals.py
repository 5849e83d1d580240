"""Commands that a signal ends, at any moment: they say so in a line, and leave nothing half done."""

import os
import signal
import sys
from pathlib import Path

import pytest
import trio

from tests.command import DEADLINE_S, Ended, run
from tests.reading_support import at, begun, save
from tests.support import Running
from tests.write_support import command

INTERRUPTED_AT = """
import os, signal, sys

class Finder:
    def find_spec(self, name, *_):
        if name == {name!r}:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Finder())
from wsproto_tracker.__main__ import main
sys.exit(main())
"""


@pytest.mark.parametrize("name", ["attrs", "rich.console", "wsproto_tracker.cli.tail"])
async def test_early(name: str) -> None:
    """Ctrl-C while it is still being loaded, from the first module on, is quiet: 130."""
    ended = await run("-c", INTERRUPTED_AT.format(name=name), "stats", command=(sys.executable,))
    assert ended == Ended(130, "", "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
async def test_export_while_it_writes(server: Running, tmp_path: Path, number: signal.Signals) -> None:
    """In the middle of writing, the file that was there stays, and of the new one nothing is left."""
    await save(server, *(at(second, payload={"text": "x" * 500}) for second in range(1000)))
    file, part = tmp_path / "events.jsonl", tmp_path / "events.jsonl.part"
    file.write_text("mine")
    os.mkfifo(part)  # which takes a little, and makes it wait
    async with begun(server.ws_url, "export", str(file), "--force") as it:
        with trio.fail_after(DEADLINE_S):
            written = await trio.to_thread.run_sync(os.open, part, os.O_RDONLY)
            assert await trio.to_thread.run_sync(os.read, written, 1)
            it.signal(number)
            while await trio.to_thread.run_sync(os.read, written, 65536):
                pass
        os.close(written)
        assert await it.end() == Ended(128 + number, "", "wsproto-tracker: interrupted; nothing was exported\n")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(file.name, "mine")]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("tail",), "wsproto-tracker: interrupted\n"),
        (("load", "--seconds", "99", "--json"), "wsproto-tracker: interrupted\n"),
        (
            ("send",),
            "wsproto-tracker: interrupted; 0 events are acked; run it again: what has arrived is not stored twice\n",
        ),
    ],
)
async def test_sigterm(server: Running, arguments: tuple[str, ...], told: str) -> None:
    """SIGTERM does what Ctrl-C does, also where that is ignored, as scripts have it for what is in the background."""
    ours = signal.signal(signal.SIGINT, signal.SIG_IGN)  # which a new process inherits
    try:
        async with command(*arguments, "--url", server.ws_url) as it:
            await connected(server)
            ended = await it.end(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGINT, ours)
    assert (ended.status, ended.errors) == (143, told)


async def connected(server: Running) -> None:
    """Wait until somebody has a WebSocket to the server."""
    with trio.fail_after(DEADLINE_S):
        while b'tracker_connections_total{transport="websocket"} 0.0' in (await server.http("GET", "//metrics")).body:
            await trio.sleep(0.02)
