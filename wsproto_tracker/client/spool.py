"""The spool: a SQLite file that holds every tracked event until it is acked, so that it survives the process.

What was tracked is in the file when ``track`` returns (a write to the system, no fsync: it survives ``kill -9``, not a
loss of power). One client at a time has the file. It remembers the app whose events it holds, so that a program does
not send another's by mistake; it does not remember the server, which may move.
"""

import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from wsproto_tracker.client.outbox import Item
from wsproto_tracker.errors import SpoolError
from wsproto_tracker.protocol import json_text

__all__ = ["Spool"]

_APPLICATION_ID = 0x77737370  # "wssp"
_VERSION = 1
_SCHEMA = (
    "CREATE TABLE spool (app_id TEXT NOT NULL)",
    "CREATE TABLE events (seq INTEGER PRIMARY KEY, text BLOB NOT NULL)",
)
_DAMAGED = "the file is damaged; move it away to go on without the events in it"
_FOREIGN = "this is no spool of this client; name another file"


class Spool:
    """An open spool; ``close`` gives the file free.

    :param path: made where there is none, for its owner only.
    :raises SpoolError: where it is in use, damaged, no spool, or of another app, or cannot be opened.
    """

    def __init__(self, path: Path, app_id: str) -> None:
        self._path = path
        self._acked: list[tuple[int]] = []  # not deleted yet, for the disk was full
        with self._explained():
            self._check_journal()
            path.touch(mode=0o600)
            self._connection = _connect(path)
            try:
                self._prepare(app_id)
            except BaseException:
                self._connection.close()
                raise

    def _check_journal(self) -> None:
        """Refuse an empty or missing file beside a journal that is not: SQLite would write over the events in it."""
        path = Path(
            os.path.realpath(self._path)
        )  # as SQLite does it: the journal is beside the file, not beside a link to it
        journal = path.with_name(f"{path.name}-wal")
        if _size(journal) and not _size(path):
            raise SpoolError(
                f"{self._path}: the file is damaged: it is empty or missing, and {journal.name} beside it is not; "
                f"put the file back, or move {journal.name} away to go on without the events in it"
            )

    def _prepare(self, app_id: str) -> None:
        run = self._connection.execute
        run("PRAGMA locking_mode = EXCLUSIVE")  # from the first access to the end of the connection, or the process
        run("BEGIN EXCLUSIVE")
        application, version = (run(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version"))
        is_new = not run("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if is_new and not application:
            for statement in _SCHEMA:
                run(statement)
            run("INSERT INTO spool VALUES (?)", (app_id,))
            run(f"PRAGMA application_id = {_APPLICATION_ID}")
            run(f"PRAGMA user_version = {_VERSION}")
        elif application != _APPLICATION_ID:
            raise SpoolError(f"{self._path}: {_FOREIGN}")
        elif version != _VERSION:
            raise SpoolError(f"{self._path}: this spool is of another release; name another file, or use that release")
        run("COMMIT")
        if run("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":
            raise SpoolError(f"{self._path}: this file system cannot hold a spool; name a file on another one")
        run("PRAGMA synchronous = NORMAL")
        apps = [app for (app,) in run("SELECT app_id FROM spool")]
        if len(apps) != 1 or run("PRAGMA quick_check(1)").fetchone()[0] != "ok":
            raise SpoolError(f"{self._path}: {_DAMAGED}")
        if apps != [app_id]:
            raise SpoolError(f"{self._path}: this spool holds events of another app; name a file for each app_id")

    def load(self) -> list[Item]:
        """What is in it, in the order of tracking, and due at once.

        :raises SpoolError: where it is damaged.
        """
        with self._explained():
            items = [
                Item(seq, bytes(text)) for seq, text in self._connection.execute("SELECT * FROM events ORDER BY 1")
            ]
        for item in items:
            if not _is_event(item.text):
                raise SpoolError(f"{self._path}: {_DAMAGED}")
        return items

    def add(self, item: Item) -> None:
        """Put an event in.

        :raises SpoolError: where it cannot be written, for the disk is full, say; it is not in it then.
        """
        with self._explained():
            self._connection.execute("INSERT INTO events VALUES (?, ?)", (item.seq, item.text))

    def remove(self, items: Iterable[Item]) -> None:
        """Take acked events out. Where that fails, they stay until the next call; to send them again does no harm.

        :raises SpoolError: where it cannot be written.
        """
        self._acked += [(item.seq,) for item in items]
        with self._explained(), self._transaction():
            self._connection.executemany("DELETE FROM events WHERE seq = ?", self._acked)
        self._acked.clear()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    def close(self) -> None:
        """Give the file free; what is in it stays."""
        self._connection.close()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn errors of SQLite and of the system into ours."""
        try:
            yield
        except sqlite3.DatabaseError as error:
            raise SpoolError(f"{self._path}: {_explain(error)}") from error
        except OSError as error:
            raise SpoolError(f"{self._path}: {(error.strerror or str(error)).lower()}; name another file") from error


def _connect(path: Path) -> sqlite3.Connection:
    # opened in a thread and used in another, never in two at a time
    return sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _is_event(text: bytes) -> bool:
    try:
        event = json_text.loads(text.decode())
    except (ValueError, RecursionError):
        return False
    return isinstance(event, dict) and bool(event.get("id"))


def _explain(error: sqlite3.DatabaseError) -> str:
    explanations = {
        sqlite3.SQLITE_BUSY: "this spool is in use; give each client a file of its own, or stop the other one",
        sqlite3.SQLITE_NOTADB: _FOREIGN,
        sqlite3.SQLITE_CORRUPT: _DAMAGED,
        sqlite3.SQLITE_FULL: "the disk is full; what was tracked before is kept, and this event is not",
        sqlite3.SQLITE_READONLY: "it cannot be written; may this user write the file and its directory?",
        sqlite3.SQLITE_CANTOPEN: "it cannot be opened; is it a file, and may this user write it and its directory?",
        sqlite3.SQLITE_IOERR: "it cannot be written or read; is the disk full, or failing?",
    }
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return explanations.get(code, str(error))
