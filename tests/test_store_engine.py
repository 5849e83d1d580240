"""``TimelineStore``: it passes the contract kit, commits in groups, and lives through outages and its end."""

import gc
import logging
import math
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NoReturn

import msgspec
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.store_contract import StoreContract, append, at, ids, read
from tests.store_support import TINY, Disk, large, problems, sql
from wsproto_tracker.errors import StoreError, UnavailableError
from wsproto_tracker.protocol.query import Limit, Query
from wsproto_tracker.store import (
    Appended,
    Capacity,
    Commit,
    EventStore,
    OnCommitted,
    OnStored,
    Receipt,
    TimelineStore,
    engine,
    open_timeline,
)
from wsproto_tracker.store.block import Block, Shape
from wsproto_tracker.store.database import Database


class TestInMemory(StoreContract):
    shape = Shape()

    @asynccontextmanager
    async def open_store(
        self,
        max_events: int = 1000,
        on_stored: OnStored = lambda _events: None,
        on_committed: OnCommitted = lambda _commit: None,
    ) -> AsyncGenerator[EventStore, None]:
        async with open_timeline(
            None, Capacity(max_events), on_stored=on_stored, on_committed=on_committed, shape=self.shape
        ) as store:
            yield store


class TestInMemoryWithTinyBlocks(TestInMemory):
    shape = TINY


class TestOnDisk(StoreContract):
    @asynccontextmanager
    async def open_store(
        self,
        max_events: int = 1000,
        on_stored: OnStored = lambda _events: None,
        on_committed: OnCommitted = lambda _commit: None,
    ) -> AsyncGenerator[EventStore, None]:
        with TemporaryDirectory() as directory:
            path = Path(directory, "tracker.db")
            async with open_timeline(
                path, Capacity(max_events), on_stored=on_stored, on_committed=on_committed, shape=TINY
            ) as store:
                yield store


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tracker.db"


