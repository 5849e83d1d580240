"""RFC 3339, as TIME-1 to TIME-5 want it."""

import re
from datetime import date

__all__ = ["PATTERN", "instant"]

PATTERN = re.compile(r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.(\d+))?(?:[Zz]|([+-])(\d\d):(\d\d))", re.ASCII)
_DAY_S = 24 * 60 * 60
_FIRST = date.min.toordinal() * _DAY_S * 1_000_000
_BEYOND = (date.max.toordinal() + 1) * _DAY_S * 1_000_000


def instant(text: str) -> int | None:
    """The microseconds from a fixed moment to this one; ``None`` if the text is no timestamp."""
    match = PATTERN.fullmatch(text)
    if match is None:
        return None
    year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
    fraction, sign, offset_hour, offset_minute = match.groups()[6:]
    offset_h, offset_m = int(offset_hour or 0), int(offset_minute or 0)
    if hour > 23 or minute > 59 or second > 60 or offset_h > 23 or offset_m > 59:
        return None
    try:
        days = date(year, month, day).toordinal()
    except ValueError:
        return None
    offset_s = (offset_h * 60 + offset_m) * 60 * (-1 if sign == "-" else 1)
    seconds = days * _DAY_S + (hour * 60 + minute) * 60 + second - offset_s
    found = seconds * 1_000_000 + int((fraction or "")[:6].ljust(6, "0"))
    return found if _FIRST <= found < _BEYOND else None
