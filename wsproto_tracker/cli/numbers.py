"""Numbers among the options of a command."""

import argparse
from typing import Any

from wsproto_tracker.errors import ConfigurationError
from wsproto_tracker.settings import flag
from wsproto_tracker.settings.values import whole_number
from wsproto_tracker.structuring import Fault

__all__ = ["number_of", "whole_number_of"]


def whole_number_of(parsed: argparse.Namespace, name: str, least: int, most: int | None = None) -> int:
    """The value of an option.

    :raises ConfigurationError: where it is none.
    """
    try:
        return whole_number(least, most)(getattr(parsed, name))
    except Fault as fault:
        raise ConfigurationError(f"{flag(name)}: {fault}") from None


def number_of(
    parsed: argparse.Namespace, name: str, what: str, *, most: float = float("inf"), may_be_zero: bool = False
) -> float:
    """The value of an option.

    :param what: it is a number of, for the message.
    :raises ConfigurationError: where it is none.
    """
    given: Any = getattr(parsed, name)
    try:
        number = float(given)
    except ValueError:
        number = -1.0
    if not (0 < number <= most and number < float("inf")) and not (may_be_zero and number == 0):
        bounds = "0 or more" if may_be_zero else "more than 0"
        bounds = bounds if most == float("inf") else f"{bounds} and at most {most:g}"
        raise ConfigurationError(f"{flag(name)}: expected a number of {what}, {bounds}")
    return number
