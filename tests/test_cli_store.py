"""``wsproto-tracker store``, run as users run it."""

import os
import random
import re
import sqlite3
import sys
from pathlib import Path

import pytest
import trio

from tests.command import Ended, run, serving
from tests.store_contract import append, at, ids, moment
from tests.store_support import TINY, block_count
from wsproto_tracker.cli import main
from wsproto_tracker.store import Capacity, open_timeline
from wsproto_tracker.store.loading import with_checksum

SECRET = "ann@example.org"


async def store(directory: Path, *arguments: str) -> Ended:
    return await run("store", *arguments, directory=directory, variables={"TRACKER_STORE": "sqlite:tracker.db"})


@pytest.fixture
async def directory(tmp_path: Path) -> Path:
    """A directory with a store of 40 events in small blocks: of two users, in two apps."""
    async with open_timeline(tmp_path / "tracker.db", shape=TINY) as it:
        for second in range(40):
            user, app = (SECRET, "ben")[second % 2], ("shop", "blog")[second % 4 // 2]
            await append(it, at(second, id=f"e{second}", userId=user, appId=app))
    return tmp_path


async def kept(path: Path, **query: str) -> list[str]:
    async with open_timeline(path, Capacity(sys.maxsize)) as it:
        return await ids(it, **query)


class TestInfo:
    async def test_what_is_in_it(self, directory: Path) -> None:
        """``info`` tells how many events there are, from when to when, and what they take."""
        ended = await store(directory, "info")
        assert ended.is_clean
        told = dict(re.split(r" {2,}", line, maxsplit=1) for line in ended.output.splitlines())
        assert (told["store"], told["events"]) == ("tracker.db", "40")
        assert (told["from"], told["to"]) == (moment(0), moment(39))
        assert "of events" in told["size"]
        assert "kB" in told["on disk"]

    async def test_what_is_gone(self, directory: Path) -> None:
        """Events beyond the capacity are told apart from those that are there."""
        async with open_timeline(directory / "tracker.db", Capacity(max_events=7), shape=TINY):
            pass
        ended = await store(directory, "info")
        assert "events           7\n" in ended.output
        assert re.search(r"gone +33 events", ended.output)

    async def test_empty(self, tmp_path: Path) -> None:
        """A store without events has no from and to."""
        async with open_timeline(tmp_path / "tracker.db"):
            pass
        ended = await store(tmp_path, "info")
        assert ended.is_clean
        assert "events           0\n" in ended.output
        assert "from" not in ended.output

    async def test_while_the_server_runs(self, directory: Path) -> None:
        """Some actions work beside the server; the others say that it has to be stopped first."""
        async with serving(directory=directory, variables={"TRACKER_STORE": "sqlite:tracker.db"}) as server:
            assert (await store(directory, "info")).is_clean
            assert (await store(directory, "verify")).is_clean
            assert (await store(directory, "backup", "copy.db")).is_clean
            for action in (["compact"], ["erase", "--user", "ben"]):
                ended = await store(directory, *action)
                assert (ended.status, ended.output) == (1, "")
                assert "another process has this store open; stop it first" in ended.errors
            assert (await server.stop()).is_clean
        assert len(await kept(directory / "copy.db")) == 40


class TestVerify:
    async def test_sound(self, directory: Path) -> None:
        """A sound store is said to be."""
        ended = await store(directory, "verify")
        assert ended.is_clean
        assert ended.output == "tracker.db: sound\n"

    @pytest.mark.parametrize(
        ("damage", "told"),
        [
            ("UPDATE block_data SET run_data = zeroblob(99) WHERE id = 2", "block 2: the checksum of its data"),
            ("UPDATE block_data SET run_index = x'00' WHERE id = 2", "block 2: the checksum of its index"),
            ("DELETE FROM block_data WHERE id = 2", "block 2: its data is missing"),
            ("UPDATE blocks SET newest_instant = 1 WHERE id = 2", "block 2: the checksum of its des"),
            ("UPDATE journal SET run_data = zeroblob(9)", "journal entry"),
            ("DELETE FROM journal", "an id is remembered of arrival"),
            ("UPDATE state SET last_arrival = 39", "the checksum of its state"),
            ("DELETE FROM state", "the checksum of its state"),
            ("INSERT INTO journal SELECT id + 100, count, text_bytes, text_crc32, data_crc32, index_crc32, run_index, "
             "run_data FROM journal LIMIT 1", "is there twice"),
        ],
    )  # fmt: skip
    async def test_damaged(self, directory: Path, damage: str, told: str) -> None:
        """What is damaged is named, and the exit status is 1."""
        connection = sqlite3.connect(directory / "tracker.db")
        assert connection.execute(damage).rowcount >= 1
        connection.commit()
        connection.close()
        ended = await store(directory, "verify")
        assert (ended.status, ended.errors) == (1, "")
        assert told in ended.output
        assert re.search(r"tracker\.db: problems found: \d+; restore a backup", ended.output)

    async def test_damaged_pages(self, directory: Path) -> None:
        """A file that SQLite cannot read to its end is told of, without a traceback."""
        path = directory / "tracker.db"
        content = bytearray(path.read_bytes())
        content[4096 * 2 :] = b"\xaa" * len(content[4096 * 2 :])
        path.write_bytes(content)
        ended = await store(directory, "verify")
        assert (ended.status, ended.errors) == (1, "")
        assert "SQLite" in ended.output


class TestCompact:
    async def test_smaller(self, directory: Path) -> None:
        """Few large blocks take the place of many small ones, nothing is lost, and the file does not grow."""
        path = directory / "tracker.db"
        before, size, blocks = await kept(path), path.stat().st_size, block_count(path)
        ended = await store(directory, "compact")
        assert ended.is_clean
        assert re.fullmatch(r"tracker\.db: \S+ kB before, \S+ kB now\n", ended.output)
        assert path.stat().st_size <= size
        assert block_count(path) < blocks
        assert await kept(path) == before
        assert (await store(directory, "verify")).is_clean


class TestBackup:
    async def test_copy(self, directory: Path) -> None:
        """A backup is a store of its own, with the same events."""
        ended = await store(directory, "backup", "copy.db")
        assert ended.is_clean
        assert re.fullmatch(r"copy\.db: \S+ kB, a copy of tracker\.db\ncopy\.db: sound\n", ended.output)
        assert await kept(directory / "copy.db") == await kept(directory / "tracker.db")
        assert (await store(directory, "verify", "--store", "sqlite:copy.db")).is_clean
        assert not (directory / "copy.db.partial").exists()

    async def test_under_load(self, directory: Path) -> None:
        """A backup that is made while events come has all that was acked before it began, and verifies."""
        async with open_timeline(directory / "tracker.db", shape=TINY) as it, trio.open_nursery() as nursery:

            async def load() -> None:
                for second in range(40, 100_000):
                    await append(it, at(second))

            nursery.start_soon(load)
            before = await ids(it)
            ended = await store(directory, "backup", "copy.db")
            nursery.cancel_scope.cancel()
        assert ended.is_clean
        assert set(before) <= set(await kept(directory / "copy.db"))
        assert (await store(directory, "verify", "--store", "sqlite:copy.db")).is_clean

    async def test_damaged(self, directory: Path) -> None:
        """A copy of a damaged store is made, and said to be damaged as well."""
        connection = sqlite3.connect(directory / "tracker.db")
        connection.execute("UPDATE block_data SET run_data = x'00' WHERE id = 2")
        connection.commit()
        connection.close()
        ended = await store(directory, "backup", "copy.db")
        assert ended.status == 1
        assert "block 2: the checksum of its data does not match" in ended.output

    async def test_never_overwrites(self, directory: Path) -> None:
        """A file that is there stays as it is."""
        (directory / "copy.db").write_text("precious")
        ended = await store(directory, "backup", "copy.db")
        assert (ended.status, ended.output) == (1, "")
        assert "copy.db: exists already; name a file that does not" in ended.errors
        assert (directory / "copy.db").read_text() == "precious"

    async def test_nowhere(self, directory: Path) -> None:
        """A directory that is not there is told of."""
        ended = await store(directory, "backup", "nowhere/copy.db")
        assert ended.status == 1
        assert "nowhere/copy.db: there is no directory nowhere" in ended.errors


class TestErase:
    async def test_user(self, directory: Path) -> None:
        """The events of a user are gone, counted, and may come again."""
        ended = await store(directory, "erase", "--user", SECRET)
        assert ended.is_clean
        assert ended.output == f"tracker.db: erased 20 events of user {SECRET}\n"
        assert await kept(directory / "tracker.db") == [f"e{second}" for second in range(39, 0, -2)]
        assert (await store(directory, "verify")).is_clean
        async with open_timeline(directory / "tracker.db", shape=TINY) as it:
            assert (await append(it, at(0, id="e0", userId=SECRET, appId="shop"))).duplicates == 0

    async def test_no_trace(self, tmp_path: Path) -> None:
        """Not even a page that is free holds anything of an erased event."""
        path = tmp_path / "tracker.db"
        noise = random.Random(1).randbytes(20_000).hex()
        async with open_timeline(path, shape=TINY) as it:
            await append(it, at(1, userId=SECRET, payload={"noise": noise}))
            connection = sqlite3.connect(path)
            (data,) = connection.execute("SELECT run_data FROM journal").fetchone()
            connection.close()
            await append(it, *(at(second, userId="ben") for second in range(9)))
        pieces = [data[start : start + 64] for start in range(1000, len(data) - 64, 64)]

        def traces() -> int:
            content = b"".join(file.read_bytes() for file in tmp_path.iterdir())
            return sum(piece in content for piece in pieces)

        assert traces() > 100
        assert (await store(tmp_path, "erase", "--user", SECRET)).is_clean
        assert traces() == 0

    async def test_app(self, directory: Path) -> None:
        """The events of an app are gone, and those of a user in an app."""
        ended = await store(directory, "erase", "--app", "shop")
        assert ended.output == "tracker.db: erased 20 events of app shop\n"
        ended = await store(directory, "erase", "--user", "ben", "--app", "blog")
        assert ended.output == "tracker.db: erased 10 events of user ben in app blog\n"
        assert await kept(directory / "tracker.db") == [f"e{second}" for second in range(38, 0, -4)]

    async def test_nobody(self, directory: Path) -> None:
        """Nobody's events are none."""
        ended = await store(directory, "erase", "--user", "nobody")
        assert (ended.status, ended.output) == (0, "tracker.db: erased 0 events of user nobody\n")
        assert len(await kept(directory / "tracker.db")) == 40

    async def test_damaged(self, directory: Path) -> None:
        """A damaged block, which may hold some of them, is told of, with exit status 1."""
        connection = sqlite3.connect(directory / "tracker.db")
        connection.execute("UPDATE block_data SET run_data = x'00' WHERE id = 2")
        connection.commit()
        connection.close()
        ended = await store(directory, "erase", "--user", SECRET)
        assert ended.status == 1
        assert "what is damaged could not be looked into; to let go of it: wsproto-tracker store" in ended.output

    async def test_capacity_is_left_alone(self, tmp_path: Path) -> None:
        """A store that is larger than the default of ``--max-events`` loses nothing by being compacted or searched."""
        path = tmp_path / "tracker.db"
        async with open_timeline(path, Capacity(sys.maxsize), shape=TINY) as it:
            await append(it, *(at(second) for second in range(40)))
        connection = sqlite3.connect(path)
        state = with_checksum((600_000, 599_999, 0))  # as if there had been more
        connection.execute("UPDATE state SET (last_arrival, batch_begins, horizon, crc32) = (?, ?, ?, ?)", state)
        connection.commit()
        connection.close()
        for action in (["compact"], ["erase", "--user", "nobody"]):
            assert (await store(tmp_path, *action)).is_clean
        assert len(await kept(path)) == 40


class TestInterruptions:
    async def test_nobody_reads(self, directory: Path) -> None:
        """Where what is told cannot be printed, that is said, without a traceback."""
        shell = ("sh", "-c", f"{sys.executable} -m wsproto_tracker store info --store sqlite:tracker.db >/dev/full")
        ended = await run(command=shell, directory=directory)
        assert ended.errors == "wsproto-tracker: cannot print: No space left on device\n"

    @pytest.mark.parametrize("action", [["compact"], ["erase", "--user", "ben"]])
    async def test_disk_is_full(self, directory: Path, action: list[str]) -> None:
        """What cannot be written is told in words, and the store is as it was, or as it should be."""
        command = " ".join([sys.executable, "-m", "wsproto_tracker", "store", *action, "--store", "sqlite:tracker.db"])
        ended = await run(command=("sh", "-c", f"ulimit -f 8; {command}"), directory=directory)
        assert ended.status == 1
        assert "Traceback" not in ended.errors
        assert "disk I/O error" in ended.errors
        assert (await store(directory, "verify")).is_clean

    @pytest.mark.parametrize(
        "interrupt", [KeyboardInterrupt(), BaseExceptionGroup("from a nursery", [KeyboardInterrupt()])]
    )
    async def test_ctrl_c(
        self,
        directory: Path,
        interrupt: BaseException,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """Ctrl-C ends a command with a sentence and the usual status."""

        def interrupted(_database: object) -> None:
            raise interrupt

        monkeypatch.setattr("wsproto_tracker.cli.store.verify", interrupted)
        assert main(["store", "verify", "--store", f"sqlite:{directory / 'tracker.db'}"]) == 130
        assert capsys.readouterr() == ("", "wsproto-tracker: interrupted; what is in the store is whole\n")


class TestWrongUse:
    @pytest.mark.parametrize(
        ("arguments", "told"),
        [
            ([], "the following arguments are required: ACTION"),
            (["frob"], "invalid choice: 'frob' (choose from 'info', 'verify', 'compact', 'backup', 'erase')"),
            (["info", "--stor", "x"], "--stor: no such option; did you mean --store?"),
            (["info", "--store", "memory:"], "expected a file, such as sqlite:tracker.db; a store in memory has none"),
            (["info", "--store", "x"], "--store: expected sqlite: and a file"),
            (["backup", "memory:"], "DEST: expected a file, such as copy.db"),
            (["erase", "--user", ""], "expected --user ID, --app ID, or both"),
            (["backup"], "the following arguments are required: DEST"),
            (["erase"], "expected --user ID, --app ID, or both"),
            (["erase", "--usr", "x"], "--usr: no such option; did you mean --user?"),
        ],
        ids=" ".join,
    )
    async def test_told(self, tmp_path: Path, arguments: list[str], told: str) -> None:
        """What is wrong is told, with what would be right; the exit status is 2."""
        ended = await store(tmp_path, *arguments)
        assert (ended.status, ended.output) == (2, "")
        assert told in ended.errors.replace("ACTION {", "ACTION")
        assert "Traceback" not in ended.errors

    @pytest.mark.parametrize(
        "action", [["info"], ["verify"], ["compact"], ["backup", "x.db"], ["erase", "--user", "x"]]
    )
    async def test_no_file(self, tmp_path: Path, action: list[str]) -> None:
        """A store that is not there is not made."""
        ended = await store(tmp_path, *action)
        assert (ended.status, ended.output) == (1, "")
        assert "tracker.db: there is no such file" in ended.errors
        assert os.listdir(tmp_path) == []

    async def test_foreign_file(self, tmp_path: Path) -> None:
        """A file of another kind is told of, and stays as it is."""
        (tmp_path / "tracker.db").write_text("precious " * 1000)
        for action in (["info"], ["verify"], ["compact"], ["backup", "x.db"], ["erase", "--user", "x"]):
            ended = await store(tmp_path, *action)
            assert (ended.status, ended.output) == (1, "")
            assert "this is no SQLite file; name another file" in ended.errors
        assert (tmp_path / "tracker.db").read_text() == "precious " * 1000
