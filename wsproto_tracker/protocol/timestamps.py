"""Timestamps: RFC 3339 text to and from instants.

An *instant* is a whole number of microseconds since 1970-01-01T00:00:00Z (TIME-4). Further digits of a fraction are
cut off, not rounded, so the order of instants never contradicts the order of the texts.
"""

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache

__all__ = ["EXPECTED", "format_instant", "parse_timestamp"]

EXPECTED = "expected an RFC 3339 timestamp such as 2026-11-23T21:05:13.536Z"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_FIRST = (datetime(1, 1, 1, tzinfo=UTC) - _EPOCH) // _MICROSECOND
_LAST = (datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC) - _EPOCH) // _MICROSECOND

_RFC3339 = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt]([01]\d|2[0-3]):([0-5]\d):([0-5]\d|60)(?:\.(\d+))?"
    r"(?:[Zz]|([+-])([01]\d|2[0-3]):([0-5]\d))",
    re.ASCII,
)


@lru_cache(maxsize=64)
def _midnight(date: str) -> int:
    """The instant at which a day (``2026-11-23``) begins in UTC; events share their days, so it is worth keeping."""
    return (datetime.fromisoformat(date).replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND


@lru_cache(maxsize=1024)
def _second(text: str) -> int:
    """The instant of a timestamp without a fraction; many events share their second."""
    return _parse(text)


def parse_timestamp(text: str) -> int:
    """The instant of an RFC 3339 date-time (TIME-1, TIME-5).

    :raises ValueError: for any other text, and outside the years 0001 to 9999 (TIME-2).
    """
    if len(text) == 24 and text[19] == "." and text[23] == "Z":  # what the plugin sends
        digits = text[20:23]
        if digits.isascii() and digits.isdigit():
            return _second(f"{text[:19]}Z") + int(digits) * 1000
    return _parse(text)


def _parse(text: str) -> int:
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise ValueError(EXPECTED)
    date, hour, minute, second, fraction, sign, offset_hours, offset_minutes = match.groups()
    try:
        midnight = _midnight(date)
    except ValueError:
        raise ValueError(f"{EXPECTED}; there is no such day") from None
    seconds = int(hour) * 3600 + int(minute) * 60 + int(second)
    if sign:
        offset = int(offset_hours) * 3600 + int(offset_minutes) * 60
        seconds -= offset if sign == "+" else -offset
    instant = midnight + seconds * 1_000_000
    if fraction:
        instant += int(fraction[:6].ljust(6, "0"))
    if not _FIRST <= instant <= _LAST:
        raise ValueError(f"{EXPECTED}, in the years 0001 to 9999")
    return instant


def format_instant(instant: int) -> str:
    """An instant as RFC 3339 in UTC, with milliseconds, or microseconds where it has them."""
    precision = "milliseconds" if instant % 1000 == 0 else "microseconds"
    moment = _EPOCH + timedelta(microseconds=instant)
    return moment.replace(tzinfo=None).isoformat(timespec=precision) + "Z"
