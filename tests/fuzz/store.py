"""Targets of the store: runs that are read back, and a file that anything may have happened to."""

import json
import re
import sqlite3
import zlib
from contextlib import closing, suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import attrs

from tests.fuzz.cutter import Cutter
from tests.store_contract import at
from wsproto_tracker.errors import StoreError
from wsproto_tracker.protocol.query import Query
from wsproto_tracker.store.block import Shape, State, cut, pack_block
from wsproto_tracker.store.damage import read_block
from wsproto_tracker.store.database import Database
from wsproto_tracker.store.inspection import summarize, verify
from wsproto_tracker.store.reading import Reader
from wsproto_tracker.store.run import (
    DamageError,
    Row,
    Seal,
    check_data,
    check_index,
    crc32,
    pack,
    read_index,
    read_rows,
)
from wsproto_tracker.store.timeline import Capacity, Timeline

__all__ = ["BLOCK_WORDS", "FILE_WORDS", "block", "file"]

BLOCK_WORDS = (
    *(b"\0", b"\1", b"\2", b"\xff", b"\0" * 8, b"\xff" * 8, b"\x7f" + b"\xff" * 7, b"\x80" + b"\0" * 7, b"{}", b","),
    *(b"\x93\x90\x90\x90", b"\x93\x91\x01\x91\x01\x91\x02", b"\x93\xc0\xc0\xc0", b"\xdd\xff\xff\xff\xff", b"\xcb"),
    *(b"\0\0\0\xff\xff", b"\x03\0", b"\x01", b"\x78\x9c"),
)


# Runs


def block(data: bytes) -> None:
    """Some rows, which come back as they were; then changes to what is kept of them, which are noticed; then an index
    and data of which the checksums are right, which are read or refused.
    """
    cutter = Cutter(data)
    rows = [
        (cutter.number(8, signed=True), cutter.number(8), cutter.piece(cutter.number()))
        for _ in range(1 + cutter.number() % 8)
    ]
    seal, index, packed = pack(rows)
    assert read_rows(seal, index, packed) == rows
    assert [row for piece in cut(rows, Shape(block_events=3, block_bytes=100)) for row in piece] == rows

    changed_index, changed_data = bytearray(index), bytearray(packed)
    for _ in range(cutter.number() % 4):
        changed = changed_index if cutter.number() % 2 else changed_data
        start = cutter.number(2) % (len(changed) + 1)
        changed[start : start + cutter.number() % 4] = cutter.piece(cutter.number() % 4)
    _check_changed(rows, seal, bytes(changed_index), bytes(changed_data))

    forged_index = zlib.compress(cutter.piece(cutter.number())) if cutter.number() % 2 else bytes(changed_index)
    forged_data = cutter.rest() or bytes(changed_data)
    _check_forged(seal, forged_index, forged_data)


def _check_changed(rows: list[Row], seal: Seal, index: bytes, data: bytes) -> None:
    for part, check, original in ((index, check_index, pack(rows)[1]), (data, check_data, pack(rows)[2])):
        with suppress(DamageError):
            check(seal, part)
            assert part == original
    with suppress(DamageError):
        assert read_rows(seal, index, data) == rows


def _check_forged(seal: Seal, index: bytes, data: bytes) -> None:
    text = b""
    with suppress(zlib.error):
        text = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, 1 << 20)
    fitting = attrs.evolve(
        seal, text_bytes=len(text), text_crc32=crc32(text), data_crc32=crc32(data), index_crc32=crc32(index)
    )
    with suppress(DamageError):
        lengths = read_index(fitting, index).lengths
        assert len(lengths) == fitting.count
        assert len(read_rows(fitting, index, data)) == fitting.count


# Files


_NOW_S = 1_764_000_000
_SHAPE = Shape(block_events=3, open_events=2)
_COLUMNS = {
    "state": ("id", "last_arrival", "batch_begins", "horizon", "crc32"),
    "journal": ("id", "count", "text_bytes", "text_crc32", "data_crc32", "index_crc32", "run_index", "run_data"),
    "blocks": (
        *(
            "id",
            "oldest_instant",
            "oldest_arrival",
            "newest_instant",
            "newest_arrival",
            "first_arrival",
            "last_arrival",
        ),
        *(
            "apps",
            "stored_bytes",
            "count",
            "text_bytes",
            "text_crc32",
            "data_crc32",
            "index_crc32",
            "crc32",
            "is_damaged",
        ),
    ),
    "block_data": ("id", "run_index", "run_data"),
    "given_ids": ("digest", "arrival"),
    "received": ("arrival", "at_s"),
}
_EDIT = re.compile(rb"(\w+) (\d{1,3}) (\w+) ([^\n]*)")
_OVERWRITE = re.compile(rb"@(\d{1,6}) ([^\n]*)")
FILE_WORDS = (
    *(name.encode() for table, columns in _COLUMNS.items() for name in (table, *columns)),
    *(
        b"\nstate 0 last_arrival ",
        b"\njournal 0 ",
        b"\nblocks 0 ",
        b"\nblock_data 0 run_data ",
        b"\ngiven_ids 0 arrival ",
    ),
    *(b"\nreceived 0 arrival ", b"\n@0 ", b"\n@100 ", b"\n", b" ", b"0", b"1", b"-1", b"9223372036854775807", b"null"),
    *(
        b"-9223372036854775808",
        b"4611686018427387904",
        b"1.5",
        b"1e300",
        b'"x"',
        b'"\\u0000"',
        b"true",
        b"[]",
        b"{",
        b"@",
    ),
)


