"""Moments as people write them."""

from datetime import UTC, date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsproto_tracker.cli.moments import LAST_INSTANT, instant_of, moment_of
from wsproto_tracker.protocol.timestamps import format_instant, parse_timestamp

NOW = datetime(2026, 11, 23, 21, 5, 13, 536000, tzinfo=UTC)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ROME = ZoneInfo("Europe/Rome")
ZONES = st.sampled_from([UTC, ROME, ZoneInfo("America/New_York"), timezone(timedelta(hours=14))])
NOWS = st.datetimes(datetime(1980, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))
DAYS = st.dates(date(1980, 1, 2), date(2100, 1, 1))


def of(text: str, *, is_end: bool = False) -> str:
    return format_instant(instant_of(text, NOW, is_end=is_end, zone=ROME))


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("30s", "2026-11-23T21:04:43.536Z", None),
        ("30m", "2026-11-23T20:35:13.536Z", None),
        ("1h", "2026-11-23T20:05:13.536Z", None),
        ("2d", "2026-11-21T21:05:13.536Z", None),
        ("1w", "2026-11-16T21:05:13.536Z", None),
        ("0s", "2026-11-23T21:05:13.536Z", None),
        ("today", "2026-11-22T23:00:00.000Z", "2026-11-23T22:59:59.999999Z"),
        ("yesterday", "2026-11-21T23:00:00.000Z", "2026-11-22T22:59:59.999999Z"),
        ("2026-07-01", "2026-06-30T22:00:00.000Z", "2026-07-01T21:59:59.999999Z"),
        ("2026-10-25", "2026-10-24T22:00:00.000Z", "2026-10-25T22:59:59.999999Z"),  # it has 25 hours
        ("2026-11-23T21:05:13Z", "2026-11-23T21:05:13.000Z", None),
        ("2026-11-23t21:05:13.5+01:00", "2026-11-23T20:05:13.500Z", None),
    ],
)
def test_what_is_meant(text: str, first: str, last: str | None) -> None:
    """A moment is one instant; a day as an end is meant with all of it."""
    assert of(text) == first
    assert of(text, is_end=True) == (last or first)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            " ",
            "1",
            "h",
            "-1h",
            "1 h",
            "1.5h",
            "1y",
            "\uff11h",
            "tomorrow",
            "Today",
            "now",
            "noon",
            "2026",
            "2026-11",
        ),
        *("2026-11", "2026-13-01", "2026-02-30", "0000-01-01", "2026-11-23T21:05:13", "2026-11-23 21:05:13Z"),
        *("999999999w", "1h\n", "2026-11-23\n", "1h30m", "\ud800", "9" * 5000 + "h"),
    ],
)
@pytest.mark.parametrize("is_end", [False, True])
def test_what_is_none(text: str, is_end: bool) -> None:
    """Anything else is told, with what would be right."""
    with pytest.raises(ValueError, match="expected 30m, 1h, 2d, today, yesterday, a day such as 2026-11-23"):
        instant_of(text, NOW, is_end=is_end, zone=ROME)


@given(st.text(max_size=40) | st.from_regex(r"\d{1,12}[smhdw]|\d{4}-\d\d-\d\d", fullmatch=True), NOWS, st.booleans())
def test_any_text(text: str, now: datetime, is_end: bool) -> None:
    """Whatever text it is, there is an instant that can be asked for, or a ``ValueError``."""
    for zone in (None, ROME):
        try:
            instant = instant_of(text, now, is_end=is_end, zone=zone)
        except ValueError:
            continue
        assert parse_timestamp(format_instant(instant)) == instant


@given(st.integers(0, 10**6), st.sampled_from("smhdw"), NOWS)
def test_ago(number: int, unit: str, now: datetime) -> None:
    """So much ago is so much ago, wherever one is."""
    name = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}[unit]
    try:
        then = now - timedelta(**{name: number})
    except OverflowError:
        with pytest.raises(ValueError, match="in the years 0001 to 9999"):
            instant_of(f"{number}{unit}", now)
    else:
        assert instant_of(f"{number}{unit}", now) == (then - EPOCH) // timedelta(microseconds=1)


@given(DAYS, ZONES)
def test_days(day: date, zone: ZoneInfo) -> None:
    """Days follow one another without a gap; their first and last instants are of that day, in that zone."""
    first = instant_of(day.isoformat(), NOW, zone=zone)
    last = instant_of(day.isoformat(), NOW, is_end=True, zone=zone)
    assert last + 1 == instant_of((day + timedelta(days=1)).isoformat(), NOW, zone=zone)
    assert moment_of(first, zone).date() == moment_of(last, zone).date() == day
    noon = datetime(day.year, day.month, day.day, 12, tzinfo=zone)
    assert instant_of("today", noon, zone=zone) == first
    assert instant_of("yesterday", noon, is_end=True, zone=zone) == first - 1


def test_here() -> None:
    """Without a zone, days begin where this machine is."""
    here = datetime.fromtimestamp(instant_of("2026-07-01", NOW) / 1_000_000)
    assert here == datetime(2026, 7, 1)


@pytest.mark.parametrize("instant", [parse_timestamp("0001-01-01T00:00:00Z"), LAST_INSTANT])
def test_ends_of_time(instant: int) -> None:
    """An instant whose year would be none in a zone is shown in UTC."""
    for hours in (-14, 14):
        zone = timezone(timedelta(hours=hours))
        assert abs(moment_of(instant, zone) - moment_of(instant, UTC)) == timedelta(0)
