"""Events that are kept, and the answers to queries (sections 4 to 6 of the specification)."""

import itertools
import math
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from tests.conformance.reference.events import EventRules
from tests.conformance.reference.json_text import Raw, dump, items, loads, members, stringified

__all__ = ["QueryError", "Store", "Stored"]

_SECOND = 1_000_000


@attrs.frozen(eq=False)
class Stored:
    """One event as it is kept.

    :ivar text: as it is given back.
    :ivar event: its value as it was sent, but for the ``id``.
    :ivar number: counts what is kept, in the order of saving.
    """

    text: Raw
    event: dict[str, Any]
    instant: int
    number: int


def _place(stored: Stored) -> tuple[int, int]:
    return stored.instant, stored.number


def _instant(stored: Stored) -> float:
    return stored.instant


class QueryError(Exception):
    """A query has a member that cannot be read."""


class Store(EventRules):
    """What is kept, in memory."""

    filters: tuple[str, ...] = (
        "after",
        "type",
        "level",
        "userId",
        "sessionId",
        "groupId",
        "appId",
        "search",
        "limit",
        "page",
    )
    max_events_per_frame = 5500
    max_event_chars = 1024 * 1024

    def __init__(self) -> None:
        self.kept: list[Stored] = []  # by instant
        self._ids: set[str] = set()
        self._ids_by_app: set[tuple[str, str]] = set()
        self._numbers = itertools.count(1)

    # Saving

    def ingest(self, text: str) -> tuple[dict[str, Any], list[Stored]]:
        """Save what is valid of a text that is a JSON array: the ack, and the events that are new."""
        saved: list[Stored] = []
        rejected: list[dict[str, Any]] = []
        duplicates = 0
        for index, item in enumerate(self.event_texts(text)):
            faults = self.judge_bounds(index, item)
            event: Any = None if faults else self.read_event(item)
            faults = faults or self.judge_event(event)
            if faults:
                rejected.append({"index": index, "reason": self.reason(index, faults)})
            elif self.is_duplicate(event):
                duplicates += 1
                self.on_duplicate(event, item)
            else:
                saved.append(self.save(event, item))
        return self.ack(len(saved) + duplicates, rejected, duplicates), saved

    def judge_bounds(self, index: int, text: str) -> list[str]:
        """LIMIT-5."""
        if index >= self.max_events_per_frame:
            return ["too many events before it"]
        return ["too large"] if len(text) > self.max_event_chars else []

    def event_texts(self, text: str) -> Iterable[str]:
        """The texts of the events of a batch."""
        return items(text)

    def read_event(self, text: str) -> Any:
        """The value of one event (FRAME-11)."""
        return loads(text)

    def reason(self, index: int, faults: Iterable[str]) -> str:
        """Why an event is rejected."""
        path = f"events[{index}]"
        return "; ".join(f"{path}: {fault}" if fault == "no object" else f"{path}.{fault}" for fault in faults)

    def ack(self, saved: int, rejected: list[dict[str, Any]], duplicates: int) -> dict[str, Any]:
        """The frame that answers an ingest."""
        return (
            {"type": "ack", "saved": saved}
            | ({"rejected": rejected} if rejected else {})
            | ({"duplicates": duplicates} if duplicates else {})
        )

    def is_duplicate(self, event: dict[str, Any]) -> bool:
        """Whether an event has an id from its sender that is there already."""
        return bool(event.get("id")) and (event["appId"], event["id"]) in self._ids_by_app

    def on_duplicate(self, event: dict[str, Any], text: str) -> None:
        """X-DUP-1: nothing happens to it."""

    def save(self, event: dict[str, Any], text: str) -> Stored:
        """Keep one event."""
        number = next(self._numbers)
        if not event.get("id"):
            event = event | {"id": self.new_id(number)}
        instant = self.parse_timestamp(event["timestamp"])
        stored = Stored(Raw(self.text_of(event, text)), event, instant or 0, number)
        self.keep(stored)
        self._ids.add(event["id"])
        self._ids_by_app.add((event["appId"], event["id"]))
        return stored

    def keep(self, stored: Stored) -> None:
        """Put an event where queries find it."""
        insort(self.kept, stored, key=_place)

    def new_id(self, number: int) -> str:
        """An id that no event has."""
        candidates = (f"ref-{number}{'x' * tries}" for tries in itertools.count())
        return next(candidate for candidate in candidates if candidate not in self._ids)

    def text_of(self, event: dict[str, Any], text: str) -> str:
        """The very text that came, with its id filled in."""
        if text.startswith('{"id": "",') and text.count('"id"') == 1 and "\\u0" not in text:  # the same, but faster
            return '{"id": ' + dump(event["id"]) + text[len('{"id": ""') :]
        places = {name: (begin, end) for name, begin, end in members(text)}
        if "id" not in places:
            return '{"id":' + dump(event["id"]) + "," + text[1:]
        begin, end = places["id"]
        return text if text[begin:end] != '""' else text[:begin] + dump(event["id"]) + text[end:]

    # Queries

    def response(self, query: Mapping[str, Any]) -> dict[str, Any]:
        """What answers a query.

        :raises QueryError: if it cannot be read.
        """
        asked = self.read_query(query)
        near = [stored for stored in self.near(asked) if self.is_of(stored, self.apps)]
        found = self.ordered([stored for stored in near if self.matches(stored, asked)])
        limit, page = asked.get("limit"), asked.get("page", 1)
        return (
            {"events": [self.shown(stored) for stored in self.page(found, limit, page)], "total": self.total(found)}
            | {"page": page, "limit": len(found) if limit is None else limit}
            | self.cursor(found)
        )

    def is_of(self, stored: Stored, apps: frozenset[str] | None) -> bool:
        """X-SCOPE-5."""
        return apps is None or stored.event["appId"] in apps

    def near(self, asked: dict[str, Any]) -> list[Stored]:
        """The events of the window, and a second around it."""
        since, until = asked.get("since", 0) - _SECOND, asked.get("until", math.inf) + _SECOND
        return self.kept[bisect_left(self.kept, since, key=_instant) : bisect_right(self.kept, until, key=_instant)]

    def read_query(self, query: Mapping[str, Any]) -> dict[str, Any]:
        """The members of a query that are known: instants for timestamps, whole numbers for numbers.

        :raises QueryError: if one of them cannot be read.
        """
        asked: dict[str, Any] = {}
        for name, value in query.items():
            if name in ("since", "until") or name in self.filters:
                asked[name] = self.read_member(name, value)
        return asked

    def read_member(self, name: str, value: Any) -> Any:
        """The value of one member of a query.

        :raises QueryError: if it cannot be read.
        """
        if name in ("since", "until", "after"):
            read: Any = self.parse_timestamp(value) if isinstance(value, str) else None
        elif name in ("limit", "page"):
            read = self.read_number(value, 1 if name == "page" else 0)
        elif name == "level":
            read = value if value in self.levels else None
        else:
            read = value if isinstance(value, str) else None
        if read is None:
            raise QueryError(f"query.{name}: cannot be read")
        return read

    def read_number(self, value: Any, least: int) -> int | None:
        """A whole number that is not below the least; ``None`` for anything else."""
        if isinstance(value, bool) or not isinstance(value, int | float) or value != value // 1 or value < least:
            return None
        return int(value)

    def matches(self, stored: Stored, asked: dict[str, Any]) -> bool:
        """Whether an event is in the window, and what every filter wants."""
        return (
            ("since" not in asked or self.is_since(stored, asked["since"]))
            and ("until" not in asked or self.is_until(stored, asked["until"]))
            and ("after" not in asked or self.is_after(stored, asked["after"]))
            and all(
                self.is_equal(stored.event.get(name), asked[name])
                for name in ("type", "level", "userId", "sessionId", "groupId", "appId")
                if name in asked
            )
            and ("search" not in asked or self.is_found(stored, asked["search"]))
        )

    def is_since(self, stored: Stored, since: int) -> bool:
        """QUERY-2."""
        return stored.instant >= since

    def is_until(self, stored: Stored, until: int) -> bool:
        """QUERY-3."""
        return stored.instant <= until

    def is_after(self, stored: Stored, after: int) -> bool:
        """FILTER-2."""
        return stored.instant > after

    def is_equal(self, value: Any, wanted: str) -> bool:
        """FILTER-3."""
        return bool(value == wanted)

    def is_found(self, stored: Stored, search: str) -> bool:
        """FILTER-4."""
        return search.lower() in stringified(stored.event["payload"]).lower()

    def ordered(self, found: list[Stored]) -> list[Stored]:
        """QUERY-5 and QUERY-6."""
        return sorted(found, key=_place, reverse=True)

    def page(self, found: list[Stored], limit: int | None, page: int) -> list[Stored]:
        """FILTER-5 to FILTER-7."""
        if limit is None:
            return found if page == 1 else []
        return found[(page - 1) * limit : page * limit]

    def total(self, found: list[Stored]) -> int:
        """RESP-2."""
        return len(found)

    def cursor(self, found: list[Stored]) -> dict[str, Any]:
        """RESP-4."""
        return {"nextCursor": found[0].event["timestamp"]} if found else {}

    def shown(self, stored: Stored) -> Any:
        """An event as it is given back."""
        return stored.text
