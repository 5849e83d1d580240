"""Damage to the file: it loses what it held, it is told, and the rest is served. Never is anything served that was not
stored.
"""

import logging
import random
import shutil
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import trio
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.store_contract import append, asked, at, ids, moment, read
from tests.store_support import TINY, large, problems, sql
from wsproto_tracker.errors import StoreError
from wsproto_tracker.protocol.events import Event
from wsproto_tracker.protocol.query import Query
from wsproto_tracker.store import Appended, Capacity, Chunk, EventStore, open_timeline
from wsproto_tracker.store.block import Shape

COUNT = 60
LARGE = Shape(block_events=4, block_bytes=60_000, open_events=3, open_bytes=1_000_000)


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    """A store of 60 events in blocks of three, the last of them in the journal."""
    path = tmp_path / "tracker.db"
    async with open_timeline(path, shape=TINY) as store:
        for second in range(COUNT):
            await append(store, at(second, id=f"e{second}"))
    return path


def everything(but: range = range(0)) -> list[str]:
    return [f"e{second}" for second in reversed(range(COUNT)) if second not in but]


def seconds_of(path: Path, block: int) -> range:
    """The events that a block holds; events come in order here, so arrival n is that of second n - 1."""
    with sql(path) as connection:
        first, last = connection.execute(
            "SELECT first_arrival, last_arrival FROM blocks WHERE id = ?", (block,)
        ).fetchone()
    return range(first - 1, last)


async def append_late(store: EventStore, block: range) -> None:
    """Append so many late events for a block that sealing has to look into it."""
    for number in range(20):
        await append(store, at(block[1] + 0.5, id=f"late{number}"))


DAMAGES = [
    "UPDATE block_data SET run_data = zeroblob(length(run_data)) WHERE id = 5",
    "UPDATE block_data SET run_data = substr(run_data, 1, 30) WHERE id = 5",
    "UPDATE block_data SET run_index = x'00', run_data = 'text' WHERE id = 5",
    "UPDATE block_data SET run_index = 7 WHERE id = 5",
    "DELETE FROM block_data WHERE id = 5",
    "UPDATE blocks SET count = 2 WHERE id = 5",
    "UPDATE blocks SET apps = x'ff', text_crc32 = 'x' WHERE id = 5",
    "UPDATE blocks SET newest_instant = 9223372036854775807 WHERE id = 5",
]


