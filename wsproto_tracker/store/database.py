"""The SQLite file of a store: every statement is here. All of it blocks, so it is called in worker threads.

Invariants, which hold after each transaction:

- An event is in the journal or in one block, never in both. Its arrival is at most ``state.last_arrival``.
- The id of an entry of the journal is its first arrival. All arrivals of an entry come before those of the next.
- The row of a block in ``blocks`` never changes, but for ``is_damaged``: a block is replaced by others.
- ``block_data`` has a row for each row of ``blocks``. It may have others: blocks that were replaced, and whose data is
  kept while some answer may still read it. Those are deleted when no one holds the ``Block``, or at the next start.
- One process writes to a file. It holds the lock of ``<file>-lock`` as long as it has the store open.

There are two connections, one to write and one to read, each used by one thread at a time. A store in memory has one
connection for both.
"""

import os
import sqlite3
import threading
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from operator import itemgetter
from pathlib import Path
from weakref import ref

import attrs

from wsproto_tracker.errors import DamagedFileError, StoreError, UnavailableError
from wsproto_tracker.store.block import Block, Packed, State
from wsproto_tracker.store.connection import (
    BUSY_TIMEOUT_S,
    Durability,
    code_of,
    connect,
    open_file,
    open_memory,
    translated,
)
from wsproto_tracker.store.loading import BLOCK_COLUMNS, SEAL_COLUMNS, Loaded, columns_of, load, with_checksum
from wsproto_tracker.store.place import Position
from wsproto_tracker.store.run import DamageError, Row, pack

__all__ = ["Database"]

_CHECKPOINT_BYTES = 4 * 1024 * 1024
_MOST_ASKED = 500  # ids that are looked up with one statement
_OF_AN_EVENT = "length(digest) = 16"  # not of a message, whose id is remembered though its first event is erased
_NO_BLOCK = -1  # stands for data that is of no block


