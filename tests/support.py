"""What several test modules need: events as the plugin sends them, a server on a free port, and clients for it."""

import gzip
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import attrs
import trio
from websockets.trio.client import ClientConnection, connect

from wsproto_tracker import Address, Settings, Tracker, serve
from wsproto_tracker.store import EventStore, OnCommitted, OnStored

ROOT = Path(__file__).parent.parent
SPEC = ROOT / "protocol-spec"
RECORDINGS = Path(__file__).parent / "recordings"


def event(**members: Any) -> dict[str, Any]:
    """An event as the plugin sends it, with some members changed; ``...`` leaves a member out."""
    plain = {
        "id": "",
        "timestamp": "2026-11-23T21:05:13.536Z",
        "level": "info",
        "type": "click",
        "appId": "demo",
        "sessionId": "sess_1",
        "userId": "user-1",
        "payload": {"tag": "button", "text": "Buy", "coordinates": {"x": 5, "y": 7}},
        "meta": {"userAgent": "Mozilla/5.0", "route": "/", "viewport": "800x600", "language": "en-US"},
    }
    return {name: value for name, value in (plain | members).items() if value is not ...}


def ingest(*events: Any) -> str:
    """An ``ingest`` frame."""
    return json.dumps({"type": "ingest", "events": events}, ensure_ascii=False)


def query(req_id: str = "r1", **members: Any) -> str:
    """An ``events:query`` frame."""
    return json.dumps({"type": "events:query", "reqId": req_id, "query": members})


def recording(name: str) -> list[dict[str, Any]]:
    """The lines of a recording of the real plugin; their text holds U+2028, so only newlines part them."""
    return [json.loads(line) for line in (RECORDINGS / name).read_text("utf-8").split("\n") if line]


@attrs.frozen
class Response:
    """An HTTP response; header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        is_gzipped = self.headers.get("content-encoding") == "gzip"
        return json.loads(gzip.decompress(self.body) if is_gzipped else self.body)


def elsewhere(address: Address) -> Tracker:
    """What stands for a server in another process, of which no more is known than where it listens."""
    return cast(Tracker, SimpleNamespace(addresses=(address,)))


@attrs.frozen
class Running:
    """A server under test."""

    server: Tracker
    settings: Settings

    @property
    def address(self) -> Address:
        return self.server.addresses[0]

    @property
    def ws_url(self) -> str:
        return f"ws://{self.address}{self.settings.base_path}/ws"

    @asynccontextmanager
    async def client(self, *, key: str | None = None, **options: Any) -> AsyncGenerator["Client", None]:
        """A WebSocket client, authenticated where a key is given."""
        async with connect(self.ws_url, max_size=None, **options) as websocket:
            client = Client(websocket)
            if key is not None:
                assert await client.ask({"type": "auth", "key": key}) == {"type": "auth_ok"}
            yield client

    async def http(self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None) -> Response:
        """One HTTP request on a connection of its own; ``path`` is below the base path unless it begins with two /."""
        target = path[1:] if path.startswith("//") else self.settings.base_path + path
        head = {"Host": str(self.address), "Connection": "close"} | (headers or {})
        if body or method == "POST":
            head.setdefault("Content-Length", str(len(body)))
        lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in head.items())]
        return parse_response(await self.raw("\r\n".join([*lines, "", ""]).encode() + body), method)

    async def raw(self, data: bytes, *, then_eof: bool = False) -> bytes:
        """Send bytes, return every byte that comes back until the server closes."""
        stream = await self.connect()
        async with stream, trio.open_nursery() as nursery:
            nursery.start_soon(self._send, stream, data, then_eof)
            received = bytearray()
            try:
                async for chunk in stream:
                    received += chunk
            except trio.BrokenResourceError:
                pass
            return bytes(received)

    async def connect(self) -> trio.SocketStream:
        return await trio.open_tcp_stream(self.address.host, self.address.port)

    async def _send(self, stream: trio.SocketStream, data: bytes, then_eof: bool) -> None:
        try:
            await stream.send_all(data)
            if then_eof:
                await stream.send_eof()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # refused before it was all sent


@attrs.frozen
class Client:
    """A WebSocket client that speaks JSON."""

    websocket: ClientConnection

    async def send(self, *messages: str | bytes | dict[str, Any]) -> None:
        for message in messages:
            await self.websocket.send(json.dumps(message) if isinstance(message, dict) else message)

    async def receive(self) -> Any:
        with trio.fail_after(20):
            return json.loads(await self.websocket.recv())

    async def ask(self, message: str | bytes | dict[str, Any]) -> Any:
        """Send a message and return the next that comes back."""
        await self.send(message)
        return await self.receive()

    async def events(self, **members: Any) -> list[dict[str, Any]]:
        """The events of a query's answer."""
        answer = await self.ask(query(**members))
        assert answer["type"] == "events:response", answer
        return list(answer["response"]["events"])


def opening(
    store: Callable[[int, OnStored, OnCommitted], EventStore],
) -> Callable[[Settings, OnStored, OnCommitted], Any]:
    """What stands in for ``open_store`` of the server, to give it a store of the test's own."""

    @asynccontextmanager
    async def open_store(
        settings: Settings, on_stored: OnStored, on_committed: OnCommitted
    ) -> AsyncGenerator[EventStore, None]:
        yield store(settings.max_events, on_stored, on_committed)

    return open_store


def parse_response(received: bytes, method: str = "GET") -> Response:
    """The last response in what came back; an interim 100 before it is skipped."""
    import h11

    parser = h11.Connection(h11.CLIENT)
    parser.send(h11.Request(method=method, target="/", headers=[("Host", "x")]))
    parser.send(h11.EndOfMessage())
    parser.receive_data(received)
    parser.receive_data(b"")
    body, head = bytearray(), None
    while True:
        happened = parser.next_event()
        if isinstance(happened, h11.Response):
            head = happened
        elif isinstance(happened, h11.Data):
            body += happened.data
        elif isinstance(happened, h11.EndOfMessage):
            break
    assert head is not None
    return Response(head.status_code, {name.decode(): value.decode() for name, value in head.headers}, bytes(body))


@asynccontextmanager
async def running(**options: Any) -> AsyncGenerator[Running, None]:
    """A server in this process, on a free port of the loopback; stopped without draining at the end."""
    defaults: dict[str, Any] = {"port": 0, "store": "memory:"}
    settings = Settings(**(defaults | options))
    async with trio.open_nursery() as nursery:
        server: Tracker = await nursery.start(serve, settings)
        yield Running(server, settings)
        nursery.cancel_scope.cancel()
