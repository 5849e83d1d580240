"""The reference server: all of it, on a port."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Protocol

import attrs
import trio

from tests.conformance.reference.http import Https

__all__ = ["Reference", "Server", "Urls", "running"]


class Reference(Https):
    """A server that meets every requirement that can be seen from outside, and offers every extension but late acks.

    :ivar offers_http: whether its users are told of its HTTP endpoints.
    """

    offers_http = True


class Server(Protocol):
    """What can be run."""

    @property
    def offers_http(self) -> bool: ...

    async def serve(self, stream: trio.abc.Stream, /) -> None: ...


@attrs.frozen
class Urls:
    """Where a server is; empty strings for what it does not offer."""

    ws: str
    write: str
    read: str
    ping: str


@asynccontextmanager
async def running(server: Server) -> AsyncIterator[Urls]:
    """Run a server on a free port."""
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, server.serve, 0, host="127.0.0.1"))
        origin = f"127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        http = f"http://{origin}" if server.offers_http else ""
        paths = (f"{http}{path}" if http else "" for path in ("/ingest", "/events", "/ping"))
        yield Urls(f"ws://{origin}/ws", *paths)
        nursery.cancel_scope.cancel()
