"""``wsproto-tracker tail``: events as they come.

The server pushes them, and is asked for the rest: for the last ones at the beginning, and after a gap for what was
saved meanwhile. A server that does not push is asked again and again.
"""

import argparse
import json
import logging
import math
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import attrs
import trio

from wsproto_tracker.cli.filters import FILTERS, Wanted, add_filters, matching, reading, whole_number
from wsproto_tracker.cli.output import Lines, is_terminal, json_line, notice, terminal
from wsproto_tracker.cli.reversal import Reversal
from wsproto_tracker.cli.rows import Rows
from wsproto_tracker.cli.seen import Seen
from wsproto_tracker.cli.target import add_target
from wsproto_tracker.client import Client, Subscription
from wsproto_tracker.errors import ConfigurationError, ConnectError, ErrorCode, QueryError
from wsproto_tracker.protocol.timestamps import parse_timestamp

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

__all__ = ["add_to"]

_EPILOG = """\
Where the connection is lost, it comes back by itself, and what was saved in between is shown. Ctrl-C stops it.

examples:
  wsproto-tracker tail
  wsproto-tracker tail --level error --last 50
  wsproto-tracker tail --type http --json | jq -r .payload.url
"""

_DEFAULT_LAST = "10"
_DEFAULT_POLL_S = "2"
_MAX_WAITING_EVENTS = 100_000
_BACKOFF_MAX_S = 2.0
_LOOK_S = 0.2  # between looks at whether there was a gap
_AGAIN_S = 1.0
_COMES_BACK = frozenset(("timeout", ErrorCode.UNAVAILABLE, ErrorCode.RATE_LIMITED))
_DONE = 0


def add_to(commands: "Commands") -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "tail",
        help="print events as they come",
        description="Print the last events of a tracker that match, and then those that come.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--last", metavar="N", default=_DEFAULT_LAST, help=f"so many events first (default: {_DEFAULT_LAST})"
    )
    parser.add_argument("--json", action="store_true", help="print JSON, one event a line")
    parser.add_argument(
        "--poll",
        metavar="SECONDS",
        default=_DEFAULT_POLL_S,
        help=f"between questions to a server that does not push (default: {_DEFAULT_POLL_S})",
    )
    add_filters(parser)
    add_target(parser, *FILTERS, "last", "json", "poll")
    parser.set_defaults(run=run, interrupted="interrupted")


def run(parsed: argparse.Namespace) -> int:
    """Run the command, which ends by Ctrl-C or an error only.

    :raises ConfigurationError: for a wrong option.
    :raises ClientError: where there is no server, or it does not answer this key.
    """
    wanted = Wanted.of(parsed)
    last = whole_number("last", parsed.last, 0)
    poll_s = _seconds(parsed.poll)
    log = logging.getLogger("wsproto_tracker.client")
    log.addHandler(_Notices(logging.WARNING))
    trio.run(_tail, parsed, wanted, last, poll_s)
    return _DONE


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise ConfigurationError("--poll: expected a number of seconds, more than 0")
    return seconds


class _Notices(logging.Handler):
    """Tells a person what the client logs: that the connection is lost, and why."""

    def emit(self, record: logging.LogRecord) -> None:
        notice(record.getMessage())


async def _tail(parsed: argparse.Namespace, wanted: Wanted, last: int, poll_s: float) -> None:
    async with reading(parsed, backoff_max_s=_BACKOFF_MAX_S) as client:
        tail = _Tail(client, wanted, _printer(is_json=parsed.json))
        await tail.begin(last)
        try:
            async with client.subscribe(max_waiting_events=_MAX_WAITING_EVENTS) as events:
                await tail.follow(events)
        except (QueryError, ConnectError) as error:
            notice(f"the server does not push ({error}); asking every {poll_s:g} s")
        while True:
            await tail.catch_up()
            await trio.sleep(poll_s)


def _printer(*, is_json: bool) -> Callable[[dict[str, Any]], object]:
    lines = Lines(is_live=True)
    if is_json:
        return lambda event: lines.write(json_line(event))
    return Rows(terminal() if is_terminal() else lines).print


@attrs.define
class _Tail:
    """What is followed, and what was shown of it."""

    _client: Client
    _wanted: Wanted
    _show: Callable[[dict[str, Any]], object]
    _seen: Seen = attrs.field(factory=Seen)

    async def begin(self, last: int) -> None:
        """Show the last events; remember the ids of those, and of the other ones of the last minutes."""
        newest_first: list[dict[str, Any]] = []
        async with aclosing(matching(self._client, self._wanted)) as events:
            async for event in events:
                instant = parse_timestamp(event["timestamp"])  # the client has seen that it is one
                is_shown = len(newest_first) < last
                if not is_shown and (self._seen.reaches(instant) or self._seen.is_full):
                    self._seen.ends_at(instant)
                    break
                self._seen.add(event["id"], instant, _now())
                if is_shown:
                    newest_first.append(event)
        for event in reversed(newest_first):
            self._show(event)

    async def follow(self, events: Subscription) -> None:
        """Show what is pushed, and after each gap what was not.

        :raises QueryError: where the server pushes no more.
        """
        told = 0, 0
        await self.catch_up()  # what was saved before the server had confirmed
        while True:
            event = await _next(events)
            if (events.gaps, events.dropped) != told:
                lost = "the connection was lost and is back" if events.gaps > told[0] else "it was too much at once"
                told = events.gaps, events.dropped
                notice(f"{lost}; asking for what was missed")
                await self.catch_up()
            if event is not None and self._wanted.matches(event):
                self._show_new(event)

    async def catch_up(self) -> None:
        """Show what is there and was not shown, oldest first, however long the server is away."""
        is_told = False
        while True:
            try:
                await self._ask()
            except QueryError as error:
                if error.code not in _COMES_BACK:
                    raise
                if not is_told:
                    notice(f"no answer ({error}); asking again")
                is_told = True
                await trio.sleep(_AGAIN_S)
            else:
                return

    async def _ask(self) -> None:
        wanted = attrs.evolve(self._wanted, since=self._seen.since)
        with Reversal() as reversal:
            async with aclosing(matching(self._client, wanted)) as events:
                async for event in events:
                    if event["id"] not in self._seen:
                        reversal.add(json_line(event).encode())
            for line in reversal.lines():
                self._show_new(json.loads(line))

    def _show_new(self, event: dict[str, Any]) -> None:
        try:
            event_id, instant = event["id"], parse_timestamp(event["timestamp"])
            is_new = self._seen.add(event_id, instant, _now())
        except (KeyError, TypeError, ValueError):  # the client looks at answers, and not at what is pushed
            raise QueryError(ErrorCode.INTERNAL, "the server sent an event without id or timestamp") from None
        if is_new:
            self._show(event)


async def _next(events: AsyncIterator[dict[str, Any]]) -> dict[str, Any] | None:
    """The next event; ``None`` where none has come for a moment."""
    with trio.move_on_after(_LOOK_S):
        return await anext(events)
    return None


def _now() -> int:
    return time.time_ns() // 1000
