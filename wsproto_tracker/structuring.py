"""A strict ``cattrs`` converter, and its faults as sentences with a path.

Strict means that nothing is converted silently: a string is a string, a whole number is no ``True``, ``null`` is not
"left out". Both the protocol and the settings are read with it.
"""

import types
from collections.abc import Callable, Mapping
from typing import Any, Literal, Union, get_args, get_origin

import attrs
from cattrs import ClassValidationError, Converter, transform_error
from cattrs.gen import make_dict_structure_fn
from msgspec import UnsetType

__all__ = ["Fault", "faults", "strict_converter"]


class Fault(ValueError):  # noqa: N818 - the word that the messages use
    """What is wrong with one value, as the part of a sentence that follows its path."""


def strict_converter() -> Converter:
    """Return a converter that raises ``ClassValidationError`` with a ``Fault`` for every wrong value."""
    converter = Converter(detailed_validation=True)
    converter.register_structure_hook(str, _string)
    converter.register_structure_hook(int, _whole_number)
    converter.register_structure_hook_factory(_is_literal, _literal_hook)
    converter.register_structure_hook_factory(_may_be_left_out, lambda cls: _present_hook(converter, cls))
    converter.register_structure_hook_factory(attrs.has, lambda cls: _object_hook(converter, cls))
    return converter


def faults(error: ClassValidationError) -> list[str]:
    """Every fault of a failed structuring, as ``path: what is wrong``; paths look like ``query.limit``."""
    lines = (line.rpartition(" @ ") for line in transform_error(error, "", _sentence))
    return [f"{path.removeprefix('.')}: {fault}" for fault, _, path in lines]


def _sentence(error: BaseException, _type: type | None) -> str:
    if isinstance(error, KeyError):
        return "missing"
    return str(error)


def _string(value: Any, _type: object) -> str:
    if not isinstance(value, str):
        raise Fault("expected a string")
    return value


def _whole_number(value: Any, _type: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise Fault("expected a whole number")
    return value


def _is_literal(cls: Any) -> bool:
    return get_origin(cls) is Literal


def _literal_hook(cls: Any) -> Callable[[Any, Any], str]:
    allowed = get_args(cls)
    fault = f"expected {'one of ' if len(allowed) > 1 else ''}{', '.join(allowed)}"

    def hook(value: Any, _type: object) -> str:
        if not isinstance(value, str) or value not in allowed:
            raise Fault(fault)
        return value

    return hook


def _may_be_left_out(cls: Any) -> bool:
    """Whether the type is ``X | None`` or ``X | UnsetType``: the marker stands for a member that is not there."""
    return get_origin(cls) in (Union, types.UnionType) and (type(None) in get_args(cls) or UnsetType in get_args(cls))


def _present_hook(converter: Converter, cls: Any) -> Callable[[Any, Any], Any]:
    (present,) = (arg for arg in get_args(cls) if arg not in (type(None), UnsetType))
    return lambda value, _type: converter.structure(value, present)


def _object_hook(converter: Converter, cls: Any) -> Callable[[Any, Any], Any]:
    structure = make_dict_structure_fn(cls, converter)

    def hook(value: Any, type_: Any) -> Any:
        if not isinstance(value, Mapping):
            raise Fault("expected an object")
        return structure(value, type_)

    return hook
