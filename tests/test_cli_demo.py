"""``wsproto-tracker demo``, run as users run it."""

import json
import re
import shlex
import signal
import socket
from pathlib import Path
from typing import Any

import pytest
from websockets.trio.client import connect

from tests.command import Ended, run
from tests.reading_support import on_terminal
from tests.support import Client, Running, elsewhere, query
from tests.write_support import Process, command, until_stored
from wsproto_tracker import Address, Settings
from wsproto_tracker.cli.made_up import TYPES


async def greeted(it: Process) -> Running:
    """The server, when it has told where it is."""
    await it.until("Ctrl-C stops it.\n")
    found = re.search(r"ws://127\.0\.0\.1:(\d+)/_tracker/ws", it.output)
    assert found is not None
    address = Address("127.0.0.1", int(found[1]))
    return Running(elsewhere(address), Settings(port=address.port))


async def test_traffic(tmp_path: Path) -> None:
    """There is an hour of events of all types and several users, and more come; nothing is left at the end."""
    async with command("demo", "--rate", "50", variables={"TMPDIR": str(tmp_path)}) as it:
        server = await greeted(it)
        events: list[dict[str, Any]] = (await server.http("GET", "")).json()["events"]
        assert len(events) >= 600
        assert {each["type"] for each in events} == {*TYPES, "session"}
        assert len({each["userId"] for each in events}) > 5
        assert {each["payload"]["action"] for each in events if each["type"] == "session"} == {"start", "end"}
        await until_stored(server, len(events) + 20)
        assert len(list(tmp_path.iterdir())) == 1
        ended = await it.end(signal.SIGINT)
    assert (ended.status, ended.errors) == (0, "")
    assert list(tmp_path.iterdir()) == []


async def test_push() -> None:
    """Who subscribes gets what comes, as ``tail`` does."""
    async with command("demo", "--rate", "50") as it:
        server = await greeted(it)
        async with connect(server.ws_url) as websocket:
            client = Client(websocket)
            assert await client.ask({"type": "subscribe"}) == {"type": "subscribed"}
            assert (await client.receive())["type"] == "push"
        assert (await it.end(signal.SIGTERM)).status == 0


async def test_what_it_says() -> None:
    """What it says to type works: the address is in it, and what curl asks is answered."""
    async with command("demo") as it:
        server = await greeted(it)
        for name in ("tail", "query", "stats"):
            assert f"\n  wsproto-tracker {name} --url {server.ws_url}\n" in it.output
        urls = [shlex.split(line)[1] for line in it.output.splitlines() if line.startswith("  curl ")]
        paths = [url.removeprefix(f"http://{server.address}") for url in urls]
        answers = [await server.http("GET", f"/{path}") for path in paths]
        assert [answer.status for answer in answers] == [200, 200]
        assert len(answers[0].json()["events"]) == 3
        found = dict(re.findall(r"^  (\w+Endpoint): '([^']*)',$", it.output, re.MULTILINE))
        assert found == {"wsEndpoint": server.ws_url, "pingEndpoint": f"http://{server.address}/_tracker/ping"}
        assert (await server.http("GET", "/ping")).status == 200
        async with server.client() as client:
            answer = await client.ask(query(limit=1))
            assert answer["response"]["total"] >= 600
        assert (await it.end(signal.SIGINT)).is_clean


async def test_seconds() -> None:
    """It can end by itself. In a narrow terminal no line is broken, so that what is to be typed can be copied."""
    ended = await run("demo", "--seconds", "0.5", variables={"COLUMNS": "50"})
    assert ended.is_clean
    assert ended.output.endswith("Ctrl-C stops it.\n")
    assert max(map(len, ended.output.splitlines())) <= 50
    tail = re.search(r"^  (wsproto-tracker tail.*?)(?<!\\)\n", ended.output, re.M | re.S)
    assert tail is not None
    words = await run("-c", f"printf '%s ' {tail[1]}", command=("bash",))
    assert re.fullmatch(r"wsproto-tracker tail --url ws://127\.0\.0\.1:\d+/_tracker/ws ", words.output)


async def test_on_a_terminal() -> None:
    """On a terminal the events run down the screen, as ``tail`` would show them."""
    printed = await on_terminal(None, "demo", "--seconds", "2", "--rate", "50", columns=100)
    rows = printed.partition("Ctrl-C stops it.\n")[2].splitlines()
    assert "EVENT" in rows[0]
    assert len(rows) > 20
    assert any("click" in row for row in rows)


async def test_port() -> None:
    """The port may be given; one that is in use is told in a line."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = await run("demo", "--port", str(port))
        told = f"--port: 127.0.0.1 port {port} is in use; stop what listens there, or take another port"
        assert ended == Ended(1, "", f"wsproto-tracker: {told}\n")
    async with command("demo", "--port", str(port)) as it:
        assert (await greeted(it)).address.port == port
        assert (await it.end(signal.SIGINT)).is_clean


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("port", "70000", "a whole number from 0 to 65535"),
        ("port", "x", "a whole number from 0 to 65535"),
        ("rate", "0", "a number of events per second, more than 0 and at most 2000"),
        ("rate", "2001", "a number of events per second, more than 0 and at most 2000"),
        ("seconds", "x", "a number of seconds, more than 0"),
    ],
)
async def test_numbers(name: str, given: str, expected: str) -> None:
    assert await run("demo", f"--{name}", given) == Ended(2, "", f"wsproto-tracker: --{name}: expected {expected}\n")


async def test_settings_of_others() -> None:
    """What is set for a server of one's own, such as its store and its key, is not for this one."""
    variables = {"TRACKER_API_KEY": "s3cret", "TRACKER_STORE": "sqlite:/nowhere/tracker.db"}
    async with command("demo", variables=variables) as it:
        server = await greeted(it)
        assert json.loads((await server.http("GET", "?limit=1")).body)["total"] >= 600
        assert (await it.end(signal.SIGINT)).is_clean
