"""Queries: what is asked, and how all of a window is read page by page while events come in. No I/O.

``until`` moves down with the pages. It is inclusive (QUERY-3), so the events at its instant come again and are skipped
by their ids. Only where more events share an instant than a page has, ``page`` counts on; events that come in at that
instant shift it, so that some come twice, which is noticed, and none is missed. Instants are told apart by the
millisecond only, for a server need not do better (TIME-3).
"""

from collections.abc import Iterator
from typing import Any

from wsproto_tracker.client.incoming import Response
from wsproto_tracker.errors import ErrorCode, QueryError
from wsproto_tracker.protocol.filters import Filters, members_of
from wsproto_tracker.protocol.timestamps import parse_timestamp

__all__ = ["Pager"]

_COMPARED = ("type", "level", "userId", "sessionId", "groupId", "appId")


def _matches(filters: Filters, event: dict[str, Any]) -> bool:
    """Whether an event matches, ``since``, ``until`` and ``search`` apart: a server need not offer the others."""
    asked = members_of(filters)
    if any(name in asked and event.get(name) != asked[name] for name in _COMPARED):
        return False
    return "after" not in asked or _instant_of(event) > parse_timestamp(asked["after"])


def _id_of(event: dict[str, Any]) -> str:
    """The id of an event from a server.

    :raises QueryError: where it has none (ID-1).
    """
    if not isinstance(event_id := event.get("id"), str):
        raise QueryError(ErrorCode.INTERNAL, "the server sent an event without an id")
    return event_id


def _instant_of(event: dict[str, Any]) -> int:
    """The instant of an event from a server.

    :raises QueryError: where it has none (EVENT-2).
    """
    try:
        return parse_timestamp(event["timestamp"])
    except (KeyError, TypeError, ValueError):
        raise QueryError(ErrorCode.INTERNAL, "the server sent an event without a timestamp") from None


class Pager:
    """Reads all of a window: ask for ``query``, ``take`` the answer, and so on until ``query`` is ``None``.

    :param limit: events on a page.
    :ivar query: what to ask for next; ``None`` at the end.
    """

    def __init__(self, filters: Filters, limit: int) -> None:
        self._filters = filters
        self._limit = limit
        self._millisecond: int | None = None  # of the last event
        self._seen: set[str] = set()  # the ids of the events in it
        self._last_page: tuple[int, list[str]] = 0, []
        self.query: dict[str, Any] | None = members_of(filters) | {"limit": limit, "page": 1}

    def take(self, response: Response) -> Iterator[dict[str, Any]]:
        """Take an answer; returns what is new in it.

        :raises QueryError: where the server offers ``limit`` without ``page``, and has too much at one instant.
        """
        events = response.events
        new = [event for event in events if _id_of(event) not in self._seen]
        self._go_on(response)
        return (event for event in new if _matches(self._filters, event))

    def _go_on(self, response: Response) -> None:
        query, events = self.query, response.events
        if query is None:
            raise RuntimeError("the last page was taken already")
        is_all = query["page"] == 1 and response.total <= len(events)
        if len(events) != self._limit or is_all:  # more than the limit: the server does not offer it (FILTER-1)
            self.query = None
            return
        ids = [_id_of(event) for event in events]
        millisecond = _instant_of(events[-1]) // 1000
        if millisecond == self._millisecond:
            if query["page"] > 1 and (response.total, ids) == self._last_page:  # and no new ones have shifted it
                raise QueryError(ErrorCode.UNSUPPORTED, "the server has no pages; ask for more events a page")
            self.query = query | {"page": query["page"] + 1}
        else:
            self._millisecond = millisecond
            self._seen.clear()
            self.query = query | {"page": 1, "until": events[-1]["timestamp"]}
        self._last_page = response.total, ids
        self._seen.update(_id_of(event) for event in events if _instant_of(event) // 1000 == millisecond)
