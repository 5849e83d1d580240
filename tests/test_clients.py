"""Whole answers are what the oracle gives, to the byte, in every client: with deflate, with gzip, and without either.

``pytest tests/test_clients.py --events 500000`` asks for half a million.
"""

import json
import random
import shutil
from collections.abc import AsyncGenerator
from contextlib import aclosing
from hashlib import sha256
from typing import Any
from urllib.parse import urlencode

import attrs
import pytest
import trio
from trio_websocket import open_websocket_url

from tests.store_contract import accepted, asked, moment
from tests.support import ROOT, Running, query, running
from tests.test_browser import BROWSER, url, visiting
from wsproto_tracker.protocol import frames
from wsproto_tracker.protocol.events import Event
from wsproto_tracker.protocol.query import Query
from wsproto_tracker.protocol.timestamps import format_instant
from wsproto_tracker.store import MemoryStore

PEERS = ROOT / "bench" / "peers"
HAS_WS = bool(shutil.which("node")) and (PEERS / "node_modules" / "ws").exists()


@attrs.frozen
class Case:
    """A server, what it is asked, and the digests of what it has to answer."""

    server: Running
    windows: list[dict[str, str]]
    frames: list[str]
    bodies: list[str]

    @property
    def queries(self) -> list[dict[str, Any]]:
        return [json.loads(query(f"q{number}", **window)) for number, window in enumerate(self.windows)]


def some_events(count: int) -> list[Event]:
    """In order for the most part; many with equal timestamps, some late."""
    chance = random.Random(11)
    seconds = [number // 2 if chance.random() < 0.95 else chance.randrange(number // 2 + 1) for number in range(count)]
    return [
        accepted(
            id=f"e{number}",
            timestamp=moment(second),
            payload={"text": f"Größe \U0001f680 {chance.random()} \u2028 \x00"},
        )
        for number, second in enumerate(seconds)
    ]


async def expected(oracle: MemoryStore, asked_for: Query, req_id: str | None) -> str:
    """The digest of the answer that the oracle gives."""
    answer = await oracle.query(asked_for)
    async with aclosing(answer.chunks) as chunks:
        events = b",".join([chunk.text async for chunk in chunks])
    newest = None if answer.newest is None else format_instant(answer.newest)
    head, tail = frames.read_answer(answer.total, 1, answer.total, newest)
    before, after = (b"", b"") if req_id is None else frames.response(req_id)
    return sha256(before + head + events + tail + after).hexdigest()


@pytest.fixture
async def case(request: pytest.FixtureRequest) -> AsyncGenerator[Case, None]:
    """Events in blocks, late ones between them, and a tail."""
    count = request.config.getoption("--events")
    events = some_events(count)
    oracle = MemoryStore(10**9)
    await oracle.append(events)
    last = count // 2
    windows = [
        {},
        {"since": moment(last // 3), "until": moment(last // 2)},
        {"until": moment(5)},
        {"since": moment(last - 5)},
        {"since": moment(last + 5)},
        {"since": moment(7), "until": moment(7)},
    ]
    async with running(max_events=10**9) as server:
        async with server.client() as client:
            for start in range(0, count, 1000):
                batch = b",".join(event.text for event in events[start : start + 1000]).decode()
                assert (await client.ask(f'{{"type":"ingest","events":[{batch}]}}'))["type"] == "ack"
        yield Case(
            server,
            windows,
            [await expected(oracle, asked(**window), f"q{number}") for number, window in enumerate(windows)],
            [await expected(oracle, asked(**window), None) for window in windows],
        )


@pytest.mark.parametrize("compression", ["deflate", None])
async def test_websockets(case: Case, compression: str | None) -> None:
    """The ``websockets`` client, with deflate and without."""
    async with case.server.client(compression=compression) as client:
        await client.send(*case.queries)
        texts = [await client.websocket.recv() for _ in case.windows]
    assert [sha256(text.encode()).hexdigest() for text in texts if isinstance(text, str)] == case.frames


async def test_trio_websocket(case: Case) -> None:
    """trio-websocket, which offers no deflate."""
    async with open_websocket_url(case.server.ws_url, max_message_size=2**40) as websocket:
        for frame in case.queries:
            await websocket.send_message(json.dumps(frame))
        texts = [await websocket.get_message() for _ in case.windows]
    assert [sha256(str(text).encode()).hexdigest() for text in texts] == case.frames


@pytest.mark.skipif(not HAS_WS, reason="needs Node with ws: npm install --prefix bench/peers")
async def test_node(case: Case) -> None:
    """``ws`` in Node."""
    script = str(ROOT / "tests" / "clients" / "windows.mjs")
    command = ["node", script, str(PEERS), case.server.ws_url, json.dumps(case.queries)]
    with trio.fail_after(100):
        ended = await trio.run_process(command, capture_stdout=True)
    told = json.loads(ended.stdout)
    assert told["extensions"] == "permessage-deflate"
    assert told["seen"] == case.frames


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl: apt-get install curl")
@pytest.mark.parametrize("options", [["--compressed"], []])
async def test_curl(case: Case, options: list[str]) -> None:
    """curl, with gzip and without."""
    seen = []
    for window in case.windows:
        address = f"http://{case.server.address}{case.server.settings.base_path}?{urlencode(window)}"
        with trio.fail_after(100):
            ended = await trio.run_process(["curl", "-sf", *options, address], capture_stdout=True)
        seen.append(sha256(ended.stdout).hexdigest())
    assert seen == case.bodies


@pytest.mark.skipif(BROWSER is None, reason="needs Chromium: apt-get install chromium")
async def test_chromium(case: Case) -> None:
    """Chromium, by WebSocket and by fetch."""
    async with visiting("windows", tracker=url(case.server), queries=json.dumps(case.queries)) as page:
        seen = await page.report()
    assert seen["extensions"].startswith("permessage-deflate")
    assert (seen["websocket"], seen["http"]) == (case.frames, case.bodies)
