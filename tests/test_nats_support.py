"""What stands in for a cluster in tests does what it says: servers that die and come back, and links that are cut."""

import asyncio
from collections.abc import Generator
from pathlib import Path
from typing import Any

import nats
import pytest
import trio
from nats.errors import NoServersError
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js.errors import APIError, NoStreamResponseError

from tests.nats_support import NatsServers, kept_servers, needs_nats, running_servers

pytestmark = needs_nats
STREAM, SUBJECT = "TRACKED", "tracked"
PUBLISH_S = 1.0
DEADLINE_S = 20
ONCE: dict[str, Any] = {
    "connect_timeout": 1,
    "max_reconnect_attempts": 1,
    "reconnect_time_wait": 0,
    "allow_reconnect": False,
}


async def create(url: str, *, replicas: int = 3) -> None:
    """Create the stream that the tests use."""

    async def talk() -> None:
        async with await nats.connect(url.split(","), **ONCE) as connection:
            await connection.jetstream().add_stream(name=STREAM, subjects=[SUBJECT], num_replicas=replicas)

    await trio.to_thread.run_sync(asyncio.run, talk())


async def publish(url: str) -> int | None:
    """Publish once; returns the position, or nothing where it was not acked."""

    async def talk() -> int | None:
        try:
            async with await nats.connect(url.split(","), **ONCE) as connection:
                return (await connection.jetstream().publish(SUBJECT, b"x", timeout=PUBLISH_S)).seq
        except (NoServersError, NatsTimeoutError, NoStreamResponseError, APIError, OSError):
            return None

    return await trio.to_thread.run_sync(asyncio.run, talk())


async def published(url: str) -> int:
    """Publish until it is acked; returns the position."""
    with trio.fail_after(DEADLINE_S):
        while (position := await publish(url)) is None:
            await trio.sleep(0.02)
    return position


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Generator[NatsServers, None, None]:
    with kept_servers(tmp_path_factory.mktemp("cluster")) as servers:
        yield servers


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
