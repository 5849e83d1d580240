"""What a person gives, checked: the server that is judged, and by which checks. The command and the plugin share it."""

import math
import re
import shlex
import ssl
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from types import MappingProxyType
from urllib.parse import urlsplit

from tracker_conformance.registry import Check, all_checks, select
from tracker_conformance.spec import spec_text
from tracker_conformance.target import Target
from tracker_conformance.tls import tls_context

__all__ = [
    "APP_ID",
    "KEYS",
    "LEVELS",
    "ORIGIN",
    "OptionError",
    "command",
    "flag",
    "keys",
    "patterns",
    "selection",
    "target",
]

APP_ID = Target("").app_id
ORIGIN = Target("").origin
KEYS = ("api_key", "ingest_key", "query_key", "app_key")
"""What may be given in a variable of the environment; the option has ``_env`` behind it."""
LEVELS = ("must", "should", "may")

_WEBSOCKET = ("ws", "wss")
_HTTP = ("http", "https")
_SHORTEST_KEY = 6
_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")


class OptionError(ValueError):
    """Something that was given is wrong: one line that names the option and says what would be right."""


def flag(name: str) -> str:
    """An option's spelling in the command."""
    return "--" + name.replace("_", "-")


def target(
    url: str,
    *,
    spelling: Callable[[str], str] = flag,
    url_option: str = "URL",
    urls: Mapping[str, str | None],
    keys: Mapping[str, str] = MappingProxyType({}),
    app_id: str = APP_ID,
    origin: str = ORIGIN,
    ca: str | None = None,
    deflate: bool = False,
    read_only: bool = False,
    timeout_scale: str = "1",
) -> Target:
    """What the suite is pointed at.

    :param spelling: of the options, for errors; they may hold a key, and so no value is repeated.
    :param urls: ``write_url``, ``read_url`` and ``ping_url``, where they are given.
    :param keys: some of ``KEYS``; without ``api_key`` there cannot be others.
    :param ca: a file of PEM.
    :raises OptionError: for what is wrong.
    """
    if not app_id:
        raise OptionError(f"{spelling('app_id')}: expected a text that is not empty")
    if keys and "api_key" not in keys:
        raise OptionError(f"{spelling(f'{next(iter(keys))}_env')}: expected {spelling('api_key_env')} beside it")
    _check_origin(origin, spelling("origin"))
    if ca is not None:
        _check_ca(ca, spelling("ca"))
    checked = {name: _url(value, spelling(name), _HTTP) for name, value in urls.items() if value is not None}
    return Target(
        _url(url, url_option, _WEBSOCKET),
        checked.get("write_url", ""),
        checked.get("read_url", ""),
        checked.get("ping_url", ""),
        api_key=keys.get("api_key", ""),
        ingest_key=keys.get("ingest_key", ""),
        query_key=keys.get("query_key", ""),
        app_key=keys.get("app_key", ""),
        app_id=app_id,
        origin=origin,
        ca=ca or "",
        deflate=deflate,
        read_only=read_only,
        timeout_scale=_scale(timeout_scale, spelling("timeout_scale")),
    )


def keys(
    variables: Mapping[str, str | None], environment: Mapping[str, str], spelling: Callable[[str], str] = flag
) -> dict[str, str]:
    """The keys that variables of the environment hold.

    :param variables: by names of ``KEYS``; ``None`` for one that is not given.
    :raises OptionError: if a variable is not set, or holds nothing.
    """
    named = {name: variable for name, variable in variables.items() if variable is not None}
    return {name: _key(variable, environment, spelling(f"{name}_env")) for name, variable in named.items()}


def _key(variable: str, environment: Mapping[str, str], option: str) -> str:
    if not _VARIABLE.fullmatch(variable):
        raise OptionError(f"{option}: expected the name of an environment variable, such as TRACKER_KEY, not the key")
    if variable not in environment:
        raise OptionError(f"{option}: {variable} is not set; expected the key in it")
    if not environment[variable].strip():
        raise OptionError(f"{option}: {variable} is empty; expected the key in it, or leave {option} out")
    key = environment[variable]
    if len(key) < _SHORTEST_KEY or key in spec_text():
        raise OptionError(
            f"{option}: the key in {variable} cannot be told from other text, where it has to be left out of what is "
            f"recorded; configure one of {_SHORTEST_KEY} characters or more that is no word of the protocol"
        )
    return key


