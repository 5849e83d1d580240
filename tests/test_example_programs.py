"""The programs under examples/ and in docs/ run as they stand, and tell what is wrong with what they are given."""

import re
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest
import trio
import trio_websocket
from websockets.exceptions import InvalidStatus
from websockets.trio.client import connect

from tests.command import DEADLINE_S, environment
from tests.support import ROOT, Client, event, ingest, query

EXAMPLES = sorted(path.name for path in (ROOT / "examples").glob("*.py"))
PAGES = sorted(
    path.name
    for path in (ROOT / "docs").glob("*.md")
    if path.name != "client.md"  # whose programs want a server: tests/test_client_docs.py
)
BLOCKS = [
    pytest.param(code, id=f"{page}-{number}")
    for page in PAGES
    for number, code in enumerate(re.findall(r"^```python\n(.*?)^```", (ROOT / "docs" / page).read_text(), re.M | re.S))
]


@attrs.define
class Example:
    """A running example."""

    process: trio.Process
    output: str = ""

    async def until(self, pattern: str) -> re.Match[str]:
        """Wait until it has printed this."""
        assert self.process.stdout is not None
        with trio.fail_after(DEADLINE_S):
            while (found := re.search(pattern, self.output)) is None:
                received = await self.process.stdout.receive_some()
                assert received, self.output
                self.output += received.decode()
        return found

    @asynccontextmanager
    async def client(self) -> AsyncGenerator[Client, None]:
        url = (await self.until(r"wsEndpoint: (ws://\S+)\n"))[1]
        async with connect(url) as websocket:
            yield Client(websocket)


@asynccontextmanager
async def example(name: str) -> AsyncGenerator[Example, None]:
    """An example on a free port; stopped with Ctrl-C, at which it has to end quietly."""
    with tempfile.TemporaryFile() as errors:
        process = await trio.lowlevel.open_process(
            [sys.executable, f"examples/{name}.py", "0"],
            stdout=subprocess.PIPE,
            stderr=errors,
            cwd=ROOT,
            env=environment({"PYTHONPATH": str(ROOT)}),
        )
        try:
            yield Example(process)
            process.send_signal(signal.SIGINT)
            with trio.fail_after(DEADLINE_S):
                assert await process.wait() == 0
            errors.seek(0)
            assert "Traceback" not in errors.read().decode()
        finally:
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()


@pytest.mark.parametrize("name", [name.removesuffix(".py") for name in EXAMPLES])
@pytest.mark.parametrize(
    ("argument", "told"),
    [("x", "invalid literal for int"), ("99999", "port: expected a whole number from 0 to 65535"), ("used", "in use")],
)
def test_wrong_ports(name: str, argument: str, told: str) -> None:
    """A port that is none, and one that is in use, are told in a line."""
    with socket.create_server(("127.0.0.1", 0)) as used:
        port = str(used.getsockname()[1]) if argument == "used" else argument
        done = subprocess.run(
            [sys.executable, f"examples/{name}.py", port],
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
            cwd=ROOT,
            env=environment({"PYTHONWARNINGS": "ignore"}),  # Hypercorn leaves sockets open where a port is in use
        )
    assert done.returncode == 1
    assert told in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


async def test_minimal() -> None:
    """What is saved is printed."""
    async with example("minimal") as program, program.client() as client:
        await client.ask(ingest(event(payload={"tag": "seen"})))
        await program.until(r"2026-11-23T21:05:13.536Z click \{'tag': 'seen'\}\n")


async def test_beside_trio_websocket() -> None:
    """The tracker is at one path, the program's own echo at another, and nothing at others."""
    async with example("beside_trio_websocket") as program, program.client() as client:
        assert await client.ask(ingest(event())) == {"type": "ack", "saved": 1}
        base = (await program.until(r"(ws://\S+)/_tracker"))[1]
        async with trio_websocket.open_websocket_url(f"{base}/echo") as echo:
            await echo.send_message("hello")
            assert await echo.get_message() == "hello"
        with pytest.raises(InvalidStatus):
            async with connect(f"{base}/nowhere"):
                pass
        assert (await client.ask("}{"))["code"] == "bad_json"


async def test_hypercorn() -> None:
    async with example("hypercorn_trio") as program, program.client() as client:
        assert await client.ask(ingest(event())) == {"type": "ack", "saved": 1}
        assert len(await client.events()) == 1


async def test_add_a_field() -> None:
    """Pages send with their key, health checks are dropped, and the office sees the field."""
    async with example("add_a_field") as program:
        async with program.client() as page:
            assert await page.ask({"type": "auth", "key": "page-key"}) == {"type": "auth_ok"}
            health = event(type="http", appId="shop", payload={"method": "GET", "url": "/health"})
            ack = await page.ask(ingest(health, event(appId="shop", context={"a": 1}), event(appId="other")))
            assert (ack["saved"], [found["index"] for found in ack["rejected"]]) == (1, [0, 2])
            assert (await page.ask(query()))["code"] == "forbidden"
        async with program.client() as office:
            await office.ask({"type": "auth", "key": "office-key"})
            (found,) = await office.events()
            assert found["context"] == {"a": 1, "team": "checkout", "key": "page"}
        async with program.client() as stranger:
            assert (await stranger.ask({"type": "auth", "key": "guessed"}))["code"] == "unauthorized"
            await stranger.websocket.wait_closed()


async def test_live_consumer() -> None:
    async with example("live_consumer") as program, program.client() as client:
        await client.ask(ingest(event(), event(), event(type="http")))
        await program.until(r"2 click, 1 http; 0 missed\n|2 click; 0 missed\n")


@pytest.mark.parametrize("code", BLOCKS)
def test_blocks_run(code: str, tmp_path: Path) -> None:
    """Every Python block of the pages runs as it stands."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
        cwd=tmp_path,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_page_lists_them_all() -> None:
    page = (ROOT / "docs" / "embedding.md").read_text("utf-8")
    assert sorted(re.findall(r"\(\.\./examples/(\w+\.py)\)", page)) == EXAMPLES
