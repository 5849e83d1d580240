"""The settings: one frozen class, filled from flags, the environment and a TOML file, in this order of precedence.

Every option has one name in three spellings: ``max_events`` (Python, TOML), ``--max-events``, ``TRACKER_MAX_EVENTS``.
"""

import os
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import attrs
from cattrs import ClassValidationError, Converter
from cattrs.gen import make_dict_structure_fn, override

from wsproto_tracker.errors import ConfigurationError
from wsproto_tracker.store import Durability
from wsproto_tracker.structuring import Fault, faults

__all__ = [
    "DURABILITIES",
    "ENVIRONMENT_PREFIX",
    "PUSH_MODES",
    "Settings",
    "flag",
    "load_settings",
    "mistyped_variables",
    "options",
    "store_path",
    "suggestion",
]

ENVIRONMENT_PREFIX = "TRACKER_"
PUSH_MODES = ("subscribers", "queriers", "off")
DURABILITIES: tuple[Durability, ...] = ("full", "normal")

_BASE_PATH = re.compile(r"(/[A-Za-z0-9._~-]+)*")


def _whole_number(minimum: int, maximum: int | None = None) -> Callable[[object], int]:
    allowed = f"expected a whole number from {minimum}" + ("" if maximum is None else f" to {maximum}")

    def parse(value: object) -> int:
        if isinstance(value, str) and re.fullmatch(r"[+-]?[0-9]{1,18}", value.strip()):
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool) or value < minimum:
            raise Fault(allowed)
        if maximum is not None and value > maximum:
            raise Fault(allowed)
        return value

    return parse


def _seconds(value: object) -> float:
    try:
        seconds = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else -1.0
    except (ValueError, OverflowError):
        seconds = -1.0
    if not 0 < seconds < float("inf"):
        raise Fault("expected a number of seconds greater than 0")
    return seconds


def _host(value: object) -> str:
    if not isinstance(value, str) or not value or re.search(r"[\s/]", value):
        raise Fault("expected a host name or an IP address, such as 127.0.0.1, 0.0.0.0 or ::1")
    return value


def _base_path(value: object) -> str:
    path = value.rstrip("/") if isinstance(value, str) and (value.startswith("/") or not value) else None
    if path is None or not _BASE_PATH.fullmatch(path):
        raise Fault("expected a path such as /_tracker, of letters, digits and . _ ~ -, or / for none")
    return path


def _store(value: object) -> str:
    if isinstance(value, str):
        scheme, _, path = value.partition(":")
        is_path = path and not path.startswith(":") and not re.match("//[^/]", path) and "\0" not in path
        if value == "memory:" or (scheme == "sqlite" and is_path):
            return value
    raise Fault(
        "expected sqlite: and a file, such as sqlite:tracker.db or sqlite:/var/lib/tracker.db, "
        "or memory: (events are lost at the end)"
    )


_AGE_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def _age(value: object) -> timedelta:
    if isinstance(value, str) and (match := re.fullmatch(r"([0-9]{1,6})([smhd])", value.strip())):
        value = timedelta(**{_AGE_UNITS[match[2]]: int(match[1])})
    if not isinstance(value, timedelta) or value < timedelta(seconds=1):
        raise Fault("expected a number and a unit of s, m, h or d, such as 90s, 12h or 30d")
    return value


def _one_of(*allowed: str) -> Callable[[object], str]:
    def parse(value: object) -> str:
        if value not in allowed or not isinstance(value, str):
            raise Fault(f"expected one of {', '.join(allowed)}")
        return value

    return parse


