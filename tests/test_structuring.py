"""The strict converter: nothing is converted silently, and every fault has a path."""

from typing import Any, Literal

import attrs
import pytest
from cattrs import ClassValidationError
from msgspec import UNSET, UnsetType

from wsproto_tracker.structuring import Fault, faults, strict_converter


@attrs.frozen
class Inner:
    size: int
    name: str = "plain"


@attrs.frozen
class Outer:
    text: str
    colour: Literal["red", "green"] = "red"
    only: Literal["one"] = "one"
    perhaps: str | None = None
    unset: int | UnsetType = UNSET
    inner: Inner | None = None


CONVERTER = strict_converter()


def found(data: dict[str, Any]) -> set[str]:
    """The faults of an object that cannot be read."""
    with pytest.raises(ClassValidationError) as caught:
        CONVERTER.structure(data, Outer)
    return set(faults(caught.value))


def test_what_fits_is_read() -> None:
    """Members are read into their places, and unknown ones ignored (FRAME-2)."""
    data = {"text": "a", "colour": "green", "unset": 0, "inner": {"size": -1, "x": 1}, "x": None}
    assert CONVERTER.structure(data, Outer) == Outer("a", "green", unset=0, inner=Inner(-1))


def test_what_is_left_out_has_its_default() -> None:
    """A member that is left out is marked so (QUERY-4, EVENT-7)."""
    assert CONVERTER.structure({"text": ""}, Outer) == Outer("", "red", "one", None, UNSET, None)


@pytest.mark.parametrize("value", [None, True, 0, 1.5, [], {}, b"text"], ids=repr)
def test_a_string_is_a_string(value: object) -> None:
    """Nothing else becomes a string, nor is ``null`` "left out" (EVENT-2, EVENT-7, QUERY-9)."""
    assert found({"text": value}) == {"text: expected a string"}
    assert found({"text": "", "perhaps": value}) == {"perhaps: expected a string"}


@pytest.mark.parametrize("value", [None, True, False, 1.0, 1.5, "1", [], {}], ids=repr)
def test_a_whole_number_is_no_truth_value(value: object) -> None:
    """Neither ``true`` nor a string nor a fraction is a whole number (QUERY-9, FILTER-8)."""
    assert found({"text": "", "unset": value}) == {"unset: expected a whole number"}
    assert found({"text": "", "inner": {"size": value}}) == {"inner.size: expected a whole number"}


@pytest.mark.parametrize("value", [None, "blue", "RED", "red\n", "", 1, ["red"], {}], ids=repr)
def test_one_of_several_words(value: object) -> None:
    """A word that is not in the list is a fault that names the list; a list cannot be mistaken for a word (EVENT-3)."""
    assert found({"text": "", "colour": value}) == {"colour: expected one of red, green"}
    assert found({"text": "", "only": value}) == {"only: expected one"}


@pytest.mark.parametrize("value", [None, [], "x", 5, [["size", 1]]], ids=repr)
def test_an_object_is_an_object(value: object) -> None:
    """Nothing but an object is one, and ``null`` does not leave it out (EVENT-2, EVENT-7)."""
    assert found({"text": "", "inner": value}) == {"inner: expected an object"}
    with pytest.raises(Fault, match=r"^expected an object$"):
        CONVERTER.structure(value, Outer)


def test_every_fault_has_its_path() -> None:
    """All faults of an object are told at once, those inside it with their whole path (QUERY-9, X-REJECT-1)."""
    data = {"colour": 1, "perhaps": None, "inner": {"name": 5}}
    assert found(data) == {
        "text: missing",
        "colour: expected one of red, green",
        "perhaps: expected a string",
        "inner.size: missing",
        "inner.name: expected a string",
    }


def test_faults_repeat_no_values() -> None:
    """A fault names members and never what they hold, nor unknown members (SEC-3)."""
    data = {"text": ["M4RK"], "colour": "M4RK @ x", "inner": {"size": "M4RK", "M4RK": 1}, "M4RK": "M4RK"}
    assert "M4RK" not in "".join(found(data))
