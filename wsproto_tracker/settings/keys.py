"""The tables ``[[keys]]`` of a file: keys, and what each is for."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
from cattrs import ClassValidationError, Converter
from cattrs.gen import make_dict_structure_fn, override

from wsproto_tracker.access import Key, Scope
from wsproto_tracker.settings import values
from wsproto_tracker.structuring import Fault, faults

__all__ = ["key_name", "read_keys", "with_variables"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_MEMBERS = [attribute.name for attribute in attrs.fields(Key)]


def with_variables(tables: object, environment: Mapping[str, str]) -> object:
    """The tables, with the key of each that has ``key_env`` taken from the environment.

    :raises Fault: for a variable that is not set, or a table that has both.
    """
    if not isinstance(tables, list):
        return tables
    return [_with_variable(table, f"[{index}]", environment) for index, table in enumerate(tables)]


def _with_variable(table: object, path: str, environment: Mapping[str, str]) -> object:
    if not isinstance(table, dict) or "key_env" not in table:
        return table
    variable = table["key_env"]
    if not isinstance(variable, str) or not variable:
        raise Fault(f"{path}.key_env: expected the name of an environment variable")
    if "key" in table:
        raise Fault(f"{path}: expected key or key_env, not both")
    if not environment.get(variable):
        raise Fault(f"{path}.key_env: no variable of this name is set; expected the key in it")
    return {name: value for name, value in table.items() if name != "key_env"} | {"key": environment[variable]}


def read_keys(value: object) -> tuple[Key, ...]:
    """Keys, from tables or as they are.

    :raises Fault: naming every member that is wrong, without its value (SEC-1).
    """
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise Fault("expected tables, [[keys]], each with key or key_env, name and scopes")
    found: list[Key] = []
    wrong: list[str] = []
    for index, table in enumerate(value):
        try:
            found.append(table if isinstance(table, Key) else _read_key(table))
        except Fault as fault:
            wrong += [f"[{index}]{line}" for line in str(fault).splitlines()]
    if not wrong:
        wrong = [*_repeated([key.name for key in found], "name"), *_repeated([key.key for key in found], "key")]
    if wrong:
        raise Fault("\n".join(wrong))
    return tuple(found)


def _read_key(table: object) -> Key:
    if not isinstance(table, dict):
        raise Fault(": expected a table")
    unknown = [name for name in table if name not in _MEMBERS]
    if unknown:
        raise Fault(f": no such member as {', '.join(unknown)}; the members are {', '.join(_MEMBERS)} and key_env")
    if "key" not in table:
        raise Fault(": expected key, or key_env with the name of the variable that holds it")
    try:
        return _CONVERTER.structure(table, Key)
    except ClassValidationError as error:
        raise Fault("\n".join(f".{fault}" for fault in faults(error))) from None


def _repeated(texts: list[str], member: str) -> list[str]:
    """A sentence for each text that is there already."""
    return [
        f"[{index}].{member}: the same as that of [{texts.index(text)}]; expected another"
        for index, text in enumerate(texts)
        if texts.index(text) < index
    ]


def key_name(value: object) -> str:
    """The name of a key.

    :raises Fault: with what is allowed.
    """
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise Fault("expected a name of letters, digits and . _ -, for logs and metrics")
    return value


def _scopes(value: object) -> frozenset[Scope]:
    allowed = ", ".join(Scope)
    if not isinstance(value, list) or not value or not all(scope in list(Scope) for scope in value):
        raise Fault(f"expected a list with one or more of {allowed}")
    return frozenset(map(Scope, value))


def _apps(value: object) -> frozenset[str]:
    if not isinstance(value, list) or not value or not all(isinstance(app, str) for app in value):
        raise Fault('expected a list of appIds, such as ["shop"]; leave it out for all apps')
    return frozenset(value)


def _make_converter() -> Converter:
    converter = Converter(detailed_validation=True)
    readers: dict[str, Any] = {
        "key": values.api_key,
        "name": key_name,
        "scopes": _scopes,
        "apps": _apps,
        "origins": values.origins,
        "rate": values.number,
    }
    hooks = {name: override(struct_hook=values.reader(read)) for name, read in readers.items()}
    converter.register_structure_hook(Key, make_dict_structure_fn(Key, converter, **hooks))  # type: ignore[arg-type]
    return converter


_CONVERTER = _make_converter()
