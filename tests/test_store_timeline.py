"""The timeline: what its capacity leaves by number, age and size, and that a restart changes nothing."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.store_contract import at
from tests.store_support import TINY, Disk, block_count, large, problems, sql
from wsproto_tracker.errors import StoreError, UnavailableError
from wsproto_tracker.protocol.query import Query
from wsproto_tracker.store import Capacity, open_timeline
from wsproto_tracker.store.block import Shape
from wsproto_tracker.store.damage import read_block
from wsproto_tracker.store.database import Database
from wsproto_tracker.store.loading import with_checksum
from wsproto_tracker.store.place import Place, Position
from wsproto_tracker.store.reading import Reader
from wsproto_tracker.store.timeline import Timeline

DAY_S = 86_400


class Clock:
    """A clock that tests set."""

    def __init__(self) -> None:
        self.now_s = 1_764_000_000.0

    def __call__(self) -> float:
        return self.now_s


@contextmanager
def opened(
    path: Path, capacity: Capacity | None = None, clock: Clock | None = None, shape: Shape = TINY
) -> Iterator[tuple[Timeline, Database]]:
    database = Database(path, "normal")
    try:
        yield Timeline(database, capacity or Capacity(), shape, clock or Clock()), database
    finally:
        database.close()


def count(timeline: Timeline, database: Database) -> int:
    """How many events a query shows."""
    reader = Reader(database, timeline.snapshot, Query())
    return sum(reader.count(segment).count for segment in reader.segments())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tracker.db"


class TestMessages:
    def test_applied_once(self, path: Path) -> None:
        """A message is applied once, wherever it stands in the stream, also when its first event has been erased."""

        def place(sequence: int, message_id: str) -> Place:
            return Place(Position("S 1", sequence), message_id, at_s=1_764_000_000, is_news=True)

        first = [[at(0, userId="ann"), at(1)], [at(2, id="given")]]
        with opened(path) as (timeline, database):
            found = timeline.commit(first, [(place(3, "a"), 2)])
            assert [(len(stored), again) for stored, again in found] == [(2, 0), (1, 0)]
            assert timeline.erase("ann", None) == 1
            found = timeline.commit([*first, [at(3)]], [(place(4, "a"), 2), (place(5, "b"), 1)])
            assert [(len(stored), again) for stored, again in found] == [(0, 2), (0, 1), (1, 0)]
            timeline.commit([], [(place(9, "mark"), 0)])
            assert count(timeline, database) == 3
        with opened(path) as (timeline, database):
            assert timeline.position == Position("S 1", 9)
            assert [len(stored) for stored, _ in timeline.commit(first, [(place(10, "a"), 2)])] == [0, 0]
            assert count(timeline, database) == 3
        assert problems(path) == []

    def test_damaged_position(self, path: Path) -> None:
        """A position that is not as it was written is damage, and is not gone on from."""
        with opened(path) as (timeline, _):
            timeline.commit([[at(0)]], [(Place(Position("S 1", 3), "a", 0, is_news=True), 1)])
        with sql(path) as connection:
            connection.execute("UPDATE position SET sequence = 2")
        assert problems(path) == ["the checksum of its position in the stream does not match"]


class TestAge:
    def test_old_events_go(self, path: Path) -> None:
        """What came longer ago than ``max_age_s`` is gone, give or take a minute, by arrival and not by timestamp."""
        clock = Clock()
        with opened(path, Capacity(max_age_s=30 * DAY_S), clock) as (timeline, database):
            for day in range(40):
                timeline.commit([[at(-day), at(day)]])
                clock.now_s += DAY_S
            timeline.expire()
            assert count(timeline, database) == 2 * 30

    def test_last_ones_go_too(self, path: Path) -> None:
        """Without new events the last ones go all the same, those that came just after a mark included."""
        clock = Clock()
        with opened(path, Capacity(max_age_s=3600), clock) as (timeline, database):
            for second in range(4):
                timeline.commit([[at(second)]])
                clock.now_s += 10
            clock.now_s += 3500
            timeline.expire()
            assert count(timeline, database) == 4
            clock.now_s += 200
            assert timeline.expire()
            assert count(timeline, database) == 0
            assert not timeline.expire()
            timeline.commit([[at(1)]])
            assert count(timeline, database) == 1

    def test_after_capacity_took_the_mark(self, path: Path) -> None:
        """An event expires though the mark before it belongs to an event that capacity has taken already."""
        clock = Clock()
        with opened(path, Capacity(max_events=2, max_age_s=3600), clock) as (timeline, database):
            for second in range(12):
                timeline.commit([[at(second)]])
            timeline.seal()
            clock.now_s += 3600 + 200
            timeline.expire()
            assert count(timeline, database) == 0

    def test_over_a_restart(self, path: Path) -> None:
        """The age counts from when an event came, whatever was restarted in between."""
        clock = Clock()
        with opened(path, Capacity(max_age_s=3600), clock) as (timeline, _):
            timeline.commit([[at(second) for second in range(20)]])
            timeline.seal()
        clock.now_s += 3000
        with opened(path, Capacity(max_age_s=3600), clock) as (timeline, database):
            timeline.commit([[at(99)]])
            assert count(timeline, database) == 21
            clock.now_s += 700
            timeline.expire()
            assert count(timeline, database) == 1

    def test_clock_that_jumps_back(self, path: Path) -> None:
        """A clock that is put back keeps nothing for ever, and takes nothing away early."""
        clock = Clock()
        with opened(path, Capacity(max_age_s=3600), clock) as (timeline, database):
            timeline.commit([[at(1)]])
            clock.now_s -= 2 * DAY_S
            timeline.commit([[at(2)]])
            timeline.expire()
            assert count(timeline, database) == 2
            clock.now_s += 2 * DAY_S + 3700
            timeline.expire()
            assert count(timeline, database) == 0


class TestBytes:
    def test_file_stays_within(self, path: Path) -> None:
        """Events go, the first to arrive first, so that the file takes about ``max_bytes``, however much comes."""
        shape = Shape(block_events=8, open_events=8)
        limit, each = 2 * 1024 * 1024, 20_000  # what large events take when they are deflated, about
        with opened(path, Capacity(max_bytes=limit), shape=shape) as (timeline, database):
            sizes = []
            for second in range(600):
                timeline.commit([[large(second)]])
                if timeline.sealing_is_due:
                    timeline.seal()
                    sizes.append(database.used_bytes)
            database.checkpoint(always=True)
            assert max(sizes[5:]) < 1.5 * limit
            assert path.stat().st_size < 2 * limit
            left = count(timeline, database)
            assert 0.5 * limit / each < left < 1.5 * limit / each
            newest = timeline.snapshot.rows[-1]
            assert newest[1] == 600

    def test_counts_from_the_start(self, path: Path) -> None:
        """What is over a smaller limit goes when the store is opened."""
        with opened(path) as (timeline, database):
            for second in range(0, 200, 10):
                timeline.commit([[large(second + number) for number in range(10)]])
                timeline.seal()
            before = database.used_bytes

        async def reopen() -> None:
            async with open_timeline(path, Capacity(max_bytes=before // 4), shape=TINY):
                pass

        trio.run(reopen)
        with opened(path) as (timeline, database):
            assert database.used_bytes < before // 2
            assert 10 <= count(timeline, database) < 100

    def test_last_batch_stays(self, path: Path) -> None:
        """The batch that came last is kept, though it takes more than may be taken."""
        with opened(path, Capacity(max_bytes=10_000)) as (timeline, database):
            timeline.commit([[large(second) for second in range(9)]])
            timeline.commit([[large(second) for second in range(9, 20)]])
            timeline.seal()
            assert count(timeline, database) == 11


class TestRestart:
    def test_keeps_the_last_batch(self, path: Path) -> None:
        """A batch that is larger than the capacity is whole after a restart, and goes with the next batch."""
        with opened(path, Capacity(max_events=3)) as (timeline, _):
            timeline.commit([[at(second) for second in range(10)]])
        with opened(path, Capacity(max_events=3)) as (timeline, database):
            assert count(timeline, database) == 10
            timeline.commit([[at(11)]])
            assert count(timeline, database) == 3

    def test_smaller_capacity(self, path: Path) -> None:
        """A smaller capacity counts from the start, and a larger one brings nothing back."""
        with opened(path) as (timeline, _):
            for second in range(10):
                timeline.commit([[at(second)]])
        for max_events, left in ((4, 4), (1000, 4)):
            with opened(path, Capacity(max_events=max_events)) as (timeline, database):
                assert count(timeline, database) == left

    def test_reads_no_block(self, path: Path) -> None:
        """A start reads what is known of blocks, and not what is in them."""
        with opened(path) as (timeline, _):
            for second in range(40):
                timeline.commit([[at(second)]])
                if timeline.sealing_is_due:
                    timeline.seal()
        assert block_count(path) > 5
        with sql(path) as connection:
            connection.execute("UPDATE block_data SET run_data = x'00'")
        with opened(path) as (timeline, _):
            assert timeline.damages == 0
            assert len(timeline.snapshot.blocks) > 5


class TestSealing:
    def test_invariants(self, path: Path) -> None:
        """Blocks never overlap, hold each event once, and the oldest rows are what goes into them."""
        chance = random.Random(5)
        with opened(path) as (timeline, database):
            for number in range(300):
                timeline.commit([[at(chance.choice([number, number, chance.randrange(number + 1)]))]])
                while timeline.sealing_is_due:
                    timeline.seal()
                blocks = timeline.snapshot.blocks
                assert all(older.newest < newer.oldest for older, newer in pairwise(blocks))
                assert sum(block.seal.count for block in blocks) + len(timeline.snapshot.rows) == number + 1
            assert count(timeline, database) == 300
            assert max(block.seal.count for block in timeline.snapshot.blocks) <= TINY.block_events

    def test_data_of_replaced_blocks_goes(self, path: Path) -> None:
        """What nobody reads any more leaves the file with the next sealing; what an answer holds stays."""
        with opened(path) as (timeline, database):
            timeline.commit([[at(second) for second in range(0, 40, 2)]])
            timeline.seal()
            held = timeline.snapshot
            timeline.commit([[at(second) for second in range(1, 30, 2)]])
            timeline.seal()
            timeline.seal()
            reader = Reader(database, held, Query())
            assert sum(reader.count(segment).count for segment in reader.segments()) == 20
            assert all(reader.chunks(segment, 0, segment.count) for segment in map(reader.count, reader.segments()))
            del held, reader
            timeline.seal()
            timeline.seal()
            with sql(path) as connection:
                kept = connection.execute("SELECT count(*) FROM block_data").fetchone()[0]
            assert kept == block_count(path) == len(timeline.snapshot.blocks)


def test_failed_commit_forgets_nothing(path: Path, disk: Disk) -> None:
    """Data of replaced blocks that could not be deleted is deleted later."""
    with opened(path) as (timeline, _):
        timeline.commit([[at(second) for second in range(0, 40, 2)]])
        timeline.seal()
        timeline.commit([[at(second) for second in range(1, 30, 2)]])
        timeline.seal()
        disk.protect()
        with pytest.raises(UnavailableError):
            timeline.seal()
        disk.unprotect()
        timeline.seal()
        timeline.seal()
        with sql(path) as connection:
            assert connection.execute("SELECT count(*) FROM block_data").fetchone()[0] == block_count(path)


def test_verify_takes_memory_for_what_is_there(path: Path) -> None:
    """Verifying a store through which very many events have gone takes no more than one that is new."""
    with opened(path) as (timeline, _):
        timeline.commit([[at(1)]])
    with sql(path) as connection:
        state = with_checksum((2**40, 2**40, 2**40 - 1))
        connection.execute("DELETE FROM journal")
        connection.execute("UPDATE state SET (last_arrival, batch_begins, horizon, crc32) = (?, ?, ?, ?)", state)
    with opened(path) as (timeline, _):
        timeline.commit([[at(2)]])
    assert problems(path) == []


def test_somebody_else_wrote(path: Path) -> None:
    """A file that another program has written to while it was open is written to no more."""
    with opened(path) as (timeline, _):
        timeline.commit([[at(1)]])
        with sql(path) as connection:
            connection.execute("UPDATE state SET last_arrival = 7")
        with pytest.raises(StoreError, match="another program has changed this store while it was open"):
            timeline.commit([[at(2)]])


@given(st.integers(0, 2**32))
@settings(max_examples=100, deadline=None)
def test_sealing_beside_commits(seed: int) -> None:
    """A sealing that was planned before some commits loses nothing of them, shows nothing twice, and so on disk."""
    chance = random.Random(seed)
    expected: list[tuple[int, int]] = []

    def commit() -> None:
        seconds = [chance.randint(-3, 3) + len(expected) // 4 for _ in range(chance.randint(1, 6))]
        timeline.commit([[at(second)] for second in seconds])
        first = len(expected) + 1
        expected.extend((at(second).instant, arrival) for arrival, second in enumerate(seconds, first))

    def found() -> list[tuple[int, int]]:
        snapshot = timeline.snapshot
        rows = [*snapshot.rows, *(row for block in snapshot.blocks for row in read_block(database, block))]
        return sorted((instant, arrival) for instant, arrival, _ in rows)

    with TemporaryDirectory() as directory:
        path = Path(directory) / "tracker.db"
        for _ in range(3):
            with opened(path) as (timeline, database):
                assert found() == sorted(expected)
                for _ in range(chance.randint(1, 6)):
                    commit()
                    planned = timeline.plan_sealing()
                    for _ in range(chance.randint(0, 3)):
                        commit()
                    timeline.apply_sealing(*planned)
                    assert found() == sorted(expected)
        assert problems(path) == []


def test_sealing_leaves_new_entries_alone(path: Path) -> None:
    """Entries of the journal whose events all stay open are not written again."""
    with opened(path) as (timeline, _):
        timeline.commit([[at(second) for second in range(20)]])
        planned = timeline.plan_sealing()
        timeline.commit([[at(30)]])
        before = entries(path)
        timeline.apply_sealing(*planned)
        after = entries(path)
        assert after[-1] == before[-1] == (21, 1)
        assert sum(count for _, count in after) == len(timeline.snapshot.rows) < 21


def entries(path: Path) -> list[tuple[int, int]]:
    """The first arrival of each entry of the journal, and how many events it holds."""
    with sql(path) as connection:
        return list(connection.execute("SELECT id, count FROM journal ORDER BY id"))
