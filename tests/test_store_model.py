"""The timeline against its oracle: the same random operations, and every answer compared event for event.

The oracle is ``MemoryStore``, a list that is filtered and sorted.
"""

import sys
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import attrs
import pytest
import trio
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.store_contract import accepted, asked
from tests.store_support import TINY, problems
from wsproto_tracker.protocol.events import Event
from wsproto_tracker.protocol.query import Query
from wsproto_tracker.protocol.timestamps import format_instant
from wsproto_tracker.store import Capacity, EventStore, MemoryStore, TimelineStore, open_timeline
from wsproto_tracker.store.block import Shape

NOW = 1_764_000_000_000_000
MINUTE = 60_000_000

instants = st.one_of(
    st.integers(0, 40).map(lambda second: NOW + second * 1_000_000),  # a few, so that many are equal
    st.integers(0, 60 * MINUTE).map(lambda offset: NOW - offset),  # late ones
    st.sampled_from([NOW + 10**15, NOW + 5 * 10**16, -(10**15), NOW]),  # far off
)
apps = st.one_of(st.sampled_from(["shop", "shop", "blog"]), st.integers(0, 40).map(lambda number: f"app-{number}"))
members = st.fixed_dictionaries(
    {"appId": apps, "userId": st.sampled_from(["ann", "ben", ""])},
    optional={
        "id": st.sampled_from(["", "a", "b", "c", "d", "\ud83d"]),
        "level": st.sampled_from(["debug", "error"]),
        "type": st.sampled_from(["click", "custom", "later.type"]),
        "sessionId": st.sampled_from(["s1", "s2"]),
        "groupId": st.sampled_from(["g1", "g2"]),
        "payload": st.sampled_from(
            [{"text": "Größe \U0001f680"}, {"text": "cut \ud83d"}, {"n": [1, 2.5, None]}, {"long": "x" * 2000}]
        ),
    },
)
events = st.builds(
    lambda instant, more: accepted(timestamp=format_instant(instant), **more),
    instants,
    members,
)
batches = st.lists(events, max_size=5)
window = {"since": instants.map(format_instant), "until": instants.map(format_instant)}
queries: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.just({}),
    st.fixed_dictionaries({}, optional=window),
    st.fixed_dictionaries(
        {},
        optional=window
        | {
            "after": instants.map(format_instant),
            "type": st.sampled_from(["click", "custom", "none"]),
            "level": st.sampled_from(["info", "error"]),
            "userId": st.sampled_from(["ann", "ben", ""]),
            "sessionId": st.sampled_from(["s1", "none"]),
            "groupId": st.sampled_from(["g1", "none"]),
            "appId": apps,
            "search": st.sampled_from(["größe", "xxxx", "cut", "nowhere"]),
            "limit": st.integers(0, 7),
            "page": st.integers(1, 4),
        },
    ),
)
visible_apps = st.none() | st.frozensets(apps, min_size=1, max_size=3)


@attrs.frozen
class Append:
    """Batches that are taken in together, so that they may share a transaction."""

    batches: list[list[Event]]


@attrs.frozen
class Burst:
    """Many events of one millisecond."""

    count: int
    late_by: int


@attrs.frozen
class Ask:
    query: dict[str, Any]
    apps: frozenset[str] | None


@attrs.frozen
class Erase:
    user: str | None
    app: str | None


@attrs.frozen
class Compact:
    """Rewrite what is not full, and the file."""


@attrs.frozen
class Restart:
    """Close the store, and open it again."""


Operation = Append | Burst | Ask | Erase | Compact | Restart

erasures = st.one_of(
    st.builds(Erase, st.sampled_from(["ann", "ben"]), st.none()),
    st.builds(Erase, st.none(), apps),
    st.builds(Erase, st.just("ann"), apps),
)
operations: st.SearchStrategy[Operation] = st.one_of(
    st.builds(Append, st.lists(batches, min_size=1, max_size=4)),
    st.builds(Append, st.lists(batches, min_size=1, max_size=4)),
    st.builds(Ask, queries, visible_apps),
    st.builds(Burst, st.integers(5, 40), st.integers(0, 30)),
    erasures,
    st.builds(Compact),
    st.builds(Restart),
)


