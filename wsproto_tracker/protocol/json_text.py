"""JSON as text: reading it as ``JSON.parse`` does, measuring its depth, finding members and elements in it.

The standard library's reader serves what ``msgspec`` cannot: lone surrogates (FRAME-8), and faults explained.
"""

import json
import re
from collections.abc import Iterator
from itertools import accumulate
from typing import Any, NoReturn

__all__ = ["MAX_DEPTH", "depth", "dumps", "elements", "loads", "members", "openers"]

MAX_DEPTH = 128
"""Levels of nesting that a frame may have, its own object being the first (FRAME-9)."""

_STRING = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"')
_BRACKETS = b"[]{}"
_NOT_BRACKETS = bytes(byte for byte in range(256) if byte not in _BRACKETS)
_STEP = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
_SPACE = re.compile(r"[ \t\n\r]*")


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _number(digits: str) -> int | float:
    """A whole number; beyond what a double can hold, infinity, as in JavaScript, and never a slow conversion."""
    return int(digits) if len(digits) < 310 else float(digits)


def _real(digits: str) -> int | float:
    """A number with a fraction or an exponent; ``5.0`` is 5, as in JavaScript."""
    number = float(digits)
    return int(number) if number.is_integer() and abs(number) < 1e21 else number


_DECODER = json.JSONDecoder(parse_int=_number, parse_float=_real, parse_constant=_refuse)


def loads(text: str) -> Any:
    """Read JSON text.

    :raises ValueError: where it is not JSON; the message says where, and repeats nothing of it.
    :raises RecursionError: where it is nested deeper than the interpreter can follow.
    """
    return _DECODER.decode(text)


def dumps(value: Any) -> bytes:
    """JSON text in UTF-8, without spaces; lone surrogates are escaped (FRAME-8).

    :raises TypeError: where it holds something that JSON has no form for.
    :raises ValueError: where it holds itself, or a number that is infinite or none.
    :raises RecursionError: where it is nested deeper than the interpreter can follow.
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    try:
        return text.encode()
    except UnicodeEncodeError:
        return json.dumps(value, allow_nan=False, separators=(",", ":")).encode()


def openers(text: str | bytes) -> int:
    """An upper bound of the depth of a JSON text that costs next to nothing: how many brackets open in it."""
    if isinstance(text, str):
        return text.count("{") + text.count("[")
    return text.count(b"{") + text.count(b"[")


def depth(text: str) -> int:
    """The depth of a valid JSON text: 0 for a string or number, 1 for ``[]``, 2 for ``[{}]``."""
    brackets = _STRING.sub("", text).encode("ascii", "replace").translate(None, _NOT_BRACKETS)
    return max(accumulate(_STEP[byte] for byte in brackets), default=0)


def members(text: str, start: int = 0) -> Iterator[tuple[str, int, int]]:
    """Yield name, start and end of each member's value of the object that begins at ``start`` of a valid JSON text."""
    position = _after_space(text, _after_space(text, start) + 1)
    while text[position] != "}":
        name, position = _DECODER.raw_decode(text, position)
        begin = _after_space(text, _after_space(text, position) + 1)
        _, end = _DECODER.raw_decode(text, begin)
        yield name, begin, end
        position = _after_comma(text, end)


def elements(text: str, start: int = 0) -> Iterator[tuple[int, int]]:
    """Yield start and end of each element of the array that begins at ``start`` of a valid JSON text."""
    position = _after_space(text, _after_space(text, start) + 1)
    while text[position] != "]":
        _, end = _DECODER.raw_decode(text, position)
        yield position, end
        position = _after_comma(text, end)


def _after_space(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    return match.end() if match else position


def _after_comma(text: str, position: int) -> int:
    position = _after_space(text, position)
    return _after_space(text, position + 1) if text[position] == "," else position
