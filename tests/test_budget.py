"""The memory for what comes in: bounded for all, and nobody waits for ever (LIMIT-3)."""

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from wsproto_tracker.server.budget import Account, Budget, Held

KIB = 1024


def full_budget() -> tuple[Budget, Account]:
    """A budget whose part for large messages is used up, and the account that did it."""
    budget = Budget(512 * KIB)
    account = Account(budget)
    account.add(64 * KIB + 256 * KIB)
    return budget, account


async def test_waits_for_room(autojump_clock: MockClock) -> None:
    """Who would take more than there is waits until something is let go of."""
    _, first = full_budget()
    await first.wait_for_room()  # the first may go on, or nothing ever ended
    second = Account(first._budget)
    second.add(64 * KIB)
    with trio.move_on_after(60) as waiting:
        await second.wait_for_room()
    assert waiting.cancelled_caught
    first.add(0, ends=True)
    held = first.take()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(second.wait_for_room)
        await wait_all_tasks_blocked()
        held.release()


@pytest.mark.parametrize("addresses", [1, 2, 3, 10])
async def test_the_next_goes_on_when_the_first_is_done(addresses: int, autojump_clock: MockClock) -> None:
    """Of those that wait, one after the other may go on, though there is never room for all, of whichever address."""
    budget = Budget(256 * KIB)
    done: list[int] = []

    async def send(number: int) -> None:
        account = Account(budget, str(number % addresses))
        for _ in range(20):
            await account.wait_to_receive()
            account.add(16 * KIB)
            await trio.sleep(0.01)
        account.add(0, ends=True)
        held = account.take()
        await trio.sleep(0.1)
        held.release()
        done.append(number)

    with trio.fail_after(600):
        async with trio.open_nursery() as nursery:
            for number in range(10):
                nursery.start_soon(send, number)
    assert sorted(done) == list(range(10))
    assert budget.used_bytes == 0


async def test_who_holds_nothing_keeps_nobody_waiting(autojump_clock: MockClock) -> None:
    """A connection that is idle has no right to go on that others wait for, however long it stays."""
    budget = Budget(128 * KIB)
    partial = Account(budget)
    partial.add(64 * KIB - 1)
    full = Account(budget)
    full.add(1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Account(budget).wait_for_room)  # idle, and there before
        await wait_all_tasks_blocked()
        with trio.fail_after(60):
            await partial.wait_for_room()
        nursery.cancel_scope.cancel()


async def test_the_next_goes_on_when_the_first_holds_no_more_of_it(autojump_clock: MockClock) -> None:
    """Who may go on beyond the small part, and then holds none of it, leaves that right to the next."""
    budget = Budget(256 * KIB)
    waiter, first = Account(budget), Account(budget)
    waiter.add(64 * KIB + 128 * KIB)
    first.add(64 * KIB, ends=True)
    await first.wait_for_room()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(waiter.wait_for_room)
        await wait_all_tasks_blocked()
        first.take().release()
        with trio.fail_after(60):
            await waiter.wait_for_room()
        await wait_all_tasks_blocked()
        assert not nursery.child_tasks


async def test_small_ones_do_not_wait_for_large_ones(autojump_clock: MockClock) -> None:
    """Where large messages have used up their part, others that send little go on."""
    budget, _large = full_budget()
    small = Account(budget)
    small.add(32 * KIB)
    with trio.fail_after(1):
        await small.wait_for_room()


async def is_kept_waiting(account: Account) -> bool:
    """Whether there is no room for an account."""
    with trio.move_on_after(60) as waiting:
        await account.wait_for_room()
    return waiting.cancelled_caught


class TestAddresses:
    async def test_one_leaves_room_for_others(self, autojump_clock: MockClock) -> None:
        """However many connections an address has, the part for large messages is never full of theirs."""
        budget = Budget(2048 * KIB)
        accounts = [Account(budget, "192.0.2.1") for _ in range(50)]
        async with trio.open_nursery() as nursery:

            async def send(account: Account) -> None:
                for _ in range(25):  # and more would come, but does not
                    await account.wait_for_room()
                    account.add(16 * KIB)

            for account in accounts:
                nursery.start_soon(send, account)
            await wait_all_tasks_blocked()
            assert nursery.child_tasks
            assert budget.large.used_bytes < budget.large.max_bytes * 3 // 4
            other = Account(budget, "192.0.2.2")
            other.add(200 * KIB)
            assert not await is_kept_waiting(other)
            nursery.cancel_scope.cancel()

    async def test_the_first_of_all_needs_no_share(self, autojump_clock: MockClock) -> None:
        """Who may go on though all is full does not wait for another of its address, who may be waiting for it."""
        budget = Budget(512 * KIB)
        first, other, stranger = Account(budget, "a"), Account(budget, "a"), Account(budget, "b")
        first.add(65 * KIB)
        stranger.add((64 + 256) * KIB)
        assert not await is_kept_waiting(first)
        other.add(200 * KIB)
        assert await is_kept_waiting(other)
        assert not await is_kept_waiting(first)

    async def test_those_who_have_gone_are_forgotten(self) -> None:
        """Nothing is kept of an address that has no connection."""
        budget = Budget(512 * KIB)
        account = Account(budget, "192.0.2.1")
        account.belong_to("192.0.2.2")
        assert list(budget._shares) == ["192.0.2.2"]
        del account
        assert not budget._shares


