"""Moments as people write them: ``1h``, ``today``, ``2026-11-23``, RFC 3339. No clock and no I/O."""

import re
from datetime import UTC, date, datetime, timedelta, tzinfo

from wsproto_tracker.protocol.timestamps import format_instant, parse_timestamp

__all__ = ["EXPECTED", "LAST_INSTANT", "instant_of", "moment_of"]

EXPECTED = "expected 30m, 1h, 2d, today, yesterday, a day such as 2026-11-23, or RFC 3339 such as 2026-11-23T21:05:13Z"

LAST_INSTANT = parse_timestamp("9999-12-31T23:59:59.999999Z")

_AGO = re.compile(r"(\d{1,9})([smhdw])", re.ASCII)
_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_ONE_DAY = timedelta(days=1)


def instant_of(text: str, now: datetime, *, is_end: bool = False, zone: tzinfo | None = None) -> int:
    """The instant that is meant: microseconds since 1970.

    :param now: the present, with its time zone.
    :param is_end: whether a whole day means its last instant, rather than its first.
    :param zone: where days begin; without it, where this machine is.
    :raises ValueError: for text that names no moment, or one outside the years 0001 to 9999.
    """
    try:
        instant = _instant_of(text, now, is_end, zone)
        format_instant(instant)  # which fails for years that there are not
    except (OverflowError, OSError):
        raise ValueError(f"{EXPECTED}, in the years 0001 to 9999") from None
    return instant


def moment_of(instant: int, zone: tzinfo | None = None) -> datetime:
    """An instant as a datetime, in that zone or in this machine's; in UTC where the year would not be one there."""
    moment = _EPOCH + timedelta(microseconds=instant)
    try:
        return moment.astimezone(zone)
    except (OverflowError, OSError, ValueError):
        return moment


def _instant_of(text: str, now: datetime, is_end: bool, zone: tzinfo | None) -> int:
    if (ago := _AGO.fullmatch(text)) is not None:
        return (now - _EPOCH) // _MICROSECOND - int(ago[1]) * _SECONDS[ago[2]] * 1_000_000
    day = _day_of(text, now.astimezone(zone).date())
    if day is None:
        return _parsed(text)
    return _midnight(day + _ONE_DAY, zone) - 1 if is_end else _midnight(day, zone)


def _day_of(text: str, today: date) -> date | None:
    if text == "today":
        return today
    if text == "yesterday":
        return today - _ONE_DAY
    if not _DAY.fullmatch(text):
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{EXPECTED}; there is no such day") from None


def _midnight(day: date, zone: tzinfo | None) -> int:
    midnight = datetime(day.year, day.month, day.day)
    there = midnight.astimezone() if zone is None else midnight.replace(tzinfo=zone)
    return (there - _EPOCH) // _MICROSECOND


def _parsed(text: str) -> int:
    try:
        return parse_timestamp(text)
    except ValueError:
        raise ValueError(EXPECTED) from None