@attrs.define
class Pair:
    """The engine and the oracle, driven alike.

    :ivar open_engine: opens the engine with what the last one left.
    """

    open_engine: Callable[[], Any]
    oracle: MemoryStore
    told: list[Event]
    oracle_told: list[Event]
    stack: AsyncExitStack
    engine: TimelineStore

    async def do(self, operation: Operation) -> None:
        """Do the same to both, and compare what they say of it."""
        match operation:
            case Append(given_batches):
                await self._append(given_batches)
            case Burst(count, late_by):
                at = format_instant(NOW - late_by * MINUTE + 1000)
                await self._append([[accepted(timestamp=at, payload={"n": n}) for n in range(count)]])
            case Ask(parameters, visible):
                await self.compare(asked(**parameters), visible)
            case Erase(user, app):
                assert await self.engine.erase(user=user, app=app) == await self.oracle.erase(user=user, app=app)
            case Compact():
                await self.engine.compact()
            case Restart():
                await self.stack.aclose()
                self.engine = await self.stack.enter_async_context(self.open_engine())

    async def _append(self, given_batches: Sequence[Sequence[Event]]) -> None:
        del self.told[:], self.oracle_told[:]
        expected = [await (await self.oracle.append(batch)).committed() for batch in given_batches]
        receipts = [await self.engine.append(batch) for batch in given_batches]
        assert [await receipt.committed() for receipt in receipts] == expected
        assert self.told == self.oracle_told

    async def compare(self, query: Query, visible: frozenset[str] | None = None) -> None:
        """The same answer, to the byte."""
        total, newest, text = await answer(self.engine, query, visible)
        expected = await answer(self.oracle, query, visible)
        assert (total, newest) == expected[:2]
        assert text == expected[2]


async def answer(store: EventStore, query: Query, visible: frozenset[str] | None) -> tuple[int, int | None, bytes]:
    found = await store.query(query, visible)
    async with aclosing(found.chunks) as chunks:
        texts = [chunk.text async for chunk in chunks]
    assert all(texts)
    return found.total, found.newest, b",".join(texts)


async def drive(todo: Sequence[Operation], max_events: int, shape: Shape, path: Path | None) -> None:
    """Do it all to both, and compare everything at the end, once more after a restart."""
    told: list[Event] = []
    oracle_told: list[Event] = []

    @asynccontextmanager
    async def open_engine() -> AsyncGenerator[TimelineStore, None]:
        async with open_timeline(
            path,
            Capacity(max_events),
            on_stored=told.extend,
            durability="normal",
            shape=shape,
        ) as store:
            yield store

    async with AsyncExitStack() as stack:
        engine = await stack.enter_async_context(open_engine())
        pair = Pair(open_engine, MemoryStore(max_events, oracle_told.extend), told, oracle_told, stack, engine)
        for operation in todo:
            if path is not None or not isinstance(operation, Restart):
                await pair.do(operation)
        await pair.compare(Query())
        if path is not None:
            await pair.do(Restart())
            await pair.compare(Query())
    if path is not None:
        assert problems(path) == []


@hypothesis_settings(max_examples=120)
@given(todo=st.lists(operations, max_size=25), max_events=st.sampled_from([3, 40, 1000]))
def test_on_disk(todo: list[Operation], max_events: int) -> None:
    """Every answer of a store in a file is the oracle's, over erasures, evictions, restarts and late events."""
    with TemporaryDirectory() as directory:
        trio.run(drive, todo, max_events, TINY, Path(directory, "tracker.db"))


@hypothesis_settings(max_examples=120)
@given(todo=st.lists(operations, max_size=25), max_events=st.sampled_from([3, 40, 1000]))
def test_in_memory(todo: list[Operation], max_events: int) -> None:
    """So it is for a store in memory."""
    trio.run(drive, todo, max_events, TINY, None)


@hypothesis_settings(max_examples=10)
@given(todo=st.lists(operations, min_size=2, max_size=8), late_by=st.integers(0, 30))
def test_more_than_a_block_in_one_millisecond(todo: list[Operation], late_by: int) -> None:
    """Blocks are cut through events of one millisecond without losing or turning round any of them (QUERY-6)."""
    shape = Shape(open_events=100)
    bursts = [Burst(1_100, late_by), *todo[:2], Burst(1_500, 0), Append([[accepted()]]), *todo[2:]]
    with TemporaryDirectory() as directory:
        trio.run(drive, bursts, sys.maxsize, shape, Path(directory, "tracker.db"))


@pytest.mark.parametrize("seconds", [range(200), range(200, 0, -1), [7] * 200, [0, 100] * 100])
async def test_orders(seconds: Sequence[int]) -> None:
    """Events that come in order, in reverse, all at once, and in two streams."""
    todo: list[Operation] = [
        Append([[accepted(timestamp=format_instant(NOW + second * MINUTE), payload={"n": second})]])
        for second in seconds
    ]
    with TemporaryDirectory() as directory:
        await drive(todo, 150, TINY, Path(directory, "tracker.db"))
