"""An asyncio event loop in a thread of its own, for the NATS client, and the way there and back.

What goes through is gathered in a queue each way, so that many calls share one wake-up of the other side. The queues
hold what was called and has not begun, or was told and has not come: bounded by those who call and tell.
"""

import asyncio
import threading
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, Generic, ParamSpec, TypeVar

import trio

__all__ = ["Bridge", "Call", "open_bridge"]

P = ParamSpec("P")
T = TypeVar("T")


class Bridge:
    """Calls coroutine functions in the loop, and functions of trio's side from there."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._trio = trio.lowlevel.current_trio_token()
        self._calls: deque[Callable[[], object]] = deque()
        self._is_woken = False
        self._told: deque[Callable[[], object]] = deque()
        self._stopping = asyncio.Event()

    # --- from trio's side

    async def run(self, function: Callable[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a coroutine function in the loop, and wait for what it returns or raises.

        Cancelled, its task is cancelled as well; whether it ends is not waited for.
        """
        return await self.begin(function, *args, **kwargs).wait()

    def begin(self, function: Callable[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs) -> "Call[T]":
        """Have a coroutine function run in the loop; they begin in the order of these calls."""
        call = Call(partial(function, *args, **kwargs), self)
        self.call(call.begin)
        return call

    def call(self, function: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
        """Call a function in the loop, soon, and in the order of the calls."""
        self._calls.append(partial(function, *args, **kwargs))
        if not self._is_woken:
            self._is_woken = True
            self._loop.call_soon_threadsafe(self._call_all)

    # --- from the loop's side

    def tell(self, function: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
        """Call a function on trio's side, soon, and in the order of the calls."""
        self._told.append(partial(function, *args, **kwargs))
        with suppress(trio.RunFinishedError):  # nobody is there to be told
            self._trio.run_sync_soon(self._tell_all, idempotent=True)

    def _call_all(self) -> None:
        self._is_woken = False  # first: what is appended from now on wakes it again
        while self._calls:
            self._calls.popleft()()

    def _tell_all(self) -> None:
        while self._told:
            self._told.popleft()()

    # --- the thread

    def serve(self) -> None:
        """Run the loop until ``stop``; then its tasks are cancelled."""
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._wait())

    async def _wait(self) -> None:
        await self._stopping.wait()

    def stop(self) -> None:
        """End ``serve``."""
        self._loop.call_soon_threadsafe(self._stopping.set)


class Call(Generic[T]):
    """A call of a coroutine function, from trio's side to the loop and back."""

    def __init__(self, function: Callable[[], Coroutine[Any, Any, T]], bridge: Bridge) -> None:
        self._function = function
        self._bridge = bridge
        self._task: asyncio.Task[T] | None = None
        self._ended = trio.Event()

    async def wait(self) -> T:
        """Wait for what the function returns or raises; cancelled, its task is cancelled as well."""
        try:
            await self._ended.wait()
        except trio.Cancelled:
            self._bridge.call(self.cancel)
            raise
        if self._task is None or self._task.cancelled():
            raise RuntimeError("the bridge was stopped while something was called")
        return self._task.result()

    def begin(self) -> None:
        """Begin it; in the loop."""
        self._task = asyncio.ensure_future(self._function())
        self._task.add_done_callback(lambda _task: self._bridge.tell(self._ended.set))

    def cancel(self) -> None:
        """Cancel it; in the loop."""
        if self._task is not None:
            self._task.add_done_callback(lambda task: task.cancelled() or task.exception())  # nobody else asks
            self._task.cancel()


@asynccontextmanager
async def open_bridge() -> AsyncGenerator[Bridge, None]:
    """Run a loop in a thread for as long as the ``async with`` lasts."""
    bridge = Bridge()
    thread = threading.Thread(target=bridge.serve, name="asyncio for NATS")
    thread.start()
    try:
        yield bridge
    finally:
        bridge.stop()
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(thread.join)
