"""The contract kit: what every ``EventStore`` has to pass (``wsproto_tracker/store/contract.py``).

A test module subclasses ``StoreContract`` with its own ``open_store``; see ``test_store_memory.py``.
"""

import json
from contextlib import AbstractAsyncContextManager, aclosing
from typing import Any

import trio
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.support import event
from wsproto_tracker.protocol.decoding import read_parameters
from wsproto_tracker.protocol.events import Event, read_event
from wsproto_tracker.protocol.ids import new_id
from wsproto_tracker.protocol.query import Query
from wsproto_tracker.protocol.timestamps import format_instant
from wsproto_tracker.store import Answer, Appended, Commit, EventStore, OnCommitted, OnStored


def accepted(**members: Any) -> Event:
    """An event as it comes out of decoding."""
    judged = read_event(json.dumps(event(**members)).encode(), 0, new_id)
    assert isinstance(judged, Event), judged
    return judged


def at(second: float, **members: Any) -> Event:
    """An event at a second after the start of a fixed hour."""
    return accepted(timestamp=format_instant(1_764_000_000_000_000 + round(second * 1_000_000)), **members)


def asked(**parameters: Any) -> Query:
    """A query, as parameters of an HTTP read spell it."""
    return read_parameters({name: str(value) for name, value in parameters.items()})


def moment(second: float) -> str:
    return format_instant(1_764_000_000_000_000 + round(second * 1_000_000))


async def append(store: EventStore, *events: Event) -> Appended:
    return await (await store.append(events)).committed()


async def read(
    store: EventStore, query: Query, apps: frozenset[str] | None = None
) -> tuple[Answer, list[dict[str, Any]]]:
    """An answer and its events, checking what the contract says of chunks."""
    answer = await store.query(query, apps)
    async with aclosing(answer.chunks) as chunks:
        texts = [chunk.text async for chunk in chunks]
    assert all(texts), "a chunk is never empty"
    return answer, json.loads(b"[" + b",".join(texts) + b"]")


async def ids(store: EventStore, visible: frozenset[str] | None = None, /, **parameters: Any) -> list[str]:
    return [found["id"] for found in (await read(store, asked(**parameters), visible))[1]]


def naive(events: list[Event], query: dict[str, Any]) -> list[Event]:
    """The answer by the words of SPEC.md, one event after the other, newest first."""
    found = []
    for candidate in events:
        data = json.loads(candidate.text)
        fits = [
            "since" not in query or candidate.instant >= asked(since=query["since"]).since,  # type: ignore[operator]
            "until" not in query or candidate.instant <= asked(until=query["until"]).until,  # type: ignore[operator]
            "after" not in query or candidate.instant > asked(after=query["after"]).after,  # type: ignore[operator]
            "search" not in query
            or query["search"].lower()
            in json.dumps(data["payload"], separators=(",", ":"), ensure_ascii=False).lower(),
        ]
        fits += [
            name not in query or data.get(name) == query[name]
            for name in ("type", "level", "userId", "sessionId", "groupId", "appId")
        ]
        if all(fits):
            found.append(candidate)
    by_age = sorted(enumerate(found), key=lambda pair: (pair[1].instant, pair[0]), reverse=True)
    return [candidate for _, candidate in by_age]


moments = st.integers(0, 6).map(moment)
events = st.builds(
    lambda second, fraction, members: at(second + fraction / 1000, **members),
    st.integers(0, 6),
    st.sampled_from([0, 0, 1, 999]),
    st.fixed_dictionaries(
        {
            "type": st.sampled_from(["click", "custom", "later.type"]),
            "level": st.sampled_from(["debug", "info", "warn", "error"]),
            "userId": st.sampled_from(["ann", "Ann", ""]),
            "appId": st.sampled_from(["shop", "blog"]),
        },
        optional={
            "groupId": st.sampled_from(["g1", "g2"]),
            "id": st.sampled_from(["", "a", "b", "c", "d"]),
            "payload": st.sampled_from([{"text": "Größe \U0001f680"}, {"n": [1, 2.5, None]}, {"a": {"b": "BUY now"}}]),
        },
    ),
)
queries = st.fixed_dictionaries(
    {},
    optional={
        "since": moments,
        "until": moments,
        "after": moments,
        "type": st.sampled_from(["click", "custom", "none"]),
        "level": st.sampled_from(["debug", "info", "warn", "error"]),
        "userId": st.sampled_from(["ann", "Ann", ""]),
        "appId": st.sampled_from(["shop", "blog"]),
        "groupId": st.sampled_from(["g1", ""]),
        "search": st.sampled_from(["buy", "größe", '"n":[1,2.5,null]', "nowhere", ""]),
        "limit": st.integers(0, 5),
        "page": st.integers(1, 4),
    },
)
visible_apps = st.none() | st.frozensets(st.sampled_from(["shop", "blog", "none"]))


