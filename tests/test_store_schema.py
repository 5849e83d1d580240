"""The schema of a file: what is ours, what is newer, and how an older one is brought up to date."""

import sqlite3
from pathlib import Path

import pytest

from tests.store_contract import append, at, ids
from tests.store_support import problems, sql
from wsproto_tracker.errors import StoreError
from wsproto_tracker.store import open_timeline, schema


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    """A store with one event."""
    path = tmp_path / "tracker.db"
    async with open_timeline(path) as store:
        await append(store, at(1, id="a"))
    return path


async def refusal(path: Path) -> str:
    """What is said of a file that is refused, and left as it is."""
    before = path.read_bytes()
    with pytest.raises(StoreError) as caught:
        async with open_timeline(path):
            pass
    with pytest.raises(StoreError):
        problems(path)
    assert path.read_bytes() == before
    return str(caught.value)


async def test_newer(path: Path) -> None:
    """A store of a newer release is refused, with both versions, and not touched."""
    with sql(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    told = await refusal(path)
    assert "schema version 99" in told
    assert f"up to {len(schema.MIGRATIONS)}" in told
    assert "use the release that wrote it" in told


async def test_another_programs(tmp_path: Path) -> None:
    """A SQLite file of another program is refused, whether it has an application id or not."""
    path = tmp_path / "tracker.db"
    for statement in ("PRAGMA user_version = 1", "CREATE TABLE notes (text)", "PRAGMA application_id = 7"):
        with sql(path) as connection:
            connection.execute(statement)
        assert "is not a store of wsproto-tracker; name another file" in await refusal(path)
    assert [file.name for file in tmp_path.iterdir()] == ["tracker.db"], "nothing is left beside it"


async def test_other_tables(path: Path) -> None:
    """What other programs keep in a store beside it, as a planner's statistics, is no reason to refuse it."""
    with sql(path) as connection:
        connection.execute("ANALYZE")
        connection.execute("CREATE TABLE notes (text)")
    async with open_timeline(path) as store:
        assert await ids(store) == ["a"]


async def test_tables_were_changed(path: Path) -> None:
    """A store that somebody has changed by hand, or damage, is refused."""
    with sql(path) as connection:
        connection.execute("ALTER TABLE received ADD COLUMN note TEXT")
    assert "its tables are not those of schema version" in await refusal(path)


class TestMigration:
    NEXT = "ALTER TABLE received ADD COLUMN zone TEXT NOT NULL DEFAULT 'UTC';"

    async def test_older_file(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A file of an older version is brought up to date when it is opened to be served, with all that it holds."""
        monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, self.NEXT))
        with pytest.raises(StoreError, match="older schema; serve it once with this release"):
            problems(path)
        async with open_timeline(path) as store:
            assert await ids(store) == ["a"]
        assert problems(path) == []
        with sql(path) as connection:
            assert schema.version_of(connection) == len(schema.MIGRATIONS)

    async def test_that_fails(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A step that fails half-way leaves the file as it was."""
        with monkeypatch.context() as patch:
            patch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, self.NEXT + "INSERT INTO nowhere VALUES (1);"))
            with pytest.raises(StoreError, match="no such table: nowhere"):
                async with open_timeline(path):
                    pass
        async with open_timeline(path) as store:
            assert await ids(store) == ["a"]

    def test_each_step_counts(self) -> None:
        """A new file goes through every step."""
        connection = sqlite3.connect(":memory:", isolation_level=None)
        schema.migrate(connection)
        assert schema.version_of(connection) == len(schema.MIGRATIONS)
        schema.check(connection, "it")
        schema.check_tables(connection, "it")
        connection.close()