def patterns(text: str | None, option: str) -> list[str]:
    """Names, sections or ids with wildcards, as they are given: parted by commas.

    :raises OptionError: if one is empty or matches no check.
    """
    if text is None:
        return []
    found = [part.strip() for part in text.split(",")]
    for pattern in found:
        if not pattern:
            raise OptionError(f"{option}: expected names, sections or ids, parted by commas; one is empty")
        if not select(all_checks(), [pattern]):
            raise OptionError(f"{option}: {pattern} matches no check{_suggestion(pattern)}")
    return found


def selection(
    wanted: str | None, unwanted: str | None, level: str, spelling: Callable[[str], str] = flag
) -> list[Check]:
    """The checks that are selected.

    :raises OptionError: for a pattern that matches nothing, and if none is left.
    """
    found = select(all_checks(), patterns(wanted, spelling("select")), patterns(unwanted, spelling("exclude")), level)
    if not found:
        given = {"select": wanted, "exclude": unwanted, "level": None if level == "may" else level}
        options = " and ".join(f"{spelling(name)} {value}" for name, value in given.items() if value is not None)
        raise OptionError(f"{options}: no check is left")
    return found


def command(target: Target, variables: Mapping[str, str | None] = MappingProxyType({})) -> str:
    """The command that judges this target; with ``--select NAME`` behind it, by one check. No key is in it.

    :param variables: those that hold the keys, as for ``keys``.
    """
    urls = target.urls
    words = ["tracker-conformance", urls.pop("ws")]
    for name, url in urls.items():
        words += [flag(f"{name}_url"), url]
    for name, variable in variables.items():
        if variable is not None:
            words += [flag(f"{name}_env"), variable]
    if target.app_id != APP_ID:
        words += ["--app-id", target.app_id]
    if target.origin != ORIGIN:
        words += ["--origin", target.origin]
    if target.ca:
        words += ["--ca", target.ca]
    if target.deflate:
        words.append("--deflate")
    if target.read_only:
        words.append("--read-only")
    if target.timeout_scale != 1:
        words += ["--timeout-scale", f"{target.timeout_scale:g}"]
    return shlex.join(words)


def _url(url: str, option: str, schemes: Iterable[str]) -> str:
    is_websocket = "ws" in schemes
    example = "ws://127.0.0.1:4242/_tracker/ws" if is_websocket else "http://127.0.0.1:4242/_tracker"
    try:
        parts = urlsplit(url)
        host, _port = parts.hostname, parts.port
    except ValueError as error:
        raise OptionError(f"{option}: expected a URL such as {example}; {error}") from None
    if parts.scheme not in schemes:
        kind = "a WebSocket URL, ws:// or wss://" if is_websocket else "an HTTP URL, http:// or https://"
        begins = f"; this one begins with {parts.scheme}://" if parts.scheme in (*_WEBSOCKET, *_HTTP) else ""
        raise OptionError(f"{option}: expected {kind}, such as {example}{begins}")
    if not host:
        raise OptionError(f"{option}: expected a URL with a host, such as {example}")
    if "@" in parts.netloc:
        raise OptionError(f"{option}: expected a URL without a user or password; for a key there is --api-key-env")
    if parts.fragment or not url.isprintable() or " " in url:
        raise OptionError(
            f"{option}: expected a URL such as {example}, without a fragment, spaces or control characters"
        )
    return url


def _check_origin(origin: str, option: str) -> None:
    try:
        parts = urlsplit(origin)
        has_host = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        has_host = False
    if not has_host or parts.scheme not in _HTTP or origin != f"{parts.scheme}://{parts.netloc}" or "@" in origin:
        raise OptionError(f"{option}: expected the origin of a page, such as {ORIGIN}, without a path")


def _check_ca(file: str, option: str) -> None:
    try:
        tls_context(file)
    except OSError as error:  # what is no certificate is an SSLError, which is one
        told = "no certificates in PEM" if isinstance(error, ssl.SSLError) else f"cannot be read: {error.strerror}"
        raise OptionError(f"{option}: {file}: {told}; expected a file with the certificate of a CA") from None


def _scale(text: str, option: str) -> float:
    try:
        scale = float(text)
    except ValueError:
        scale = 0
    if not 0 < scale < math.inf:
        raise OptionError(f"{option}: expected a number above 0, such as 2 for a slow machine")
    return scale


def _suggestion(pattern: str) -> str:
    names = [name for check in all_checks() for name in (check.name, check.section, *check.ids)]
    near = get_close_matches(pattern, dict.fromkeys(names), 1)
    return f"; did you mean {near[0]}?" if near else "; --list shows all"
