"""``wsproto-tracker stats``: how many events there are, of what, where and when."""

import argparse
from typing import TYPE_CHECKING, Any

import attrs
import trio

from wsproto_tracker.cli.bars import draw
from wsproto_tracker.cli.filters import FILTERS, WINDOW, Wanted, add_filters, add_window, matching, reading
from wsproto_tracker.cli.output import Lines, is_terminal, json_line, terminal
from wsproto_tracker.cli.rows import route_of, text_of
from wsproto_tracker.cli.tally import Tally
from wsproto_tracker.cli.target import add_target
from wsproto_tracker.protocol.timestamps import format_instant, parse_timestamp

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

__all__ = ["Stats", "add_to"]

_EPILOG = """\
examples:
  wsproto-tracker stats
  wsproto-tracker stats --since 7d --app shop
  wsproto-tracker stats --since today --json | jq .types
"""

_HOUR_US = 3_600_000_000
_MAX_TEXT_CHARS = 200  # of a route or message that is counted: strangers write them
_TOP = 10
_DONE = 0


def add_to(commands: "Commands") -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "stats",
        help="count events by type, level, app, hour, route and error",
        description="Count the events of a tracker by type, level, app and hour; and the top routes and errors.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    add_window(parser, since="24h")
    add_filters(parser)
    add_target(parser, *WINDOW, *FILTERS, "json")
    parser.set_defaults(run=run, interrupted="interrupted")


@attrs.define
class Stats:
    """The counts.

    :ivar hours: events by the first instant of their hour, in UTC.
    :ivar first: instant of the oldest event; ``None`` where there is none.
    """

    total: int = 0
    first: int | None = None
    last: int | None = None
    types: Tally[str] = attrs.field(factory=Tally)
    levels: Tally[str] = attrs.field(factory=Tally)
    apps: Tally[str] = attrs.field(factory=Tally)
    hours: Tally[int] = attrs.field(factory=Tally)
    routes: Tally[str] = attrs.field(factory=Tally)
    errors: Tally[str] = attrs.field(factory=Tally)

    def add(self, event: dict[str, Any]) -> None:
        """Count an event."""
        instant = parse_timestamp(event["timestamp"])  # the client has seen that it is one
        self.total += 1
        self.first = instant if self.first is None else min(self.first, instant)
        self.last = instant if self.last is None else max(self.last, instant)
        type_, payload = text_of(event.get("type")), event.get("payload")
        self.types.add(type_[:_MAX_TEXT_CHARS])
        self.levels.add(text_of(event.get("level"))[:_MAX_TEXT_CHARS])
        self.apps.add(text_of(event.get("appId"))[:_MAX_TEXT_CHARS])
        self.hours.add(instant // _HOUR_US * _HOUR_US)
        if route := route_of(event):
            self.routes.add(route[:_MAX_TEXT_CHARS])
        if type_ == "error" and isinstance(payload, dict):
            self.errors.add(text_of(payload.get("message"))[:_MAX_TEXT_CHARS])

    def members(self, since: int | None, until: int | None) -> dict[str, Any]:
        """All of it for JSON."""
        moments = {"since": since, "until": until, "first": self.first, "last": self.last}
        return {
            "total": self.total,
            **{name: None if instant is None else format_instant(instant) for name, instant in moments.items()},
            "types": dict(self.types.top()),
            "levels": dict(self.levels.top()),
            "apps": dict(self.apps.top(_TOP)),
            "hours": {format_instant(hour): count for hour, count in sorted(self.hours.top())},
            "routes": [{"route": route, "count": count} for route, count in self.routes.top(_TOP)],
            "errors": [{"message": message, "count": count} for message, count in self.errors.top(_TOP)],
            "exact": self.is_exact,
        }

    @property
    def is_exact(self) -> bool:
        """Whether nothing was forgotten: otherwise counts of what is frequent may be a little too low."""
        return all(
            tally.is_exact for tally in (self.types, self.levels, self.apps, self.hours, self.routes, self.errors)
        )


def run(parsed: argparse.Namespace) -> int:
    """Run the command; returns its exit status.

    :raises ConfigurationError: for a wrong option.
    :raises ClientError: where there is no server, or no answer.
    """
    wanted = Wanted.of(parsed)
    stats = trio.run(_counted, parsed, wanted)
    lines = Lines()
    if parsed.json:
        lines.write(json_line(stats.members(wanted.since, wanted.until)))
    else:
        draw(stats, terminal() if is_terminal() else lines)
    lines.flush()
    return _DONE


async def _counted(parsed: argparse.Namespace, wanted: Wanted) -> Stats:
    stats = Stats()
    async with reading(parsed) as client:
        async for event in matching(client, wanted):
            stats.add(event)
    return stats