def _api_key(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise Fault("expected a key that is not empty; leave the option out to let everybody in")
    return value


def _option(default: Any, parse: Callable[[object], Any], help_: str, *, metavar: str, secret: bool = False) -> Any:
    """A setting: its default, how a value from outside is read, and its line in the help."""

    def validate(_settings: object, attribute: "attrs.Attribute[Any]", value: Any) -> None:
        if value is None and default is None:
            return
        try:
            parsed = parse(value)
        except Fault as fault:
            raise ConfigurationError(f"{attribute.name}: {fault}") from None
        if parsed != value:
            raise ConfigurationError(f"{attribute.name}: expected {parsed!r} in place of {value!r}")

    metadata = {"parse": parse, "help": help_, "metavar": metavar}
    return attrs.field(default=default, validator=validate, repr=not secret, metadata=metadata)


@attrs.frozen(kw_only=True)
class Settings:
    """Everything that can be set. Sizes are in bytes (``_bytes``), times in seconds (``_s``).

    :raises ConfigurationError: for a value that is not allowed.
    """

    host: str = _option("127.0.0.1", _host, "address to listen on", metavar="HOST")
    port: int = _option(4242, _whole_number(0, 65535), "port to listen on; 0 picks a free one", metavar="PORT")
    base_path: str = _option("/_tracker", _base_path, "path in front of every endpoint but /health", metavar="PATH")
    store: str = _option(
        "sqlite:tracker.db",
        _store,
        "where events are kept: sqlite:PATH, or memory: to lose them at the end",
        metavar="URL",
    )
    durability: Durability = _option(
        "full", _one_of(*DURABILITIES), "what an ack waits for: full (the disk) or normal (the system)", metavar="HOW"
    )
    api_key: str | None = _option(
        None, _api_key, "key that clients have to show; better set as TRACKER_API_KEY", metavar="KEY", secret=True
    )
    max_events: int = _option(500_000, _whole_number(1), "events kept; the first in are the first out", metavar="N")
    max_age: timedelta | None = _option(
        None, _age, "how long events are kept, such as 30d; without it age does not count", metavar="AGE"
    )
    max_bytes: int | None = _option(
        None, _whole_number(1024 * 1024), "disk space that events may take, about; without it, any", metavar="N"
    )
    push: str = _option(
        "subscribers", _one_of(*PUSH_MODES), f"who gets new events pushed: {', '.join(PUSH_MODES)}", metavar="WHO"
    )
    max_frame_bytes: int = _option(
        16 * 1024 * 1024, _whole_number(1024), "largest message and HTTP body accepted", metavar="N"
    )
    max_head_bytes: int = _option(64 * 1024, _whole_number(1024), "largest HTTP request head accepted", metavar="N")
    max_pending_replies: int = _option(
        32, _whole_number(1), "frames of one connection that may wait for their answer", metavar="N"
    )
    max_uncommitted_bytes: int = _option(
        32 * 1024 * 1024, _whole_number(1024), "memory for events on their way to the disk", metavar="N"
    )
    max_push_bytes: int = _option(
        1024 * 1024, _whole_number(1024), "pushes that may wait for one slow reader", metavar="N"
    )
    head_timeout_s: float = _option(10.0, _seconds, "time a request head may take", metavar="SECONDS")
    idle_timeout_s: float = _option(75.0, _seconds, "time an HTTP connection may be idle", metavar="SECONDS")
    receive_timeout_s: float = _option(30.0, _seconds, "time an HTTP body may pause", metavar="SECONDS")
    send_timeout_s: float = _option(60.0, _seconds, "time a reader may take nothing of an answer", metavar="SECONDS")
    answer_timeout_s: float = _option(600.0, _seconds, "time a reader may take for one answer", metavar="SECONDS")
    ping_interval_s: float = _option(20.0, _seconds, "time between WebSocket pings", metavar="SECONDS")
    ping_timeout_s: float = _option(20.0, _seconds, "time a peer may stay silent after a ping", metavar="SECONDS")
    drain_timeout_s: float = _option(10.0, _seconds, "time to finish what is in hand at the end", metavar="SECONDS")


_NAMES = [attribute.name for attribute in attrs.fields(Settings)]


def options() -> "tuple[attrs.Attribute[Any], ...]":
    """The settings as attributes; ``metadata`` has ``help`` and ``metavar``."""
    return attrs.fields(Settings)


def flag(name: str) -> str:
    """A setting's spelling on the command line."""
    return "--" + name.replace("_", "-")


def variable(name: str) -> str:
    """A setting's spelling in the environment."""
    return f"{ENVIRONMENT_PREFIX}{name.upper()}"


def store_path(store: str) -> Path:
    """The file of a store that is in one; ``sqlite:///var/lib/x.db`` is what others call ``sqlite:/var/lib/x.db``."""
    return Path(re.sub("^///+", "/", store.removeprefix("sqlite:"))).expanduser()


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
    values: dict[str, Any] = {}
    spelled: dict[str, str] = {}
    if file is not None:
        for name, value in _read_file(file).items():
            values[name], spelled[name] = value, f"{file}: {name}"
    for name in _NAMES:
        if variable(name) in environment:
            values[name], spelled[name] = environment[variable(name)], variable(name)
    for name, value in flags.items():
        if name not in _NAMES:
            raise ConfigurationError(f"{flag(name)}: no such option{suggestion(name, flag)}")
        values[name], spelled[name] = value, flag(name)
    try:
        return _CONVERTER.structure(values, Settings)
    except ClassValidationError as error:
        found = [fault.partition(": ") for fault in faults(error)]
        raise ConfigurationError("\n".join(f"{spelled[name]}: {fault}" for name, _, fault in found)) from None


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
    unknown = [f"{file}: {name}: no such option{suggestion(name)}" for name in table if name not in _NAMES]
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


def _reader(parse: Callable[[object], Any]) -> Callable[[object, object], Any]:
    return lambda value, _type: parse(value)


def _make_converter() -> Converter:
    converter = Converter(detailed_validation=True)
    hooks = {attribute.name: override(struct_hook=_reader(attribute.metadata["parse"])) for attribute in options()}
    converter.register_structure_hook(Settings, make_dict_structure_fn(Settings, converter, **hooks))  # type: ignore[arg-type]
    return converter


_CONVERTER = _make_converter()
