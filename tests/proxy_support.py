"""Connections that can be cut: ports that stay free, and a proxy between the two ends of TCP connections."""

import random
import socket
import struct
from collections.abc import AsyncGenerator
from contextlib import ExitStack, asynccontextmanager, suppress

import attrs
import trio

FIRST_PORT, LAST_PORT = 12_000, 32_000
CHUNK_BYTES = 64 * 1024

_given: set[int] = set()


def free_ports(count: int) -> list[int]:
    """Ports of the loopback on which nothing listens.

    They are below those that the system gives to outgoing connections, so that none of these takes a port while
    who listens there is being restarted. None is given twice, for who was given it may not listen yet.
    """
    ports: list[int] = []
    with ExitStack() as stack:
        while len(ports) < count:
            port = random.randint(FIRST_PORT, LAST_PORT)
            if port in _given:
                continue
            probe = stack.enter_context(socket.socket())
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            _given.add(port)
            ports.append(port)
    return ports


@attrs.define(eq=False)
class Wire:
    """A port whose connections lead to another port of this machine, as long as the test lets them."""

    to_port: int
    port: int
    _nursery: trio.Nursery
    _whole: trio.Event = attrs.field(factory=trio.Event)
    _listener: trio.SocketListener | None = None
    _streams: set[trio.SocketStream] = attrs.field(factory=set)

    @property
    def is_cut(self) -> bool:
        return not self._whole.is_set()

    def cut(self) -> None:
        """Hold up all bytes, in both directions: to both ends it is a partition, and connections stay open."""
        if not self.is_cut:
            self._whole = trio.Event()

    def mend(self) -> None:
        """Let bytes through, those too that were held up."""
        self._whole.set()

    def reset(self) -> None:
        """End all connections with RST; new ones are taken."""
        for stream in list(self._streams):
            _abort(stream)

    def refuse(self) -> None:
        """Take no new connections: nobody listens; those that are there stay."""
        if self._listener is not None:
            self._listener.socket.close()
            self._listener = None

    def accept(self) -> None:
        """Take new connections."""
        if self._listener is None:
            listening = trio.socket.from_stdlib_socket(socket.create_server(("127.0.0.1", self.port)))
            self._listener = trio.SocketListener(listening)
            self._nursery.start_soon(self._listen, self._listener)

    async def _listen(self, listener: trio.SocketListener) -> None:
        with suppress(trio.ClosedResourceError):
            while True:
                self._nursery.start_soon(self._lead, await listener.accept())

    async def _lead(self, near: trio.SocketStream) -> None:
        """Connect one connection to the other port; while the wire is cut it waits, and hears nothing."""
        async with self._known(near):
            await self._until_whole()
            try:
                far = await trio.open_tcp_stream("127.0.0.1", self.to_port)
            except OSError:
                _abort(near)
                return
            async with self._known(far), trio.open_nursery() as nursery:
                nursery.start_soon(self._carry, near, far)
                nursery.start_soon(self._carry, far, near)

    @asynccontextmanager
    async def _known(self, stream: trio.SocketStream) -> AsyncGenerator[None, None]:
        self._streams.add(stream)
        try:
            async with stream:
                yield
        finally:
            self._streams.discard(stream)

    async def _carry(self, source: trio.SocketStream, sink: trio.SocketStream) -> None:
        try:
            while received := await self._receive(source):
                await sink.send_all(received)
            await sink.send_eof()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            _abort(source)
            _abort(sink)

    async def _receive(self, source: trio.SocketStream) -> bytes | bytearray:
        await self._until_whole()
        received = await source.receive_some(CHUNK_BYTES)
        await self._until_whole()
        return received

    async def _until_whole(self) -> None:
        while self.is_cut:
            await self._whole.wait()


def _abort(stream: trio.SocketStream) -> None:
    """Close it with RST."""
    with suppress(OSError, trio.ClosedResourceError):
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    stream.socket.close()


@asynccontextmanager
async def wires(*to_ports: int) -> AsyncGenerator[list[Wire], None]:
    """For each of these ports of this machine, one that leads to it."""
    async with trio.open_nursery() as nursery:
        made = [Wire(to_port, port, nursery) for to_port, port in zip(to_ports, free_ports(len(to_ports)), strict=True)]
        for it in made:
            it.mend()
            it.accept()
        try:
            yield made
        finally:
            for it in made:
                it.refuse()
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def wire(to_port: int) -> AsyncGenerator[Wire, None]:
    """A port that leads to this one."""
    async with wires(to_port) as (it,):
        yield it