class TestBlock:
    @pytest.mark.parametrize("damage", DAMAGES)
    async def test_costs_its_events_only(self, path: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
        """What a damaged block held is left out of every answer, and its number and its window are logged, once."""
        lost = seconds_of(path, 5)
        assert len(lost) == 3
        with sql(path) as connection:
            assert connection.execute(damage).rowcount == 1
        assert any("block 5" in problem for problem in problems(path))
        async with open_timeline(path, shape=TINY) as store:
            for _ in range(2):
                _, found = await read(store, Query())
                assert [event["id"] for event in found] == everything(but=lost)
                assert await ids(store, appId="demo") == everything(but=lost)
                assert await ids(store, search="buy") == everything(but=lost)
            assert (await read(store, Query()))[0].total == COUNT - len(lost)
            assert (store.status().damages, store.status().events) == (1, COUNT - len(lost))
        told = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
        assert len(told) == 1
        assert "block 5" in told[0]

    async def test_while_it_runs(self, path: Path) -> None:
        """A block that goes bad between two answers is missing in the second."""
        lost = seconds_of(path, 5)
        async with open_timeline(path, shape=TINY) as store:
            assert await ids(store) == everything()
            with sql(path) as connection:
                connection.execute(DAMAGES[0])
            answer = await store.query(Query())
            async with aclosing(answer.chunks) as chunks:
                text = b",".join([chunk.text async for chunk in chunks])
            assert text.count(b'"id": "e') == COUNT - len(lost)

    @pytest.mark.parametrize("damage", DAMAGES[:5])
    async def test_sealing_goes_on(self, path: Path, damage: str) -> None:
        """A late event for a damaged block is kept all the same, and after a restart nothing has come back."""
        lost = seconds_of(path, 5)
        with sql(path) as connection:
            connection.execute(damage)
        async with open_timeline(path, shape=TINY) as store:
            await append_late(store, lost)
            expected = [*everything(range(lost[1] + 1)), *(f"late{number}" for number in reversed(range(20)))]
            expected += [name for name in everything(but=lost) if int(name[1:]) < lost[1]]
            expected = [name for name in expected if name not in {f"e{second}" for second in lost}]
            assert await ids(store) == expected
        async with open_timeline(path, shape=TINY) as store:
            assert await ids(store) == expected
        assert problems(path) == ["block 5: was found damaged before, and is left out"]

    @pytest.mark.parametrize("damage", DAMAGES[:5])
    async def test_lost_ids_may_come_again(self, path: Path, damage: str) -> None:
        """An event that was lost with a block is stored when it is sent again, for its id went with it (X-DUP-1)."""
        lost = seconds_of(path, 5)
        with sql(path) as connection:
            connection.execute(damage)
        async with open_timeline(path, shape=TINY) as store:
            await append_late(store, lost)
            again = [at(second, id=f"e{second}") for second in range(COUNT)]
            assert await append(store, *again) == Appended(len(lost), COUNT - len(lost))
            assert sorted(await ids(store)) == sorted([*everything(), *(f"late{number}" for number in range(20))])

    async def test_total_is_what_comes(self, path: Path) -> None:
        """The total leaves out what a damaged block held, though the window only cuts it, and its index is sound."""
        lost = seconds_of(path, 5)
        with sql(path) as connection:
            connection.execute(DAMAGES[0])
        async with open_timeline(path, shape=TINY) as store:
            answer, found = await read(store, asked(since=moment(lost[1])))
            assert answer.total == len(found) == COUNT - lost[-1] - 1

    @pytest.mark.parametrize("was_noticed", [True, False])
    async def test_compacting_lets_go_of_it(self, path: Path, was_noticed: bool) -> None:
        """A store that was compacted is sound again, without what was damaged."""
        lost = seconds_of(path, 5)
        with sql(path) as connection:
            connection.execute(DAMAGES[0])
            connection.execute("UPDATE blocks SET crc32 = 1 WHERE id = 7")
        lost_too = seconds_of(path, 7)
        async with open_timeline(path, shape=TINY) as store:
            if was_noticed:
                await ids(store, search="buy")
            await store.compact()
            assert await ids(store) == [name for name in everything(but=lost) if int(name[1:]) not in lost_too]
            assert store.damages == 0
        assert problems(path) == []

    async def test_page_that_sqlite_cannot_follow(self, tmp_path: Path) -> None:
        """A block whose pages cannot be read goes when its turn comes, and neither writing nor a restart minds."""
        path, capacity = tmp_path / "tracker.db", Capacity(max_events=60)
        async with open_timeline(path, capacity, shape=LARGE) as store:
            for second in range(55):
                await append(store, large(second))
        with sql(path) as connection:
            (data,) = connection.execute("SELECT run_data FROM block_data WHERE id = 3").fetchone()
        content = bytearray(path.read_bytes())
        page = content.find(data[9000:9100]) // 4096 * 4096
        content[page : page + 4] = b"\xff\xff\xff\x7f"  # where the next page of this block is
        path.write_bytes(content)
        for start in (55, 140):
            async with open_timeline(path, capacity, shape=LARGE) as store:
                for second in range(start, start + 85):
                    receipt = await store.append([large(second)])
                    assert await receipt.attempted() is None
                assert (await read(store, Query()))[0].total == 60

    async def test_window_beside_it(self, path: Path, caplog: pytest.LogCaptureFixture) -> None:
        """A window that does not touch the damaged block does not notice."""
        with sql(path) as connection:
            connection.execute(DAMAGES[0])
        async with open_timeline(path, shape=TINY) as store:
            assert await ids(store, since=moment(50)) == everything()[:10]
        assert caplog.records == []


class TestJournal:
    async def test_costs_its_events_only(self, path: Path, caplog: pytest.LogCaptureFixture) -> None:
        """A damaged entry of the journal is told of at the start; its events are gone, and their ids are not reused."""
        with sql(path) as connection:
            held = connection.execute("SELECT sum(count) FROM journal").fetchone()[0]
            connection.execute("UPDATE journal SET run_data = x'00'")
        async with open_timeline(path, shape=TINY) as store:
            assert await ids(store) == everything(but=range(COUNT - held, COUNT))
            await append(store, at(99, id="new"))
        assert "the store is damaged: journal entry" in caplog.text
        assert all("there twice" not in problem for problem in problems(path))

    async def test_ids_may_come_again(self, path: Path) -> None:
        """What was lost with the journal is stored when it is sent again; with the state damaged, too (X-DUP-1)."""
        with sql(path) as connection:
            held = connection.execute("SELECT sum(count) FROM journal").fetchone()[0]
            connection.execute("UPDATE journal SET run_data = x'00'")
            connection.execute("UPDATE state SET crc32 = 1")
        async with open_timeline(path, shape=TINY) as store:
            again = [at(second, id=f"e{second}") for second in range(COUNT)]
            assert await append(store, *again) == Appended(held, COUNT - held)
            assert await ids(store) == everything()

    async def test_with_the_state(self, path: Path) -> None:
        """With its last entry and the state damaged as well, what is appended is stored, under arrivals of its own."""
        with sql(path) as connection:
            connection.execute("UPDATE journal SET run_data = x'00' WHERE id = (SELECT max(id) FROM journal)")
            connection.execute("DELETE FROM given_ids")
            connection.execute("UPDATE state SET crc32 = 1")
        async with open_timeline(path, shape=TINY) as store:
            await append(store, *(at(99 + number, id=f"new{number}") for number in range(9)))
            assert (await ids(store))[:9] == [f"new{number}" for number in range(8, -1, -1)]
        assert all("there twice" not in problem for problem in problems(path))

    @pytest.mark.parametrize("erases", [True, False])
    async def test_goes_with_what_is_erased(self, path: Path, erases: bool) -> None:
        """Erasing and compacting leave no damaged entry in the file: it may hold what was to be erased."""
        with sql(path) as connection:
            connection.execute("UPDATE journal SET run_data = x'00' WHERE id = (SELECT max(id) FROM journal)")
        async with open_timeline(path, shape=TINY) as store:
            await (store.erase(user="nobody") if erases else store.compact())
        with sql(path) as connection:
            assert connection.execute("SELECT count(*) FROM journal WHERE run_data = x'00'").fetchone()[0] == 0
        assert not any("journal" in problem for problem in problems(path))

    async def test_of_an_early_file(self, path: Path) -> None:
        """Entries with other ids than those of their first arrivals, as early files have them, lose nothing."""
        with sql(path) as connection:
            entries = connection.execute("SELECT id FROM journal ORDER BY id").fetchall()
            for number, (entry,) in enumerate(entries, 1):
                connection.execute("UPDATE journal SET id = ? WHERE id = ?", (number, entry))
        async with open_timeline(path, shape=TINY) as store:
            for second in range(COUNT, COUNT + 9):
                await append(store, at(second, id=f"e{second}"))
        async with open_timeline(path, shape=TINY) as store:
            assert await ids(store) == [f"e{second}" for second in range(COUNT + 8, -1, -1)]
        assert problems(path) == []


class TestState:
    async def test_of_an_empty_store(self, path: Path) -> None:
        """Arrivals do not begin again, though nothing is left that has one."""
        async with open_timeline(path, shape=TINY) as store:
            await store.erase(app="demo")
        with sql(path) as connection:
            connection.execute("DELETE FROM state")
        async with open_timeline(path, shape=TINY) as store:
            await append(store, at(1, id="a"))
            assert await ids(store) == ["a"]
        assert problems(path) == []

    @pytest.mark.parametrize("damage", ["DELETE FROM state", "UPDATE state SET last_arrival = 7, horizon = 99"])
    async def test_is_reckoned_anew(self, path: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
        """A damaged state hides no event, and no arrival is given twice."""
        with sql(path) as connection:
            connection.execute(damage)
        async with open_timeline(path, shape=TINY) as store:
            await append(store, at(99, id="e99"))
            assert await ids(store) == ["e99", *everything()]
        assert "the checksum of its state does not match" in caplog.text
        assert problems(path) == []

    @pytest.mark.parametrize("arrival", [2**62, 2**63 - 1])
    async def test_is_not_reckoned_from_one_damaged_number(self, path: Path, arrival: int) -> None:
        """A number that is far from all that is sound hides no event, and leaves arrivals to give."""
        with sql(path) as connection:
            connection.execute("UPDATE state SET crc32 = 1")
            connection.execute("UPDATE received SET arrival = ?", (arrival,))
        assert any("state" in problem for problem in problems(path))
        async with open_timeline(path, shape=TINY) as store:
            await append(store, at(99, id="e99"))
            assert await ids(store) == ["e99", *everything()]
        assert problems(path) == []


class TestMarks:
    async def test_beyond_all_arrivals(self, path: Path) -> None:
        """A mark of an arrival that was never given does not make new events look old (ACK-1)."""
        with sql(path) as connection:
            connection.execute("UPDATE received SET at_s = 1")
            connection.execute("INSERT INTO received VALUES (9223372036854775807, 9223372036854775807)")
        async with open_timeline(path, Capacity(max_age_s=3600), shape=TINY) as store:
            await append(store, at(99, id="new"))
            assert await ids(store) == ["new"]


class TestGivenIds:
    async def test_of_an_arrival_that_is_no_number(self, path: Path) -> None:
        """SQLite keeps anything in any column; verifying tells of it, and the store goes on."""
        with sql(path) as connection:
            connection.execute("UPDATE given_ids SET arrival = 'x' WHERE arrival = 7")
        assert problems(path) == ["an id is remembered of an arrival that is no number"]
        async with open_timeline(path, shape=TINY) as store:
            assert await ids(store) == everything()


class TestLog:
    async def test_truncated(self, tmp_path: Path) -> None:
        """A write-ahead log that is cut short loses what came after the cut, and nothing that came before (ACK-5)."""
        path = tmp_path / "tracker.db"
        copy = tmp_path / "copy"
        copy.mkdir()
        sizes: list[int] = []
        async with open_timeline(path, shape=TINY) as store:
            for second in range(COUNT):
                await append(store, at(second, id=f"e{second}"))
                sizes.append(Path(f"{path}-wal").stat().st_size)
            for name in ("tracker.db", "tracker.db-wal"):  # as a crash leaves them
                shutil.copy(tmp_path / name, copy / name)
        log = (copy / "tracker.db-wal").read_bytes()
        assert max(sizes) == len(log), "the log was emptied meanwhile, so this shows nothing"
        for cut in (*sizes[::7], *(size - 1 for size in sizes[1::7]), 100):
            (copy / "tracker.db-wal").write_bytes(log[:cut])
            at_least = sum(size <= cut for size in sizes)
            case = tmp_path / f"case{cut}"
            shutil.copytree(copy, case)
            async with open_timeline(case / "tracker.db", shape=TINY) as store:
                found = await ids(store)
            assert found == [f"e{second}" for second in reversed(range(len(found)))]
            assert len(found) >= at_least
            assert problems(case / "tracker.db") == []


@cache
def sound() -> tuple[bytes, frozenset[bytes]]:
    """A file with events in blocks and in the journal, and the texts of these."""
    kept: list[Event] = []

    async def fill(path: Path) -> None:
        async with open_timeline(path, Capacity(max_age_s=3600), on_stored=kept.extend, shape=TINY) as store:
            for second in range(COUNT):
                await append(store, at(second * 7 % 50, id=f"e{second}" if second % 2 else ""))

    with TemporaryDirectory() as directory:
        path = Path(directory, "tracker.db")
        trio.run(fill, path)
        return path.read_bytes(), frozenset(event.text for event in kept)


async def use(path: Path) -> None:
    """Read everything, store something, erase something, and read everything again."""
    _, texts = sound()
    async with open_timeline(path, Capacity(max_age_s=3600), shape=TINY) as store:
        answer = await store.query(Query())
        assert await check(answer.chunks, texts) <= COUNT
        new = [at(second, id=f"new{second}") for second in range(9)]
        receipt = await store.append(new, is_patient=False)
        await receipt.committed()
        answer = await store.query(Query())
        assert await check(answer.chunks, texts | {event.text for event in new}) <= COUNT + 9
        await store.erase(user="user-1")
        assert await ids(store) == []


async def check(chunks: AsyncGenerator[Chunk, None], texts: frozenset[bytes]) -> int:
    """Every event is one of those that were stored, and none is there twice; returns how many there are."""
    async with aclosing(chunks):
        found = b",".join([chunk.text async for chunk in chunks])
    pieces = found.replace(b"}},{", b"}}\0{").split(b"\0") if found else []
    assert set(pieces) <= texts
    assert len(set(pieces)) == len(pieces)
    return len(pieces)


@hypothesis_settings(max_examples=200)
@given(seed=st.integers(0, 2**32), length=st.sampled_from([1, 2, 16, 700, 5000]))
def test_bytes_anywhere(seed: int, length: int) -> None:
    """Whatever bytes are overwritten: an answer holds events as they were stored, each once, or it is refused."""
    content = bytearray(sound()[0])
    chance = random.Random(seed)
    start = chance.randrange(len(content) - length)
    content[start : start + length] = chance.randbytes(length)
    with TemporaryDirectory() as directory:
        path = Path(directory, "tracker.db")
        path.write_bytes(content)
        try:
            trio.run(use, path)
        except StoreError:
            with suppress(StoreError):
                assert problems(path) != []
