"""Which events a command is about: its options, what is asked of the server, and what is left to be looked at here."""

import argparse
import logging
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from datetime import UTC, datetime
from typing import Any, cast, get_args
from uuid import uuid4

import attrs

from wsproto_tracker.cli.moments import instant_of
from wsproto_tracker.cli.output import json_line
from wsproto_tracker.cli.target import connected
from wsproto_tracker.client import Client
from wsproto_tracker.errors import ConfigurationError, ErrorCode, QueryError
from wsproto_tracker.protocol.events import Level
from wsproto_tracker.protocol.filters import Asked
from wsproto_tracker.protocol.timestamps import format_instant

__all__ = ["FILTERS", "WINDOW", "Wanted", "add_filters", "add_window", "matching", "offered", "reading", "whole_number"]

FILTERS = ("type", "level", "user", "session", "group", "app", "search", "page_size")
WINDOW = ("since", "until")

_LEVELS = get_args(Level)
_MEMBERS = {"user_id": "userId", "session_id": "sessionId", "group_id": "groupId", "app_id": "appId"}
_PAGE_SIZE = 1000
_CONNECT_TIMEOUT_S = 5.0  # somebody waits for it


def add_window(parser: argparse.ArgumentParser, since: str | None = None) -> None:
    """Add ``--since`` and ``--until``."""
    group = parser.add_argument_group("time")
    default = f" (default: {since})" if since else ""
    group.add_argument(
        "--since", metavar="TIME", default=since, help=f"1h, 30m, 2d, today, yesterday, a day, or RFC 3339{default}"
    )
    group.add_argument("--until", metavar="TIME", help="the same, inclusive: a day is meant with all of it")


def add_filters(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which events are meant; all of them have to match."""
    group = parser.add_argument_group("filters")
    group.add_argument("--type", metavar="TYPE", help="click, http, error, navigation, console, custom, session, …")
    group.add_argument("--level", metavar="LEVEL", help="debug, info, warn or error: that level only")
    group.add_argument("--user", metavar="ID", help="the userId")
    group.add_argument("--session", metavar="ID", help="the sessionId")
    group.add_argument("--group", metavar="ID", help="the groupId")
    group.add_argument("--app", metavar="ID", help="the appId")
    group.add_argument("--search", metavar="TEXT", help="text in the payload, without regard to case")
    group.add_argument(
        "--page-size",
        metavar="N",
        default=str(_PAGE_SIZE),
        help=f"events to ask for at a time (default: {_PAGE_SIZE}); fewer where they are very large",
    )


def whole_number(name: str, text: str, least: int) -> int:
    """The number that an option was given.

    :raises ConfigurationError: for anything else.
    """
    if not (text.isascii() and text.isdigit() and len(text) < 16 and int(text) >= least):
        raise ConfigurationError(f"--{name}: expected a whole number from {least}")
    return int(text)


@attrs.frozen
class Wanted:
    """The events that are meant.

    :ivar since: first instant; ``None`` for all from the first on.
    :ivar until: last instant, inclusive.
    :ivar filters: the filters that were given, under the names that the client has for them.
    """

    since: int | None
    until: int | None
    filters: dict[str, str]

    @classmethod
    def of(cls, parsed: argparse.Namespace, now: datetime | None = None) -> "Wanted":
        """What the options say.

        :raises ConfigurationError: where they say nothing that can be.
        """
        present = now or datetime.now(UTC)
        since = _instant("since", getattr(parsed, "since", None), present)
        until = _instant("until", getattr(parsed, "until", None), present)
        if since is not None and until is not None and since > until:
            raise ConfigurationError("--since: expected a time before that of --until")
        if parsed.level is not None and parsed.level not in _LEVELS:
            raise ConfigurationError(f"--level: expected {', '.join(_LEVELS[:-1])} or {_LEVELS[-1]}")
        names = {"user": "user_id", "session": "session_id", "group": "group_id", "app": "app_id"}
        given = {names.get(name, name): getattr(parsed, name) for name in FILTERS if name != "page_size"}
        filters = {name: value for name, value in given.items() if value is not None}
        for name, value in filters.items():
            if any("\ud800" <= character <= "\udfff" for character in value):
                raise ConfigurationError(f"--{name.removesuffix('_id')}: expected text in UTF-8")
        return cls(since, until, filters)

    def asked(self, names: frozenset[str] | None = None) -> Asked:
        """What to ask the server for: the window, and these of the filters, or all."""
        window = {"since": self.since, "until": self.until}
        texts = {name: format_instant(instant) for name, instant in window.items() if instant is not None}
        chosen = {name: value for name, value in self.filters.items() if names is None or name in names}
        return cast(Asked, texts | chosen)

    def matches(self, event: dict[str, Any], but: frozenset[str] = frozenset()) -> bool:
        """Whether an event matches the filters, apart from some that were looked at by the server."""
        for name, value in self.filters.items():
            if name in but:
                continue
            if name == "search":
                if value.lower() not in json_line(event.get("payload")).lower():
                    return False
            elif event.get(_MEMBERS.get(name, name)) != value:
                return False
        return True


def _instant(name: str, text: str | None, now: datetime) -> int | None:
    if text is None:
        return None
    try:
        return instant_of(text, now, is_end=name == "until")
    except ValueError as error:
        raise ConfigurationError(f"--{name}: {error}") from None


async def offered(client: Client, wanted: Wanted, names: frozenset[str]) -> frozenset[str]:
    """Which of the filters that are wanted the server applies by itself (FILTER-1).

    Each is asked for with a value that nothing has: a server that does not know it tells of events all the same.
    """
    found = set()
    for name in names & set(wanted.filters):
        window = {key: value for key, value in wanted.asked(frozenset()).items() if key in WINDOW}
        try:
            page = await client.page(limit=1, **cast(Asked, window | {name: f"no-{uuid4()}"}))
        except QueryError as error:
            if error.code != ErrorCode.BAD_QUERY:  # which says that it knows this member (FILTER-8)
                raise
            found.add(name)
        else:
            if page.total == 0:
                found.add(name)
    return frozenset(found)


async def matching(client: Client, wanted: Wanted) -> AsyncGenerator[dict[str, Any], None]:
    """Every event that is wanted, newest first, whatever the server offers: the client does all but ``search``."""
    elsewhere = frozenset(wanted.filters) - {"search"}
    elsewhere |= await offered(client, wanted, frozenset({"search"}))
    async with aclosing(client.query(**wanted.asked(elsewhere))) as events:
        async for event in events:
            if wanted.matches(event, but=elsewhere):
                yield event


@asynccontextmanager
async def reading(parsed: argparse.Namespace, **options: Any) -> AsyncGenerator[Client, None]:
    """A client that asks; what it would log of connections that come back by themselves is of no concern.

    :raises ConfigurationError: for a wrong option.
    :raises ClientError: where there is no connection, or no answer.
    """
    logging.getLogger("wsproto_tracker.client").addHandler(logging.NullHandler())
    page_size = whole_number("page-size", parsed.page_size, 1)
    with _advised():
        defaults = {"page_size": page_size, "connect_timeout_s": _CONNECT_TIMEOUT_S}
        async with connected(parsed, **(defaults | options)) as client:
            yield client


@contextmanager
def _advised() -> Iterator[None]:
    """Say what to do about answers that are too large."""
    try:
        yield
    except QueryError as error:
        if error.code != ErrorCode.TOO_LARGE:
            raise
        raise QueryError(error.code, f"{error.message}; ask for less with --page-size, --since or --until") from None
