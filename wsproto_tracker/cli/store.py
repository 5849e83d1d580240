"""``wsproto-tracker store``: look at a store's file, copy it, and keep it in order."""

import argparse
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from wsproto_tracker.cluster import needing_nats
from wsproto_tracker.errors import ConfigurationError, StoreError
from wsproto_tracker.protocol.timestamps import format_instant
from wsproto_tracker.settings import Settings, load_settings
from wsproto_tracker.store import Capacity, open_timeline
from wsproto_tracker.store.database import Database
from wsproto_tracker.store.inspection import summarize, verify

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

__all__ = ["add_to"]

_EPILOG = """\
info, verify and backup work while the server runs; compact and erase need it to be stopped.

examples:
  wsproto-tracker store info
  wsproto-tracker store verify --store sqlite:/var/lib/tracker.db
  wsproto-tracker store backup tracker-2026-11-24.db
  wsproto-tracker store erase --user ann@example.org
"""

_NO_LIMIT = Capacity(max_events=sys.maxsize)  # what the server keeps is not for these commands to change
_DONE = 0
_FAILED = 1


def add_to(commands: "Commands") -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "store",
        help="look at a store, copy it, keep it in order",
        description="Look at a store's file, copy it, and keep it in order.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    _add(actions, "info", _info, "say what is in it")
    _add(actions, "verify", _verify, "check everything in it; exit status 1 if something is damaged")
    _add(actions, "compact", _compact, "make the file as small as it can be")
    backup = _add(actions, "backup", _backup, "copy it, as it is at this moment, into a new file, and verify that")
    backup.add_argument("destination", metavar="DEST", help="the new file")
    erase = _add(actions, "erase", _erase, "erase the events of a user or an app for good", "user", "app")
    erase.add_argument("--user", metavar="ID", help="the userId")
    erase.add_argument("--app", metavar="ID", help="the appId; with --user, only that user's events in it")


def _add(
    actions: "Commands", name: str, run: Callable[[argparse.Namespace, Path], int], help_: str, *more: str
) -> argparse.ArgumentParser:
    parser = actions.add_parser(name, help=help_, description=f"{help_.capitalize()}.", allow_abbrev=False)
    parser.add_argument("--store", metavar="URL", help=f"the store (default: {Settings().store})")
    parser.add_argument("--config", type=Path, metavar="FILE", help="TOML file that names the store")
    parser.set_defaults(
        run=lambda parsed: run(parsed, _path(parsed)), parser=parser, options=["store", "config", *more]
    )
    return parser


def _settings(parsed: argparse.Namespace) -> Settings:
    given = {} if parsed.store is None else {"store": parsed.store}
    return load_settings(given, file=parsed.config)


def _path(parsed: argparse.Namespace) -> Path:
    """The file of the store that flags, environment or file name."""
    path = _settings(parsed).path
    if path is None:
        raise ConfigurationError("--store: expected a file, such as sqlite:tracker.db; a store in memory has none")
    return path


def _info(_parsed: argparse.Namespace, path: Path) -> int:
    database = Database(path, read_only=True)
    try:
        summary = summarize(database)
    finally:
        database.close()
    print(f"store            {path}")
    print(f"events           {summary.events:,}")
    if summary.oldest is not None and summary.newest is not None:
        print(f"from             {format_instant(summary.oldest)}")
        print(f"to               {format_instant(summary.newest)}")
    print(f"arrived so far   {summary.last_arrival:,}")
    print(f"blocks           {summary.blocks:,}, and {summary.open_events:,} events in the journal")
    log = path.with_name(f"{path.name}-wal")
    on_disk = path.stat().st_size + (log.stat().st_size if log.exists() else 0)
    print(f"size             {_bytes(summary.used_bytes)} for {_bytes(summary.text_bytes)} of events")
    print(f"on disk          {_bytes(on_disk)}, what is free in it included: the server uses that first")
    if summary.gone:
        print(f"gone             {summary.gone:,} events beyond the capacity, which leave the file bit by bit")
    if summary.damages:
        print(f"DAMAGED          {summary.damages:,} parts of it; run: wsproto-tracker store verify")
    return _DONE


def _verify(_parsed: argparse.Namespace, path: Path) -> int:
    return _report(path)


def _report(path: Path) -> int:
    """Verify a store, and tell of it."""
    database = Database(path, read_only=True)
    try:
        problems = verify(database)
    finally:
        database.close()
    for problem in problems:
        print(problem)
    if not problems:
        print(f"{path}: sound")
        return _DONE
    print(f"{path}: problems found: {len(problems)}; restore a backup, or go on without what is damaged")
    return _FAILED


def _compact(_parsed: argparse.Namespace, path: Path) -> int:
    before = _must_exist(path).stat().st_size

    async def compact() -> None:
        async with open_timeline(path, _NO_LIMIT, is_node=True) as store:
            await store.compact()

    trio.run(compact)
    print(f"{path}: {_bytes(before)} before, {_bytes(path.stat().st_size)} now")
    return _DONE


def _backup(parsed: argparse.Namespace, path: Path) -> int:
    destination = Path(parsed.destination.removeprefix("sqlite:")).expanduser()
    if not destination.name or parsed.destination == "memory:":
        raise ConfigurationError("DEST: expected a file, such as copy.db")
    if os.path.lexists(destination):
        raise StoreError(f"{destination}: exists already; name a file that does not")
    if not destination.parent.is_dir():
        raise StoreError(f"{destination}: there is no directory {destination.parent}")
    partial = destination.with_name(destination.name + ".partial")
    database = Database(path, read_only=True)
    try:
        database.copy_to(partial)
        os.replace(partial, destination)
    finally:
        database.close()
        partial.unlink(missing_ok=True)
    print(f"{destination}: {_bytes(destination.stat().st_size)}, a copy of {path}")
    return _report(destination)


def _erase(parsed: argparse.Namespace, path: Path) -> int:
    if not parsed.user and not parsed.app:
        parsed.parser.error("expected --user ID, --app ID, or both")
    names = [f"{name} {value}" for name, value in (("user", parsed.user), ("app", parsed.app)) if value is not None]
    if (url := _settings(parsed).cluster) is not None:
        with needing_nats():
            from wsproto_tracker.cluster.erasing import erase_everywhere
        trio.run(partial(erase_everywhere, url, user=parsed.user, app=parsed.app))
        print(f"{url}: every node erases the events of {' in '.join(names)} that were acked before")
        return _DONE
    erased, unread = trio.run(_erase_from, _must_exist(path), parsed.user, parsed.app)
    print(f"{path}: erased {erased:,} events of {' in '.join(names)}")
    if unread:
        print(f"{path}: what is damaged could not be looked into; to let go of it: wsproto-tracker store compact")
    return _FAILED if unread else _DONE


async def _erase_from(path: Path, user: str | None, app: str | None) -> tuple[int, int]:
    async with open_timeline(path, _NO_LIMIT) as store:
        return await store.erase(user=user, app=app), store.damages


def _must_exist(path: Path) -> Path:
    if not path.exists():
        raise StoreError(f"{path}: there is no such file")
    return path


def _bytes(number: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if number < 1000:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.3g} GB"
