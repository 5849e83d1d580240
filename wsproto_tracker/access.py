"""Who may do what: keys with their scopes and apps, and the origins that pages may come from."""

import hmac
from collections.abc import Collection, Iterable
from enum import StrEnum
from ipaddress import ip_address
from urllib.parse import urlsplit

import attrs

from wsproto_tracker.errors import ConfigurationError, ErrorCode, FrameError

__all__ = [
    "ANYBODY",
    "ANY_ORIGIN",
    "API_KEY_NAME",
    "NOBODY",
    "Access",
    "Grant",
    "Key",
    "Scope",
    "host_of",
    "is_loopback_host",
]

ANY_ORIGIN = "*"
"""What stands in a list of origins for all of them."""

API_KEY_NAME = "api-key"
"""What the key is called that has no table of its own."""


class Scope(StrEnum):
    """What a key may be for."""

    INGEST = "ingest"
    QUERY = "query"


_PURPOSES = {Scope.INGEST: "sending events", Scope.QUERY: "asking for events"}

ALL_SCOPES = frozenset(Scope)


def _scopes(given: Iterable[Scope]) -> frozenset[Scope]:
    try:
        return frozenset(map(Scope, [] if isinstance(given, str) else given))
    except ValueError:
        raise ConfigurationError(f"scopes: expected some of {', '.join(Scope)}") from None


def _apps(given: Iterable[str] | None) -> frozenset[str] | None:
    if isinstance(given, str):
        raise ConfigurationError("apps: expected several names, such as {'shop'}")
    return None if given is None else frozenset(given)


@attrs.frozen(kw_only=True)
class Grant:
    """What somebody may do.

    :ivar name: what logs and metrics call it.
    :ivar apps: the ``appId`` of the events that may be sent and are seen; ``None`` for all.
    :ivar origins: where pages that use it may come from; ``None`` for wherever the server allows.
    :ivar rate: events per second that may be sent; ``None`` for what the settings say of every key.
    :raises ConfigurationError: for scopes that are none, and for one app in place of several.
    """

    name: str
    scopes: frozenset[Scope] = attrs.field(default=ALL_SCOPES, converter=_scopes)
    apps: frozenset[str] | None = attrs.field(default=None, converter=_apps)
    origins: tuple[str, ...] | None = None
    rate: float | None = None

    def may(self, scope: Scope) -> bool:
        """Whether it is for this."""
        return scope in self.scopes

    def check(self, scope: Scope) -> None:
        """Let through what it is for.

        :raises FrameError: ``forbidden``, with the reason (X-SCOPE-1, X-SCOPE-2, X-SCOPE-6, HTTP-7).
        """
        self.check_origin()
        if not self.may(scope):
            raise FrameError(ErrorCode.FORBIDDEN, f"the key is not for {_PURPOSES[scope]}")

    def check_origin(self) -> None:
        """Let through what can be used where it was shown.

        :raises FrameError: ``forbidden``, where it is without scopes for that (X-SCOPE-6).
        """
        if not self.scopes:
            raise FrameError(ErrorCode.FORBIDDEN, "the key is not for pages of this origin")

    @property
    def visible_apps(self) -> frozenset[str] | None:
        """The apps whose events may be shown: none at all, where it is not for asking; ``None`` for all."""
        return self.apps if self.may(Scope.QUERY) else frozenset()

    def takes(self, origin: str | None) -> bool:
        """Whether it can be used from there; clients that are no pages come from no origin."""
        return self.origins is None or origin is None or _is_listed(origin, self.origins)

    def without_scopes(self) -> "Grant":
        """What is left of it where it cannot be used: that somebody has shown a key."""
        return Grant(name=self.name, scopes=frozenset())


@attrs.frozen(kw_only=True)
class Key(Grant):
    """A key, and what it is for."""

    key: str = attrs.field(repr=False)


ANYBODY = Grant(name="anybody")
NOBODY = Grant(name="nobody", scopes=frozenset())


@attrs.frozen
class Access:
    """The configured keys, and the origins that are allowed.

    :ivar keys: without any, everybody may do everything (AUTH-2, AUTH-6).
    :ivar origins: ``None`` for the default: any where there are keys, for public pages send; without a key only those
        of this machine, or every website that is open in a browser here could read what is tracked (SEC-4).
    :ivar is_asked: whether a program says what keys allow, in place of the configured ones.
    :ivar anybody: what everybody may do where no key is needed.
    """

    keys: tuple[Key, ...] = ()
    origins: tuple[str, ...] | None = None
    is_asked: bool = False
    anybody: Grant = ANYBODY

    @classmethod
    def of(cls, api_key: str | None, keys: tuple[Key, ...] = (), origins: tuple[str, ...] | None = None) -> "Access":
        """With a key that opens everything, if there is one, and others."""
        simple = () if api_key is None else (Key(name=API_KEY_NAME, key=api_key),)
        return cls(simple + keys, origins)

    @property
    def needs_key(self) -> bool:
        """Whether a key is configured, or a program may ask for one."""
        return bool(self.keys) or self.is_asked

    def grant(self, key: str | None, origin: str | None = None) -> Grant | None:
        """What this key allows to a page of this origin, or to a client that is no page.

        A key that is right, but for pages of other origins, allows nothing (X-SCOPE-6). For a wrong one there is no
        grant at all, and finding that out takes the same time for every wrong one (SEC-2).
        """
        if not self.needs_key:
            return self.anybody
        shown = _octets(key or "")
        found = [known for known in self.keys if hmac.compare_digest(shown, _octets(known.key))]
        if not found:
            return None
        return found[0] if found[0].takes(origin) else found[0].without_scopes()

    @property
    def trusts_this_machine_only(self) -> bool:
        """Whether only pages of this machine are let in."""
        return self.origins is None and not self.needs_key

    @property
    def origins_matter(self) -> bool:
        """Whether pages of some origins are not let in."""
        return self.trusts_this_machine_only or (self.origins is not None and ANY_ORIGIN not in self.origins)

    def takes_origin(self, origin: str | None) -> bool:
        """Whether a page from there is let in; ``None`` for a client that is no page."""
        if origin is None:
            return True
        if self.origins is None:
            return self.needs_key or is_loopback(origin)
        return _is_listed(origin, self.origins)

    def takes_name(self, name: str) -> bool:
        """Whether a client that tells no origin may call the server by this name, or address.

        A website can let a name of its own lead to this machine (DNS rebinding). To a browser its pages are then the
        server's own, and it sends no origin with their ``GET``. Where no key protects what is tracked, the server
        answers to addresses, names of this machine, and names whose pages are let in (SEC-4).
        """
        listed = self.origins or ()
        if self.needs_key or ANY_ORIGIN in listed:
            return True
        return is_loopback_host(name) or _is_address(name) or name in map(host_of, listed)


def is_loopback(origin: str) -> bool:
    """Whether an origin is a page of this machine; ``null`` is none, for anybody can have it."""
    return origin.startswith(("http://", "https://")) and is_loopback_host(host_of(origin))


def is_loopback_host(host: str) -> bool:
    """Whether a host name or address, without a port, is this machine's by its very form."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    return _is_address(host) and ip_address(host).is_loopback


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def host_of(url: str) -> str:
    """The host name or address in a URL, in lower case; empty where there is none."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _is_listed(origin: str, allowed: Collection[str]) -> bool:
    return ANY_ORIGIN in allowed or origin.lower() in allowed


def _octets(key: str) -> bytes:
    return key.encode("utf-8", "surrogatepass")