class StoreContract:
    """Every store passes all of these."""

    examples = 150

    def open_store(
        self,
        max_events: int = 1000,
        on_stored: OnStored = lambda _events: None,
        on_committed: OnCommitted = lambda _commit: None,
    ) -> AbstractAsyncContextManager[EventStore]:
        raise NotImplementedError

    async def test_empty(self) -> None:
        """A store without events answers none, with total 0 and no newest."""
        async with self.open_store() as store:
            answer, found = await read(store, Query())
            assert (answer.total, answer.newest, found) == (0, None, [])

    async def test_read_your_writes(self) -> None:
        """What is committed is in every answer from then on, in its very bytes (ACK-4, X-BYTES-1)."""
        async with self.open_store() as store:
            first = accepted(payload={"text": "Größe 1.50 </script>"})
            assert await append(store, first) == Appended(1, 0)
            answer = await store.query(Query())
            async with aclosing(answer.chunks) as chunks:
                assert [chunk.text async for chunk in chunks] == [first.text]

    async def test_empty_batch(self) -> None:
        """A batch without events is committed like any other."""
        async with self.open_store() as store:
            assert await append(store) == Appended(0, 0)

    async def test_order(self) -> None:
        """Events come newest first; of equal timestamps, the newest arrival first (QUERY-5, QUERY-6)."""
        async with self.open_store() as store:
            await append(store, at(1, id="b"), at(3, id="e"), at(1, id="c"))
            await append(store, at(2, id="d"), at(0, id="a"), at(3, id="f"))
            assert await ids(store) == ["f", "e", "d", "c", "b", "a"]

    async def test_window(self) -> None:
        """``since`` and ``until`` are inclusive, ``after`` is not (QUERY-2, QUERY-3, QUERY-4, FILTER-2)."""
        async with self.open_store() as store:
            await append(store, *(at(second, id=str(second)) for second in range(5)))
            assert await ids(store, since=moment(1), until=moment(3)) == ["3", "2", "1"]
            assert await ids(store, since=moment(3)) == ["4", "3"]
            assert await ids(store, until=moment(1)) == ["1", "0"]
            assert await ids(store, after=moment(3)) == ["4"]
            assert await ids(store, since=moment(3), until=moment(1)) == []

    async def test_microseconds(self) -> None:
        """Instants a microsecond apart are told apart (TIME-3, TIME-4)."""
        async with self.open_store() as store:
            await append(store, at(1.000001, id="late"), at(1, id="early"))
            assert await ids(store) == ["late", "early"]
            assert await ids(store, after=moment(1)) == ["late"]

    async def test_pages(self) -> None:
        """A page is a slice of what matches, the total is not; past the end there is nothing (FILTER-5 to FILTER-7)."""
        async with self.open_store() as store:
            await append(store, *(at(second, id=str(second)) for second in range(5)))
            assert await ids(store, limit=2) == ["4", "3"]
            assert await ids(store, limit=2, page=3) == ["0"]
            assert await ids(store, limit=2, page=4) == []
            assert await ids(store, page=2) == []
            assert await ids(store, limit=0) == []
            for parameters in ({"limit": 2}, {"limit": 2, "page": 4}, {"page": 2}, {"limit": 0}):
                answer, _ = await read(store, asked(**parameters))
                assert (answer.total, answer.newest) == (5, at(4).instant)

    async def test_apps(self) -> None:
        """Whoever sees some apps only is answered as if there were no others, ``total`` and newest too (X-SCOPE-5)."""
        async with self.open_store() as store:
            apps = ("shop", "blog", "cut \ud83d")
            await append(store, *(at(second, id=str(second), appId=apps[second % 3]) for second in range(60)))
            shop, both, none = frozenset(["shop"]), frozenset(apps[1:]), frozenset[str]()
            assert await ids(store, shop) == [str(second) for second in range(57, -1, -3)]
            assert await ids(store, both) == [str(second) for second in range(59, 0, -1) if second % 3]
            assert await ids(store, frozenset(["none"])) == await ids(store, none) == []
            assert await ids(store, shop, appId="shop", limit=1) == ["57"]
            assert await ids(store, shop, appId="blog") == await ids(store, none, appId="shop") == []
            assert await ids(store, both, since=moment(55), userId="user-1", limit=2, page=2) == ["56", "55"]
            answer, _ = await read(store, asked(limit=3), shop)
            assert (answer.total, answer.newest) == (20, at(57).instant)
            answer, _ = await read(store, asked(until=moment(1)), frozenset(["cut \ud83d"]))
            assert (answer.total, answer.newest) == (0, None)

    async def test_many(self) -> None:
        """An answer of thousands of events comes in several chunks and loses none (QUERY-7)."""
        async with self.open_store(max_events=10_000) as store:
            await append(store, *(at(second, id=str(second)) for second in range(3000)))
            assert await ids(store) == [str(second) for second in reversed(range(3000))]

    async def test_given_ids(self) -> None:
        """An id that a client gave is stored once for its app, in one batch or in two (X-DUP-1)."""
        async with self.open_store() as store:
            first, again, other_app = at(1, id="a"), at(2, id="a"), at(3, id="a", appId="blog")
            assert await append(store, first, again, other_app) == Appended(2, 1)
            assert await append(store, again) == Appended(0, 1)
            assert (await read(store, Query()))[0].total == 2

    async def test_given_ids_of_any_form(self) -> None:
        """Ids are told apart in every bit, and apps, whatever they look like (X-DUP-1)."""
        forms = [
            "019ac5b2-7a10-7000-8000-000000000000",
            "019ac5b2-7a10-7000-8000-000000000001",
            "019AC5B2-7A10-7000-8000-000000000000",
            "019ac5b2-7a10-4000-8000-000000000000",
            "not-hex!-zzzz-7000-8000-000000000000",
            "cut \ud83d",
            "x" * 5_000,
        ]
        apps = ["shop", "blog", "", "y" * 5_000, "z" * 5_000]
        async with self.open_store() as store:
            events = [at(1, id=form, appId=app) for form in forms for app in apps]
            assert await append(store, *events) == Appended(len(events), 0)
            assert await append(store, *events) == Appended(0, len(events))
            many = [at(1, id=f"{number:04}-7") for number in range(1_200)]
            assert await append(store, *many, *events, *many) == Appended(1_200, 1_200 + len(events))

    async def test_capacity(self) -> None:
        """The first in are the first out, by arrival and not by time; a forgotten id may come again."""
        async with self.open_store(max_events=3) as store:
            await append(store, at(9, id="first"), at(1, id="second"))
            await append(store, at(5, id="third"), at(6, id="fourth"))
            assert await ids(store) == ["fourth", "third", "second"]
            assert (await append(store, at(9, id="first"))).duplicates == 0
            assert await ids(store) == ["first", "fourth", "third"]

    async def test_last_batch_stays(self) -> None:
        """A batch larger than the capacity is kept whole until the next: what was just acked is not what goes."""
        async with self.open_store(max_events=2) as store:
            await append(store, at(1, id="old"))
            await append(store, *(at(second, id=str(second)) for second in range(4)))
            assert await ids(store) == ["3", "2", "1", "0"]
            await append(store)
            await append(store, at(2, id="2"))
            assert await ids(store) == ["3", "2", "1", "0"]
            await append(store, at(7, id="new"))
            assert await ids(store) == ["new", "3"]

    async def test_answer_does_not_change(self) -> None:
        """An answer is of the moment of its query, whatever is appended while it is read."""
        async with self.open_store() as store:
            await append(store, *(at(second) for second in range(1000)))
            answer = await store.query(Query())
            await append(store, *(at(second) for second in range(1000)))
            async with aclosing(answer.chunks) as chunks:
                count = sum([len(json.loads(b"[" + chunk.text + b"]")) async for chunk in chunks])
            assert count == answer.total == 1000

    async def test_cancelled_wait_takes_nothing_back(self) -> None:
        """What ``append`` returned for is kept, though nobody waits for its commit."""
        async with self.open_store() as store:
            receipt = await store.append([at(1, id="a")])
            with trio.CancelScope() as scope:
                scope.cancel()
                await receipt.committed()
            assert (await receipt.committed()).duplicates == 0
            assert await ids(store) == ["a"]

    async def test_tells_what_is_stored(self) -> None:
        """Every event that is stored is told once, in the order of arrival, before its commit is known (X-SUB-1)."""
        told: list[str] = []
        async with self.open_store(on_stored=lambda events: told.extend(entry.id for entry in events)) as store:
            await append(store, at(3, id="a"), at(1, id="b"))
            assert told == ["a", "b"]
            await append(store, at(2, id="b"), at(0, id="c"))
            assert told == ["a", "b", "c"]

    async def test_tells_of_commits(self) -> None:
        """Each transaction is told, with how many events it stored: duplicates are none."""
        told: list[Commit] = []
        async with self.open_store(on_committed=told.append) as store:
            await append(store, at(1, id="a"), at(2, id="b"))
            await append(store, at(2, id="b"), at(3, id="c"))
            await append(store, at(1, id="a"))
        assert [commit.events for commit in told] == [2, 1, 0]
        assert all(commit.seconds >= 0 for commit in told)

    async def test_status(self) -> None:
        """A store tells how many events it holds, what they take, and how many have gone for others."""
        async with self.open_store(max_events=30) as store:
            empty = store.status()
            assert (empty.events, empty.stored_bytes, empty.evicted) == (0, 0, 0)
            assert store.outage is None
            for second in range(50):
                await append(store, at(second))
            full = store.status()
            assert (full.events, full.evicted, full.uncommitted_bytes, full.damages) == (30, 20, 0, 0)
            assert full.stored_bytes > 0

    async def test_status_after_an_erasure(self) -> None:
        """Erased events are no more there, and count as evicted when their turn comes."""
        async with self.open_store(max_events=4) as store:
            await append(store, *(at(second, userId="ann") for second in range(4)))
            await store.erase(user="ann")
            assert (store.status().events, store.status().evicted) == (0, 0)
            await append(store, at(5))
            assert (store.status().events, store.status().evicted) == (1, 1)

    async def test_erase(self) -> None:
        """The events of a user, of an app, or of a user in an app go, are counted, and may come again."""
        async with self.open_store() as store:
            await append(
                store,
                *(at(second, id=f"a{second}", userId="ann", appId=("shop", "blog")[second % 2]) for second in range(6)),
                *(at(second, id=f"b{second}", userId="ben") for second in range(6, 8)),
            )
            assert await store.erase(user="ann", app="shop") == 3
            assert await ids(store) == ["b7", "b6", "a5", "a3", "a1"]
            assert await store.erase(app="blog") == 3
            assert await store.erase(user="nobody") == 0
            assert await ids(store) == ["b7", "b6"]
            assert (await append(store, at(0, id="a0", userId="ann", appId="shop"))).duplicates == 0
            assert await store.erase(user="ben") == 2
            assert await ids(store) == ["a0"]

    async def test_concurrent_appends(self) -> None:
        """Batches of several tasks are all kept, each in its own order."""
        async with self.open_store() as store, trio.open_nursery() as nursery:
            for task in range(8):
                nursery.start_soon(append, store, *(at(1, id=f"{task}-{number}") for number in range(20)))
            await trio.testing.wait_all_tasks_blocked(0.01)
            while len(await ids(store)) < 160:
                await trio.lowlevel.checkpoint()
            found = await ids(store)
            for task in range(8):
                own = [name for name in found if name.startswith(f"{task}-")]
                assert own == [f"{task}-{number}" for number in reversed(range(20))]

    def test_against_a_naive_filter(self) -> None:
        """Every answer is what a filter finds that goes through everything (FILTER-3, FILTER-4, RESP-2, X-SCOPE-5)."""

        async def compare(
            batches: list[list[Event]], asked_for: list[tuple[dict[str, Any], frozenset[str] | None]]
        ) -> None:
            kept: list[Event] = []
            async with self.open_store(on_stored=kept.extend) as store:
                for batch in batches:
                    await append(store, *batch)
                for parameters, apps in asked_for:
                    seen = [candidate for candidate in kept if apps is None or candidate.app in apps]
                    expected = naive(seen, parameters)
                    answer, found = await read(store, asked(**parameters), apps)
                    limit, page = parameters.get("limit"), parameters.get("page", 1)
                    on_page = expected if limit is None else expected[(page - 1) * limit : page * limit]
                    if limit is None and page > 1:
                        on_page = []
                    assert [entry["id"] for entry in found] == [candidate.id for candidate in on_page]
                    assert answer.total == len(expected)
                    assert answer.newest == (expected[0].instant if expected else None)

        @hypothesis_settings(max_examples=self.examples)
        @given(
            batches=st.lists(st.lists(events, max_size=6), max_size=6),
            asked_for=st.lists(st.tuples(queries, visible_apps), max_size=5),
        )
        def run(batches: list[list[Event]], asked_for: list[tuple[dict[str, Any], frozenset[str] | None]]) -> None:
            trio.run(compare, batches, asked_for)

        run()