@pytest.fixture
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again at once, not a second later."""
    monkeypatch.setattr(engine, "_RETRY_S", 0.02)


@pytest.mark.usefixtures("_soon")
class TestGroupCommit:
    async def test_batches_share_a_transaction(self, path: Path, disk: Disk) -> None:
        """What comes while a commit is under way is committed together, and acked in order (ACK-2, ACK-4)."""
        order: list[int] = []

        async def committed(number: int) -> None:
            await receipts[number].committed()
            order.append(number)

        async with open_timeline(path) as store:
            before = disk.commits
            receipts = [await store.append([at(number)]) for number in range(50)]
            async with trio.open_nursery() as nursery:
                for number in range(50):
                    nursery.start_soon(committed, number)
            assert 1 <= disk.commits - before <= 25
        assert sorted(order) == list(range(50))

    async def test_duplicates_within_a_group(self, path: Path) -> None:
        """An id that two batches of one transaction give is stored once, with the first (X-DUP-1, X-DUP-2)."""
        first, again = at(1, id="a"), at(2, id="a")
        async with open_timeline(path) as store:
            receipts = [await store.append([event]) for event in (first, again)]
            assert [await receipt.committed() for receipt in receipts] == [Appended(1, 0), Appended(0, 1)]

    async def test_bound(self, path: Path, disk: Disk) -> None:
        """More than may wait has to wait outside; nothing of it is lost (LIMIT-3)."""
        taken: list[int] = []

        async def fill(store: EventStore) -> None:
            for number in range(6):
                await store.append([large(number, id=str(number))])
                taken.append(number)

        async with open_timeline(path, max_uncommitted_bytes=100_000) as store, trio.open_nursery() as nursery:
            disk.fill()
            nursery.start_soon(fill, store)
            while not taken[1:]:
                await trio.sleep(0.01)
            await trio.sleep(0.1)
            assert taken == [0, 1]
            disk.free()
        assert taken == [0, 1, 2, 3, 4, 5]
        async with open_timeline(path) as store:
            assert await ids(store) == ["5", "4", "3", "2", "1", "0"]

    async def test_tells_of_a_commit_for_all(self, path: Path) -> None:
        """A transaction is told once, whatever the number of its batches; one that failed is not."""
        told: list[Commit] = []
        async with open_timeline(path, on_committed=told.append) as store:
            await append(store, at(0))
            receipts = [await store.append([at(number), at(number)]) for number in range(50)]
            assert store.status().uncommitted_bytes > 0
            for receipt in receipts:
                await receipt.committed()
        assert sum(commit.events for commit in told) == 101
        assert 2 <= len(told) <= 26
        assert all(commit.seconds > 0 for commit in told)

    async def test_larger_than_the_bound(self, path: Path) -> None:
        """A batch that is larger than the bound is taken when nothing else waits."""
        async with open_timeline(path, max_uncommitted_bytes=1) as store:
            assert (await append(store, large(1), large(2))).duplicates == 0

    async def test_cancelled_while_it_waits(self, path: Path, disk: Disk) -> None:
        """Of a batch whose ``append`` is cancelled nothing is taken, and the next one takes its turn."""
        async with open_timeline(path, max_uncommitted_bytes=1) as store:
            disk.fill()
            first = await store.append([large(1, id="first")])
            with trio.move_on_after(0.05) as scope:
                await store.append([at(2, id="second")])
            assert scope.cancelled_caught
            disk.free()
            await first.committed()
            await append(store, at(3, id="third"))
            assert await ids(store) == ["third", "first"]

    async def test_committed_batches_are_let_go_of(self, path: Path) -> None:
        """A receipt that is kept, because its ack waits, keeps none of the events (LIMIT-3)."""
        async with open_timeline(path) as store:
            events = [large(number) for number in range(20)]
            texts = [bytes(bytearray(event.text)) for event in events]
            events = [msgspec.structs.replace(event, text=text) for event, text in zip(events, texts, strict=True)]
            receipts = [await store.append(events)]
            del events
            for number in range(20, 24):  # a thread may hold on to what it did last
                await receipts[-1].committed()
                receipts.append(await store.append([at(number)]))
            gc.collect()
            references = sys.getrefcount(texts[0])
            in_journal, in_list, as_argument = 1, 1, 1
            assert references == in_journal + in_list + as_argument


class TestStatus:
    async def test_size_of_the_file(self, path: Path) -> None:
        """The size that is told is that of the file, as it is between two checkpoints."""
        async with open_timeline(path) as store:
            await append(store, *map(large, range(10)))
            await store.compact()
            await append(store, at(1))
            assert store.status().file_bytes == path.stat().st_size > 100_000
        async with open_timeline(path) as store:
            assert store.status().file_bytes == path.stat().st_size

    async def test_blocks(self, path: Path) -> None:
        """Sealed, events take less, and are as many."""
        async with open_timeline(path, shape=TINY) as store:
            for second in range(100):
                await append(store, at(second))
            status = store.status()
            assert status.events == 100
            assert 0 < status.blocks <= 50
            assert status.stored_bytes < sum(len(at(second).text) for second in range(100))


@pytest.mark.usefixtures("_soon")
class TestOutage:
    @pytest.mark.parametrize(
        ("begin", "end", "reason"),
        [("fill", "free", "the disk is full"), ("protect", "unprotect", "it cannot be written")],
    )
    async def test_patient(
        self, path: Path, disk: Disk, begin: str, end: str, reason: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A patient batch waits for the end of the outage, and is stored once; the log tells of both (ACK-7)."""
        async with open_timeline(path) as store:
            getattr(disk, begin)()
            receipt = await store.append([large(1, id="a"), large(2)])
            outage = await receipt.attempted()
            assert outage is not None
            assert reason in outage.reason
            assert await ids(store) == []
            await trio.sleep(0.1)
            getattr(disk, end)()
            assert (await receipt.committed()).duplicates == 0
            assert (await read(store, Query()))[0].total == 2
            assert await (await store.append([at(3)])).attempted() is None
        assert [record.levelno for record in caplog.records] == [logging.ERROR, logging.WARNING]
        assert problems(path) == []

    async def test_impatient(self, path: Path, disk: Disk) -> None:
        """An impatient batch is given up after an attempt, and nothing of it is kept (HTTP-17)."""
        async with open_timeline(path) as store:
            disk.fill()
            receipt = await store.append([large(1)], is_patient=False)
            with pytest.raises(UnavailableError, match="the disk is full"):
                await receipt.committed()
            disk.free()
            assert (await append(store, at(2, id="b"))).duplicates == 0
            assert await ids(store) == ["b"]

    async def test_impatient_and_no_room(self, path: Path, disk: Disk) -> None:
        """An impatient batch does not wait for room that only the end of the outage brings."""
        async with open_timeline(path, max_uncommitted_bytes=1) as store:
            disk.fill()
            patient = await store.append([large(1, id="a")])
            await patient.attempted()
            with pytest.raises(UnavailableError, match="the disk is full"):
                await store.append([at(2)], is_patient=False)
            disk.free()
            await patient.committed()
            assert await ids(store) == ["a"]

    async def test_impatient_behind_patient_ones(self, path: Path, disk: Disk) -> None:
        """Nor does it wait behind patient batches that wait for room, however many there are."""
        async with open_timeline(path, max_uncommitted_bytes=1) as store, trio.open_nursery() as nursery:
            disk.fill()
            first = await store.append([large(1, id="a")])
            nursery.start_soon(store.append, [large(2, id="b")])
            with trio.fail_after(10):
                for _ in range(3):
                    with pytest.raises(UnavailableError, match="the disk is full"):
                        await (await store.append([at(3)], is_patient=False)).committed()
            disk.free()
            await first.committed()
        async with open_timeline(path) as store:
            assert await ids(store) == ["b", "a"]

    async def test_empty_batch_ends_none(self, path: Path, disk: Disk, caplog: pytest.LogCaptureFixture) -> None:
        """A batch that needs no writing is committed, and does not count as the end of the outage."""
        async with open_timeline(path) as store:
            disk.fill()
            receipt = await store.append([large(1)])
            await receipt.attempted()
            assert "saved again" not in caplog.text
            disk.free()
            await receipt.committed()
        assert caplog.text.count("saved again") == 1

    @pytest.mark.parametrize(("begin", "end"), [("fill", "free"), ("protect", "unprotect")])
    async def test_ends_though_nothing_waits(
        self, path: Path, disk: Disk, begin: str, end: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """An outage lasts as long as the disk fails and no longer, whoever is there to notice."""
        async with open_timeline(path) as store:
            getattr(disk, begin)()
            receipt = await store.append([large(1)], is_patient=False)
            with pytest.raises(UnavailableError):
                await receipt.committed()
            outage = store.outage
            await trio.sleep(0.2)
            assert store.outage is outage is not None
            getattr(disk, end)()
            with trio.fail_after(10):
                while store.outage is not None:
                    await trio.sleep(0.01)
            assert caplog.text.count("saved again") == 1
            with sql(path) as connection:
                assert connection.execute("SELECT count(*) FROM block_data").fetchone() == (0,)
        assert problems(path) == []

    async def test_file_is_moved_away(self, path: Path) -> None:
        """Nothing is acked into a file that was removed; put back where it was, it is written to again."""
        async with open_timeline(path) as store:
            await append(store, at(1, id="a"))
            path.rename(path.with_name("elsewhere.db"))
            receipt = await store.append([at(2, id="b")])
            outage = await receipt.attempted()
            assert outage is not None
            assert "the file was moved away while it was open" in outage.reason
            path.with_name("elsewhere.db").rename(path)
            await receipt.committed()
        async with open_timeline(path) as store:
            assert await ids(store) == ["b", "a"]

    async def test_block_that_cannot_be_read(self, path: Path, disk: Disk) -> None:
        """Late events for a block that the disk does not give stay open; all others are sealed, and acked."""
        async with open_timeline(path, shape=TINY) as store:
            await append(store, *(at(second, id=f"e{second}") for second in range(40)))
            disk.hide()
            for number in range(40):
                assert (await append(store, at(0.5, id=f"late{number}"))).stored == 1
                assert (await append(store, at(100 + number, id=f"new{number}"))).stored == 1
                if number > 2 and store._timeline.sealing_is_overdue:
                    break
            disk.show()
            assert len(await ids(store)) == 40 + 2 * (number + 1)
        assert problems(path) == []

    async def test_is_no_commit(self, path: Path, disk: Disk) -> None:
        """An attempt that fails is not told as a commit; the one that goes well is."""
        told: list[Commit] = []
        async with open_timeline(path, on_committed=told.append) as store:
            disk.fill()
            receipt = await store.append([large(1)])
            await receipt.attempted()
            assert told == []
            disk.free()
            await receipt.committed()
            assert [commit.events for commit in told] == [1]

    async def test_reading_goes_on(self, path: Path, disk: Disk) -> None:
        """Queries are answered during an outage."""
        async with open_timeline(path, shape=TINY) as store:
            await append(store, *(at(second, id=str(second)) for second in range(20)))
            disk.fill()
            receipt = await store.append([large(30, id="late")])
            await receipt.attempted()
            assert len(await ids(store)) == 20
            disk.free()
            await receipt.committed()
            assert len(await ids(store)) == 21

    async def test_sealing_waits(self, path: Path, caplog: pytest.LogCaptureFixture) -> None:
        """Where only sealing is impossible, events are taken until memory is at stake."""
        async with open_timeline(path, shape=TINY) as store:
            timeline = store._timeline
            await append(store, *(at(second) for second in range(4)))
            plan, timeline.plan_sealing = timeline.plan_sealing, _failing  # type: ignore[method-assign]
            for second in range(4, 24):
                await append(store, at(second))
            assert "sealing is delayed: no" in caplog.text
            assert timeline.sealing_is_overdue
            receipt = await store.append([at(30)])
            assert await receipt.attempted() is not None
            timeline.plan_sealing = plan  # type: ignore[method-assign]
            await receipt.committed()
            assert (await read(store, Query()))[0].total == 25
            assert not timeline.sealing_is_overdue
        assert problems(path) == []

    async def test_sealing_is_tried_again(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A sealing that failed is tried again by itself, though nothing more is appended."""
        monkeypatch.setattr(engine, "_RETRY_S", 0.05)
        async with open_timeline(path, shape=TINY) as store:
            timeline = store._timeline
            plan, timeline.plan_sealing = timeline.plan_sealing, _failing  # type: ignore[method-assign]
            await append(store, *(at(second) for second in range(4 * TINY.open_events + 1)))
            with trio.fail_after(5):
                while not store._why_not_sealed:
                    await trio.sleep(0.01)
                timeline.plan_sealing = plan  # type: ignore[method-assign]
                while not timeline.snapshot.blocks:
                    await trio.sleep(0.01)
        assert problems(path) == []

    async def test_erasure_fails(self, path: Path, disk: Disk) -> None:
        """An erasure that cannot be written changes nothing."""
        async with open_timeline(path, shape=TINY) as store:
            await append(store, *(at(second, userId="ann") for second in range(20)))
            disk.protect()
            with pytest.raises(UnavailableError):
                await store.erase(user="ann")
            disk.unprotect()
            assert (await read(store, Query()))[0].total == 20
            assert await store.erase(user="ann") == 20


def _failing() -> NoReturn:
    raise UnavailableError("no")


def _bug() -> NoReturn:
    raise AssertionError("it was sealed")


class TestEnd:
    async def test_commits_what_waits(self, path: Path) -> None:
        """What was taken in is committed before the store is closed, and its receipt still tells."""
        async with open_timeline(path) as store:
            receipts = [await store.append([at(number, id=str(number))]) for number in range(100)]
        assert [(await receipt.committed()).duplicates for receipt in receipts] == [0] * 100
        async with open_timeline(path) as store:
            assert len(await ids(store)) == 100

    async def test_cancelled(self, path: Path) -> None:
        """A cancellation of the program does not keep what was taken in from the disk."""
        with trio.CancelScope() as scope:
            async with open_timeline(path) as store:
                await store.append([at(1, id="a")])
                scope.cancel()
                await trio.sleep_forever()
        async with open_timeline(path) as store:
            assert await ids(store) == ["a"]

    async def test_refuses_afterwards(self, path: Path, disk: Disk) -> None:
        """Nothing is taken in once the store closes, not even what waited for room."""
        outcomes: list[str] = []

        async def late(store: EventStore) -> None:
            try:
                await store.append([at(2)])
            except UnavailableError as error:
                outcomes.append(str(error))

        async with trio.open_nursery() as nursery:
            async with open_timeline(path, max_uncommitted_bytes=1) as store:
                disk.fill()
                await (await store.append([large(1)])).attempted()
                nursery.start_soon(late, store)
                await wait_all_tasks_blocked()
        assert outcomes == ["the store is closed"]
        with pytest.raises(UnavailableError, match="the store is closed"):
            await store.append([at(3)])

    async def test_seals_nothing(self, path: Path) -> None:
        """Closing is no reason to seal."""
        async with open_timeline(path, shape=TINY) as store:
            store._timeline.plan_sealing = _bug  # type: ignore[method-assign]
            await append(store, at(1))

    async def test_while_sealing_is_impossible(self, path: Path) -> None:
        """What waits is committed though far too much is to be sealed, and that fails."""
        async with open_timeline(path, shape=TINY) as store:
            await append(store, *(at(second) for second in range(5)))
            store._timeline.plan_sealing = _failing  # type: ignore[method-assign]
            for second in range(5, 24):
                await append(store, at(second))
            receipt = await store.append([at(99)])
            await receipt.attempted()
        assert (await receipt.committed()).stored == 1

    async def test_of_the_writer(self, path: Path) -> None:
        """If the store cannot go on, whoever waits is told, and so is the caller, in no group of errors."""

        async def wait(receipt: Receipt) -> None:
            with pytest.raises(UnavailableError, match="another program has changed this store"):
                await receipt.committed()

        async with trio.open_nursery() as nursery:
            with pytest.raises(StoreError, match="another program has changed this store"):
                async with open_timeline(path) as store:
                    await append(store, at(1))
                    with sql(path) as connection:
                        connection.execute("UPDATE state SET last_arrival = 9")
                    nursery.start_soon(wait, await store.append([at(2)]))
                    await trio.sleep_forever()

    async def test_use_after_it(self, path: Path) -> None:
        """A closed store says that it is closed."""
        async with open_timeline(path, shape=TINY) as store:
            for second in range(20):
                await append(store, at(second))
            answer = await store.query(Query())
        uses: list[Callable[[], Awaitable[object]]] = [
            partial(anext, answer.chunks),
            partial(store.query, Query(search="x")),
            partial(store.erase, user="x"),
            store.compact,
        ]
        for use in uses:
            with pytest.raises(UnavailableError, match="the store is closed"):
                await use()

    async def test_during_an_outage(self, path: Path, disk: Disk, caplog: pytest.LogCaptureFixture) -> None:
        """What cannot be saved when the store closes is given up: its receipt and the log say so, and it ends."""
        with trio.fail_after(20):
            async with open_timeline(path) as store:
                disk.fill()
                receipt = await store.append([large(1), large(2)])
                await receipt.attempted()
        with pytest.raises(UnavailableError, match="the disk is full"):
            await receipt.committed()
        assert "2 events are lost, none of which was acked" in caplog.text


async def sealed(store: TimelineStore, count: int) -> Sequence[Block]:
    """The blocks of a store, when there are so many and no more are to be made."""
    with trio.fail_after(20):
        while len(store._timeline.snapshot.blocks) < count or store._timeline.sealing_is_due:
            await trio.sleep(0.01)
    return store._timeline.snapshot.blocks


class TestApps:
    @pytest.fixture
    def read_ids(self, monkeypatch: pytest.MonkeyPatch) -> list[int]:
        """The blocks whose data is read, from now on."""
        ids_: list[int] = []
        read_block_data = Database.read

        def recording(database: Database, block: Block) -> tuple[bytes, bytes]:
            ids_.append(block.id)
            return read_block_data(database, block)

        monkeypatch.setattr(Database, "read", recording)
        return ids_

    async def test_blocks_go_out_as_they_lie(self, read_ids: list[int]) -> None:
        """Blocks of the apps that are seen are not taken apart, and those of others not even read (X-SCOPE-5)."""
        async with open_timeline(None, shape=TINY) as store:
            for app in ("shop", "blog"):
                await append(store, *(at(second + 100 * (app == "blog"), appId=app) for second in range(48)))
            blocks = await sealed(store, 20)
            of_shop = {block.id for block in blocks if block.apps == {"shop": block.seal.count}}
            of_blog = {block.id for block in blocks if block.apps == {"blog": block.seal.count}}
            assert min(len(of_shop), len(of_blog)) > 5
            del read_ids[:]
            for visible, query in ((frozenset(["shop"]), Query()), (frozenset(["shop", "x"]), Query(appId="shop"))):
                answer = await store.query(query, visible)
                async with aclosing(answer.chunks) as chunks:
                    assert sum([chunk.seal is not None async for chunk in chunks]) == len(of_shop)
                assert answer.total == 48
            answer = await store.query(Query(search="x"), frozenset(["shop"]))
            await answer.chunks.aclose()
            assert of_shop & set(read_ids)
            assert not of_blog & set(read_ids)

    async def test_events_are_counted_without_being_read(self, read_ids: list[int]) -> None:
        """For a page, no more blocks are read than it is in, though each holds events of others (X-SCOPE-5)."""
        async with open_timeline(None, shape=TINY) as store:
            await append(store, *(at(second, appId=("shop", "blog")[second % 2]) for second in range(80)))
            await sealed(store, 15)
            del read_ids[:]
            answer, found = await read(store, Query(limit=Limit(3)), frozenset(["shop"]))
            assert (answer.total, answer.newest, len(found)) == (40, at(78).instant, 3)
            assert len(set(read_ids)) <= 3


class TestErase:
    async def test_needs_somebody(self) -> None:
        """Without a user or an app nothing is erased."""
        async with open_timeline(None) as store:
            with pytest.raises(ValueError, match="expected a user, an app, or both"):
                await store.erase()

    async def test_traces(self, path: Path) -> None:
        """If the file cannot be rewritten because somebody reads it, that is said, with what was erased."""
        async with open_timeline(path, shape=TINY) as store:
            await append(store, *(at(second, userId="ann") for second in range(20)))
            with sql(path) as reader:
                reader.execute("BEGIN")
                reader.execute("SELECT * FROM state").fetchall()
                with pytest.raises(
                    UnavailableError, match="is reading it; 20 events are erased, but the file may hold"
                ):
                    await store.erase(user="ann")
            assert await ids(store) == []
            assert await store.erase(user="ann") == 0

    async def test_answer_goes_on(self, path: Path) -> None:
        """An answer that is being read is of its moment, whatever is erased, sealed and compacted meanwhile."""
        async with open_timeline(path, shape=TINY) as store:
            for second in range(200):
                await append(store, at(second, userId="ann"))
            answer = await store.query(Query())
            assert len(store._timeline.snapshot.blocks) > 30
            assert await store.erase(user="ann") == 200
            await store.compact()
            await append(store, *(at(second) for second in range(50)))
            async with aclosing(answer.chunks) as chunks:
                found = b",".join([chunk.text async for chunk in chunks])
            assert found.count(b'"userId"') == 200


class TestExpiry:
    async def test_without_traffic(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Events go when they are old enough, though nothing new comes."""
        monkeypatch.setattr(Capacity, "mark_interval_s", 0.02)
        clock = [1_000_000.0]
        async with open_timeline(path, Capacity(max_age_s=3600), now_s=lambda: clock[0]) as store:
            await append(store, at(1, id="a"))
            clock[0] += 3500
            await trio.sleep(0.1)
            assert await ids(store) == ["a"]
            clock[0] += 200
            with trio.fail_after(20):
                while await ids(store):
                    await trio.sleep(0.01)


async def test_no_thread_is_kept() -> None:
    """A query that is answered, and one that is left in the middle, hold nothing."""
    async with open_timeline(None, Capacity(math.inf), shape=TINY) as store:  # type: ignore[arg-type]
        await append(store, *(at(second) for second in range(400)))
        answer = await store.query(Query())
        await anext(answer.chunks)
        await answer.chunks.aclose()
        assert store._readers.borrowed_tokens == 0


async def test_wrong_file(tmp_path: Path) -> None:
    """A store that cannot be opened is told of before anything runs."""
    with pytest.raises(StoreError, match="there is no directory"):
        async with open_timeline(tmp_path / "nowhere" / "tracker.db"):
            pass
