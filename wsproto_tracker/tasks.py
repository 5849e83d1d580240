"""Tasks beside a body of code, whose errors come out as they are: a nursery would wrap them in a group."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import trio

__all__ = ["beside", "together"]

Task = Callable[[], Awaitable[None]]


@asynccontextmanager
async def beside(*tasks: Task, at_end: Callable[[], None] | None = None) -> AsyncGenerator[None, None]:
    """Run tasks beside the body, and cancel them at its end.

    The first error, of the body or of a task, ends all of it and is raised as it is, during a cancellation as well.

    :param at_end: what has the tasks end by themselves; then they are cancelled by the error of another task only.
    """
    failure: BaseException | None = None
    try:
        async with trio.open_nursery() as nursery:

            async def run(task: Task) -> None:
                nonlocal failure
                try:
                    await task()
                except (Exception, KeyboardInterrupt) as error:  # Ctrl-C may come while this task runs
                    failure = failure or error
                    nursery.cancel_scope.cancel()

            for task in tasks:
                nursery.start_soon(run, task)
            try:
                yield
            except trio.Cancelled:
                raise
            except BaseException as error:
                failure = failure or error
            finally:
                (at_end or nursery.cancel_scope.cancel)()
    except BaseException:  # tasks that are cancelled from outside
        if failure is None:
            raise
    if failure is not None:
        raise failure


async def together(*tasks: Task) -> None:
    """Run tasks until one raises, and raise that."""
    async with beside(*tasks):
        await trio.sleep_forever()
