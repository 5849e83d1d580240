"""Reading blocks whose data may not be what was written: such a block is marked and left out, and the log told once."""

import logging
from collections.abc import Generator
from contextlib import contextmanager

from wsproto_tracker.protocol.timestamps import format_instant
from wsproto_tracker.store.block import Block
from wsproto_tracker.store.database import Database
from wsproto_tracker.store.run import DamageError, Row, read_rows

__all__ = ["noting_damage", "read_block"]

_LOG = logging.getLogger("wsproto_tracker.store")


def read_block(database: Database, block: Block) -> list[Row]:
    """The rows of a block, oldest first.

    :raises DamageError: if they are not what was written; the block is marked, and a line logged.
    """
    with noting_damage(block):
        return read_rows(block.seal, *database.read(block))


@contextmanager
def noting_damage(block: Block) -> Generator[None, None, None]:
    """Mark a block that turns out to be damaged, so that nothing of it is used any more, and say so once."""
    try:
        yield
    except DamageError as error:
        if not block.is_damaged:
            first, last = (format_instant(instant) for instant, _ in (block.oldest, block.newest))
            _LOG.error(
                "block %d is damaged (%s); its %d events from %s to %s are left out",
                block.id,
                error,
                block.seal.count,
                first,
                last,
            )
        block.is_damaged = True
        raise
