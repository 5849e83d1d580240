"""A run as JSON, with the whole transcript, and back."""

import json
import types
from collections.abc import Callable
from typing import Any, Literal, get_args, get_origin

import attrs
from cattrs import BaseValidationError, Converter, transform_error
from cattrs.gen import make_dict_structure_fn
from cattrs.v import format_exception

from tracker_conformance.model import FORMAT, Run, Verdict

__all__ = ["SavedError", "dumps", "loads"]

Hook = Callable[[Any, Any], Any]

_MOST_FAULTS = 5
_MEMBERS = ("format", "suite_version", "results")


class SavedError(ValueError):
    """A text is no saved run that this release reads; says why, in a line or a few."""


class _Fault(ValueError):  # noqa: N818 - the word that the messages use
    """What is wrong with one value, as the part of a sentence that follows its path."""


def dumps(run: Run) -> str:
    """A run as JSON; in ASCII, since a transcript may hold lone surrogates."""
    return json.dumps(_CONVERTER.unstructure(run), indent=1) + "\n"


def loads(text: str) -> Run:
    """Read a run back.

    :raises SavedError: if it is none, one of another format, or damaged.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        looks_like_one = text.lstrip().startswith("{") and all(f'"{name}"' in text for name in _MEMBERS)
        what = "a saved run that is damaged" if looks_like_one else "no saved run: it is not JSON"
        raise SavedError(f"{what}; {error}") from None
    if not isinstance(value, dict) or not all(name in value for name in _MEMBERS):
        raise SavedError("no saved run: expected what --report json=FILE writes")
    if value["format"] is True or value["format"] != FORMAT:
        raise SavedError(f"a saved run of format {value['format']!r}; this release reads format {FORMAT}")
    try:
        run: Run = _CONVERTER.structure(value, Run)
    except BaseValidationError as error:
        faults = [_sentence(line) for line in transform_error(error, "", _told)]
        more = [f"and {len(faults) - _MOST_FAULTS} more"] if len(faults) > _MOST_FAULTS else []
        raise SavedError("a saved run that is damaged; " + "; ".join([*faults[:_MOST_FAULTS], *more])) from None
    return run


def _told(error: BaseException, type_: type | None) -> str:
    if isinstance(error, KeyError):
        return "missing"
    return str(error) if isinstance(error, _Fault) else format_exception(error, type_)


def _sentence(line: str) -> str:
    fault, _, path = line.rpartition(" @ ")
    return f"{path.removeprefix('.') or 'the run'}: {fault}"


def _strictly(allowed: type | tuple[type, ...], what: str) -> Hook:
    """A hook that takes a value as it is, or not at all; ``True`` is no number."""

    def hook(value: Any, type_: Any) -> Any:
        if not isinstance(value, allowed) or (isinstance(value, bool) and type_ is not bool):
            raise _Fault(f"expected {what}")
        return value

    return hook


def _is_tuple(type_: Any) -> bool:
    return get_origin(type_) is tuple


def _tuple_hook(type_: Any, converter: Converter) -> Hook:
    items: Any = types.GenericAlias(list, get_args(type_)[:1])

    def hook(value: Any, _type: Any) -> Any:
        if not isinstance(value, list):
            raise _Fault("expected an array")
        return tuple(converter.structure(value, items))

    return hook


def _verdict(value: Any, _type: Any) -> Verdict:
    try:
        return Verdict(value)
    except ValueError:
        raise _Fault(f"expected one of {', '.join(Verdict)}") from None


def _object_hook(type_: Any, converter: Converter) -> Hook:
    structure = make_dict_structure_fn(type_, converter, _cattrs_forbid_extra_keys=True)

    def hook(value: Any, given: Any) -> Any:
        if not isinstance(value, dict):
            raise _Fault("expected an object")
        return structure(value, given)

    return hook


def _is_literal(type_: Any) -> bool:
    return get_origin(type_) is Literal


def _literal_hook(type_: Any) -> Hook:
    allowed = get_args(type_)

    def hook(value: Any, _type: Any) -> Any:
        if value not in allowed:
            raise _Fault(f"expected one of {', '.join(allowed)}")
        return value

    return hook


def _converter() -> Converter:
    converter = Converter()
    converter.register_structure_hook(str, _strictly(str, "a string"))
    converter.register_structure_hook(int, _strictly(int, "a whole number"))
    converter.register_structure_hook(float, _strictly((int, float), "a number"))
    converter.register_structure_hook(bool, _strictly(bool, "true or false"))
    converter.register_structure_hook(Verdict, _verdict)  # which is a string, too
    converter.register_structure_hook_factory(_is_tuple, lambda type_: _tuple_hook(type_, converter))
    converter.register_structure_hook_factory(_is_literal, _literal_hook)
    converter.register_structure_hook_factory(attrs.has, lambda type_: _object_hook(type_, converter))
    return converter


_CONVERTER = _converter()
