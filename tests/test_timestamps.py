"""Timestamps: RFC 3339 text to instants and back (SPEC.md section 4)."""

import re
from datetime import UTC, datetime, timedelta, timezone
from fractions import Fraction
from math import floor

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from wsproto_tracker.protocol.timestamps import EXPECTED, format_instant, parse_timestamp

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


def instant(*parts: int, offset: int = 0) -> int:
    """The instant of a date and time, by datetime arithmetic; ``offset`` is in minutes east of UTC."""
    return (datetime(*parts, tzinfo=timezone(timedelta(minutes=offset))) - EPOCH) // MICROSECOND  # type: ignore[arg-type,misc]


FIRST = instant(1, 1, 1)
LAST = instant(9999, 12, 31, 23, 59, 59, 999_999)


DIGITS = st.text("0123456789", max_size=12) | st.sampled_from(["999", "9" * 7, "0" * 7 + "1", "1" * 40])
OFFSETS = st.integers(-1439, 1439) | st.just(0)


@st.composite
def spelled(draw: st.DrawFn, local: datetime, offset: int) -> tuple[str, Fraction]:
    """A local date-time in any spelling that RFC 3339 allows, and its exact instant in microseconds."""
    digits = draw(DIGITS)
    hours, minutes = divmod(abs(offset), 60)
    signs = ["-"] if offset < 0 else ["+"] if offset else ["+", "-"]
    zones = [f"{sign}{hours:02}:{minutes:02}" for sign in signs] + ([] if offset else ["Z", "z"])
    clock = f"{local:%H:%M:%S}{'.' if digits else ''}{digits}"
    text = f"{local.date().isoformat()}{draw(st.sampled_from('Tt'))}{clock}{draw(st.sampled_from(zones))}"
    whole = (local.replace(microsecond=0, tzinfo=timezone(timedelta(minutes=offset))) - EPOCH) // MICROSECOND
    return text, whole + Fraction(int(digits or "0") * 1_000_000, 10 ** len(digits))


@st.composite
def anywhen(draw: st.DrawFn) -> tuple[str, Fraction]:
    """Any spelling of any date-time, some of them a little outside the years in UTC."""
    return draw(spelled(draw(st.datetimes()), draw(OFFSETS)))


