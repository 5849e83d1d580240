"""The memory and the time that messages and bodies have while they come in, on both transports, by a mock clock."""

from contextlib import suppress

import pytest
import trio
from trio.testing import MockClock, memory_stream_pair, wait_all_tasks_blocked

from tests.raw_websocket import masked
from wsproto_tracker import Settings
from wsproto_tracker.errors import ErrorCode, FrameError
from wsproto_tracker.server.budget import Account, Budget
from wsproto_tracker.server.framing import FRAME_BYTES
from wsproto_tracker.server.http1 import HttpConnection
from wsproto_tracker.server.metrics import Metrics
from wsproto_tracker.server.peer import Peer
from wsproto_tracker.server.streams import UpgradedStream
from wsproto_tracker.server.tally import Tally

KIB = 1024
TEXT, PING = 1, 9
SETTINGS = Settings(message_timeout_s=60, receive_timeout_s=30)
HEAD = b"POST /_tracker/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"


class Receiving:
    """A WebSocket connection of which everything is received that may be, but none of it is handled."""

    def __init__(self, budget: Budget, address: str = "192.0.2.1") -> None:
        self.peer, stream = memory_stream_pair()
        self.account = Account(budget, address)
        tally = Tally(Metrics(), address)
        self.stream = UpgradedStream(stream, b"", b"", Peer(address), SETTINGS, self.account, tally)
        self.stream.go_on()
        self.pieces: list[int] = []
        self.ended_s: float | None = None

    async def run(self) -> None:
        with suppress(trio.BrokenResourceError):
            while data := await self.stream.receive_some():
                self.pieces.append(len(data))
        self.ended_s = trio.current_time()


def full_budget() -> tuple[Budget, Account]:
    """A budget with no room for large messages, and the account that used it up and may go on."""
    budget = Budget(1024 * KIB)
    blocker = Account(budget, "192.0.2.99")
    blocker.add(600 * KIB)
    budget.large.first = blocker
    return budget, blocker


class TestFrames:
    @pytest.mark.parametrize("opcode", [TEXT, PING])
    async def test_a_few_at_a_time(self, opcode: int) -> None:
        """Empty frames are given out a few at a time, whatever came at once."""
        async with trio.open_nursery() as nursery:
            receiving = Receiving(Budget(64 * 1024 * KIB))
            nursery.start_soon(receiving.run)
            await receiving.peer.send_all(masked(opcode, b"") * 10_000)
            await wait_all_tasks_blocked()
            assert sum(receiving.pieces) == 6 * 10_000
            assert max(receiving.pieces) == 6 * 32
            assert receiving.account._bytes == (10_000 * FRAME_BYTES if opcode == TEXT else 0)
            nursery.cancel_scope.cancel()

    async def test_what_waits_counts(self) -> None:
        """What was read and is not given out counts as it is."""
        budget = Budget(1024 * KIB)
        receiving = Receiving(budget)
        await receiving.peer.send_all(masked(PING, b"") * 10_000)
        assert len(await receiving.stream.receive_some()) == 6 * 32
        assert budget.used_bytes == 6 * (10_000 - 32)

    async def test_empty_fragments_use_up_the_room(self) -> None:
        """A message of empty fragments alone, of which others leave room for none, is read no further (LIMIT-3)."""
        budget, _blocker = full_budget()
        async with trio.open_nursery() as nursery:
            receiving = Receiving(budget)
            nursery.start_soon(receiving.run)
            await receiving.peer.send_all(masked(TEXT, b"", fin=False) + masked(0, b"", fin=False) * 9_999)
            await wait_all_tasks_blocked()
            assert sum(receiving.pieces) // 6 * FRAME_BYTES < 100 * KIB
            assert receiving.account._bytes < 164 * KIB  # what was read is there as well
            nursery.cancel_scope.cancel()

    async def test_stays_the_first(self) -> None:
        """Who may go on though all is full may still do so when what came is given out."""
        budget, _blocker = full_budget()
        receiving = Receiving(budget)
        receiving.account.add(64 * KIB)
        budget.large.first = receiving.account
        await receiving.peer.send_all(masked(TEXT, b" " * 1_000)[:500])
        assert len(await receiving.stream.receive_some()) == 500
        assert budget.large.first is receiving.account

    async def test_ordinary_traffic_in_one_piece(self) -> None:
        """Batches are given out as they came."""
        receiving = Receiving(Budget(1024 * KIB))
        batches = masked(TEXT, b" " * 16_000) * 4
        await receiving.peer.send_all(batches)
        assert await receiving.stream.receive_some() == batches


