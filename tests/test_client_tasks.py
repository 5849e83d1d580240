"""Tasks beside a body, and waits between attempts: errors come out as they are, and waits grow within their bounds."""

import math
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import trio
import trio.lowlevel
from hypothesis import given
from hypothesis import strategies as st

from tests.support import Running
from wsproto_tracker.client.backoff import MAX_RETRY_AFTER_S, Backoff
from wsproto_tracker.tasks import beside, together


async def failing() -> None:
    await trio.lowlevel.checkpoint()
    raise KeyError("of a task")


async def nested() -> None:
    """Tasks that end with a group of cancellations."""
    await together(trio.sleep_forever, trio.sleep_forever)


class TestBeside:
    async def test_the_error_of_a_task_comes_out_as_it_is(self) -> None:
        """The error of a task ends the body, and is raised without a group around it."""
        with pytest.raises(KeyError, match="of a task"):
            async with beside(trio.sleep_forever, failing, nested):
                await trio.sleep_forever()
        with pytest.raises(KeyError, match="of a task"):
            await together(trio.sleep_forever, failing, nested)

    async def test_the_first_error_counts(self) -> None:
        """Where the body fails because a task has, the error of the task is raised."""
        with pytest.raises(KeyError, match="of a task"):
            async with beside(failing):
                try:
                    await trio.sleep_forever()
                finally:
                    raise ValueError("of the body")

    @pytest.mark.parametrize("has_tasks", [False, True])
    async def test_a_cancellation_goes_through(self, has_tasks: bool) -> None:
        """A cancellation from outside ends body and tasks, and stays one."""
        with trio.move_on_after(0.01) as scope:
            async with beside(*([nested] if has_tasks else [])):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(trio.sleep_forever)
                    nursery.start_soon(nested)
        assert scope.cancelled_caught

    async def test_an_error_during_a_cancellation_comes_out(self) -> None:
        """An error of the body is not lost because it was cancelled as well."""
        with pytest.raises(KeyError, match="of the body"), trio.CancelScope() as scope:
            async with beside(nested):
                scope.cancel()
                raise KeyError("of the body")

    async def test_tasks_end_with_the_body(self) -> None:
        """When the body has ended, its tasks are cancelled."""
        async with beside(nested, trio.sleep_forever):
            await trio.lowlevel.checkpoint()


class TestBackoff:
    @given(st.integers(0, 2**32), st.floats(0.001, 10), st.floats(10, 100), st.integers(1, 100))
    def test_waits_are_within_their_bounds(self, seed: int, min_s: float, max_s: float, attempts: int) -> None:
        """The n-th wait is at most the first bound times 2ⁿ, and never over the last."""
        backoff = Backoff(min_s, max_s, random.Random(seed))
        for attempt in range(attempts):
            assert 0 <= backoff.next_s() <= min(max_s, min_s * 2**attempt)
        backoff.reset()
        assert backoff.next_s() <= min_s

    def test_waits_grow_and_differ(self) -> None:
        """Clients that have lost their server together do not come back together."""
        waits = [Backoff(1.0, 64.0, random.Random(seed)) for seed in range(200)]
        means = [sum(backoff.next_s() for backoff in waits) / len(waits) for _ in range(8)]
        assert means[:6] == sorted(means[:6])
        assert 28 < means[7] < 36
        assert len({backoff.next_s() for backoff in waits}) == len(waits)

    @pytest.mark.parametrize("asked_s", [0.0, 5.0, 1e9, math.inf])
    def test_the_server_is_obeyed_up_to_a_bound(self, asked_s: float) -> None:
        """What the server asks for is waited for, but no longer than five minutes (LIMIT-6)."""
        wait_s = Backoff(1.0, 1.0).next_s(asked_s)
        assert min(asked_s, MAX_RETRY_AFTER_S) <= wait_s <= MAX_RETRY_AFTER_S + 1


async def test_ctrl_c_is_what_it_is_without_the_client(server: Running, tmp_path: Path) -> None:
    """A program that is interrupted ends with KeyboardInterrupt, not with a group, and what it tracked is sent."""
    program = f"""
import trio
from wsproto_tracker import open_client

async def main():
    async with open_client({server.ws_url!r}, app_id="shop", flush_interval_s=1000) as client:
        client.track("last words")
        print("ready", flush=True)
        await trio.sleep_forever()

try:
    trio.run(main)
except KeyboardInterrupt:
    print("interrupted")
"""
    with trio.fail_after(30):
        process = await trio.lowlevel.open_process(
            [sys.executable, "-c", program], stdout=subprocess.PIPE, cwd=tmp_path
        )
        assert process.stdout is not None
        said = b""
        async with process.stdout:
            while data := await process.stdout.receive_some():
                said += data
                if said == b"ready\n":
                    process.send_signal(signal.SIGINT)
        await process.wait()
    assert said == b"ready\ninterrupted\n"
    async with server.client() as reader:
        assert [event["payload"]["name"] for event in await reader.events()] == ["last words"]
