"""Those that send and ask, and what they expect: every answer in time, and what was acked in every answer after it."""

import json
import random
import re
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

import attrs
import h11
import trio
from websockets.exceptions import WebSocketException
from websockets.trio.client import ClientConnection, connect

from bench.soak.http_client import HttpClient
from bench.soak.ledger import Batch, Ledger, Window
from bench.soak.tally import Tally

__all__ = ["Client", "HttpDashboard", "HttpSender", "WebSocketDashboard", "WebSocketSender"]

_IN_FLIGHT = 4
_PAUSE_S = 0.2  # between batches, on average
_POLL_S = 1.0
_POLLED_S = 10.0  # a dashboard asks for so much
_AGAIN_S = 0.3  # before a connection is opened again, on average
_ANSWER_S = 60.0  # longer than any trouble lasts
_MARK = re.compile(rb'"mark": ?([0-9]+)')
_LOST = (OSError, WebSocketException, h11.RemoteProtocolError, trio.BrokenResourceError, trio.ClosedResourceError)


@attrs.define
class Client:
    """What clients share.

    :ivar port: of the proxy.
    :ivar ending: set when they are to finish what is in hand, and end.
    """

    port: int
    chance: random.Random
    ledger: Ledger
    tally: Tally
    ending: trio.Event

    async def run(self) -> None:
        """Do what it does, whatever happens to its connections."""
        while not self.ending.is_set():
            try:
                await self.converse()
            except _LOST:
                self.tally.counts["connections lost or refused"] += 1
            except trio.TooSlowError:
                self.tally.violated(f"every answer comes within {_ANSWER_S:g} s", type(self).__name__)
            await self.pause(_AGAIN_S)

    async def converse(self) -> None:
        """Open a connection and use it, until it is lost or the end has come."""
        raise NotImplementedError

    async def pause(self, seconds: float) -> None:
        """Wait for so long on average."""
        await trio.sleep(self.chance.uniform(0, 2 * seconds))


@attrs.define
class _WebSocketClient(Client):
    """Talks over WebSocket.

    :ivar compression: ``deflate`` or ``None``.
    """

    compression: str | None = None

    async def converse(self) -> None:
        """Open a connection and use it, until it is lost or the end has come."""
        url = f"ws://127.0.0.1:{self.port}/_tracker/ws"
        async with connect(url, compression=self.compression, proxy=None, max_size=None, close_timeout=1) as websocket:
            await self.use(websocket)

    async def use(self, websocket: ClientConnection) -> None:
        """Use a connection."""
        raise NotImplementedError


@attrs.define
class WebSocketSender(_WebSocketClient):
    """Sends as the plugin does: without ids, not waiting for acks, and never again."""

    async def use(self, websocket: ClientConnection) -> None:
        """Send, until it is lost or all is acked at the end."""
        waiting: deque[Batch] = deque()
        while waiting or not self.ending.is_set():
            while len(waiting) < _IN_FLIGHT and not self.ending.is_set():
                waiting.append(self.ledger.batch(has_ids=False))
                await websocket.send(f'{{"type":"ingest","events":[{waiting[-1].events}]}}')
            with trio.fail_after(_ANSWER_S):
                answer = json.loads(await websocket.recv())
            if answer["type"] == "ack":
                _take_ack(self, waiting.popleft(), answer)
                await self.pause(_PAUSE_S)
            elif answer.get("code") == "unavailable":
                self.tally.counts["WebSocket clients told that acks will be late"] += 1
            else:
                self.tally.violated("a valid batch is acked", answer)
                return


@attrs.define
class HttpSender(Client):
    """Sends each batch with ids until it is acked."""

    async def converse(self) -> None:
        """Deliver batches one after the other."""
        client = HttpClient(self.port)
        try:
            while not self.ending.is_set():
                await self._deliver(client, self.ledger.batch(has_ids=True))
                await self.pause(_PAUSE_S)
        finally:
            await client.aclose()

    async def _deliver(self, client: HttpClient, batch: Batch) -> None:
        body = f'{{"events":[{batch.events}]}}'.encode()
        while True:
            try:
                with trio.fail_after(_ANSWER_S):
                    response = await client.request("POST", "/_tracker/events", body)
            except _LOST:
                self.tally.counts["HTTP batches sent again without an answer"] += 1
                await self.pause(_AGAIN_S)
                continue
            if response.status == 200:
                answer = json.loads(response.body)
                self.tally.counts["events that had been stored without an ack"] += answer.get("duplicates", 0)
                _take_ack(self, batch, answer)
                return
            if response.status != 503:
                self.tally.violated("a valid batch is acked", response)
                return
            self.tally.counts["HTTP batches sent again after a 503"] += 1
            await self.pause(_AGAIN_S)


def _take_ack(client: Client, batch: Batch, answer: dict[str, Any]) -> None:
    if answer["saved"] != len(batch.marks) or answer.get("rejected"):
        client.tally.violated("an ack counts the whole batch", answer)
    client.ledger.ack(batch)


async def _poll(client: Client, ask: Callable[[Window], Awaitable[bytes | None]]) -> None:
    """Ask for what is recent, again and again; whatever was acked before is in the answer."""
    while not client.ending.is_set():
        window, acked = client.ledger.recent(_POLLED_S)
        with trio.fail_after(_ANSWER_S):
            answer = await ask(window)
        if answer is None:
            client.tally.counts["polls answered by: not now"] += 1
        else:
            client.tally.counts["polls of dashboards"] += 1
            if missing := acked - set(map(int, _MARK.findall(answer))):
                client.tally.violated("what is acked is in every answer after it", f"{len(missing)} are not")
        await trio.sleep(_POLL_S)


@attrs.define
class WebSocketDashboard(_WebSocketClient):
    """Polls over WebSocket."""

    async def use(self, websocket: ClientConnection) -> None:
        """Poll until the connection is lost or the end has come."""

        async def ask(window: Window) -> bytes | None:
            await websocket.send(json.dumps({"type": "events:query", "reqId": "r", "query": attrs.asdict(window)}))
            answer = await websocket.recv(decode=False)
            return None if answer.startswith(b'{"type":"error"') else answer

        await _poll(self, ask)


@attrs.define
class HttpDashboard(Client):
    """Polls over HTTP."""

    async def converse(self) -> None:
        """Poll until the connection is lost or the end has come."""
        client = HttpClient(self.port)

        async def ask(window: Window) -> bytes | None:
            response = await client.request("GET", f"/_tracker?since={window.since}&until={window.until}")
            return response.body if response.status == 200 else None

        try:
            await _poll(self, ask)
        finally:
            await client.aclose()
