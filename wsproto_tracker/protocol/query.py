"""Queries: the window, the filters and the page that a client asks for (SPEC.md section 6)."""

from collections.abc import Mapping
from typing import Any, NewType

import attrs
from cattrs import ClassValidationError, Converter

from wsproto_tracker.errors import ConfigurationError
from wsproto_tracker.protocol.events import Level
from wsproto_tracker.protocol.timestamps import parse_timestamp
from wsproto_tracker.structuring import Fault, faults, strict_converter

__all__ = ["Query", "query_converter", "query_of"]

Instant = NewType("Instant", int)
Limit = NewType("Limit", int)
PageNumber = NewType("PageNumber", int)


@attrs.frozen
class Query:
    """What a query asks for; a member that is ``None`` was left out. Filters combine with *and*.

    :ivar since: first instant of the window, inclusive (QUERY-2); instants are microseconds since 1970 (UTC).
    :ivar until: last instant, inclusive (QUERY-3).
    :ivar after: only events strictly later (FILTER-2).
    :ivar search: text to look for in payloads (FILTER-4).
    :ivar limit: events on a page; all of them where left out (FILTER-5).
    :ivar page: from 1 (FILTER-6).
    """

    since: Instant | None = None
    until: Instant | None = None
    after: Instant | None = None
    type: str | None = None
    level: Level | None = None
    userId: str | None = None
    sessionId: str | None = None
    groupId: str | None = None
    appId: str | None = None
    search: str | None = None
    limit: Limit | None = None
    page: PageNumber = PageNumber(1)

    @property
    def on_page(self) -> slice:
        """Which of the matching events, newest first, are on the page (FILTER-5, FILTER-6, FILTER-7)."""
        if self.limit is None:
            return slice(None) if self.page == 1 else slice(0, 0)
        start = (self.page - 1) * self.limit
        return slice(start, start + self.limit)


def _instant(value: Any, _type: object) -> Instant:
    if not isinstance(value, str):
        raise Fault("expected a string")
    try:
        return Instant(parse_timestamp(value))
    except ValueError as error:
        raise Fault(str(error)) from None


def query_converter() -> Converter:
    """A strict converter that reads queries and frames that hold them."""
    converter = strict_converter()

    def at_least(minimum: int) -> Any:
        def hook(value: Any, _type: object) -> int:
            number: int = converter.structure(value, int)
            if number < minimum:
                raise Fault(f"expected a whole number from {minimum}")
            return number

        return hook

    converter.register_structure_hook(Instant, _instant)
    converter.register_structure_hook(Limit, at_least(0))
    converter.register_structure_hook(PageNumber, at_least(1))
    return converter


_CONVERTER = query_converter()


def query_of(members: Mapping[str, Any]) -> Query:
    """A query from what a program asks for.

    :raises ConfigurationError: naming every member that cannot be read.
    """
    try:
        return _CONVERTER.structure(members, Query)
    except ClassValidationError as error:
        raise ConfigurationError("; ".join(faults(error))) from None
