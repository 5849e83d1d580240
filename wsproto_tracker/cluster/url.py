"""The URL of a cluster's stream: ``nats://host:4222,host2:4222/STREAM?monitor=…``."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import attrs

from wsproto_tracker.structuring import Fault

__all__ = ["MAX_EVENT_BYTES", "SCHEMES", "ClusterUrl", "parse_cluster_url"]

SCHEMES = ("nats", "tls")

MAX_EVENT_BYTES = 900_000
"""What an event may have where its message has to go through servers as they are by default (``max_payload: 1MB``)."""

_EXAMPLE = "nats://10.0.0.1:4222,10.0.0.2:4222,10.0.0.3:4222/TRACKER"
_PORT = 4222
_MONITOR_PORT = 8222
_MAX_BYTES = 1024**3
_STREAM = re.compile(r"[A-Za-z0-9_-]{1,64}")
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?")
_MONITOR = re.compile(r"https?://[^\s/,]+/?")


@attrs.frozen(kw_only=True)
class ClusterUrl:
    """Where the stream is, and how it is made if it is not there.

    :ivar servers: URLs of servers; one of them is enough to find the stream, and all that are named are tried.
    :ivar stream: its name.
    :ivar creds: file with the credentials of a user.
    :ivar is_tls: whether a connection without TLS is refused.
    :ivar tls_ca: file with the certificates that are trusted; without it, those of the system.
    :ivar replicas: on how many servers it is to be.
    :ivar max_bytes: what it may take on each.
    :ivar monitors: where the servers tell of their settings.
    """

    servers: tuple[str, ...]
    stream: str
    user: str | None = None
    password: str | None = attrs.field(default=None, repr=False)
    creds: Path | None = None
    is_tls: bool = False
    tls_ca: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    replicas: int = 3
    max_bytes: int = _MAX_BYTES
    monitors: tuple[str, ...] = ()

    @property
    def batches(self) -> str:
        """The subject of messages with batches."""
        return f"{self.stream}.batches"

    @property
    def marks(self) -> str:
        """The subject of messages that only mark a place in the stream."""
        return f"{self.stream}.marks"

    def __str__(self) -> str:
        hosts = ",".join(server.partition("//")[2] for server in self.servers)
        return f"{'tls' if self.is_tls else 'nats'}://{hosts}/{self.stream}"


def parse_cluster_url(text: str) -> ClusterUrl:
    """Read a URL.

    :raises Fault: for one that cannot be read.
    """
    url = urlsplit(text)
    login, _, netloc = url.netloc.rpartition("@")
    user, _, password = login.partition(":")
    stream = url.path.removeprefix("/")
    hosts = [_HOST.fullmatch(host) for host in netloc.split(",")]
    if url.scheme not in SCHEMES or url.fragment or None in hosts:
        raise Fault(f"expected servers and a stream, such as {_EXAMPLE}")
    if not _STREAM.fullmatch(stream):
        raise Fault(f"expected the name of a stream after the servers, of letters, digits, - and _, such as {_EXAMPLE}")
    places = [(host[1], int(host[2] or _PORT)) for host in hosts if host is not None]
    if login and not password:
        raise Fault("expected user:password@ before the servers, or ?creds=FILE")
    if any(not 0 < port < 65536 for _, port in places):
        raise Fault("expected ports from 1 to 65535")
    return ClusterUrl(
        servers=tuple(f"{url.scheme}://{host}:{port}" for host, port in places),
        stream=stream,
        user=unquote(user) or None,
        password=unquote(password) or None,
        is_tls=url.scheme == "tls",
        **_parameters(url.query, tuple(f"http://{host}:{_MONITOR_PORT}" for host, _ in places)),
    )


def _parameters(query: str, monitors: tuple[str, ...]) -> Mapping[str, Any]:
    """What stands behind the question mark."""
    found: dict[str, Any] = {"monitors": monitors}
    for name, value in parse_qsl(query, keep_blank_values=True):
        match name:
            case "creds" | "tls_ca" | "tls_cert" | "tls_key" if value:
                found[name] = Path(value).expanduser()
            case "replicas" if value in ("1", "3", "5"):
                found[name] = int(value)
            case "max_bytes" if re.fullmatch("[0-9]{7,15}", value):
                found[name] = int(value)
            case "monitor":
                found["monitors"] = tuple(address.rstrip("/") for address in value.split(","))
                if not all(map(_MONITOR.fullmatch, value.split(","))):
                    raise Fault("expected ?monitor= with addresses such as http://10.0.0.1:8222, parted by commas")
            case "replicas":
                raise Fault("expected ?replicas= with 1, 3 or 5")
            case "max_bytes":
                raise Fault("expected ?max_bytes= with a number of bytes from 1000000")
            case "creds" | "tls_ca" | "tls_cert" | "tls_key":
                raise Fault(f"expected ?{name}= with the path of a file")
            case _:
                known = "creds, tls_ca, tls_cert, tls_key, replicas, max_bytes and monitor"
                raise Fault(f"expected parameters among {known}; there is no {name}")
    if ("tls_cert" in found) != ("tls_key" in found):
        raise Fault("expected tls_cert and tls_key, or neither")
    return found
