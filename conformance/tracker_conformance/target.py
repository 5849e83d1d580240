"""The server that is judged, and how patient the suite is with it."""

import json
import re
from functools import lru_cache
from urllib.parse import quote, quote_plus, urlsplit, urlunsplit

import attrs

__all__ = ["Target"]

_ESCAPE = re.compile("%[0-9A-F]{2}")
_HAPPENS_S = 5.0
_QUIET_S = 0.25


@attrs.frozen
class Target:
    """What the suite is pointed at.

    :ivar ws_url: ``ws://…`` or ``wss://…``.
    :ivar write_url: where batches are posted to; empty where HTTP ingest is not offered or not to be judged.
    :ivar read_url: where events are read from; likewise.
    :ivar ping_url: likewise.
    :ivar api_key: empty where the server has none configured.
    :ivar ingest_key: a key that is only for sending; empty where none is given, as the next two.
    :ivar query_key: a key that is only for asking.
    :ivar app_key: a key that is for the events of ``app_id`` only; it may be ``api_key`` itself.
    :ivar app_id: the ``appId`` of all events of the suite.
    :ivar origin: of a page that the server lets in.
    :ivar ca: a file with the CAs that ``wss:`` and ``https:`` are checked against; empty for the system's.
    :ivar deflate: whether every connection offers permessage-deflate, as browsers do.
    :ivar read_only: whether nothing may be saved.
    :ivar timeout_scale: by what all waits are multiplied.
    :ivar latency_s: how long an answer takes; measured by the suite.
    """

    ws_url: str
    write_url: str = ""
    read_url: str = ""
    ping_url: str = ""
    api_key: str = attrs.field(default="", repr=False)
    ingest_key: str = attrs.field(default="", repr=False)
    query_key: str = attrs.field(default="", repr=False)
    app_key: str = attrs.field(default="", repr=False)
    app_id: str = "tracker-conformance"
    origin: str = "http://localhost:5173"
    ca: str = ""
    deflate: bool = False
    read_only: bool = False
    timeout_scale: float = 1.0
    latency_s: float = 0.0

    @property
    def happens_s(self) -> float:
        """How long to wait for what must happen, at most."""
        return _HAPPENS_S * self.timeout_scale

    @property
    def quiet_s(self) -> float:
        """How long to wait for what must not happen, after what shows that the server had its turn."""
        return max(_QUIET_S, 4 * self.latency_s) * self.timeout_scale

    @property
    def keys(self) -> tuple[str, ...]:
        """Every key that is given, once."""
        given = (self.api_key, self.ingest_key, self.query_key, self.app_key)
        return tuple(dict.fromkeys(key for key in given if key))

    def redacted(self, text: str) -> str:
        """A text without any key in it, in the forms in which JSON and URLs spell it."""
        for form in _forms(self.keys):
            text = text.replace(form, "[key]")
        return text

    @property
    def urls(self) -> dict[str, str]:
        """The URLs by name, without what is secret in them."""
        urls = {"ws": self.ws_url, "write": self.write_url, "read": self.read_url, "ping": self.ping_url}
        return {name: self.redacted(_without_userinfo(url)) for name, url in urls.items() if url}


@lru_cache(maxsize=16)
def _forms(keys: tuple[str, ...]) -> tuple[str, ...]:
    """How keys may be spelled, longer spellings first."""
    forms: set[str] = set()
    for key in keys:
        forms |= {key, json.dumps(key)[1:-1], json.dumps(key, ensure_ascii=False)[1:-1]}
        forms |= {quote(key, ""), quote_plus(key)}
    forms |= {form.replace("/", r"\/") for form in forms}
    forms |= {_ESCAPE.sub(lambda found: found[0].lower(), form) for form in forms}
    return tuple(sorted(forms, key=len, reverse=True))


def _without_userinfo(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