def file(data: bytes) -> None:
    """Edits to a store's file, one on a line: ``TABLE ROW COLUMN VALUE``, with the value as JSON or any bytes, or
    ``@PLACE BYTES`` to write over what is there. It is inspected, served and written to as far as it is sound, or
    refused; all that is read was stored, each event once.
    """
    with TemporaryDirectory() as directory:
        path = Path(directory, "tracker.db")
        path.write_bytes(_edited(_sound_file(), data))
        with suppress(StoreError), closing(Database(path, read_only=True)) as database:
            _inspect(database)
        with suppress(StoreError), closing(Database(path, "normal")) as database:
            _serve(database)


def _inspect(database: Database) -> None:
    problems = verify(database)
    summary = summarize(database)
    loaded = database.load()
    found = list(loaded.rows)
    for part in loaded.blocks:
        with suppress(DamageError):
            found += read_block(database, part)
    _check_found([text for _, _, text in found], {text for _, _, text in _rows()})
    assert problems or (summary.events + summary.gone, summary.damages) == (len(found), 0)


def _serve(database: Database) -> None:
    timeline = Timeline(database, Capacity(max_age_s=3600), _SHAPE, now_s=lambda: _NOW_S)
    timeline.expire()
    new = at(99, id="new")
    assert timeline.commit([[new]]) == [([new], 0)]
    timeline.seal()
    reader = Reader(database, timeline.snapshot, Query())
    segments = [reader.count(segment) for segment in reader.segments()]
    texts = b"\n".join(
        chunk.text.replace(b"}},{", b"}}\n{")
        for segment in segments
        for chunk in reader.chunks(segment, 0, segment.count)
    )
    found = texts.split(b"\n")
    _check_found(found, {new.text, *(text for _, _, text in _rows())})
    assert new.text in found
    assert sum(segment.count for segment in segments) == len(found)


def _check_found(texts: list[bytes], stored: set[bytes]) -> None:
    assert len(texts) == len(set(texts))
    assert stored.issuperset(texts)


@cache
def _rows() -> list[Row]:
    """Rows of events as they are accepted."""
    events = [at(second, id=f"e{second}" if second % 2 else "") for second in range(9)]
    return [(event.instant, arrival, event.text) for arrival, event in enumerate(events, 1)]


@cache
def _sound_file() -> bytes:
    """A file with two blocks, two entries in the journal, and some of everything else."""
    rows = _rows()
    with TemporaryDirectory() as directory:
        path = Path(directory, "tracker.db")
        with closing(Database(path, "normal")) as database:
            with database.transaction():
                database.set_state(State(last_arrival=len(rows), batch_begins=8))
                packed = [pack_block(piece, database.new_block_id) for piece in (rows[:3], rows[3:5])]
                database.replace([], packed, [])
                database.add_to_journal(rows[5:7])
                database.add_to_journal(rows[7:])
                database.add_given_ids({bytes([arrival]) * 8: arrival for _, arrival, _ in rows})
                database.add_received(1, _NOW_S - 120)
                database.add_received(6, _NOW_S - 60)
            database.checkpoint(always=True)
        content = bytearray(path.read_bytes())
    content[18:20] = b"\1\1"  # without a write-ahead log, which SQLite cannot have in memory
    return bytes(content)


def _edited(content: bytes, edits: bytes) -> bytes:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.deserialize(content)
        for table, row, column, value in _EDIT.findall(edits):
            _edit(connection, table.decode(), int(row), column.decode(), _value(value))
        changed = bytearray(connection.serialize())
    for place, written in _OVERWRITE.findall(edits):
        changed[int(place) : int(place) + len(written)] = written
    return bytes(changed)


def _edit(connection: sqlite3.Connection, table: str, row: int, column: str, value: object) -> None:
    if column not in _COLUMNS.get(table, ()):
        return
    key = _COLUMNS[table][0]
    where = f"{key} IN (SELECT {key} FROM {table} ORDER BY {key} LIMIT 1 OFFSET {row})"
    with suppress(sqlite3.IntegrityError):
        connection.execute(f"UPDATE {table} SET {column} = ? WHERE {where}", (value,))


def _value(text: bytes) -> object:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    is_possible = value is None or isinstance(value, str | float) or (type(value) is int and abs(value) < 2**63)
    return value if is_possible else text