class TestTimes:
    @pytest.mark.parametrize("drips", [False, True])
    async def test_stalls_while_others_wait(self, drips: bool, autojump_clock: MockClock) -> None:
        """A message that stalls ends in its time, though there would be no room for it if it went on."""
        budget, _blocker = full_budget()
        async with trio.open_nursery() as nursery:
            many = [Receiving(budget, f"192.0.2.{number}") for number in range(5)]

            async def attack(receiving: Receiving) -> None:
                await receiving.peer.send_all(masked(TEXT, b" " * 300_000)[: 66 * KIB])
                with suppress(trio.BrokenResourceError):
                    while drips:
                        await trio.sleep(1)
                        await receiving.peer.send_all(b" ")

            for receiving in many:
                nursery.start_soon(receiving.run)
                nursery.start_soon(attack, receiving)
            await trio.sleep(61)
            assert [receiving.ended_s is not None for receiving in many] == [True] * 5
            nursery.cancel_scope.cancel()

    async def test_is_not_read_from(self, autojump_clock: MockClock) -> None:
        """A message that the server does not read has all its time when there is room again."""
        budget, blocker = full_budget()
        async with trio.open_nursery() as nursery:
            receiving = Receiving(budget)
            message = masked(TEXT, b" " * 300_000)
            nursery.start_soon(receiving.run)
            await receiving.peer.send_all(message[:200_000])
            await trio.sleep(10 * SETTINGS.message_timeout_s)
            assert receiving.ended_s is None
            assert sum(receiving.pieces) < 80_000
            blocker.close()
            await trio.sleep(SETTINGS.receive_timeout_s - 1)
            await receiving.peer.send_all(message[200_000:])
            await trio.sleep(SETTINGS.message_timeout_s)
            assert receiving.ended_s is None
            assert sum(receiving.pieces) == len(message)
            nursery.cancel_scope.cancel()

    async def test_body_is_not_read(self, autojump_clock: MockClock) -> None:
        """A body that is all there is taken, however long the server had no room for it (LIMIT-3)."""
        budget, blocker = full_budget()
        body = b" " * 225_000
        peer, connection = http_connection(budget)
        await peer.send_all(HEAD % len(body) + body)
        request = await connection.read_head()
        async with trio.open_nursery() as nursery:

            async def let_go() -> None:
                await trio.sleep(10 * SETTINGS.message_timeout_s)
                blocker.close()

            nursery.start_soon(let_go)
            assert await connection.read_body(request) == body
        assert trio.current_time() >= 10 * SETTINGS.message_timeout_s

    async def test_body_that_stalls(self, autojump_clock: MockClock) -> None:
        """A body that drips ends in its time, room or not."""
        budget, _blocker = full_budget()
        peer, connection = http_connection(budget)
        await peer.send_all(HEAD % 225_000 + b" " * 66 * KIB)
        request = await connection.read_head()
        began = trio.current_time()
        async with trio.open_nursery() as nursery:

            async def drip() -> None:
                while True:
                    await trio.sleep(1)
                    await peer.send_all(b" ")

            nursery.start_soon(drip)
            with pytest.raises(FrameError) as refused, trio.fail_after(10 * SETTINGS.message_timeout_s):
                await connection.read_body(request)
            assert refused.value.code is ErrorCode.TIMEOUT
            assert trio.current_time() - began == pytest.approx(SETTINGS.message_timeout_s)
            nursery.cancel_scope.cancel()


def http_connection(budget: Budget) -> tuple[trio.abc.SendStream, HttpConnection]:
    """An HTTP connection, and where its client sends."""
    peer, stream = memory_stream_pair()
    account = Account(budget, "192.0.2.1")
    return peer, HttpConnection(stream, Peer("192.0.2.1"), SETTINGS, account, Tally(Metrics(), "192.0.2.1"))
