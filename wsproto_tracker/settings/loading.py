"""Putting the settings together from flags, the environment and a TOML file, in this order of precedence.

Every option has one name in three spellings: ``max_events`` (Python, TOML), ``--max-events``, ``TRACKER_MAX_EVENTS``.
Keys are tables, ``[[keys]]``, which only a file can have.
"""

import os
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import attrs
from cattrs import ClassValidationError, Converter
from cattrs.gen import make_dict_structure_fn, override

from wsproto_tracker.errors import ConfigurationError
from wsproto_tracker.settings import values
from wsproto_tracker.settings.keys import with_variables
from wsproto_tracker.settings.schema import Settings, options
from wsproto_tracker.structuring import Fault, faults

__all__ = ["ENVIRONMENT_PREFIX", "flag", "load_settings", "mistyped_variables", "suggestion", "variable"]

ENVIRONMENT_PREFIX = "TRACKER_"

_NAMES = [option.name for option in options()]
_NAMES_IN_FILE = [attribute.name for attribute in attrs.fields(Settings)]
_KEYS = "keys"


def flag(name: str) -> str:
    """A setting's spelling on the command line."""
    return "--" + name.replace("_", "-")


def variable(name: str) -> str:
    """A setting's spelling in the environment."""
    return f"{ENVIRONMENT_PREFIX}{name.upper()}"


def load_settings(
    flags: Mapping[str, str], environment: Mapping[str, str] | None = None, file: Path | None = None
) -> Settings:
    """Put the settings together: a flag beats the environment, which beats the file, which beats the default.

    :param flags: the options given on the command line, by setting name.
    :param environment: ``os.environ`` if left out; only names that begin with ``TRACKER_`` matter.
    :param file: a TOML file; ``TRACKER_CONFIG`` names it where this is left out.
    :raises ConfigurationError: naming every option that is wrong, and what is allowed.
    """
    environment = os.environ if environment is None else environment
    if file is None and environment.get(f"{ENVIRONMENT_PREFIX}CONFIG"):
        file = Path(environment[f"{ENVIRONMENT_PREFIX}CONFIG"])
    given: dict[str, Any] = {}
    spelled: dict[str, str] = {}
    if file is not None:
        for name, value in _read_file(file).items():
            given[name], spelled[name] = value, f"{file}: {name}"
        try:
            given |= {_KEYS: with_variables(given[_KEYS], environment)} if _KEYS in given else {}
        except Fault as fault:
            raise ConfigurationError(f"{spelled[_KEYS]}{fault}") from None
    for name in _NAMES:
        if variable(name) in environment:
            given[name], spelled[name] = environment[variable(name)], variable(name)
    for name, value in flags.items():
        if name not in _NAMES:
            raise ConfigurationError(f"{flag(name)}: no such option{suggestion(name, flag)}")
        given[name], spelled[name] = value, flag(name)
    try:
        return _CONVERTER.structure(given, Settings)
    except ClassValidationError as error:
        raise ConfigurationError("\n".join(_told(error, spelled))) from None


def _told(error: ClassValidationError, spelled: Mapping[str, str]) -> Iterator[str]:
    """A line for each fault, with the setting as it was spelled."""
    for fault in faults(error):
        name, _, what = fault.removeprefix(": ").partition(
            ": "
        )  # with nothing before it, it is about a pair of settings
        for line in what.splitlines():
            yield f"{spelled[name]}{line}" if line.startswith("[") else f"{spelled[name]}: {line}"


def _read_file(file: Path) -> dict[str, Any]:
    try:
        text = file.read_text("utf-8")
    except UnicodeDecodeError:
        raise ConfigurationError(f"{file}: expected TOML in UTF-8") from None
    except (OSError, ValueError) as error:  # a ValueError for a path that is none
        raise ConfigurationError(f"{file}: cannot be read: {getattr(error, 'strerror', error)}") from None
    try:
        table = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"{file}: expected TOML: {error}") from None
    unknown = [
        f"{file}: {name}: no such option{suggestion(name, names=_NAMES_IN_FILE)}"
        for name in table
        if name not in _NAMES_IN_FILE
    ]
    if unknown:
        raise ConfigurationError("\n".join(unknown))
    return table


def suggestion(name: str, spelling: Callable[[str], str] = str, names: Sequence[str] = ()) -> str:
    """The end of a sentence about an option that does not exist: the one that may have been meant, or all of them.

    :param names: those that there are; every setting, if left out.
    """
    names = names or _NAMES
    close = get_close_matches(name.replace("-", "_").lower(), names, n=1)
    if close:
        return f"; did you mean {spelling(close[0])}?"
    return f"; the options are {', '.join(map(spelling, names))}"


def mistyped_variables(environment: Mapping[str, str]) -> list[str]:
    """A sentence for each variable that looks like one of ours and is none; others may use the prefix as well."""
    ours = {variable(name) for name in _NAMES} | {f"{ENVIRONMENT_PREFIX}CONFIG"}
    return [
        f"{name} is no option{suggestion(name.removeprefix(ENVIRONMENT_PREFIX), variable)}"
        for name in environment
        if name.startswith(ENVIRONMENT_PREFIX) and name not in ours and get_close_matches(name, ours, n=1, cutoff=0.85)
    ]


def _make_converter() -> Converter:
    converter = Converter(detailed_validation=True)
    hooks = {
        attribute.name: override(struct_hook=values.reader(attribute.metadata["parse"]))
        for attribute in attrs.fields(Settings)
    }
    converter.register_structure_hook(Settings, make_dict_structure_fn(Settings, converter, **hooks))  # type: ignore[arg-type]
    return converter


_CONVERTER = _make_converter()
