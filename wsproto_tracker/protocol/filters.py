"""What programs ask for, and what they get: filters under Python's names, as members of a query, and pages."""

from datetime import UTC, datetime
from typing import Any, TypedDict

import attrs

from wsproto_tracker.errors import ConfigurationError
from wsproto_tracker.protocol.timestamps import parse_timestamp

__all__ = ["Asked", "Filters", "Moment", "Page", "members_of"]

Moment = datetime | str
"""An aware datetime, or RFC 3339 text."""

_SAME = {"type": "type", "level": "level", "user_id": "userId", "session_id": "sessionId", "group_id": "groupId"}
_SAME |= {"app_id": "appId"}


class Asked(TypedDict, total=False):
    """The filters as keyword arguments."""

    since: Moment | None
    until: Moment | None
    after: Moment | None
    type: str | None
    level: str | None
    user_id: str | None
    session_id: str | None
    group_id: str | None
    app_id: str | None
    search: str | None


@attrs.frozen(kw_only=True)
class Filters:
    """What a query asks for; ``None`` is left out. All of it has to match (section 6).

    :ivar since: first instant, inclusive.
    :ivar until: last instant, inclusive.
    :ivar after: only what is strictly later.
    :ivar search: text in the payload, without regard to case (FILTER-4).
    """

    since: Moment | None = None
    until: Moment | None = None
    after: Moment | None = None
    type: str | None = None
    level: str | None = None
    user_id: str | None = None
    session_id: str | None = None
    group_id: str | None = None
    app_id: str | None = None
    search: str | None = None


@attrs.frozen
class Page:
    """One answer.

    :ivar events: newest first.
    :ivar total: how many match, on whatever page (RESP-2).
    :ivar page: its number, from 1.
    :ivar limit: how many a page has; ``None`` where the server does not say.
    :ivar next_cursor: the timestamp of the newest event that matches, for ``after`` (RESP-4).
    :ivar is_behind: whether events may be missing that another node of a cluster has acked (X-BEHIND-1).
    """

    events: list[dict[str, Any]]
    total: int
    page: int = 1
    limit: int | None = None
    next_cursor: str | None = None
    is_behind: bool = False


def members_of(filters: Filters) -> dict[str, Any]:
    """The ``query`` of a frame.

    :raises ConfigurationError: where a filter has no value that can be asked for.
    """
    members: dict[str, Any] = {}
    for name, value in attrs.asdict(filters).items():
        if value is None:
            continue
        if name in ("since", "until", "after"):
            members[name] = _text_of(name, value)
        elif isinstance(value, str):
            members[_SAME.get(name, name)] = value
        else:
            raise ConfigurationError(f"{name}: expected a string")
    return members


def _text_of(name: str, moment: object) -> str:
    if isinstance(moment, datetime) and moment.tzinfo is not None:
        text = _in_utc(name, moment)
    elif isinstance(moment, str):
        text = moment
    else:
        raise ConfigurationError(f"{name}: expected a datetime with a time zone, or RFC 3339 text")
    try:
        parse_timestamp(text)
    except ValueError as error:
        raise ConfigurationError(f"{name}: {error}") from None
    return text


def _in_utc(name: str, moment: datetime) -> str:
    try:
        return moment.astimezone(UTC).isoformat()
    except OverflowError:
        raise ConfigurationError(f"{name}: expected a moment of the years 0001 to 9999, in UTC") from None