class TestLittle:
    async def test_without_room(self, autojump_clock: MockClock) -> None:
        """Where there is no room a little is read all the same, once."""
        budget, large = full_budget()
        assert not await is_kept_waiting(large)  # but nobody else goes on
        account = Account(budget)
        account.add(100 * KIB)
        read = 0
        with trio.move_on_after(60) as waiting:
            while True:
                assert await account.wait_to_receive() == 4 * KIB - read
                account.add(512)
                read += 512
        assert waiting.cancelled_caught
        assert read == 4 * KIB
        large.close()
        assert await account.wait_to_receive() == 64 * KIB

    async def test_who_needs_no_more_is_not_the_first(self) -> None:
        """The right to go on though all is full is left to those whose peers have sent what may be read."""
        budget, _large = full_budget()
        account = Account(budget)
        account.add(100 * KIB)
        assert await account.wait_to_receive() == 4 * KIB
        assert budget.large.first is None
        account.add(4 * KIB)
        assert await account.wait_to_receive() == 64 * KIB
        assert budget.large.first is account

    async def test_others_may_have_what_is_let_go_of(self) -> None:
        """Who lets something go while there is no room may not read as much again, but a little."""
        budget, _large = full_budget()
        account = Account(budget)
        account.add(200 * KIB, ends=True)
        assert await account.wait_to_receive() == 4 * KIB
        account.take().resize(100 * KIB)
        assert await account.wait_to_receive() == 4 * KIB


async def test_closing_lets_go() -> None:
    """A connection that ends lets go of all that it held, and what is counted after that does not count."""
    budget, account = full_budget()
    account.add(5, ends=True)
    held = account.take()
    account.close()
    assert budget.used_bytes == 0
    held.resize(1000)
    account.add(1000, ends=True)
    account.add_inflated(1000, ends=True)
    account.take().release()
    assert budget.used_bytes == 0


async def test_a_conversation_keeps_what_it_handles() -> None:
    """What a conversation still handles counts after the connection has ended, until it is done."""
    budget, account = full_budget()
    account.is_in_use = True
    account.close_unless_in_use()
    assert budget.used_bytes > 0
    account.is_in_use = False
    account.close_unless_in_use()
    assert budget.used_bytes == 0


STEPS = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from(["came", "inflated", "take", "resize", "release", "clear", "close"]))
)


@given(steps=STEPS, sizes=st.lists(st.integers(0, 300 * KIB), min_size=1))
def test_the_sum_is_what_the_accounts_hold(steps: list[tuple[int, str]], sizes: list[int]) -> None:
    """Whatever happens to three connections, the budget counts what they hold together, and never less than nothing."""
    budget = Budget(512 * KIB)
    accounts = [Account(budget, group) for group in ("a", "a", "b")]
    held: list[list[Held]] = [[], [], []]
    for number, (who, step) in enumerate(steps):
        size = sizes[number % len(sizes)]
        match step:
            case "came":
                accounts[who].add(size, ends=size % 2 == 0)
            case "inflated":
                accounts[who].add_inflated(size, ends=size % 2 == 0)
            case "take":
                held[who].append(accounts[who].take())
            case "resize" if held[who]:
                held[who][0].resize(size)
            case "release" if held[who]:
                held[who].pop().release()
            case "clear" if not held[who]:
                accounts[who].clear()
            case "close":
                accounts[who].close()
        assert budget.used_bytes == sum(account._bytes for account in accounts) >= 0
        assert budget.large.used_bytes == sum(budget.share_of(group).used_bytes for group in ("a", "b"))
    for account in accounts:
        account.close()
    assert budget.used_bytes == 0
