"""What tests of the store share: blocks so small that a few events make many, and a disk that fails when told to."""

import random
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.store_contract import at
from wsproto_tracker.protocol.events import Event
from wsproto_tracker.store import connection as connection_module
from wsproto_tracker.store.block import Shape
from wsproto_tracker.store.database import Database
from wsproto_tracker.store.inspection import verify

TINY = Shape(block_events=4, block_bytes=3_000, open_events=3, open_bytes=4_000, max_rewritten=2)


def large(second: float, **members: object) -> Event:
    """An event that fits in no page that is there already, so that a full disk has no room for it."""
    return at(second, payload={"text": random.Random(second).randbytes(20_000).hex()}, **members)


def problems(path: Path) -> list[str]:
    """What ``verify`` says of a file."""
    database = Database(path, read_only=True)
    try:
        return verify(database)
    finally:
        database.close()


@contextmanager
def sql(path: Path) -> Iterator[sqlite3.Connection]:
    """The file behind a store, to look at or to damage."""
    connection = sqlite3.connect(path)
    try:
        yield connection
        connection.commit()
    finally:
        connection.close()


def block_count(path: Path) -> int:
    """How many blocks a file holds."""
    with sql(path) as connection:
        return int(connection.execute("SELECT count(*) FROM blocks").fetchone()[0])


class Disk:
    """What the stores write to that are opened from now on; it can fail, and be mended."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._connections: list[sqlite3.Connection] = []
        self.commits = 0
        connect = connection_module.connect

        def recording(name: str, timeout_s: float = 5.0) -> sqlite3.Connection:
            connection = connect(name, timeout_s)
            connection.set_trace_callback(self._trace)
            self._connections.append(connection)
            return connection

        monkeypatch.setattr(connection_module, "connect", recording)

    def _trace(self, statement: str) -> None:
        self.commits += statement == "COMMIT"

    def _tell(self, pragma: str) -> None:
        for connection in self._connections:
            try:
                connection.execute(pragma)
            except sqlite3.ProgrammingError:  # closed since
                continue

    def fill(self) -> None:
        """Let no file grow any more; what fits in pages that are there is still written."""
        self._tell("PRAGMA max_page_count = 1")

    def free(self) -> None:
        """Let files grow again."""
        self._tell("PRAGMA max_page_count = 1073741823")

    def protect(self) -> None:
        """Let nothing be written."""
        self._tell("PRAGMA query_only = ON")

    def unprotect(self) -> None:
        """Let it be written again."""
        self._tell("PRAGMA query_only = OFF")

    def hide(self) -> None:
        """Let no block be read."""
        for connection in self._connections:
            connection.set_authorizer(
                lambda action, table, *_rest: (
                    sqlite3.SQLITE_DENY if (action, table) == (sqlite3.SQLITE_READ, "block_data") else sqlite3.SQLITE_OK
                )
            )

    def show(self) -> None:
        """Let blocks be read again."""
        for connection in self._connections:
            connection.set_authorizer(None)
