"""Who gets how much (LIMIT-4)."""

from contextlib import ExitStack

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from wsproto_tracker import FrameError, Settings
from wsproto_tracker.access import ANYBODY, Grant
from wsproto_tracker.errors import ErrorCode
from wsproto_tracker.server.limits import Buckets, Limits, group_of

HERE, THERE = "192.0.2.1", "192.0.2.2"


class TestConnections:
    def test_from_one_address(self) -> None:
        """Beyond what one address may have, it is refused, and others are not."""
        limits = Limits(Settings(max_connections_per_address=2))
        with ExitStack() as open_:
            for _ in range(2):
                open_.enter_context(limits.connected_from(HERE))
            with pytest.raises(FrameError) as refused, limits.connected_from(HERE):
                pass
            assert refused.value.code is ErrorCode.RATE_LIMITED
            assert refused.value.retry_after_s is not None
            open_.enter_context(limits.connected_from(THERE))
        with limits.connected_from(HERE):
            pass

    def test_in_all(self) -> None:
        """Beyond what there may be in all, everybody is refused (CLOSE-5)."""
        limits = Limits(Settings(max_connections=1))
        with limits.connected():
            with pytest.raises(FrameError) as refused, limits.connected():
                pass
            assert refused.value.code is ErrorCode.UNAVAILABLE
        with limits.connected():
            pass

    @pytest.mark.parametrize(
        ("address", "group"),
        [
            ("192.0.2.1", "192.0.2.1"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
            ("unix", "unix"),
        ],
    )
    def test_groups(self, address: str, group: str) -> None:
        """An IPv6 address counts as its network, of which one client has all."""
        assert group_of(address) == group


class TestKeys:
    async def test_guessing_is_slowed(self, mock_clock: MockClock) -> None:
        """After some wrong keys no other may be tried from there for a while; elsewhere it may (LIMIT-6)."""
        limits = Limits(Settings(max_auth_failures=6))
        for _ in range(6):
            limits.check_may_try_key(HERE)
            limits.note_wrong_key(HERE)
        with pytest.raises(FrameError) as refused:
            limits.check_may_try_key(HERE)
        assert refused.value.code is ErrorCode.RATE_LIMITED
        assert refused.value.retry_after_s == pytest.approx(10)
        limits.check_may_try_key(THERE)
        mock_clock.jump(10)
        limits.check_may_try_key(HERE)
        limits.note_wrong_key(HERE)
        with pytest.raises(FrameError):
            limits.check_may_try_key(HERE)


class TestRates:
    async def test_slows_first(self, autojump_clock: MockClock) -> None:
        """Events that come too fast are taken in later; the rate is kept over time (LIMIT-7)."""
        limits = Limits(Settings(max_event_rate=100.0, max_rate_delay_s=60))
        began = trio.current_time()
        for _ in range(40):
            await limits.admit(100, ANYBODY, HERE)
        assert trio.current_time() - began == pytest.approx(40 - 10 - 1, abs=1.1)  # ten seconds may be saved up

    async def test_then_refuses(self, autojump_clock: MockClock) -> None:
        """Where the wait would be too long it is refused, after the wait, and says when to come back (LIMIT-6)."""
        limits = Limits(Settings(max_event_rate=10.0, max_rate_delay_s=5))
        await limits.admit(100 + 200, ANYBODY, HERE)  # one large batch, as after an outage, is taken whole
        began = trio.current_time()
        with pytest.raises(FrameError) as refused:
            await limits.admit(1, ANYBODY, HERE)
        assert trio.current_time() - began == pytest.approx(5)
        assert refused.value.code is ErrorCode.RATE_LIMITED
        assert refused.value.retry_after_s == pytest.approx(15)
        await trio.sleep(15.1)
        with trio.fail_after(0.1):
            await limits.admit(1, ANYBODY, HERE)

    async def test_each_has_its_own(self, autojump_clock: MockClock) -> None:
        """Keys have a rate each, their own or that of all; addresses have another."""
        limits = Limits(Settings(max_event_rate=10.0, max_event_rate_per_address=1000.0, max_rate_delay_s=5))
        fast, slow = Grant(name="fast", rate=1000.0), Grant(name="slow")
        await limits.admit(10_001, fast, HERE)
        await limits.admit(200, slow, THERE)
        with pytest.raises(FrameError):
            await limits.admit(1, slow, HERE)
        with trio.fail_after(1):
            await limits.admit(100, fast, THERE)

    async def test_one_address_does_not_use_up_a_key(self, autojump_clock: MockClock) -> None:
        """One huge batch, rejected or not, keeps its own address away, and not all others that have the key."""
        limits = Limits(Settings(max_event_rate_per_address=200.0, max_rate_delay_s=5))
        page = Grant(name="page", rate=2000.0)
        await limits.admit(101_000, page, HERE)
        with trio.fail_after(0.1):
            await limits.admit(25, page, THERE)
        with pytest.raises(FrameError):
            await limits.admit(1, page, HERE)

    async def test_no_limit_costs_nothing(self) -> None:
        """Without a limit nothing is kept of who sends."""
        limits = Limits(Settings())
        await limits.admit(1_000_000, ANYBODY, HERE)
        assert not len(limits._rates)


class TestAnswers:
    async def test_places(self, autojump_clock: MockClock) -> None:
        """There is a number of places for answers; who waits too long for one is refused (LIMIT-6)."""
        limits = Limits(Settings(max_queries=2, max_queries_per_address=1, max_query_delay_s=3))
        async with limits.answering(HERE):
            with pytest.raises(FrameError) as refused:
                async with limits.answering(HERE):
                    pass
            assert refused.value.code is ErrorCode.RATE_LIMITED
            assert trio.current_time() == pytest.approx(3, abs=0.5)
            async with limits.answering(THERE):
                with pytest.raises(FrameError):
                    async with limits.answering("192.0.2.3"):
                        pass
        async with limits.answering(HERE), limits.answering(THERE):
            pass
        assert not limits._answers_by_address

    async def test_a_place_is_given_on(self, autojump_clock: MockClock) -> None:
        """Who waits gets the place of one who is done; who is cancelled while he waits takes none."""
        limits = Limits(Settings(max_queries=1))
        got: list[str] = []

        async def ask(address: str) -> None:
            async with limits.answering(address):
                got.append(address)

        async with trio.open_nursery() as nursery:
            async with limits.answering(HERE):
                nursery.start_soon(ask, THERE)
                await wait_all_tasks_blocked()
                with trio.move_on_after(1):
                    await ask("192.0.2.3")
                assert not got
        assert got == [THERE]
        assert not limits._answers_by_address


@given(
    steps=st.lists(st.tuples(st.integers(0, 5), st.floats(0, 30), st.floats(0, 20))), rate=st.sampled_from([0.5, 1, 7])
)
def test_buckets_keep_the_rate(steps: list[tuple[int, float, float]], rate: float) -> None:
    """Over any time, no more than the burst and what the rate gives is taken by those who wait as they are told."""
    now, burst = 0.0, rate * 10
    buckets = Buckets(lambda: now, max_buckets=3)
    taken: dict[int, float] = {}
    for who, count, pause in steps:
        now += pause
        if buckets.wait_s(who) == 0:
            buckets.take(who, count, rate, burst)
            taken[who] = taken.get(who, 0) + count
        assert len(buckets) <= 3
    if len(taken) <= 3:
        for who, sum_ in taken.items():
            assert sum_ <= burst + rate * now + 30 + 1e-6, who


def test_buckets_forget() -> None:
    """Who takes nothing any more is forgotten, and there are never more than so many."""
    now = 0.0
    buckets = Buckets(lambda: now, max_buckets=10)
    for number in range(100):
        buckets.take(number, 1, 1, 10)
    assert len(buckets) == 10
    now = 5.0
    buckets.take("last", 1, 1, 10)
    assert len(buckets) == 1
