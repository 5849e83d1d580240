"""Opening a store's file: one process writes to it, and what is wrong with it is said in words.

Errors of SQLite become ours here, and in ``translated``, and nowhere else.
"""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Literal

import attrs

from wsproto_tracker.errors import DamagedFileError, StoreError, UnavailableError
from wsproto_tracker.store import schema

__all__ = [
    "BUSY_TIMEOUT_S",
    "Connections",
    "Durability",
    "code_of",
    "connect",
    "open_file",
    "open_memory",
    "translated",
]

Durability = Literal["full", "normal"]

BUSY_TIMEOUT_S = 5.0

_DAMAGED = "the file is damaged; restore a backup, or name another file"
_DAMAGES = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_CONSTRAINT)  # the latter: it finds two of what it has one of


@attrs.frozen
class Connections:
    """The connections to one store.

    :ivar writer: in memory, the reader as well.
    :ivar lock: what keeps other processes from writing; ``None`` for who only reads, and in memory.
    """

    writer: sqlite3.Connection
    reader: sqlite3.Connection
    lock: sqlite3.Connection | None = None

    def close(self) -> None:
        """Close them all; the lock is the last to go."""
        for connection in (self.reader, self.writer, self.lock):
            if connection is not None:
                connection.close()


def connect(name: str, timeout_s: float = BUSY_TIMEOUT_S) -> sqlite3.Connection:
    """A connection without transactions of its own, for one thread at a time."""
    connection = sqlite3.connect(name, timeout=timeout_s, isolation_level=None, check_same_thread=False)
    connection.text_factory = lambda text: text.decode(errors="replace")  # a damaged file holds anything
    return connection


def open_memory() -> Connections:
    """A new store in memory."""
    connection = connect(":memory:")
    schema.migrate(connection)
    return Connections(connection, connection)


def open_file(path: Path, durability: Durability, *, read_only: bool) -> Connections:
    """Open a file, made where there is none, and bring its schema up to date.

    :param read_only: only look, beside the process that may be writing; the file has to be there.
    :raises StoreError: if it cannot be opened, is in use, not ours, or newer than this release.
    """
    opened: list[sqlite3.Connection] = []
    try:
        _check_place(path, must_exist=read_only)
        if read_only:
            opened.append(connect(str(path)))
            _check_for_reading(opened[0], path)
            return Connections(opened[0], opened[0])
        opened.append(_take_lock(path))
        opened.append(connect(str(path)))
        _prepare_for_writing(opened[1], path, durability)
        opened.append(connect(str(path)))
        opened[2].execute("SELECT count(*) FROM state")
    except (sqlite3.DatabaseError, StoreError, OSError, UnicodeDecodeError) as error:  # the last for damaged names
        for connection in reversed(opened):
            connection.close()
        if isinstance(error, StoreError):
            raise
        kind = DamagedFileError if code_of(error) in _DAMAGES else StoreError
        raise kind(f"{path}: {_explain(error)}") from None
    lock, writer, reader = opened
    return Connections(writer, reader, lock)


def _check_place(path: Path, *, must_exist: bool) -> None:
    """Refuse what is no file of ours before anything is written beside it."""
    if path.is_dir():
        raise StoreError(f"{path}: this is a directory; name a file in it")
    if not path.parent.is_dir():
        raise StoreError(f"{path}: there is no directory {path.parent}; make it, or name a file in another one")
    is_there = path.exists()
    if must_exist and not is_there:
        raise StoreError(f"{path}: there is no such file")
    if is_there and not path.is_file():
        raise StoreError(f"{path}: this is no file")
    if must_exist and path.stat().st_size == 0:
        raise StoreError(f"{path}: this file is empty; it becomes a store when it is served")
    if is_there:
        with closing(connect(str(path))) as connection:
            schema.check(connection, str(path))


def _take_lock(path: Path) -> sqlite3.Connection:
    """Be the only process that writes to the file; the system lets go of the lock when the process ends."""
    lock = connect(f"{path}-lock", timeout_s=0)
    try:
        lock.execute("PRAGMA journal_mode = MEMORY")  # nothing is written to it, so it needs no journal beside it
        lock.execute("BEGIN EXCLUSIVE")
    except sqlite3.OperationalError as error:
        lock.close()
        if code_of(error) != sqlite3.SQLITE_BUSY:
            raise
        raise StoreError(f"{path}: another process has this store open; stop it first, or name another file") from None
    return lock


def _check_for_reading(connection: sqlite3.Connection, path: Path) -> None:
    schema.check(connection, str(path))
    connection.execute("PRAGMA query_only = ON")
    if schema.version_of(connection) != len(schema.MIGRATIONS):
        raise StoreError(f"{path}: this store has an older schema; serve it once with this release")
    schema.check_tables(connection, str(path))


def _prepare_for_writing(connection: sqlite3.Connection, path: Path, durability: Durability) -> None:
    schema.check(connection, str(path))
    mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    if mode != "wal":
        raise StoreError(f"{path}: this file system cannot hold a store; SQLite finds no shared memory on it")
    connection.execute(f"PRAGMA synchronous = {durability}")
    connection.execute("PRAGMA fullfsync = ON")  # where fsync does not reach the disk otherwise (macOS)
    connection.execute("PRAGMA wal_autocheckpoint = 0")  # see Database.checkpoint
    schema.migrate(connection)
    schema.check_tables(connection, str(path))


def code_of(error: Exception) -> int | None:
    """The primary result code (https://sqlite.org/rescode.html)."""
    code = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def _explain(error: Exception) -> str:
    if isinstance(error, OSError):
        return (error.strerror or str(error)).lower()
    explanations = {
        sqlite3.SQLITE_NOTADB: "this is no SQLite file; name another file",
        sqlite3.SQLITE_CANTOPEN: "it cannot be opened; may this user read and write the file and its directory?",
        sqlite3.SQLITE_READONLY: "it cannot be written; may this user write the file and its directory?",
        sqlite3.SQLITE_BUSY: "another program holds a lock on it; end that program, or name another file",
        sqlite3.SQLITE_FULL: "the disk is full",
        **dict.fromkeys(_DAMAGES, _DAMAGED),
    }
    return explanations.get(code_of(error) or 0, str(error))


def translated(error: sqlite3.DatabaseError, name: str) -> Exception:
    """An error of the disk or the file as ours; one that only a bug can cause as it is."""
    bugs = (sqlite3.ProgrammingError, sqlite3.DataError, sqlite3.NotSupportedError)
    return error if isinstance(error, bugs) else UnavailableError(f"{name}: {_explain(error)}")
