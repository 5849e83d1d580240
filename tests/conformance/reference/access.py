"""Who may do what: keys that are not for everything, and the origins of pages."""

from urllib.parse import urlsplit

import attrs

__all__ = ["APP", "APP_KEY", "INGEST_KEY", "ORIGIN", "OTHER_KEYS", "QUERY_KEY", "Grant", "is_loopback"]

APP = "tracker-conformance"
ORIGIN = "http://localhost:5173"
INGEST_KEY, QUERY_KEY, APP_KEY = "only-for-sending", "only-for-asking", "only-for-one-app"


@attrs.frozen
class Grant:
    """What a key is for.

    :ivar apps: ``None`` for all.
    :ivar origins: of the pages that may use it; ``None`` for all.
    """

    may_send: bool = True
    may_ask: bool = True
    apps: frozenset[str] | None = None
    origins: frozenset[str] | None = None


OTHER_KEYS = {
    INGEST_KEY: Grant(may_ask=False, origins=frozenset({ORIGIN})),
    QUERY_KEY: Grant(may_send=False),
    APP_KEY: Grant(apps=frozenset({APP})),
}


def is_loopback(origin: str) -> bool:
    """Whether an origin is one of this machine."""
    host = urlsplit(origin).hostname or ""
    return host in ("localhost", "::1") or host.startswith("127.")
