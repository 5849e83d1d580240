"""The network between clients and server, which can be cut, torn, stalled and refused."""

import random
import struct
from contextlib import suppress

import attrs
import trio

__all__ = ["Proxy"]

_HOST = "127.0.0.1"
_RESET = struct.pack("ii", 1, 0)


@attrs.define(eq=False)
class _Link:
    """One connection through the proxy."""

    client: trio.SocketStream
    server: trio.SocketStream
    is_torn: bool = False
    _scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)

    async def carry(self, network: "Proxy") -> None:
        """Carry bytes both ways, until both have ended or it is cut."""
        async with self.client, self.server:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(network.pump, self, self.client, self.server)
                    nursery.start_soon(network.pump, self, self.server, self.client)

    def cut(self) -> None:
        """Reset it in both directions; what is on its way is lost."""
        _reset_on_close(self.client)
        _reset_on_close(self.server)
        self._scope.cancel()


class Proxy:
    """Listens on one port, and carries what comes to wherever the server is just now.

    :ivar port: where it listens.
    :ivar target: the port of the server; without one, connections are reset.
    :ivar refuses: whether connections are reset at once.
    """

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._links: set[_Link] = set()
        self._flows = trio.Event()
        self._flows.set()
        self.port = 0
        self.target: int | None = None
        self.refuses = False

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until it is cancelled."""
        listeners = await trio.open_tcp_listeners(0, host=_HOST)
        self.port = listeners[0].socket.getsockname()[1]
        task_status.started()
        await trio.serve_listeners(self._handle, listeners)

    def cut(self) -> None:
        """Reset every connection."""
        for link in self._links:
            link.cut()

    def tear(self) -> None:
        """Reset every connection in the middle of what it carries next."""
        for link in self._links:
            link.is_torn = True

    def stall(self) -> None:
        """Carry nothing until it is told to go on."""
        self._flows = trio.Event()

    def go_on(self) -> None:
        """Carry what has come."""
        self._flows.set()

    async def pump(self, link: _Link, source: trio.SocketStream, sink: trio.SocketStream) -> None:
        """Carry bytes one way."""
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            async for data in source:
                await self._flows.wait()
                if link.is_torn:
                    await sink.send_all(data[: self._chance.randrange(len(data))])
                    break
                await sink.send_all(data)
            else:
                await sink.send_eof()
                return
        link.cut()

    async def _handle(self, client: trio.SocketStream) -> None:
        try:
            if self.refuses or self.target is None:
                raise ConnectionRefusedError
            server = await trio.open_tcp_stream(_HOST, self.target)
        except OSError:
            _reset_on_close(client)
            return
        link = _Link(client, server)
        self._links.add(link)
        try:
            await link.carry(self)
        finally:
            self._links.discard(link)


def _reset_on_close(stream: trio.SocketStream) -> None:
    with suppress(OSError):  # it may be closed already
        stream.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, _RESET)
