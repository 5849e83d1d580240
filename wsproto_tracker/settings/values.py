"""How the value of a setting is read from what a person typed, set or wrote: one function for each kind.

Each takes what came, text or a value of TOML, returns the setting, and raises ``Fault`` with what is allowed.
"""

import re
from collections.abc import Callable, Iterable
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from wsproto_tracker.access import ANY_ORIGIN
from wsproto_tracker.cluster.url import SCHEMES, parse_cluster_url
from wsproto_tracker.structuring import Fault

__all__ = [
    "CLUSTER_PREFIXES",
    "UNIX_PEER",
    "Network",
    "address",
    "age",
    "api_key",
    "base_path",
    "file",
    "host",
    "number",
    "one_of",
    "origins",
    "proxies",
    "reader",
    "seconds",
    "store",
    "whole_number",
]

Network = IPv4Network | IPv6Network | str
"""Addresses of a proxy, or ``UNIX_PEER``."""

UNIX_PEER = "unix"
"""What stands in a list of proxies for those that come through the unix socket."""

CLUSTER_PREFIXES = tuple(f"{scheme}://" for scheme in SCHEMES)
"""What the URL of a cluster's stream begins with."""

_BASE_PATH = re.compile(r"(/[A-Za-z0-9._~-]+)*")


def whole_number(minimum: int, maximum: int | None = None) -> Callable[[object], int]:
    """A whole number within bounds."""
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


def seconds(value: object) -> float:
    """A time in seconds."""
    return _positive(value, "expected a number of seconds greater than 0")


def _positive(value: object, allowed: str) -> float:
    try:
        number = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else -1.0
    except (ValueError, OverflowError):
        number = -1.0
    if not 0 < number < float("inf"):
        raise Fault(allowed)
    return number


def host(value: object) -> str:
    """A host name or an address."""
    if not isinstance(value, str) or not value or re.search(r"[\s/]", value):
        raise Fault("expected a host name or an IP address, such as 127.0.0.1, 0.0.0.0 or ::1")
    return value


def base_path(value: object) -> str:
    """The path in front of every endpoint."""
    path = value.rstrip("/") if isinstance(value, str) and (value.startswith("/") or not value) else None
    if path is None or not _BASE_PATH.fullmatch(path):
        raise Fault("expected a path such as /_tracker, of letters, digits and . _ ~ -, or / for none")
    return path


def store(value: object) -> str:
    """The URL of a store."""
    if isinstance(value, str):
        scheme, _, path = value.partition(":")
        is_path = path and not path.startswith(":") and not re.match("//[^/]", path) and "\0" not in path
        if value == "memory:" or (scheme == "sqlite" and is_path):
            return value
        if value.startswith(CLUSTER_PREFIXES):
            parse_cluster_url(value)
            return value
    raise Fault(
        "expected sqlite: and a file, such as sqlite:tracker.db or sqlite:/var/lib/tracker.db, "
        "memory: (events are lost at the end), or nats://HOST:4222,…/STREAM for a cluster"
    )


_AGE_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def age(value: object) -> timedelta:
    """A time such as ``30d``."""
    if isinstance(value, str) and (match := re.fullmatch(r"([0-9]{1,6})([smhd])", value.strip())):
        value = timedelta(**{_AGE_UNITS[match[2]]: int(match[1])})
    if not isinstance(value, timedelta) or value < timedelta(seconds=1):
        raise Fault("expected a number and a unit of s, m, h or d, such as 90s, 12h or 30d")
    return value


def one_of(*allowed: str) -> Callable[[object], str]:
    """One of some words."""

    def parse(value: object) -> str:
        if value not in allowed or not isinstance(value, str):
            raise Fault(f"expected one of {', '.join(allowed)}")
        return value

    return parse


def api_key(value: object) -> str:
    """A key."""
    if not isinstance(value, str) or not value:
        raise Fault("expected a key that is not empty; leave the option out to let everybody in")
    return value


def number(value: object) -> float:
    """A number greater than 0."""
    return _positive(value, "expected a number greater than 0")


def file(value: object) -> Path:
    """The path of a file."""
    if isinstance(value, Path):
        return value
    if not isinstance(value, str) or not value or "\0" in value:
        raise Fault("expected the path of a file")
    return Path(value).expanduser()


def address(value: object) -> tuple[str, int]:
    """A host and a port to listen on."""
    if isinstance(value, str):
        name, _, port = value.rpartition(":")
        value = (name[1:-1] if name.startswith("[") and name.endswith("]") else name, port)
    if isinstance(value, tuple) and len(value) == 2:
        try:
            return host(value[0]), whole_number(0, 65535)(value[1])
        except Fault:
            pass
    raise Fault("expected an address and a port, such as 127.0.0.1:9464 or [::1]:9464")


def origins(value: object) -> tuple[str, ...]:
    """Origins of pages."""
    return tuple(_origin(item) for item in _items(value, "origins, such as https://shop.example, or * for any"))


def _origin(value: str) -> str:
    if value == ANY_ORIGIN:
        return value
    if value == "null":
        raise Fault("expected origins that say where they are: null is the origin of every page that hides its own")
    try:
        parts = urlsplit(value)
        is_origin = value == f"{parts.scheme}://{parts.netloc}" and parts.hostname and parts.port != 0
        is_default = {"http": 80, "https": 443}.get(parts.scheme) == parts.port
    except ValueError:
        is_origin = is_default = False
    if not is_origin or parts.username is not None or re.search(r"[\s*]", value):
        raise Fault("expected origins as browsers send them, such as https://shop.example or http://localhost:5173")
    return value.lower().rpartition(":")[0] if is_default else value.lower()


def proxies(value: object) -> tuple[Network, ...]:
    """Addresses and networks of proxies."""
    what = f"addresses or networks, such as 127.0.0.1 or 10.0.0.0/8, or {UNIX_PEER}"
    if isinstance(value, tuple | list):
        value = [str(item) if isinstance(item, IPv4Network | IPv6Network) else item for item in value]
    found: list[Network] = []
    for item in _items(value, what):
        try:
            found.append(item if item == UNIX_PEER else ip_network(item))
        except ValueError:
            raise Fault(f"expected {what}") from None
    return tuple(found)


def _items(value: object, what: str) -> Iterable[str]:
    """The items of a list, or of a text that parts them by commas."""
    items = value.split(",") if isinstance(value, str) else value
    if not isinstance(items, list | tuple) or not items:
        raise Fault(f"expected {what}")
    if not all(isinstance(item, str) and item.strip() for item in items):
        raise Fault(f"expected {what}, and none of them empty")
    return [item.strip() for item in items]


def reader(read: Callable[[object], Any]) -> Callable[[object, object], Any]:
    """A function of this module as ``cattrs`` calls it."""
    return lambda value, _type: read(value)
