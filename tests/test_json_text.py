"""JSON as text: reading it, its depth, and where its members and elements stand."""

import json
import math
from collections.abc import Iterator
from itertools import cycle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsproto_tracker.protocol.json_text import MAX_DEPTH, depth, elements, loads, members, openers

AWKWARD = st.text('[]{}"\\/,: \t\n\x00u0ad8e\u2028\xe9\U0001f680', max_size=8) | st.sampled_from(
    ["\ud83d", "\\ude80\\"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | AWKWARD,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(AWKWARD, inner, max_size=4),
    max_leaves=15,
)
SPACES = st.lists(st.text(" \t\n\r", max_size=3), min_size=1, max_size=7)


def written(value: Any, spaces: Iterator[str], *, ascii_only: bool) -> str:
    """JSON text with the given white space, one after the other, wherever it may stand."""
    if isinstance(value, dict):
        name_and_value = (
            f"{next(spaces)}{json.dumps(name, ensure_ascii=ascii_only)}{next(spaces)}:{next(spaces)}"
            f"{written(member, spaces, ascii_only=ascii_only)}{next(spaces)}"
            for name, member in value.items()
        )
        return f"{{{','.join(name_and_value) or next(spaces)}}}"
    if isinstance(value, list):
        items = (f"{next(spaces)}{written(item, spaces, ascii_only=ascii_only)}{next(spaces)}" for item in value)
        return f"[{','.join(items) or next(spaces)}]"
    return json.dumps(value, ensure_ascii=ascii_only)


def naive_depth(value: Any) -> int:
    if isinstance(value, dict):
        value = list(value.values())
    return 1 + max(map(naive_depth, value), default=0) if isinstance(value, list) else 0


@given(VALUES, SPACES, st.booleans())
def test_json_is_read_as_the_value_that_was_written(value: Any, spaces: list[str], ascii_only: bool) -> None:
    """Any JSON, however it is spaced and escaped, is read as its value (FRAME-8)."""
    text = written(value, cycle(spaces), ascii_only=ascii_only)
    assert loads(f"{spaces[0]}{text}{spaces[-1]}") == value


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity"])
@pytest.mark.parametrize("text", ["%s", "[1, %s]", '{"a": %s}'])
def test_constants_of_other_languages_are_no_json(constant: str, text: str) -> None:
    """``NaN`` and the infinities are refused wherever they stand (FRAME-5)."""
    with pytest.raises(ValueError, match="is not JSON"):
        loads(text % constant)


def test_of_members_with_the_same_name_the_last_counts() -> None:
    """The last of several members with the same name is taken, as ``JSON.parse`` does (FRAME-11)."""
    assert loads('{"a": 1, "b": 2, "a": {"c": 3, "c": 4}, "\\u0062": 5}') == {"a": {"c": 4}, "b": 5}


@pytest.mark.parametrize("code", range(0x20))
def test_control_characters_stand_escaped_or_not_at_all(code: int) -> None:
    """A control character inside a string is no JSON unless it is escaped (FRAME-5)."""
    assert loads(f'"\\u{code:04x}"') == chr(code)
    with pytest.raises(ValueError, match="Invalid control character"):
        loads(f'"{chr(code)}"')


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "secret",
        "{",
        "[1,]",
        '{"a":1,}',
        "{'secret': 1}",
        '{"secret" 1}',
        '{"a":1} secret',
        '"secret',
        '"\\secret"',
        '"\\u12g4"',
        "01",
        "1.",
        ".5",
        "+1",
        "0x1",
        "1e",
        "\u0661",
        "\ufeff{}",
        "\xa0{}",
        "{}\x00",
        "// secret\n{}",
        "undefined",
        "True",
    ],
)
def test_what_is_no_json_is_a_value_error_that_repeats_nothing(text: str) -> None:
    """Text that is not JSON raises ``ValueError``, whose message quotes none of it (FRAME-3, FRAME-5, SEC-3)."""
    with pytest.raises(ValueError, match=r"line \d column \d+") as caught:
        loads(text)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("5.0", 5), ("-5.00", -5), ("1e2", 100), ("1.5E+1", 15), ("0.0", 0), ("-0", 0), ("1E-0", 1), ("1e20", 10**20)],
)
def test_whole_numbers_are_whole_however_they_are_spelled(text: str, expected: int) -> None:
    """``5.0`` and ``1e2`` are whole numbers, as in JavaScript, so a ``limit`` may be spelled so (FILTER-8)."""
    number = loads(text)
    assert (type(number), number) == (int, expected)


