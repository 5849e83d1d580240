"""``wsproto-tracker query``: events that match, as a table, JSON lines or CSV."""

import argparse
from collections.abc import Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import trio

from wsproto_tracker.cli.filters import (
    FILTERS,
    WINDOW,
    Wanted,
    add_filters,
    add_window,
    matching,
    reading,
    whole_number,
)
from wsproto_tracker.cli.output import Lines, csv_line, is_terminal, json_line, notice, terminal
from wsproto_tracker.cli.rows import Rows, route_of, text_of
from wsproto_tracker.cli.target import add_target
from wsproto_tracker.errors import ClientError, ConfigurationError

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

__all__ = ["add_to"]

_EPILOG = """\
It prints the newest event first: a table on a terminal, else JSON, one event a line.

examples:
  wsproto-tracker query --since 1h --level error
  wsproto-tracker query --since yesterday --until yesterday --user ann@example.org
  wsproto-tracker query --type http --search /api/cart --limit 20
  wsproto-tracker query --since 2d --format csv >events.csv
"""

_FORMATS = ("table", "jsonl", "csv")
_CSV_COLUMNS = ("id", "timestamp", "level", "type", "appId", "sessionId", "userId", "groupId", "route", "payload")
_DONE = 0


def add_to(commands: "Commands") -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "query",
        help="print events that match",
        description="Print the events of a tracker that match.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--limit", metavar="N", help="stop after so many events (default: all)")
    parser.add_argument("--format", metavar="FORMAT", help="table, jsonl or csv (default: table on a terminal)")
    add_window(parser)
    add_filters(parser)
    add_target(parser, *WINDOW, *FILTERS, "limit", "format")
    parser.set_defaults(run=run, interrupted="interrupted")


def run(parsed: argparse.Namespace) -> int:
    """Run the command; returns its exit status.

    :raises ConfigurationError: for a wrong option.
    :raises ClientError: where there is no server, or no answer.
    """
    wanted = Wanted.of(parsed)
    limit = None if parsed.limit is None else whole_number("limit", parsed.limit, 1)
    format_ = parsed.format or ("table" if is_terminal() else "jsonl")
    if format_ not in _FORMATS:
        raise ConfigurationError(f"--format: expected {', '.join(_FORMATS[:-1])} or {_FORMATS[-1]}")
    trio.run(_query, parsed, wanted, limit, format_)
    return _DONE


async def _query(parsed: argparse.Namespace, wanted: Wanted, limit: int | None, format_: str) -> None:
    page_size = whole_number("page-size", parsed.page_size, 1)
    count = 0
    async with reading(parsed, page_size=min(page_size, limit or page_size)) as client:
        show, flush = _printer(format_)
        try:
            async with aclosing(matching(client, wanted)) as events:
                async for event in events:
                    show(event)
                    count += 1
                    if count == limit:
                        break
        except ClientError:
            flush()  # what came before
            raise
    flush()
    if not count and is_terminal():
        notice("no event matches")


def _printer(format_: str) -> tuple[Callable[[dict[str, Any]], object], Callable[[], object]]:
    """What prints an event, and what prints what waits."""
    lines = Lines()
    if format_ == "table":
        return Rows(terminal() if is_terminal() else lines).print, lines.flush
    if format_ == "jsonl":
        return lambda event: lines.write(json_line(event)), lines.flush
    lines.write(csv_line(_CSV_COLUMNS))
    return lambda event: lines.write(csv_line(_cells(event))), lines.flush


def _cells(event: dict[str, Any]) -> list[str]:
    cells = {name: text_of(event.get(name)) for name in _CSV_COLUMNS}
    cells |= {"route": route_of(event), "payload": json_line(event.get("payload"))}
    return [cells[name] for name in _CSV_COLUMNS]
