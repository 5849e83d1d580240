"""The schema of a store's file, its versions, and the ways from one to the next.

A file is ours by its ``application_id``; ``user_version`` is the version of its schema.
"""

import sqlite3
from contextlib import closing

from wsproto_tracker.errors import StoreError

__all__ = ["APPLICATION_ID", "MIGRATIONS", "check", "check_tables", "migrate", "version_of"]

APPLICATION_ID = 0x77735472  # "wsTr"

_FIRST = """
CREATE TABLE state (              -- one row, once it is opened
    id INTEGER PRIMARY KEY CHECK (id = 1),
    last_arrival INTEGER NOT NULL,    -- the number that the newest arrival got
    batch_begins INTEGER NOT NULL,    -- the first arrival of the batch that came last
    horizon INTEGER NOT NULL,         -- events whose arrival is not above it are gone
    crc32 INTEGER NOT NULL            -- of the columns before
);
CREATE TABLE journal (            -- batches that were accepted and are in no block yet
    id INTEGER PRIMARY KEY,
    count INTEGER NOT NULL,
    text_bytes INTEGER NOT NULL,
    text_crc32 INTEGER NOT NULL,
    data_crc32 INTEGER NOT NULL,
    index_crc32 INTEGER NOT NULL,
    run_index BLOB NOT NULL,
    run_data BLOB NOT NULL
);
CREATE TABLE blocks (             -- what is known of each block without reading it
    id INTEGER PRIMARY KEY,
    oldest_instant INTEGER NOT NULL,
    oldest_arrival INTEGER NOT NULL,
    newest_instant INTEGER NOT NULL,
    newest_arrival INTEGER NOT NULL,
    first_arrival INTEGER NOT NULL,
    last_arrival INTEGER NOT NULL,
    apps BLOB,                        -- its events counted by app, as JSON; NULL where there are too many apps
    stored_bytes INTEGER NOT NULL,
    count INTEGER NOT NULL,
    text_bytes INTEGER NOT NULL,
    text_crc32 INTEGER NOT NULL,
    data_crc32 INTEGER NOT NULL,
    index_crc32 INTEGER NOT NULL,
    crc32 INTEGER NOT NULL,           -- of the columns before
    is_damaged INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE block_data (         -- their content; a row that is in blocks no more waits for its last reader
    id INTEGER PRIMARY KEY,
    run_index BLOB NOT NULL,
    run_data BLOB NOT NULL
);
CREATE TABLE given_ids (          -- ids that clients gave, by a digest of app and id
    digest BLOB PRIMARY KEY,
    arrival INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX given_ids_by_arrival ON given_ids (arrival);
CREATE TABLE received (           -- now and then: the first arrival at or after a moment, for --max-age
    arrival INTEGER PRIMARY KEY,
    at_s INTEGER NOT NULL             -- seconds since 1970
);
"""

_POSITION = """
CREATE TABLE position (           -- where the node of a cluster stands in its stream; one row, or none
    id INTEGER PRIMARY KEY CHECK (id = 1),
    stream TEXT NOT NULL,
    sequence INTEGER NOT NULL,        -- of the message that was applied last
    crc32 INTEGER NOT NULL            -- of the columns before
);
"""

MIGRATIONS: tuple[str, ...] = (_FIRST, _POSITION)
"""The script at place n leads from version n to version n + 1."""


def check(connection: sqlite3.Connection, name: str) -> None:
    """Refuse a file that is not ours, or newer than we are.

    :raises StoreError: saying which.
    """
    application_id = connection.execute("PRAGMA application_id").fetchone()[0]
    has_tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] > 0
    version = version_of(connection)
    if application_id != APPLICATION_ID and (application_id != 0 or has_tables or version != 0):
        raise StoreError(f"{name}: this SQLite file is not a store of wsproto-tracker; name another file")
    if version > len(MIGRATIONS):
        raise StoreError(
            f"{name}: this store has schema version {version}, and this release knows versions up to "
            f"{len(MIGRATIONS)}; use the release that wrote it, or a newer one"
        )


def version_of(connection: sqlite3.Connection) -> int:
    """The version of a file's schema; 0 for one without."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def check_tables(connection: sqlite3.Connection, name: str) -> None:
    """Refuse a file whose tables are not those that the migrations make; there may be others.

    :raises StoreError: if they are not.
    """
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as fresh:
        migrate(fresh)
        if not _tables(fresh) <= _tables(connection):
            raise StoreError(f"{name}: its tables are not those of schema version {len(MIGRATIONS)}; restore a backup")


def _tables(connection: sqlite3.Connection) -> set[tuple[str, str]]:
    return set(connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"))


def migrate(connection: sqlite3.Connection) -> None:
    """Bring a file to the newest version, each step in a transaction of its own."""
    for version in range(version_of(connection), len(MIGRATIONS)):
        connection.executescript(
            f"BEGIN IMMEDIATE;\n{MIGRATIONS[version]}\n"
            f"PRAGMA application_id = {APPLICATION_ID};\nPRAGMA user_version = {version + 1};\nCOMMIT;"
        )
