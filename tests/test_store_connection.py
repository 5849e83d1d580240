"""Opening a file: one process writes to it, and what is wrong with it is said in words."""

from functools import partial
from pathlib import Path

import pytest

from tests.command import run, serving
from tests.store_contract import append, at, ids
from tests.store_support import sql
from wsproto_tracker.errors import StoreError
from wsproto_tracker.store import connection, open_timeline


async def refusal(path: Path) -> str:
    with pytest.raises(StoreError) as caught:
        async with open_timeline(path):
            pass
    return str(caught.value)


class TestOneWriter:
    async def test_second_server(self, tmp_path: Path) -> None:
        """A second server on the same file is refused and says why; the first goes on."""
        store = ("--store", f"sqlite:{tmp_path / 'tracker.db'}")
        async with serving(*store) as first:
            ended = await run("serve", "--port", "0", *store)
            assert (ended.status, ended.output) == (1, "")
            assert "another process has this store open; stop it first, or name another file" in ended.errors
            assert "Traceback" not in ended.errors
            assert (await first.running.http("GET", "/ping")).status == 200
            assert (await first.stop()).is_clean
        async with serving(*store):
            pass

    async def test_by_another_name(self, tmp_path: Path) -> None:
        """A link to the file is the file."""
        path, link = tmp_path / "tracker.db", tmp_path / "link.db"
        async with open_timeline(path):
            link.symlink_to(path)
            assert "another process has this store open" in await refusal(link)

    async def test_after_a_crash(self, tmp_path: Path) -> None:
        """The lock of a process that was killed is no lock."""
        path = tmp_path / "tracker.db"
        async with serving("--store", f"sqlite:{path}"):
            pass  # killed at the end
        async with open_timeline(path) as store:
            assert await ids(store) == []

    async def test_another_program_writes(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A program that holds a write lock on the file is told of when something is to be saved."""
        monkeypatch.setattr(connection, "connect", partial(connection.connect, timeout_s=0.1))
        path = tmp_path / "tracker.db"
        async with open_timeline(path):
            pass
        with sql(path) as other:
            other.execute("BEGIN EXCLUSIVE")
            async with open_timeline(path) as store:
                outage = await (await store.append([at(1)])).attempted()
                assert outage is not None
                assert "another program holds a lock on it" in outage.reason
                other.execute("ROLLBACK")
        async with open_timeline(path) as store:
            assert len(await ids(store)) == 1


class TestWrongFile:
    async def test_directory(self, tmp_path: Path) -> None:
        """A directory is no file."""
        assert "this is a directory; name a file in it" in await refusal(tmp_path)

    async def test_not_sqlite(self, tmp_path: Path) -> None:
        """A file of another kind is left alone."""
        path = tmp_path / "notes.txt"
        path.write_text("precious " * 500)
        assert "this is no SQLite file; name another file" in await refusal(path)
        assert path.read_text() == "precious " * 500

    async def test_cannot_be_opened(self, tmp_path: Path) -> None:
        """A file that cannot be opened is told of, and so is that beside it which it needs."""
        (tmp_path / "tracker.db-lock").mkdir()
        assert "cannot be opened; may this user read and write" in await refusal(tmp_path / "tracker.db")

    @pytest.mark.parametrize(
        ("name", "told"),
        [
            ("nowhere/tracker.db", "there is no directory"),
            ("x" * 300, "file name too long"),
            ("loop", "it cannot be opened"),
            ("/dev/null", "this is no file"),
        ],
    )
    async def test_odd_paths(self, tmp_path: Path, name: str, told: str) -> None:
        """A path that cannot be a file is told of in words."""
        (tmp_path / "loop").symlink_to(tmp_path / "loop")
        assert told in await refusal(tmp_path / name)

    async def test_empty_file(self, tmp_path: Path) -> None:
        """An empty file becomes a store, as a missing one does."""
        path = tmp_path / "tracker.db"
        path.touch()
        async with open_timeline(path) as store:
            await append(store, at(1, id="a"))
            assert await ids(store) == ["a"]


@pytest.mark.parametrize(("durability", "level"), [("full", 2), ("normal", 1)])
async def test_durability(tmp_path: Path, durability: str, level: int) -> None:
    """What an ack waits for is what was asked for."""
    async with open_timeline(tmp_path / "tracker.db", durability=durability) as store:  # type: ignore[arg-type]
        assert store._database._writer.execute("PRAGMA synchronous").fetchone() == (level,)
        assert store._database._writer.execute("PRAGMA journal_mode").fetchone() == ("wal",)
