"""JSON that remembers how it was written: the text of each event, and frames that hold such texts."""

import json
import re
from collections.abc import Iterator
from typing import Any

__all__ = ["Raw", "depth", "dump", "items", "loads", "members", "stringified"]

_SPACE = re.compile(r"[ \t\n\r]*")
_STRING = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_LONE_SURROGATE = re.compile(r"[\ud800-\udfff]")
_MOST_DIGITS = 300


class Raw(str):
    """A text that is JSON already."""

    __slots__ = ()


def _constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _whole(digits: str) -> float:
    return int(digits) if len(digits) < _MOST_DIGITS else float(digits)


_DECODER = json.JSONDecoder(parse_constant=_constant, parse_int=_whole)


def loads(text: str) -> Any:
    """The value of a JSON text.

    :raises ValueError: if it is none.
    """
    return _DECODER.decode(text)


def depth(text: str) -> int:
    """How deep a text is nested, which need not be JSON."""
    deepest = level = 0
    for character in re.sub(r"[^\[{\]}]+", "", _STRING.sub("", text)):
        level += 1 if character in "[{" else -1
        deepest = max(deepest, level)
    return deepest


def members(text: str) -> Iterator[tuple[str, int, int]]:
    """The members of a text that is a JSON object: their names, and where their values begin and end."""
    position = _skip(text, _skip(text, 0) + 1)
    while text[position] != "}":
        name, position = _DECODER.raw_decode(text, position)
        begin = _skip(text, _skip(text, position) + 1)
        _, end = _DECODER.raw_decode(text, begin)
        yield name, begin, end
        position = _after_comma(text, end)


def items(text: str) -> Iterator[str]:
    """The texts of the items of a text that is a JSON array."""
    position = _skip(text, _skip(text, 0) + 1)
    while text[position] != "]":
        _, end = _DECODER.raw_decode(text, position)
        yield text[position:end]
        position = _after_comma(text, end)


def _skip(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    return match.end() if match else position


def _after_comma(text: str, position: int) -> int:
    position = _skip(text, position)
    return _skip(text, position + 1) if text[position] == "," else position


def dump(value: Any) -> str:
    """A value as JSON, with what is ``Raw`` as it is."""
    if isinstance(value, Raw):
        return value
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(name)}:{dump(inner)}" for name, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(dump, value)) + "]"
    return json.dumps(value)


def stringified(value: Any) -> str:
    """A value in the form that ``JSON.stringify`` gives."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return _LONE_SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
