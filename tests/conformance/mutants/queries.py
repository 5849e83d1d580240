"""Mutants of section 6, but for filters and pages."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from tests.conformance.mutants.registry import later, mutant
from tests.conformance.reference import Reference
from tests.conformance.reference.frames import Peer
from tests.conformance.reference.store import QueryError, Stored


@mutant("QUERY-1", fails=("queries.answers-with-the-same-req-id",))
class WantsReqId(Reference):
    """Takes an empty ``reqId`` for none."""

    def on_query(self, peer: Peer, frame: dict[str, Any], text: str) -> None:
        super().on_query(peer, frame if frame.get("reqId") else frame | {"reqId": None}, text)


_AT_ONE_INSTANT = (  # they ask for a window of one instant
    "timestamps.accepts-all-years",
    "timestamps.compares-microseconds",
    "timestamps.reads-leap-seconds",
)


@mutant("QUERY-2", also=_AT_ONE_INSTANT)
class SinceExclusive(Reference):
    """Leaves out the events at ``since``."""

    def is_since(self, stored: Stored, since: int) -> bool:
        return stored.instant > since


@mutant("QUERY-3", also=_AT_ONE_INSTANT)
class UntilExclusive(Reference):
    """Leaves out the events at ``until``."""

    def is_until(self, stored: Stored, until: int) -> bool:
        return stored.instant < until


@mutant("QUERY-4")
class LastDays(Reference):
    """Takes a missing ``since`` for a thousand years ago."""

    def read_query(self, query: Mapping[str, Any]) -> dict[str, Any]:
        return super().read_query({"since": "1026-01-01T00:00:00Z", **query})


@mutant(
    "QUERY-5",
    also=(
        "timestamps.compares-instants",
        "timestamps.compares-microseconds",
    ),
)
class NewestArrivalFirst(Reference):
    """Returns the events in the order in which they came, the last first."""

    def ordered(self, found: list[Stored]) -> list[Stored]:
        return sorted(found, key=lambda stored: stored.number, reverse=True)


@mutant("QUERY-6")
class OldestArrivalFirst(Reference):
    """Returns events of equal timestamps in the order in which they came."""

    def ordered(self, found: list[Stored]) -> list[Stored]:
        return sorted(found, key=lambda stored: stored.instant, reverse=True)


@mutant(
    "QUERY-7",
    fails=("queries.whole-windows",),
    also=(
        "errors.http-of-16-mib",
        "errors.message-of-16-mib",
        "ingest.accepts-5000-events",
        "limits.rejects-events-beyond",
        "queries.answers-in-time",
    ),
)
class AThousandAtMost(Reference):
    """Returns a thousand events at most where the query has no ``limit``."""

    def page(self, found: list[Stored], limit: int | None, page: int) -> list[Stored]:
        return super().page(found, 1000 if limit is None else limit, page)


@mutant("QUERY-8")
class RefusesBackwardWindows(Reference):
    """Answers a window whose ``since`` is after its ``until`` with an error."""

    def read_query(self, query: Mapping[str, Any]) -> dict[str, Any]:
        asked = super().read_query(query)
        if "since" in asked and asked["since"] > asked.get("until", asked["since"]):
            raise QueryError("query.until: before query.since")
        return asked


@mutant("QUERY-9")
class IgnoresBadWindows(Reference):
    """Takes a ``since`` or ``until`` that is no timestamp for a missing one."""

    def answer_query(self, peer: Peer, frame: dict[str, Any]) -> None:
        asked = frame["query"]
        query = {name: value for name, value in asked.items() if self.is_readable(name, value)}
        super().answer_query(peer, frame if query == asked else frame | {"query": {"limit": 1, **query}})

    def is_readable(self, name: str, value: Any) -> bool:
        """Whether it is anything but a bad end of a window."""
        return name not in ("since", "until") or (isinstance(value, str) and self.parse_timestamp(value) is not None)


@mutant("QUERY-10", also=("limits.refuses-what-is-too-much",))
class TwentyAtMost(Reference):
    """Answers twenty queries on a connection, and no more."""

    def __init__(self, key: str = "") -> None:
        super().__init__(key)
        self.asked: Counter[Peer] = Counter()

    def answer_query(self, peer: Peer, frame: dict[str, Any]) -> None:
        self.asked[peer] += 1
        if self.asked[peer] <= 20:
            super().answer_query(peer, frame)


@mutant("QUERY-11", also=("ingest.accepts-5000-events", "limits.rejects-events-beyond"))
class Slow(Reference):
    """Takes longer than five seconds for a large window."""

    def say(self, peer: Peer, frame: dict[str, Any]) -> None:
        is_large = frame["type"] == "events:response" and len(frame["response"]["events"]) >= 5000
        if is_large:
            later(7, lambda: super(Slow, self).say(peer, frame))
        else:
            super().say(peer, frame)


@mutant("RESP-1", also=("http-read.takes-filters",))
class TotalWithPoint(Reference):
    """Gives ``total`` as ``5.0``."""

    def say(self, peer: Peer, frame: dict[str, Any]) -> None:
        if frame["type"] == "events:response":
            frame["response"]["total"] = float(frame["response"]["total"])
        super().say(peer, frame)


@mutant("RESP-2", fails=("queries.total-counts-all",), also=("filters.page-past-the-end",))
class TotalOfPage(Reference):
    """Counts in ``total`` the events of the page."""

    def response(self, query: Mapping[str, Any]) -> dict[str, Any]:
        response = super().response(query)
        return response | {"total": len(response["events"])}


@mutant("RESP-3")
class PagesFromZero(Reference):
    """Tells pages that are counted from 0."""

    def say(self, peer: Peer, frame: dict[str, Any]) -> None:
        if frame["type"] == "events:response":
            frame["response"]["page"] -= 1
        super().say(peer, frame)


@mutant("RESP-4")
class OldestCursor(Reference):
    """Puts the timestamp of the oldest event that matches into ``nextCursor``."""

    def cursor(self, found: list[Stored]) -> dict[str, Any]:
        return super().cursor(found[::-1])


@mutant("RESP-4")
class CursorOfNothing(Reference):
    """Puts a ``nextCursor`` into the answer where nothing matches."""

    def cursor(self, found: list[Stored]) -> dict[str, Any]:
        return {"nextCursor": "1970-01-01T00:00:00.000Z"} | super().cursor(found)
