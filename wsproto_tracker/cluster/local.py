"""The node's own file: whether it goes with the stream, and what is done where it does not."""

import os
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import attrs

from wsproto_tracker.cluster.errors import UnfitError
from wsproto_tracker.cluster.link import Opened
from wsproto_tracker.errors import DamagedFileError, UnavailableError
from wsproto_tracker.store.database import Database
from wsproto_tracker.store.place import Position
from wsproto_tracker.store.run import DamageError, check_data, check_index

__all__ = ["Found", "check_position", "look_at", "set_aside"]

_COPY = (
    "stop the tracker of another node, or have wsproto-tracker store backup copy its file while it runs, and put the "
    "copy in this place: it goes on from where that node stood"
)


@attrs.frozen
class Found:
    """What was found in the file.

    :ivar position: where it stands in its stream.
    :ivar holds_others: whether it holds events that came from no stream.
    :ivar damage: what is wrong with it; empty where it is sound.
    """

    position: Position | None = None
    holds_others: bool = False
    damage: str = ""

    @property
    def why_not_make(self) -> str:
        """Why the stream is not made where there is none; empty where it may be."""
        if self.position is None:
            return ""
        return (
            "there is no such stream any more, and the file of this node was built from it; restore the stream, or "
            "name another file with --local, to begin a new one"
        )


def look_at(path: Path) -> Found:
    """Look at the file, all of it, before it is used; one that is not there holds nothing.

    :raises StoreError: if it cannot be opened, is in use, not ours, or newer than this release.
    """
    if not path.exists():
        return Found()
    try:
        with closing(Database(path)) as database:
            loaded = database.load()
            damage = [*loaded.problems, *(f"block {number} was found damaged before" for number in loaded.damaged)]
            for block in loaded.blocks:
                try:
                    index, data = database.read(block)
                    check_index(block.seal, index)
                    check_data(block.seal, data)
                except (DamageError, UnavailableError) as error:
                    damage.append(f"block {block.id}: {error}")
    except DamagedFileError as error:
        return Found(damage=str(error))
    except DamageError as error:
        return Found(damage=f"{path}: {error}")
    holds_others = loaded.position is None and loaded.state.last_arrival > 0
    return Found(loaded.position, holds_others, f"{path}: {'; '.join(damage)}" if damage else "")


def check_position(path: Path, found: Found, opened: Opened) -> None:
    """See that the file can go on with this stream.

    :raises UnfitError: if it cannot; the message says what can be done.
    """
    stream = opened.stream
    if found.holds_others and not found.damage:
        raise UnfitError(
            f"{path}: this file holds events that did not come from the stream {stream}; name another file with "
            "--local, and to have its events in the cluster as well, export them from it and import them there"
        )
    if found.position is not None and found.position.stream != stream:
        raise UnfitError(
            f"{path}: this file was built from the stream {found.position.stream}, and the stream is now {stream}; "
            "name another file with --local, to be built from this one"
        )
    if found.position is not None and not found.damage and found.position.sequence > opened.last_sequence:
        raise UnfitError(
            f"{path}: it stands at message {found.position.sequence}, and the stream ends at {opened.last_sequence}: "
            "the stream has lost what was acked, or an older one was restored; name another file with --local, to be "
            "built from the stream; what only this file has is still in it"
        )
    if found.position is not None and not found.damage and found.position.sequence < opened.first_sequence - 1:
        raise UnfitError(
            f"{path}: it stands at message {found.position.sequence}, and the stream begins at "
            f"{opened.first_sequence}, so that it would lack what is between; {_COPY}; or name another file with "
            "--local: it is built from what the stream still holds"
        )
    if found.damage and opened.first_sequence > 1:
        raise UnfitError(
            f"{found.damage}; it cannot be built anew from the stream, whose first messages are gone; {_COPY}; or "
            "name another file with --local: it is built from what the stream still holds"
        )


def set_aside(path: Path) -> Path:
    """Give a damaged file another name, so that one can be built in its place; returns that name."""
    aside = path.with_name(f"{path.name}.damaged-{datetime.now(UTC):%Y%m%dT%H%M%S%f}")
    for suffix in ("-wal", "-shm"):
        log = path.with_name(path.name + suffix)
        if log.exists():
            os.replace(log, aside.with_name(aside.name + suffix))
    os.replace(path, aside)
    return aside
