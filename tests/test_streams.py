"""The stream below a WebSocket connection: what is held back goes out in order, and one task sends at a time."""

import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import trio
from trio.testing import wait_all_tasks_blocked

from wsproto_tracker import Settings
from wsproto_tracker.server.budget import Account, Budget
from wsproto_tracker.server.metrics import Metrics
from wsproto_tracker.server.peer import Peer
from wsproto_tracker.server.streams import UpgradedStream
from wsproto_tracker.server.tally import Tally

TEXT = b"\x81\x7e" + (50_000).to_bytes(2, "big") + b"x" * 50_000
SHORT = b"\x81\x02{}"
PONG = b"\x8a\x00"


@asynccontextmanager
async def connected() -> AsyncGenerator[tuple[UpgradedStream, trio.SocketStream], None]:
    """A stream whose kernel takes little at a time, and its peer."""
    near, far = trio.socket.socketpair()
    near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    settings, account = Settings(send_timeout_s=10), Account(Budget(1_000_000))
    async with trio.SocketStream(far) as peer:
        tally = Tally(Metrics(), "127.0.0.1")
        stream = UpgradedStream(trio.SocketStream(near), b"", b"", Peer("127.0.0.1"), settings, account, tally)
        stream.go_on()
        async with stream:
            yield stream, peer


async def receive(peer: trio.SocketStream, count: int) -> bytes:
    received = b""
    with trio.fail_after(10):
        while len(received) < count:
            received += await peer.receive_some()
    return received


async def test_held_back_until_flushed() -> None:
    """Data frames are held back when that was asked for, and sent together."""
    async with connected() as (stream, peer):
        stream.holds = True
        await stream.send_all(SHORT)
        await stream.send_all(SHORT)
        assert stream.sent_bytes == 0
        await stream.flush()
        assert await receive(peer, 2 * len(SHORT)) == SHORT * 2


async def test_control_frames_take_it_along() -> None:
    """A close, a ping or a pong is not held back, and does not overtake what was."""
    async with connected() as (stream, peer):
        stream.holds = True
        await stream.send_all(SHORT)
        await stream.send_all(PONG)
        assert await receive(peer, len(SHORT + PONG)) == SHORT + PONG


async def test_no_more_than_its_bound() -> None:
    """What is held back is bounded."""
    async with connected() as (stream, peer), trio.open_nursery() as nursery:
        stream.holds = True
        await stream.send_all(TEXT)
        nursery.start_soon(stream.send_all, TEXT)
        assert await receive(peer, 2 * len(TEXT)) == TEXT * 2


async def test_one_after_the_other() -> None:
    """A task that sends while another flushes, to a peer that is slow, waits for its turn."""
    async with connected() as (stream, peer), trio.open_nursery() as nursery:
        stream.holds = True
        await stream.send_all(TEXT)
        nursery.start_soon(stream.flush)
        await wait_all_tasks_blocked()
        nursery.start_soon(stream.send_all, PONG)
        nursery.start_soon(stream.flush)
        await wait_all_tasks_blocked()
        assert await receive(peer, len(TEXT + PONG)) == TEXT + PONG
