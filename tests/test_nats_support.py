"""What stands in for a cluster in tests does what it says: servers that die and come back, and links that are cut."""

import asyncio
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from nats.aio.client import Client as NatsClient
from nats.errors import NoServersError
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js.errors import APIError, NoStreamResponseError

from tests.nats_support import NatsServers, kept_servers, nats_url, needs_nats, running_servers
from tests.proxy_support import wire, wires

STREAM, SUBJECT = "TRACKED", "tracked"
PUBLISH_S = 1.0
DEADLINE_S = 20
ONCE: dict[str, Any] = {
    "connect_timeout": 1,
    "max_reconnect_attempts": 1,
    "reconnect_time_wait": 0,
    "allow_reconnect": False,
}


@asynccontextmanager
async def connected(url: str) -> AsyncGenerator[NatsClient, None]:
    """A client, in asyncio. One that could not connect has a socket too, and is closed for that."""
    client = NatsClient()
    try:
        await client.connect(url.split(","), **ONCE)
        yield client
    finally:
        await client.close()


async def create(url: str, *, replicas: int = 3) -> None:
    """Create the stream that the tests use."""

    async def talk() -> None:
        async with connected(url) as client:
            await client.jetstream().add_stream(name=STREAM, subjects=[SUBJECT], num_replicas=replicas)

    await trio.to_thread.run_sync(asyncio.run, talk())


async def publish(url: str) -> int | None:
    """Publish once; returns the position, or nothing where it was not acked."""

    async def talk() -> int | None:
        try:
            async with connected(url) as client:
                return (await client.jetstream().publish(SUBJECT, b"x", timeout=PUBLISH_S)).seq
        except (NoServersError, NatsTimeoutError, NoStreamResponseError, APIError, OSError):
            return None

    return await trio.to_thread.run_sync(asyncio.run, talk())


async def published(url: str) -> int:
    """Publish until it is acked; returns the position."""
    with trio.fail_after(DEADLINE_S):
        while (position := await publish(url)) is None:
            await trio.sleep(0.02)
    return position


async def echo(stream: trio.SocketStream) -> None:
    """Send back what comes."""
    with suppress(trio.BrokenResourceError):
        async for received in stream:
            await stream.send_all(received)


@asynccontextmanager
async def echoing() -> AsyncGenerator[int, None]:
    """The port of a server that sends back what comes."""
    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_tcp, echo, 0, host="127.0.0.1"))
        yield listener.socket.getsockname()[1]
        nursery.cancel_scope.cancel()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Generator[NatsServers, None, None]:
    with kept_servers(tmp_path_factory.mktemp("cluster")) as servers:
        yield servers


@needs_nats
async def test_the_leader_dies(cluster: NatsServers) -> None:
    """The others go on in its place; it comes back, and loses what it has, and still the stream has all of it."""
    await create(cluster.urls)
    assert await published(cluster.urls) == 1
    leader = await cluster.leader_of(STREAM)
    cluster.kill(leader)
    others = [index for index in range(3) if index != leader]
    second = await published(cluster.url(others[0]))
    assert await cluster.leader_of(STREAM) in others
    cluster.wipe(leader)
    await cluster.restart(leader)
    assert await published(cluster.url(leader)) > second


@needs_nats
async def test_alone(tmp_path: Path) -> None:
    """One server is enough, and has what it had when it comes back."""
    async with running_servers(tmp_path, 1, sync_always=False) as servers:
        await create(servers.urls, replicas=1)
        assert await publish(servers.urls) == 1
        assert await servers.leader_of(STREAM) == 0
        await servers.terminate(0)
        assert await publish(servers.urls) is None
        await servers.restart(0)
        assert await publish(servers.urls) == 2


@needs_nats
async def test_paused(cluster: NatsServers) -> None:
    """A server that is paused answers nothing, and goes on when all that was done to servers is undone."""
    await cluster.revive()
    cluster.pause(0)
    assert await publish(cluster.url(0)) is None
    await cluster.revive()
    assert await published(cluster.urls) > 1


@needs_nats
async def test_isolated(tmp_path: Path) -> None:
    """A server that is parted from the others cannot publish, and they go on; when it is back, it can."""
    async with running_servers(tmp_path, wired=True) as servers:
        await create(servers.urls)
        first = await published(servers.urls)
        leader = await servers.leader_of(STREAM)
        servers.isolate(leader)
        assert await publish(servers.url(leader)) is None
        others = [index for index in range(3) if index != leader]
        assert await published(servers.url(others[0])) > first
        assert await servers.leader_of(STREAM) in others
        assert await publish(servers.url(leader)) is None
        servers.rejoin(leader)
        await servers.wait_healthy()
        assert await published(servers.url(leader)) > first + 1


@needs_nats
async def test_clients_stay_on_their_wire(cluster: NatsServers) -> None:
    """Servers tell clients nothing of one another, so that one which is cut off does not find a way round."""
    await cluster.revive()
    async with wires(*cluster.ports) as between:
        url = nats_url([each.port for each in between])

        async def discovered() -> int:
            async with connected(url) as client:
                return len(client.discovered_servers)

        assert await trio.to_thread.run_sync(asyncio.run, discovered()) == 0
        for each in between:
            each.cut()
        assert await publish(url) is None
        for each in between:
            each.mend()
        assert await publish(url) is not None


async def test_wire() -> None:
    """What is sent while a wire is cut comes when it is mended; reset connections break."""
    async with echoing() as port, wire(port) as between:
        stream = await trio.open_tcp_stream("127.0.0.1", between.port)
        await stream.send_all(b"1")
        assert await stream.receive_some() == b"1"
        between.cut()
        await stream.send_all(b"2")
        late = await trio.open_tcp_stream("127.0.0.1", between.port)
        await late.send_all(b"3")
        with trio.move_on_after(0.1):
            await stream.receive_some()
            raise AssertionError("it was forwarded")
        between.mend()
        assert await stream.receive_some() == b"2"
        assert await late.receive_some() == b"3"
        await late.send_eof()
        assert await late.receive_some() == b""
        between.refuse()
        with pytest.raises(OSError, match=str(between.port)):
            await trio.open_tcp_stream("127.0.0.1", between.port)
        between.accept()
        between.reset()
        with pytest.raises(trio.BrokenResourceError):
            await stream.receive_some()
        async with await trio.open_tcp_stream("127.0.0.1", between.port) as again:
            await again.send_all(b"4")
            assert await again.receive_some() == b"4"
        await stream.aclose()
        await late.aclose()


async def test_nobody_at_the_end_of_a_wire() -> None:
    """A connection to a port where nobody listens breaks."""
    async with echoing() as port:
        pass
    async with wire(port) as between, await trio.open_tcp_stream("127.0.0.1", between.port) as stream:
        with pytest.raises(trio.BrokenResourceError):
            await stream.receive_some()