@st.composite
def neighbours(draw: st.DrawFn) -> list[tuple[str, Fraction]]:
    """Two spellings, in any offsets, of date-times at most two seconds apart; the earlier first."""
    base, pair = draw(st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1))), []
    for _ in range(2):
        offset = draw(OFFSETS)
        pair.append(draw(spelled(base + timedelta(minutes=offset, seconds=draw(st.integers(0, 1))), offset)))
    return sorted(pair, key=lambda spelling: spelling[1])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-23T21:05:13.536Z", instant(2026, 11, 23, 21, 5, 13, 536_000)),
        ("2026-11-23T21:05:13Z", instant(2026, 11, 23, 21, 5, 13)),
        ("2026-11-23T21:05:13.5Z", instant(2026, 11, 23, 21, 5, 13, 500_000)),
        ("2026-11-23T21:05:13.000001Z", instant(2026, 11, 23, 21, 5, 13, 1)),
        ("2026-11-23t21:05:13.536z", instant(2026, 11, 23, 21, 5, 13, 536_000)),
        ("2026-11-23T23:05:13+02:00", instant(2026, 11, 23, 21, 5, 13)),
        ("2026-11-23T15:35:13-05:30", instant(2026, 11, 23, 21, 5, 13)),
        ("2026-11-23T21:05:13-00:00", instant(2026, 11, 23, 21, 5, 13)),
        ("2026-11-23T21:05:13+23:59", instant(2026, 11, 22, 21, 6, 13)),
        ("2024-02-29T00:00:00Z", instant(2024, 2, 29)),
        ("2000-02-29T00:00:00Z", instant(2000, 2, 29)),
        ("1970-01-01T00:00:00Z", 0),
        ("1969-12-31T23:59:59.999999Z", -1),
        ("0001-01-01T00:00:00Z", FIRST),
        ("0001-01-01T01:00:00+01:00", FIRST),
        ("9999-12-31T23:59:59.999999Z", LAST),
        ("9999-12-31T22:59:59.999999-01:00", LAST),
    ],
)
def test_date_times_of_rfc_3339_are_read(text: str, expected: int) -> None:
    """Offsets, fractions and both cases of T and Z are read, from the first year to the last (TIME-1)."""
    assert parse_timestamp(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2026-11-23",
        "2026-11-23T21:05:13",
        "2026-11-23T21:05Z",
        "2026-11-23 21:05:13Z",
        "2026-11-23T21:05:13 Z",
        " 2026-11-23T21:05:13Z",
        "2026-11-23T21:05:13Z ",
        "2026-11-23T21:05:13Z\n",
        "2026-11-23T21:05:13Z\x00",
        "2026-11-23T21:05:13.Z",
        "2026-11-23T21:05:13,5Z",
        "2026-11-23T21:05:13+0100",
        "2026-11-23T21:05:13+01",
        "2026-11-23T21:05:13+24:00",
        "2026-11-23T21:05:13+01:60",
        "2026-11-23T21:05:13\u221201:00",
        "2026-11-23T21:05:13ZZ",
        "2026-11-23T24:00:00Z",
        "2026-11-23T21:60:00Z",
        "2026-11-23T21:05:61Z",
        "2026-13-01T00:00:00Z",
        "2026-00-01T00:00:00Z",
        "2026-01-00T00:00:00Z",
        "2026-01-32T00:00:00Z",
        "2026-02-30T00:00:00Z",
        "2026-02-29T00:00:00Z",
        "1900-02-29T00:00:00Z",
        "2026-04-31T00:00:00Z",
        "26-11-23T21:05:13Z",
        "12026-11-23T21:05:13Z",
        "+2026-11-23T21:05:13Z",
        "2026-W48-1T21:05:13Z",
        "20261123T210513Z",
        "1795381518240",
        "\u0662026-11-23T21:05:13Z",
        "2026-11-23T21:05:1\uff13Z",
        "2026-11-23T21:05:13.\u0665Z",
        "2026-11-23T21:05:13.5\ud83dZ",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    """What is no RFC 3339 date-time is a ``ValueError``, be it a line break at the end or a day too many (TIME-2)."""
    with pytest.raises(ValueError, match=re.escape(EXPECTED)):
        parse_timestamp(text)


@pytest.mark.parametrize(
    "text",
    [
        "0000-12-31T23:59:59Z",
        "0000-12-31T23:59:59-01:00",
        "0001-01-01T00:59:59+01:00",
        "0001-01-01T00:00:00+00:01",
        "9999-12-31T23:59:59-00:01",
        "9999-12-31T23:00:00.999999-01:00",
        "10000-01-01T00:00:00+01:00",
    ],
)
def test_the_years_end_as_written_and_in_utc(text: str) -> None:
    """A year beyond 0001 to 9999 is refused, whether it is written or an offset leads to it (TIME-1, TIME-2)."""
    with pytest.raises(ValueError, match=re.escape(EXPECTED)):
        parse_timestamp(text)


@given(anywhen())
def test_every_spelling_gives_the_instant_of_datetime_arithmetic(spelling: tuple[str, Fraction]) -> None:
    """Any spelling parses to the microsecond in which the exact instant lies (TIME-1, TIME-4)."""
    text, exact = spelling
    if FIRST <= floor(exact) <= LAST:
        assert parse_timestamp(text) == floor(exact)
    else:
        with pytest.raises(ValueError, match="0001 to 9999"):
            parse_timestamp(text)


@given(neighbours())
def test_the_order_of_instants_is_the_order_of_time(pair: list[tuple[str, Fraction]]) -> None:
    """Timestamps compare as instants, whatever their offsets, to the microsecond (TIME-3, TIME-4)."""
    (earlier, first), (later, last) = pair
    assert parse_timestamp(earlier) <= parse_timestamp(later)
    assert (parse_timestamp(earlier) < parse_timestamp(later)) == (floor(first) < floor(last))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("2026-11-23T21:05:13.536Z", "2026-11-23T22:05:13.536000+01:00"),
        ("2026-11-23T21:05:13.1234567Z", "2026-11-23T21:05:13.1234560Z"),
        ("2026-11-23T23:30:00-01:00", "2026-11-24T00:30:00Z"),
        ("1969-12-31T23:59:59.9999999Z", "1969-12-31T23:59:59.999999Z"),
    ],
)
def test_the_same_instant_has_several_spellings(one: str, other: str) -> None:
    """Offsets, trailing zeros and digits beyond the microsecond make no difference (TIME-3, TIME-4)."""
    assert parse_timestamp(one) == parse_timestamp(other)


@pytest.mark.parametrize(
    ("leap", "after"),
    [
        ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00Z"),
        ("2016-12-31T23:59:60.75Z", "2017-01-01T00:00:00.75Z"),
        ("2017-01-01T00:59:60+01:00", "2017-01-01T00:00:00Z"),
        ("2026-11-23T21:05:60Z", "2026-11-23T21:06:00Z"),
    ],
)
def test_a_leap_second_is_the_second_after(leap: str, after: str) -> None:
    """Second 60 is read as the second after second 59 (TIME-5)."""
    assert parse_timestamp(leap) == parse_timestamp(after)


@given(st.integers(FIRST, LAST) | st.integers(FIRST // 1000, LAST // 1000).map(lambda ms: ms * 1000))
@example(FIRST)
@example(LAST)
@example(0)
@example(-1)
def test_an_instant_survives_being_written(moment: int) -> None:
    """What ``format_instant`` writes is read as the same instant, in no more digits than needed (TIME-1, TIME-4)."""
    text = format_instant(moment)
    assert parse_timestamp(text) == moment
    assert len(text) == len("2026-11-23T21:05:13.536Z") + (0 if moment % 1000 == 0 else 3)


def test_instants_are_written_as_the_plugin_writes_them() -> None:
    """A timestamp of the plugin is written as it came, in UTC and with milliseconds (TIME-3)."""
    assert format_instant(parse_timestamp("2026-11-23T22:05:13.5+01:00")) == "2026-11-23T21:05:13.500Z"


@given(st.text(max_size=40) | st.text("0123456789-+:.TtZz \n\u0663", max_size=30))
def test_whatever_the_text_nothing_but_a_value_error_comes(text: str) -> None:
    """Arbitrary text is an instant within the years or a ``ValueError`` that does not repeat it (TIME-2, SEC-3)."""
    try:
        outcome = EXPECTED if FIRST <= parse_timestamp(text) <= LAST else "out of range"
    except ValueError as error:
        outcome = str(error)
    assert outcome.removeprefix(EXPECTED) in ("", "; there is no such day", ", in the years 0001 to 9999")