@pytest.mark.parametrize(("text", "expected"), [("1.5", 1.5), ("-1e-2", -0.01), ("1e21", 1e21), ("1e308", 1e308)])
def test_other_numbers_are_real(text: str, expected: float) -> None:
    """A fraction stays one, and what is beyond JavaScript's whole numbers is no whole number (FILTER-8)."""
    number = loads(text)
    assert (type(number), number) == (float, expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("9" * 5_000, math.inf),
        ("-" + "9" * 5_000, -math.inf),
        ("9" * 2_000_000, math.inf),
        ("9" * 5_000 + ".5", math.inf),
        ("1e999999999", math.inf),
        ("1e-999999999", 0),
        ("1" + "0" * 308, 10**308),
    ],
    ids=["5000 digits", "minus", "2000000 digits", "fraction", "exponent", "tiny", "309 digits"],
)
def test_huge_numbers_cost_nothing(text: str, expected: float) -> None:
    """Numbers beyond what a double holds are infinite, as in JavaScript, and raise nothing (EVENT-1, CONN-7)."""
    assert loads(text) == expected


def test_endless_nesting_is_a_recursion_error() -> None:
    """Nesting beyond what the interpreter follows raises ``RecursionError``, and nothing breaks (FRAME-10)."""
    for text in ("[" * 100_000, '{"a":' * 100_000, "[" * 100_000 + "]" * 100_000):
        with pytest.raises(RecursionError):
            loads(text)
    assert loads("[]") == []


@given(VALUES, SPACES, st.booleans())
def test_depth_is_what_recursion_counts(value: Any, spaces: list[str], ascii_only: bool) -> None:
    """Depth counts levels, not brackets, quotes or backslashes inside strings (FRAME-9)."""
    text = written(value, cycle(spaces), ascii_only=ascii_only)
    assert depth(text) == naive_depth(value)


@given(VALUES, SPACES, st.booleans())
def test_openers_never_underestimate_depth(value: Any, spaces: list[str], ascii_only: bool) -> None:
    """The quick bound is never below the depth, of text and of bytes alike (FRAME-10)."""
    text = written(value, cycle(spaces), ascii_only=ascii_only)
    assert openers(text) >= depth(text)
    assert openers(text.encode("utf-8", "surrogatepass")) == openers(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1", 0),
        ('"[{"', 0),
        ("[]", 1),
        ("[{}]", 2),
        ('{"a":[],"b":[[]]}', 3),
        (r'["\"[[["]', 1),
        (r'["\\",["\\\"]"]]', 2),
        ('{"[":"]","{":{}}', 2),
        ("[[],[],[]]", 2),
        ("[" * MAX_DEPTH + "]" * MAX_DEPTH, MAX_DEPTH),
        ("[" * 100_000 + "]" * 100_000, 100_000),
    ],
    ids=lambda value: str(value)[:20],
)
def test_depth_of(text: str, expected: int) -> None:
    """Each array and each object is one level more than what holds it (FRAME-9, FRAME-10)."""
    assert depth(text) == expected


@given(st.lists(st.tuples(AWKWARD, VALUES), max_size=5), SPACES, st.booleans(), st.text(max_size=4))
def test_members_are_found_where_they_stand(
    pairs: list[tuple[str, Any]], spaces: list[str], ascii_only: bool, before: str
) -> None:
    """Each member's name and value is found, repeated names included, without the space around it (FRAME-11)."""
    space = cycle(spaces)
    listed = (written({name: value}, space, ascii_only=ascii_only)[1:-1] for name, value in pairs)
    text = f"{before}{spaces[0]}{{{','.join(listed) or next(space)}}}{spaces[-1]}]"
    found = [(name, text[begin:end]) for name, begin, end in members(text, len(before))]
    assert [(name, json.loads(value)) for name, value in found] == pairs
    assert all(value == value.strip() for _, value in found)


@given(st.lists(VALUES, max_size=5), SPACES, st.booleans(), st.text(max_size=4))
def test_elements_are_found_where_they_stand(
    values: list[Any], spaces: list[str], ascii_only: bool, before: str
) -> None:
    """Each element of an array is found, without the space around it (X-BYTES-1)."""
    text = f"{before}{spaces[0]}{written(values, cycle(spaces), ascii_only=ascii_only)}{spaces[-1]}}}"
    found = [text[begin:end] for begin, end in elements(text, len(before))]
    assert [json.loads(value) for value in found] == values
    assert all(value == value.strip() for value in found)
