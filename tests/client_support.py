"""What tests of the client need: servers that do as the test says, right or wrong, and what a tracker has stored."""

import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

import attrs
import trio
from websockets.exceptions import ConnectionClosed
from websockets.trio.server import Server, ServerConnection, serve

from tests.support import Running
from wsproto_tracker import Client, open_client

APP = "shop"


def opened(url: str, **options: Any) -> Any:
    """A client that is in a hurry."""
    defaults: dict[str, Any] = {
        "app_id": APP,
        "flush_interval_s": 0.01,
        "backoff_min_s": 0.01,
        "backoff_max_s": 0.05,
        "connect_timeout_s": 5.0,
    }
    return open_client(url, **(defaults | options))


async def stored(server: Running, key: str | None = None) -> list[dict[str, Any]]:
    """The events that a tracker has, in the order in which they were tracked: their payloads count."""
    async with server.client(key=key) as client:
        return sorted(await client.events(), key=lambda event: event["payload"]["data"]["n"])


def track(client: Client, *numbers: int) -> list[str]:
    return [client.track("counted", {"n": number}) for number in numbers]


@attrs.define(eq=False)
class Peer:
    """One connection to a server that does as the test says."""

    websocket: ServerConnection
    frames: list[dict[str, Any]] = attrs.field(factory=list)

    async def receive(self) -> dict[str, Any]:
        frame: dict[str, Any] = json.loads(await self.websocket.recv())
        self.frames.append(frame)
        return frame

    async def send(self, frame: dict[str, Any] | str | bytes) -> None:
        await self.websocket.send(json.dumps(frame) if isinstance(frame, dict) else frame)

    async def ack(self, frame: dict[str, Any], **members: Any) -> None:
        await self.send({"type": "ack", "saved": len(frame["events"])} | members)

    async def ingest(self) -> dict[str, Any]:
        """Answer as a tracker without keys does, up to the first batch that has events; returns it."""
        while True:
            frame = await self.receive()
            if frame["type"] == "auth":
                await self.send({"type": "auth_ok"})
            elif frame["type"] == "ingest" and frame["events"]:
                return frame
            elif frame["type"] == "ingest":
                await self.ack(frame)


@asynccontextmanager
async def scripted(*conversations: Callable[[Peer], Awaitable[object]], **options: Any) -> AsyncGenerator[str, None]:
    """The URL of a server that holds each of these conversations with one connection, and the last with all others."""
    remaining = list(conversations)

    async def handle(websocket: ServerConnection) -> None:
        converse = remaining.pop(0) if len(remaining) > 1 else remaining[0]
        with suppress(ConnectionClosed):
            await converse(Peer(websocket))

    async with trio.open_nursery() as nursery:
        server: Server = await nursery.start(partial(serve, handle, 0, host="127.0.0.1", **options))
        yield f"ws://127.0.0.1:{server.listeners[0].socket.getsockname()[1]}/"
        nursery.cancel_scope.cancel()


async def keeping(peer: Peer, kept: list[dict[str, Any]] | None = None) -> None:
    """Be a tracker: ack everything."""
    while True:
        frame = await peer.ingest()
        if kept is not None:
            kept += frame["events"]
        await peer.ack(frame)


@asynccontextmanager
async def answering(answer: bytes) -> AsyncGenerator[str, None]:
    """The URL of a port that answers each connection with some bytes."""

    async def handle(stream: trio.SocketStream) -> None:
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await stream.receive_some()
            await stream.send_all(answer)
            await stream.aclose()

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, handle, 0, host="127.0.0.1"))
        yield f"ws://127.0.0.1:{listeners[0].socket.getsockname()[1]}/"
        nursery.cancel_scope.cancel()