class Database:
    """A store's file, opened.

    :param path: the file, made where there is none; ``None`` for a database in memory.
    :param durability: whether a transaction waits for the disk (``full``) or for the system only (``normal``).
    :param read_only: only look, beside the process that may be writing.
    :raises StoreError: if the file cannot be opened, is in use, not ours, or newer than this release.
    """

    def __init__(self, path: Path | None, durability: Durability = "full", *, read_only: bool = False) -> None:
        self.path = Path(os.path.realpath(path)) if path is not None else None
        self._name = str(path) if path is not None else "memory:"
        self._connections = (
            open_memory() if self.path is None else open_file(self.path, durability, read_only=read_only)
        )
        self._writer, self._reader = self._connections.writer, self._connections.reader
        self._reading = threading.RLock()
        self._writing = self._reading if self._reader is self._writer else threading.RLock()
        self._is_closed = False
        self.file_bytes = 0
        """What the file took when something was last written, without its log; 0 for a database in memory."""
        self._identity = self._identify()
        self._retired: dict[int, ref[Block] | None] = {}
        self._next_id = 0 if read_only else self._first_free_id()

    def close(self) -> None:
        """Close the file. What was committed is in it."""
        with self._writing, self._reading:
            self._is_closed = True
            self._connections.close()

    def _first_free_id(self) -> int:
        try:
            used = "SELECT max(id) FROM block_data UNION ALL SELECT max(id) FROM blocks"
            return 1 + max(number or 0 for (number,) in self._reader.execute(used))
        except sqlite3.DatabaseError as error:
            self.close()
            if code_of(error) == sqlite3.SQLITE_CORRUPT:
                raise DamagedFileError(str(translated(error, self._name))) from None
            raise translated(error, self._name) from None

    # --- reading

    def load(self) -> Loaded:
        """Read everything but the content of blocks.

        :raises DamagedFileError: if not even that can be read.
        """
        try:
            with self._read() as reader:
                return load(reader)
        except DamageError as error:
            raise DamagedFileError(f"{self._name}: the file is damaged, restore a backup of it: {error}") from None

    def read_index(self, block: Block) -> bytes:
        """The index of a block.

        :raises DamageError: if it is not there.
        :raises UnavailableError: if it cannot be read now.
        """
        index: bytes = self._read_column("run_index", block)[0]
        return index

    def read(self, block: Block) -> tuple[bytes, bytes]:
        """The index and the data of a block; raises as ``read_index``."""
        index, data = self._read_column("run_index, run_data", block)
        return index, data

    def given_arrivals(self) -> list[object]:
        """The arrivals of the events whose id a client gave; what is damaged is there as it is."""
        with self._read() as reader:
            return [arrival for (arrival,) in reader.execute(f"SELECT arrival FROM given_ids WHERE {_OF_AN_EVENT}")]

    @contextmanager
    def unchanging(self) -> Generator[None, None, None]:
        """Let all that is read inside be of one moment, whatever another process writes."""
        with self._read() as reader:
            reader.execute("BEGIN")
        try:
            yield
        finally:
            with suppress(sqlite3.Error):  # on a damaged file it has ended by itself
                self._reader.execute("ROLLBACK")

    def _read_column(self, columns: str, block: Block) -> tuple[bytes, ...]:
        with self._read() as reader:
            found: tuple[bytes, ...] | None = reader.execute(
                f"SELECT {columns} FROM block_data WHERE id = ?", (block.id,)
            ).fetchone()
        if found is None:
            raise DamageError("its data is missing")
        return found

    @contextmanager
    def _read(self) -> Generator[sqlite3.Connection, None, None]:
        with self._reading:
            self._check_open()
            try:
                yield self._reader
            except sqlite3.DatabaseError as error:
                if code_of(error) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
                    raise DamageError(f"SQLite cannot read it: {error}") from None
                raise translated(error, self._name) from None

    # --- writing, inside ``with database.transaction()``

    @contextmanager
    def transaction(self) -> Generator[None, None, None]:
        """All of what is written inside, or nothing; on disk at its end.

        :raises UnavailableError: if it cannot be written now; then nothing of it is.
        """
        with self._writing:
            self._check_open()
            self._check_in_place()
            try:
                self._writer.execute("BEGIN IMMEDIATE")
                yield
                self._writer.execute("COMMIT")
            except BaseException as error:
                if self._writer.in_transaction:
                    with suppress(sqlite3.Error):  # it has ended by itself, on an I/O error for one
                        self._writer.execute("ROLLBACK")
                if isinstance(error, sqlite3.DatabaseError):
                    raise translated(error, self._name) from None
                raise

    def _check_open(self) -> None:
        if self._is_closed:
            raise UnavailableError("the store is closed")

    def _identify(self) -> tuple[int, int] | None:
        """Which file it is, whatever its name is; its size is noted by the way."""
        if self.path is None:
            return None
        with suppress(OSError):
            status = os.stat(self.path)
            self.file_bytes = status.st_size
            return status.st_dev, status.st_ino
        return None

    def probe(self, count: int) -> None:
        """Write so many bytes as if they were the data of a block, and delete them again.

        :raises UnavailableError: if that is not possible now.
        """
        with self.transaction():
            self._writer.execute("INSERT OR REPLACE INTO block_data VALUES (?, x'', zeroblob(?))", (_NO_BLOCK, count))
        self._retired[_NO_BLOCK] = None
        self._delete_data([_NO_BLOCK])

    def _check_in_place(self) -> None:
        """Refuse to write to a file that nobody will find again, though the system would let it be written.

        :raises UnavailableError: if it was removed, renamed or replaced.
        """
        if self._identity != self._identify():
            raise UnavailableError(f"{self._name}: the file was moved away while it was open; put it back, or restart")

    def new_block_id(self) -> int:
        """An id that no block has had since the start."""
        self._next_id += 1
        return self._next_id - 1

    def arrivals_of(self, digests: Sequence[bytes]) -> dict[bytes, int]:
        """The arrivals of the events with these given ids, as far as there are any; they may be beyond the horizon."""
        found: dict[bytes, int] = {}
        for start in range(0, len(digests), _MOST_ASKED):
            asked = digests[start : start + _MOST_ASKED]
            places = ",".join("?" * len(asked))
            rows = self._writer.execute(f"SELECT digest, arrival FROM given_ids WHERE digest IN ({places})", asked)
            found.update(row for row in rows if isinstance(row[1], int))
        return found

    def set_state(self, state: State, before: State | None = None) -> None:
        """Move on from the state before, if one is given.

        :raises StoreError: if it was not that: somebody else wrote to the file.
        """
        if before is not None:
            found = self._writer.execute("SELECT last_arrival FROM state").fetchone()
            if found != (before.last_arrival,):
                raise StoreError(f"{self._name}: another program has changed this store while it was open")
        self._writer.execute("INSERT OR REPLACE INTO state VALUES (1, ?, ?, ?, ?)", with_checksum(attrs.astuple(state)))

    def add_to_journal(self, rows: Sequence[Row]) -> int:
        """Write an entry of events, at least one, oldest first; returns how long their text is."""
        seal, index, data = pack(rows)
        first = min(map(itemgetter(1), rows))
        self._writer.execute(
            f"INSERT INTO journal (id, {SEAL_COLUMNS}, run_index, run_data) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (first, *attrs.astuple(seal), index, data),
        )
        return seal.text_bytes

    def add_given_ids(self, arrivals: Mapping[bytes, int]) -> None:
        """Remember ids that clients gave, by digest."""
        self._writer.executemany("INSERT OR REPLACE INTO given_ids VALUES (?, ?)", arrivals.items())

    def forget_given_ids(self, horizon: int, erased: Iterable[object] = ()) -> None:
        """Forget the ids of events that are gone."""
        self._writer.execute("DELETE FROM given_ids WHERE arrival <= ?", (horizon,))
        self._writer.executemany(
            f"DELETE FROM given_ids WHERE arrival = ? AND {_OF_AN_EVENT}", ((arrival,) for arrival in erased)
        )

    def set_position(self, position: Position) -> None:
        """Note what was applied last of the stream."""
        self._writer.execute(
            "INSERT OR REPLACE INTO position VALUES (1, ?, ?, ?)", with_checksum(attrs.astuple(position))
        )

    def add_received(self, arrival: int, at_s: int) -> None:
        """Remember when an arrival came."""
        self._writer.execute("INSERT OR REPLACE INTO received VALUES (?, ?)", (arrival, at_s))

    def forget_received(self, horizon: int) -> None:
        """Forget the marks before the last one that the horizon has reached: that one may speak of visible events."""
        reached = "SELECT max(arrival) FROM received WHERE arrival <= ?"
        self._writer.execute(f"DELETE FROM received WHERE arrival < ({reached})", (horizon,))

    def rewrite_journal(self, gone_until: int, rows: Sequence[Row]) -> None:
        """Write those entries anew that hold an event that is no longer open.

        :param gone_until: the newest arrival of such an event.
        :param rows: all that are still open, oldest first.
        """
        found = self._writer.execute("SELECT min(id) FROM journal WHERE id > ?", (gone_until,)).fetchone()[0]
        left = rows if found is None else [row for row in rows if row[1] < found]
        self._writer.execute("DELETE FROM journal WHERE id <= ?", (gone_until,))
        if left:
            self.add_to_journal(left)

    def replace(self, removed: Iterable[Block], added: Iterable[Packed], damaged: Iterable[Block]) -> None:
        """Replace blocks by others."""
        self._writer.executemany("DELETE FROM blocks WHERE id = ?", ((block.id,) for block in removed))
        self._writer.executemany("UPDATE blocks SET is_damaged = 1 WHERE id = ?", ((block.id,) for block in damaged))
        for packed in added:
            columns = with_checksum(columns_of(packed.block))
            values = ", ".join("?" * len(columns))
            self._writer.execute(f"INSERT INTO blocks ({BLOCK_COLUMNS}, crc32) VALUES ({values})", columns)
            self._writer.execute(
                "INSERT INTO block_data VALUES (?, ?, ?)", (packed.block.id, packed.index, packed.data)
            )

    def delete_blocks_but(self, kept: Iterable[int]) -> None:
        """Delete what was known of all other blocks: the damaged ones, and those whose description is damaged."""
        there = {number for (number,) in self._writer.execute("SELECT id FROM blocks")}
        self._writer.executemany("DELETE FROM blocks WHERE id = ?", ((number,) for number in there.difference(kept)))

    def retire(self, blocks: Iterable[Block]) -> None:
        """Let go of the data of blocks that were replaced, as soon as no answer holds them."""
        self._retired.update((block.id, ref(block)) for block in blocks)

    # --- the file as a whole, outside of transactions

    def retire_orphans(self) -> None:
        """Let go of the data of blocks that an earlier process replaced."""
        with suppress(DamageError), self._read() as reader:
            orphans = reader.execute("SELECT id FROM block_data WHERE id NOT IN (SELECT id FROM blocks)").fetchall()
            for (number,) in orphans:
                self._retired.setdefault(number, None)  # one that an answer may hold is known already

    def delete_retired(self) -> None:
        """Delete the data of the retired blocks that nobody holds; what cannot be deleted now stays until later."""
        unused = [number for number, block in self._retired.items() if block is None or block() is None]
        try:
            self._delete_data(unused)
        except UnavailableError:
            for number in unused:
                with suppress(UnavailableError):  # of this one: it may be damaged, or there is no space
                    self._delete_data([number])

    def _delete_data(self, numbers: Sequence[int]) -> None:
        if not numbers:
            return
        with self.transaction():
            self._writer.executemany("DELETE FROM block_data WHERE id = ?", ((number,) for number in numbers))
        for number in numbers:
            del self._retired[number]

    @property
    def used_bytes(self) -> int:
        """What the store takes in its file, without free pages and without the write-ahead log.

        :raises UnavailableError: if that cannot be read now.
        """
        try:
            with self._read() as reader:
                names = ("page_count", "freelist_count", "page_size")
                pages, free, size = (reader.execute(f"PRAGMA {name}").fetchone()[0] for name in names)
        except DamageError as error:
            raise UnavailableError(f"{self._name}: {error}") from None
        return int((pages - free) * size)

    def checkpoint(self, *, always: bool = False) -> None:
        """Move the write-ahead log into the file and empty it, if it has grown.

        Always to its end: a log that was copied and not emptied could, cut short, undo part of what was copied. While
        another process reads (a backup), it is left for the next time.

        :param always: even if it has not grown.
        :raises UnavailableError: if it is not possible now; with ``always``, also because another process reads.
        """
        if self.path is None:
            return
        with self._writing, self._reading:
            self._check_open()
            try:
                if not always and os.path.getsize(f"{self.path}-wal") < _CHECKPOINT_BYTES:
                    return
                self._writer.execute("PRAGMA busy_timeout = 0")
                is_busy = self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
            except sqlite3.DatabaseError as error:
                raise translated(error, self._name) from None
            except OSError as error:  # of the size
                raise UnavailableError(f"{self._name}: {error.strerror}") from None
            finally:
                self._writer.execute(f"PRAGMA busy_timeout = {round(BUSY_TIMEOUT_S * 1000)}")
        if always and is_busy:
            raise UnavailableError(f"{self._name}: another program is reading it")

    def vacuum(self) -> None:
        """Rewrite the file, so that nothing of what was deleted is left in it.

        :raises UnavailableError: if it is not possible now.
        """
        with self._writing, self._reading:
            self._check_open()
            try:
                self._writer.execute("VACUUM")
            except sqlite3.DatabaseError as error:
                raise translated(error, self._name) from None
        self.checkpoint(always=True)

    def integrity_problems(self) -> list[str]:
        """What SQLite itself finds wrong with its file."""
        try:
            found = [row[0] for row in self._reader.execute("PRAGMA integrity_check")]
        except sqlite3.DatabaseError as error:
            return [f"SQLite cannot check it: {error}"]
        return [] if found == ["ok"] else [f"SQLite: {line}" for text in found for line in text.splitlines()]

    def copy_to(self, destination: Path) -> None:
        """Copy the store, as it is at this moment, into a new file."""
        try:
            with closing(connect(str(destination))) as copy:
                self._reader.backup(copy)
        except sqlite3.DatabaseError as error:
            raise translated(error, str(destination)) from None
