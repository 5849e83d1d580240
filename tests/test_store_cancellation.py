"""Cancellation and shutdown at every await: the file stays sound, and what was acked is kept.

The awaits are found by counting: the same program is run again and again, and is cancelled at its first step, at its
second, and so on, until it comes to its end uncancelled.
"""

from collections.abc import Awaitable, Callable
from contextlib import aclosing
from itertools import count
from pathlib import Path

import attrs
import pytest
import trio

from tests.store_contract import append, at, ids, read
from tests.store_support import TINY, problems
from wsproto_tracker.errors import UnavailableError
from wsproto_tracker.protocol.events import Event
from wsproto_tracker.protocol.query import Query
from wsproto_tracker.store import EventStore, TimelineStore, open_timeline

BATCHES = [[at(second + late, id=f"{second}-{late}") for late in (0, -20, 1)] for second in range(8)]


@attrs.define(eq=False)
class AtStep(trio.abc.Instrument):
    """Does something when a task, or any task where none is named, takes its n-th step inside the ``with``."""

    number: int
    action: Callable[[], None]
    task: trio.lowlevel.Task | None = None

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if self.task in (None, task):
            self.number -= 1
            if self.number == 0:
                self.action()

    def __enter__(self) -> None:
        trio.lowlevel.add_instrument(self)

    def __exit__(self, *_exception: object) -> None:
        trio.lowlevel.remove_instrument(self)


@attrs.define
class Done:
    """What a program got done before it was cancelled."""

    acked: list[str] = attrs.field(factory=list)


async def work(store: TimelineStore, done: Done) -> None:
    """Append so much that blocks are sealed and rewritten, query now and then, compact, erase."""
    for number, batch in enumerate(BATCHES):
        await append(store, *batch)
        done.acked += [event.id for event in batch]
        if number % 3 == 2:
            await read(store, Query())
            answer = await store.query(Query(userId="user-1"))
            async with aclosing(answer.chunks) as chunks:
                await anext(chunks)
    await store.compact()
    await store.erase(user="nobody")


async def check(store: EventStore, acked: list[str]) -> None:
    """What was acked is there; of all else that was sent, whole batches only."""
    found = await ids(store)
    assert len(set(found)) == len(found)
    assert set(acked) <= set(found)
    for batch in BATCHES:
        there = {event.id for event in batch} & set(found)
        assert len(there) in (0, len(batch)), "half of a batch"


async def cancelled_task(path: Path, step: int) -> bool:
    """Cancel the task that works at one of its steps; the store goes on. Whether it came to its end before."""
    done = Done()
    async with open_timeline(path, shape=TINY, durability="normal") as store:
        with trio.CancelScope() as scope:
            with AtStep(step, scope.cancel, trio.lowlevel.current_task()):
                await work(store, done)
        await check(store, done.acked)
        assert (await append(store, at(100, id="after"))).duplicates == 0
        assert (await ids(store))[0] == "after"
        assert store._readers.borrowed_tokens == 0
    async with open_timeline(path, shape=TINY, durability="normal") as store:
        await check(store, done.acked)
    return not scope.cancelled_caught


async def cancelled_store(path: Path, step: int) -> bool:
    """Cancel everything, the store included, at a step of any task."""
    done = Done()
    with trio.CancelScope() as scope:
        with AtStep(step, scope.cancel):
            async with open_timeline(path, shape=TINY, durability="normal") as store:
                await work(store, done)
    async with open_timeline(path, shape=TINY, durability="normal") as store:
        await check(store, done.acked)
    return not scope.cancelled_caught


async def closed_store(path: Path, step: int) -> bool:
    """Leave the store at a step of any task, while several append, and none is cancelled."""
    acked: list[str] = []
    refused: list[str] = []
    leave, all_acked = trio.Event(), trio.Event()

    async def write(store: EventStore, batch: list[Event]) -> None:
        try:
            receipt = await store.append(batch)
        except UnavailableError as error:
            refused.append(str(error))
            return
        await receipt.committed()
        acked.extend(event.id for event in batch)
        if len(acked) == sum(map(len, BATCHES)):
            all_acked.set()
            leave.set()

    async with trio.open_nursery() as nursery:
        with AtStep(step, leave.set):
            async with open_timeline(path, shape=TINY, durability="normal", max_uncommitted_bytes=1) as store:
                for batch in BATCHES:
                    nursery.start_soon(write, store, batch)
                await leave.wait()
    assert set(refused) <= {"the store is closed"}
    assert len(acked) // 3 + len(refused) == len(BATCHES), "somebody was not told"
    async with open_timeline(path, shape=TINY, durability="normal") as store:
        await check(store, acked)
        assert len(await ids(store)) == len(acked)
    return all_acked.is_set() and not refused


@pytest.mark.parametrize(("program", "at_least"), [(cancelled_task, 30), (cancelled_store, 80), (closed_store, 20)])
def test_at_every_step(tmp_path: Path, program: Callable[[Path, int], Awaitable[bool]], at_least: int) -> None:
    """At whichever step it happens, the file is sound, acked events are there, and batches are whole or not there."""
    for step in count(1):
        path = tmp_path / f"{step}.db"
        came_to_its_end = trio.run(program, path, step)
        if path.exists():
            assert problems(path) == []
        if came_to_its_end:
            break  # also when closing came so late that it found nothing to do
    assert step > at_least, "these were not all the awaits"
