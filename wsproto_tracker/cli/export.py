"""``wsproto-tracker export``: events into a file of JSON lines, oldest first.

A tracker answers newest first, and of equal timestamps the newest arrival first (QUERY-5, QUERY-6). The file has them
the other way round, so that sending its lines one after the other makes a tracker that gives the same answers.
"""

import argparse
import gzip
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, aclosing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import trio
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from wsproto_tracker.cli.filters import FILTERS, WINDOW, Wanted, add_filters, add_window, offered, reading
from wsproto_tracker.cli.moments import LAST_INSTANT
from wsproto_tracker.cli.output import FileError, Lines, harmless, is_terminal, json_line, notice
from wsproto_tracker.cli.reversal import Reversal
from wsproto_tracker.cli.target import add_target
from wsproto_tracker.client import Client
from wsproto_tracker.errors import ConfigurationError, ErrorCode, QueryError
from wsproto_tracker.protocol.timestamps import parse_timestamp

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

__all__ = ["add_to"]

_EPILOG = """\
The file has one event a line, the oldest first, so that import gives a tracker with the same answers.
It is FILE.part until it is whole; a name that ends in .gz is compressed; - is stdout.

examples:
  wsproto-tracker export events.jsonl.gz
  wsproto-tracker export errors.jsonl --level error --since 7d --force
  wsproto-tracker export - --app shop | jq -r .payload.message
"""

_STDOUT = "-"
_DONE = 0


def add_to(commands: "Commands") -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "export",
        help="write events into a file of JSON lines",
        description="Write the events of a tracker into a file of JSON lines, oldest first.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("file", metavar="FILE", help="the new file: events.jsonl, events.jsonl.gz, or - for stdout")
    parser.add_argument("--force", action="store_true", help="take the place of a file that is there")
    add_window(parser)
    add_filters(parser)
    add_target(parser, *WINDOW, *FILTERS, "force")
    parser.set_defaults(run=run, interrupted="interrupted; nothing was exported")


def run(parsed: argparse.Namespace) -> int:
    """Run the command; returns its exit status.

    :raises ConfigurationError: for a wrong option.
    :raises ClientError: where there is no server, or no answer.
    :raises FileError: where the file cannot be written.
    """
    wanted = Wanted.of(parsed)
    file = None if parsed.file == _STDOUT else _checked(Path(parsed.file).expanduser(), is_forced=parsed.force)
    lines = Lines()
    with _told(file), ExitStack() as stack:
        progress = stack.enter_context(_progress(is_shown=file is not None or not is_terminal()))
        reversal = stack.enter_context(Reversal(None if file is None else file.parent))
        trio.run(_read, parsed, wanted, reversal, progress)
        task = progress.add_task("writing", total=reversal.count)
        write = lines.write if file is None else stack.enter_context(_replacing(file))
        for line in reversal.lines():
            write(line)
            progress.advance(task)
        lines.flush()
    _tell(file, reversal.count)
    return _DONE


def _checked(file: Path, *, is_forced: bool) -> Path:
    """The file, where it may be written.

    :raises ConfigurationError: where the name is none.
    :raises FileError: where it is there already, or its directory is not.
    """
    if not file.name:
        raise ConfigurationError("FILE: expected a file, such as events.jsonl.gz, or - for stdout")
    if not file.parent.is_dir():
        raise FileError(f"{file}: there is no directory {file.parent}")
    if file.is_dir():
        raise FileError(f"{file}: is a directory; name a file in it")
    if file.exists() and not file.is_file():
        raise FileError(f"{file}: is no regular file, whose place another can take; for stdout, write -")
    if os.path.lexists(file) and not is_forced:
        raise FileError(f"{file}: exists already; name another file, or add --force to replace it")
    return file


@contextmanager
def _told(file: Path | None) -> Iterator[None]:
    """Say which file it is that the disk does not take; what becomes of stdout is told by the command line."""
    try:
        yield
    except OSError as error:
        if file is None:
            raise
        raise FileError(f"{file}: cannot write: {error.strerror}; nothing was exported") from None


@contextmanager
def _replacing(file: Path) -> Iterator[Callable[[bytes], object]]:
    """What writes lines into a file beside it, which takes its place when all is written, and else is gone."""
    part = file.with_name(f"{file.name}.part")
    try:
        with part.open("wb") as plain:
            if file.suffix == ".gz":
                with gzip.GzipFile(file.stem, "wb", fileobj=plain, compresslevel=6) as compressed:
                    yield lambda line: compressed.write(line + b"\n")
            else:
                yield lambda line: plain.write(line + b"\n")
            plain.flush()
            os.fsync(plain.fileno())
        os.replace(part, file)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _progress(*, is_shown: bool) -> Progress:
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, disable=not (is_shown and console.is_terminal), transient=True)


def _tell(file: Path | None, count: int) -> None:
    if file is not None:
        print(f"{harmless(str(file))}: {count:,} events, oldest first, {file.stat().st_size:,} bytes")
    elif not is_terminal() and sys.stderr.isatty():
        notice(f"{count:,} events, oldest first")


@attrs.frozen
class _Window:
    """What stays the same while an export is made.

    :ivar wanted: with ``until`` no later than the newest event that was there at the beginning.
    :ivar names: the filters that the server applies.
    """

    wanted: Wanted
    names: frozenset[str]

    async def total(self, client: Client) -> int:
        """How many events the server counts, before the filters that it does not apply."""
        return (await client.page(limit=1, **self.wanted.asked(self.names))).total


async def _window(client: Client, wanted: Wanted) -> _Window | None:
    """The window to export; ``None`` where there is no event in it."""
    newest = await client.page(limit=1, **wanted.asked(frozenset()))
    if not newest.events:
        return None
    try:
        instant = parse_timestamp(newest.events[0]["timestamp"])
    except (KeyError, TypeError, ValueError):
        raise QueryError(ErrorCode.INTERNAL, "the server sent an event without a timestamp") from None
    until = min(instant + 1, wanted.until or LAST_INSTANT, LAST_INSTANT)  # + 1: it may have had more digits
    fixed = attrs.evolve(wanted, until=until)
    return _Window(fixed, await offered(client, fixed, frozenset(fixed.filters)))


async def _read(parsed: argparse.Namespace, wanted: Wanted, reversal: Reversal, progress: Progress) -> None:
    """Read all of the window, and see to it that it is as much as the server counts."""
    async with reading(parsed) as client:
        window = await _window(client, wanted)
        if window is None:
            return
        before = await window.total(client)
        task = progress.add_task("reading", total=before)
        read = await _read_window(client, window, reversal, lambda: progress.advance(task))
        after = await window.total(client)
    if not min(before, after) <= read <= max(before, after):
        told = f"{before:,}" if before == after else f"from {before:,} to {after:,}"
        raise QueryError(
            ErrorCode.INTERNAL, f"the server counts {told} events, and sent {read:,}; nothing was exported; try again"
        )


async def _read_window(client: Client, window: _Window, reversal: Reversal, advance: Callable[[], object]) -> int:
    """Read all of the window; returns how many events came."""
    read = 0
    async with aclosing(client.query(**window.wanted.asked(window.names))) as events:
        async for event in events:
            read += 1
            advance()
            if window.wanted.matches(event, but=window.names):
                reversal.add(json_line(event).encode("utf-8", "backslashreplace"))
    return read
