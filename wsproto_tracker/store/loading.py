"""What a store's file holds besides the content of its blocks, and how it is written down so that damage shows."""

import json
import sqlite3
import zlib
from collections.abc import Sequence
from typing import Any

import attrs
import msgspec

from wsproto_tracker.store.block import Block, State
from wsproto_tracker.store.place import Position
from wsproto_tracker.store.run import DamageError, Row, Seal, read_rows

__all__ = ["BLOCK_COLUMNS", "SEAL_COLUMNS", "Loaded", "columns_of", "load", "with_checksum"]

SEAL_COLUMNS = "count, text_bytes, text_crc32, data_crc32, index_crc32"
BLOCK_COLUMNS = (
    "id, oldest_instant, oldest_arrival, newest_instant, newest_arrival, first_arrival, last_arrival, "
    f"apps, stored_bytes, {SEAL_COLUMNS}"
)


_MOST_IN_AN_ENTRY = 1_000_000  # so that a damaged count does not take all arrivals there are
_MOST_LOST = 1_000_000  # arrivals at the end; so that one damaged number does not make all events look old
_FAR = 2**62  # leaves arrivals to give


@attrs.frozen
class Loaded:
    """What a store's file holds, without the content of its blocks.

    :ivar is_new: whether it holds nothing yet, not even a state.
    :ivar blocks: those that can be used, oldest first.
    :ivar rows: the events of the journal.
    :ivar is_journal_in_order: whether its entries have the ids that they should have; early files have others.
    :ivar received: arrivals and the second at which each came.
    :ivar position: where it stands in its stream, if it is of a node of a cluster.
    :ivar damaged: ids of blocks that were found damaged before.
    :ivar problems: a sentence for everything that was found damaged now.
    """

    state: State
    is_new: bool
    blocks: list[Block]
    rows: list[Row]
    is_journal_in_order: bool
    received: list[tuple[int, int]]
    position: Position | None
    damaged: list[int]
    problems: list[str]


def load(reader: sqlite3.Connection) -> Loaded:
    """Read it all, and leave out what is not as it was written."""
    problems: list[str] = []
    received = reader.execute(
        "SELECT arrival, at_s FROM received WHERE typeof(at_s) = 'integer' ORDER BY arrival"
    ).fetchall()
    blocks, damaged = [], []
    for *columns, checksum, is_damaged in reader.execute(
        f"SELECT {BLOCK_COLUMNS}, crc32, is_damaged FROM blocks ORDER BY oldest_instant, oldest_arrival"
    ):
        if is_damaged:
            damaged.append(columns[0])
        elif checksum != _checksum(columns):
            problems.append(f"block {columns[0]}: the checksum of its description does not match")
        else:
            blocks.append(_block(columns))
    rows: list[Row] = []
    is_in_order = True
    for number, *seal, index, data in reader.execute(
        f"SELECT id, {SEAL_COLUMNS}, run_index, run_data FROM journal ORDER BY id"
    ):
        try:
            found = read_rows(Seal(*seal), index, data)
            is_in_order = is_in_order and number == min(arrival for _, arrival, _ in found)
            rows += found
        except DamageError as error:
            problems.append(f"journal entry {number}: {error}")
    columns = reader.execute("SELECT last_arrival, batch_begins, horizon, crc32 FROM state").fetchone()
    is_new = columns is None and not (blocks or damaged or rows or problems)
    if columns is not None and columns == with_checksum(columns[:-1]):
        state = State(*columns[:-1])
    elif is_new:
        state = State()
    else:
        problems.append("the checksum of its state does not match; what is gone is reckoned anew")
        sound = [*(block.last_arrival for block in blocks), *(arrival for _, arrival, _ in rows)]
        last = max([_last_arrival(reader, max(sound) + _MOST_LOST if sound else _FAR), *sound])
        state = State(last, last + 1)
    received = [mark for mark in received if mark[0] <= state.last_arrival]
    position = None
    columns = reader.execute("SELECT stream, sequence, crc32 FROM position").fetchone()
    if columns is not None and columns == with_checksum(columns[:-1]):
        position = Position(*columns[:-1])
    elif columns is not None:
        problems.append("the checksum of its position in the stream does not match")
    return Loaded(state, is_new, blocks, rows, is_in_order, received, position, damaged, problems)


def _last_arrival(reader: sqlite3.Connection, most: int) -> int:
    """The newest arrival up to the most that anything speaks of, so that none is given twice."""
    columns = (("blocks", "last_arrival"), ("given_ids", "arrival"), ("received", "arrival"), ("journal", "id"))
    statements = [
        f"SELECT max({name}) FROM {table} WHERE typeof({name}) = 'integer' AND {name} <= ?" for table, name in columns
    ]
    held = reader.execute("SELECT max(count) FROM journal WHERE typeof(count) = 'integer'").fetchone()[0] or 0
    newest = max(reader.execute(statement, (most,)).fetchone()[0] or 0 for statement in statements)
    return newest + min(held, _MOST_IN_AN_ENTRY)


def columns_of(block: Block) -> tuple[Any, ...]:
    """A block as ``BLOCK_COLUMNS``."""
    apps = None if block.apps is None else json.dumps(block.apps).encode()  # lone surrogates and all
    arrivals = (block.first_arrival, block.last_arrival)
    return (block.id, *block.oldest, *block.newest, *arrivals, apps, block.stored_bytes, *attrs.astuple(block.seal))


def _block(columns: Sequence[Any]) -> Block:
    number, *keys, first, last, apps, stored_bytes = columns[:9]
    counted = None if apps is None else json.loads(apps)
    return Block(number, (*keys[:2],), (*keys[2:],), first, last, counted, stored_bytes, Seal(*columns[9:]))


def with_checksum(columns: Sequence[Any]) -> tuple[Any, ...]:
    """The columns of a row, with the one that they are checked against when they are read back."""
    return (*columns, _checksum(columns))


def _checksum(columns: Sequence[Any]) -> int:
    return zlib.crc32(msgspec.msgpack.encode(columns))
