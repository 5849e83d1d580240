"""Reading a whole window by pages: every event that was there comes once, whatever is saved meanwhile."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsproto_tracker.client.incoming import Response
from wsproto_tracker.client.paging import Pager
from wsproto_tracker.errors import ConfigurationError, QueryError
from wsproto_tracker.protocol.filters import Filters, members_of
from wsproto_tracker.protocol.timestamps import format_instant, parse_timestamp

NOW = 1_764_000_000_000_000


class Tracker:
    """A server as section 6 describes it.

    :param unit: how many microseconds it tells instants apart by (TIME-3, TIME-4).
    """

    def __init__(self, *, has_limit: bool = True, has_page: bool = True, unit: int = 1) -> None:
        self._events: list[tuple[int, int]] = []
        self._has_limit = has_limit
        self._has_page = has_page
        self._unit = unit
        self.largest = 0

    def save(self, instant: int) -> None:
        self._events.append((NOW + instant, len(self._events)))

    def ids(self) -> list[str]:
        return [f"e{number}" for _, number in self._events]

    def answer(self, query: dict[str, Any]) -> Response:
        unit = self._unit
        until = parse_timestamp(query["until"]) if "until" in query else NOW * 2
        matching = [event for event in self._events if event[0] // unit <= until // unit]
        matching.sort(key=lambda event: (event[0] // unit, event[1]), reverse=True)
        limit = query["limit"] if self._has_limit else len(matching)
        start = (query["page"] - 1) * limit if self._has_page else 0
        page = [{"id": f"e{number}", "timestamp": format_instant(at)} for at, number in matching[start : start + limit]]
        self.largest = max(self.largest, len(page))
        return Response(page, len(matching))


def read(tracker: Tracker, limit: int, meanwhile: Callable[[], object] = lambda: None) -> Iterator[str]:
    pager = Pager(Filters(), limit)
    answers = 0
    while pager.query is not None:
        answers += 1
        assert answers < 1_000
        yield from (event["id"] for event in pager.take(tracker.answer(pager.query)))
        meanwhile()


instants = st.lists(st.integers(0, 6).map(lambda n: n * 700), max_size=60)


@given(
    before=instants, during=st.lists(instants, max_size=20), limit=st.integers(1, 8), unit=st.sampled_from([1, 1000])
)
def test_every_event_comes_once_while_others_are_saved(
    before: list[int], during: list[list[int]], limit: int, unit: int
) -> None:
    """What was there at the beginning comes, nothing comes twice, and the oldest comes last."""
    tracker = Tracker(unit=unit)
    for instant in before:
        tracker.save(instant)
    there = tracker.ids()
    more = iter(during)

    def meanwhile() -> None:
        for instant in next(more, []):
            tracker.save(instant)

    found = list(read(tracker, limit, meanwhile))
    assert len(set(found)) == len(found)
    assert set(there) <= set(found)
    assert tracker.largest <= limit


def test_what_is_remembered_does_not_grow() -> None:
    """Of all that was read, only the ids of the last millisecond are kept."""
    tracker = Tracker()
    for number in range(1_000):
        tracker.save(number * 1_000)
    pager = Pager(Filters(), 10)
    while pager.query is not None:
        list(pager.take(tracker.answer(pager.query)))
        assert len(pager._seen) <= 1


@given(before=instants, limit=st.integers(1, 8))
def test_a_server_without_limit_is_noticed(before: list[int], limit: int) -> None:
    """A server that does not offer ``limit`` answers all at once, and all of it is used (FILTER-1)."""
    tracker = Tracker(has_limit=False, has_page=False)
    for instant in before:
        tracker.save(instant)
    assert sorted(read(tracker, limit)) == sorted(tracker.ids())


def test_a_server_without_pages_is_noticed() -> None:
    """A server that offers ``limit`` and no ``page`` is noticed: nothing is left out in silence."""
    tracker = Tracker(has_page=False)
    for _ in range(5):
        tracker.save(0)
    with pytest.raises(QueryError, match="has no pages"):
        list(read(tracker, 2))


def test_filters_that_a_server_ignores_are_applied_here() -> None:
    """A server need not offer filters; what they leave out is left out all the same (FILTER-1)."""
    events = [
        {"id": str(n), "timestamp": format_instant(NOW + n), "type": "click", "userId": f"u{n % 2}"}
        for n in (4, 3, 2, 1)
    ]
    pager = Pager(Filters(user_id="u0", after=format_instant(NOW + 2)), 100)
    assert [event["id"] for event in pager.take(Response(events, 4))] == ["4"]
    assert pager.query is None


@pytest.mark.parametrize(
    "event", [{"timestamp": "2026-11-23T21:05:13Z"}, {"id": "a"}, {"id": "a", "timestamp": "now"}, {"id": ["a"]}]
)
def test_events_that_no_tracker_sends_are_told(event: dict[str, Any]) -> None:
    """An answer whose events have no id or timestamp ends in an error that says so (ID-1, EVENT-2)."""
    pager = Pager(Filters(), 1)
    with pytest.raises(QueryError, match=r"without an? (id|timestamp)"):
        list(pager.take(Response([event], 9)))


def test_moments_may_be_datetimes_or_text() -> None:
    """Moments are aware datetimes in any zone, or RFC 3339 text, and go out as instants that a server can read."""
    moment = datetime(2026, 11, 23, 22, 5, 13, 536000, tzinfo=timezone(timedelta(hours=1)))
    members = members_of(Filters(since=moment, until="2026-11-23T21:05:13.536Z", user_id="ann", search="x"))
    assert parse_timestamp(members.pop("since")) == parse_timestamp(members["until"])
    assert members == {"until": "2026-11-23T21:05:13.536Z", "userId": "ann", "search": "x"}


@pytest.mark.parametrize(
    "filters",
    [
        Filters(since=datetime(2026, 11, 23)),
        Filters(until="yesterday"),
        Filters(after=5),  # type: ignore[arg-type]
        Filters(since=datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14)))),
        Filters(user_id=5),  # type: ignore[arg-type]
    ],
)
def test_filters_that_cannot_be_asked_for(filters: Filters) -> None:
    """A filter without a value that a server could read is refused before it is sent, by its name."""
    with pytest.raises(ConfigurationError, match=r"^(since|until|after|user_id): expected"):
        Pager(filters, 10)


def test_a_moment_with_a_zone_of_seconds() -> None:
    """A time zone that RFC 3339 cannot write is no obstacle: the instant goes out in UTC."""
    moment = datetime(1890, 1, 1, tzinfo=timezone(timedelta(minutes=53, seconds=28)))
    (text,) = members_of(Filters(since=moment)).values()
    assert datetime.fromisoformat(text) == moment.astimezone(UTC)
