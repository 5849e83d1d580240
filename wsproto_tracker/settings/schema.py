"""The settings: one frozen class."""

import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import attrs

from wsproto_tracker.access import API_KEY_NAME, Access, Key
from wsproto_tracker.cluster.url import MAX_EVENT_BYTES, ClusterUrl, parse_cluster_url
from wsproto_tracker.errors import ConfigurationError
from wsproto_tracker.settings import values
from wsproto_tracker.settings.keys import read_keys
from wsproto_tracker.structuring import Fault

__all__ = ["DURABILITIES", "LOG_FORMATS", "PUSH_MODES", "READ_MODES", "Settings", "options"]

PUSH_MODES = ("subscribers", "queriers", "off")
DURABILITIES = ("full", "normal", "replicated")
READ_MODES = ("latest", "local")
LOG_FORMATS = ("console", "json")


def _option(
    default: Any,
    parse: Callable[[object], Any],
    help_: str,
    *,
    metavar: str,
    secret: bool = False,
    is_table: bool = False,
) -> Any:
    """A setting: its default, how a value from outside is read, and its line in the help.

    :param is_table: whether only a file can have it, for it takes more than a word.
    """

    def validate(_settings: object, attribute: "attrs.Attribute[Any]", value: Any) -> None:
        if type(value) is type(default) and value == default:
            return
        try:
            parsed = parse(value)
        except Fault as fault:
            raise ConfigurationError(f"{attribute.name}: {fault}") from None
        if parsed != value:
            raise ConfigurationError(f"{attribute.name}: expected {parsed!r} in place of {value!r}")

    metadata = {"parse": parse, "help": help_, "metavar": metavar, "is_table": is_table}
    return attrs.field(default=default, validator=validate, repr=not secret, metadata=metadata)


@attrs.frozen(kw_only=True)
class Settings:
    """Everything that can be set. Sizes are in bytes (``_bytes``), times in seconds (``_s``).

    :raises ConfigurationError: for a value that is not allowed.
    """

    host: str = _option("127.0.0.1", values.host, "address to listen on", metavar="HOST")
    port: int = _option(4242, values.whole_number(0, 65535), "port to listen on; 0 picks a free one", metavar="PORT")
    unix: Path | None = _option(
        None, values.file, "unix socket to listen on, in place of host and port", metavar="PATH"
    )
    base_path: str = _option(
        "/_tracker",
        values.base_path,
        "path in front of every endpoint but /health, /ready and /metrics",
        metavar="PATH",
    )
    store: str = _option(
        "sqlite:tracker.db",
        values.store,
        "where events are kept: sqlite:PATH, memory: to lose them at the end, or nats://HOST,…/STREAM for a cluster",
        metavar="URL",
        secret=True,
    )
    local: Path | None = _option(
        None, values.file, "this node's own file, in a cluster; without it tracker-STREAM.db", metavar="PATH"
    )
    read: str = _option(
        "latest",
        values.one_of(*READ_MODES),
        "what a query sees in a cluster: latest (all that was acked) or local (what is here, at once)",
        metavar="WHAT",
    )
    durability: str = _option(
        "full",
        values.one_of(*DURABILITIES),
        "what an ack waits for: full (the disk, of a quorum in a cluster), normal (the system), "
        "or replicated (a quorum, however its servers sync)",
        metavar="HOW",
    )
    api_key: str | None = _option(
        None, values.api_key, "key that clients have to show; better set as TRACKER_API_KEY", metavar="KEY", secret=True
    )
    keys: tuple[Key, ...] = _option((), read_keys, "keys, with what each is for", metavar="", is_table=True)
    origins: tuple[str, ...] | None = _option(
        None,
        values.origins,
        "origins of pages that are let in, by commas, or *; without it all, or this machine's where no key is set",
        metavar="ORIGINS",
    )
    tls_cert: Path | None = _option(
        None, values.file, "certificate, with its chain, in PEM; makes the port wss and https", metavar="FILE"
    )
    tls_key: Path | None = _option(None, values.file, "private key of the certificate, in PEM", metavar="FILE")
    trusted_proxy: tuple[values.Network, ...] = _option(
        (),
        values.proxies,
        "proxies whose X-Forwarded-For counts: addresses, networks or unix, parted by commas",
        metavar="ADDRESSES",
    )
    metrics_address: tuple[str, int] | None = _option(
        None, values.address, "where /metrics is served alone, without a key", metavar="HOST:PORT"
    )
    log_format: str = _option(
        "console", values.one_of(*LOG_FORMATS), "how log lines look: console or json", metavar="HOW"
    )
    max_events: int = _option(
        500_000, values.whole_number(1), "events kept; the first in are the first out", metavar="N"
    )
    max_age: timedelta | None = _option(
        None, values.age, "how long events are kept, such as 30d; without it age does not count", metavar="AGE"
    )
    max_bytes: int | None = _option(
        None, values.whole_number(1024 * 1024), "disk space that events may take, about; without it, any", metavar="N"
    )
    push: str = _option(
        "subscribers", values.one_of(*PUSH_MODES), f"who gets new events pushed: {', '.join(PUSH_MODES)}", metavar="WHO"
    )
    max_frame_bytes: int = _option(
        16 * 1024 * 1024, values.whole_number(1024), "largest message and HTTP body accepted", metavar="N"
    )
    max_head_bytes: int = _option(
        64 * 1024, values.whole_number(1024), "largest HTTP request head accepted", metavar="N"
    )
    max_connections: int = _option(10_000, values.whole_number(1), "connections at the same time", metavar="N")
    max_connections_per_address: int = _option(
        1_000, values.whole_number(1), "connections at the same time from one address", metavar="N"
    )
    max_auth_failures: int = _option(
        100, values.whole_number(1), "wrong keys that one address may try in a minute", metavar="N"
    )
    max_events_per_frame: int = _option(
        100_000, values.whole_number(1), "events taken of one frame or body; the others are rejected", metavar="N"
    )
    max_event_bytes: int = _option(
        4 * 1024 * 1024, values.whole_number(1024), "largest event taken; larger ones are rejected", metavar="N"
    )
    max_event_rate: float | None = _option(
        None, values.number, "events per second with one key; without it, any number", metavar="N"
    )
    max_event_rate_per_address: float | None = _option(
        None, values.number, "events per second from one address; without it, any number", metavar="N"
    )
    max_rate_delay_s: float = _option(
        5.0, values.seconds, "time for which reading is slowed before rate_limited is said", metavar="SECONDS"
    )
    max_inflate_ratio: int = _option(
        500, values.whole_number(10), "how many times larger a message over 4 MiB may be than what came", metavar="N"
    )
    max_receiving_bytes: int = _option(
        256 * 1024 * 1024, values.whole_number(1024 * 1024), "memory for messages that are coming in", metavar="N"
    )
    max_queries: int = _option(64, values.whole_number(1), "answers that are being sent at the same time", metavar="N")
    max_queries_per_address: int = _option(
        16, values.whole_number(1), "answers that are being sent to one address", metavar="N"
    )
    max_query_delay_s: float = _option(
        5.0, values.seconds, "time that a query may wait for its turn before rate_limited is said", metavar="SECONDS"
    )
    max_pending_replies: int = _option(
        32, values.whole_number(1), "frames of one connection that may wait for their answer", metavar="N"
    )
    max_uncommitted_bytes: int = _option(
        32 * 1024 * 1024, values.whole_number(1024), "memory for events on their way to the disk", metavar="N"
    )
    max_subscriptions: int = _option(
        256, values.whole_number(1), "connections that new events are pushed to", metavar="N"
    )
    max_push_bytes: int = _option(
        1024 * 1024, values.whole_number(1024), "pushes that may wait for one slow reader", metavar="N"
    )
    head_timeout_s: float = _option(
        10.0, values.seconds, "time that TLS and a request head may take", metavar="SECONDS"
    )
    first_frame_timeout_s: float = _option(
        30.0, values.seconds, "time until a WebSocket client shows its key, where there are keys", metavar="SECONDS"
    )
    idle_timeout_s: float = _option(75.0, values.seconds, "time an HTTP connection may be idle", metavar="SECONDS")
    receive_timeout_s: float = _option(30.0, values.seconds, "time a message or HTTP body may pause", metavar="SECONDS")
    message_timeout_s: float = _option(
        300.0, values.seconds, "time a message or HTTP body may take in all", metavar="SECONDS"
    )
    send_timeout_s: float = _option(
        60.0, values.seconds, "time a reader may take nothing of an answer", metavar="SECONDS"
    )
    answer_timeout_s: float = _option(600.0, values.seconds, "time a reader may take for one answer", metavar="SECONDS")
    ping_interval_s: float = _option(20.0, values.seconds, "time between WebSocket pings", metavar="SECONDS")
    ping_timeout_s: float = _option(20.0, values.seconds, "time a peer may stay silent after a ping", metavar="SECONDS")
    drain_timeout_s: float = _option(
        10.0, values.seconds, "time to finish what is in hand at the end", metavar="SECONDS"
    )

    def __attrs_post_init__(self) -> None:
        for one, other in (("tls_cert", "tls_key"), ("tls_key", "tls_cert")):
            if getattr(self, one) is not None and getattr(self, other) is None:
                raise ConfigurationError(f"{one}: expected {other} beside it")
        is_cluster = self.cluster is not None
        if is_cluster and self.durability == "normal":
            raise ConfigurationError("durability: expected full or replicated with the store of a cluster")
        if not is_cluster and self.durability == "replicated":
            raise ConfigurationError("durability: expected full or normal; replicated is for a store nats://…")
        if not is_cluster and self.local is not None:
            raise ConfigurationError("local: expected a store nats://… beside it; that of a file is sqlite:PATH")
        if self.api_key is not None:
            for index, key in enumerate(self.keys):
                if key.key == self.api_key:  # else a key for pages would open everything
                    raise ConfigurationError(
                        f"api_key: the same as the key of keys[{index}]; expected another, or none"
                    )
                if key.name == API_KEY_NAME:
                    raise ConfigurationError(
                        f"keys: [{index}].name: expected another, for this is what api_key is called"
                    )

    @property
    def cluster(self) -> ClusterUrl | None:
        """The stream of the cluster, if it is in one."""
        return parse_cluster_url(self.store) if self.store.startswith(values.CLUSTER_PREFIXES) else None

    @property
    def path(self) -> Path | None:
        """The file that its events are in, ``None`` where they are in memory."""
        if (cluster := self.cluster) is not None:
            return Path(f"tracker-{cluster.stream}.db") if self.local is None else self.local.expanduser()
        return None if self.store == "memory:" else _store_path(self.store)

    @property
    def max_stored_event_bytes(self) -> int:
        """The largest event that is taken, which has to fit into a message in a cluster."""
        return self.max_event_bytes if self.cluster is None else min(self.max_event_bytes, MAX_EVENT_BYTES)

    @property
    def access(self) -> Access:
        """Who may do what."""
        return Access.of(self.api_key, self.keys, self.origins)


def options() -> "tuple[attrs.Attribute[Any], ...]":
    """The settings that are options, as attributes; ``metadata`` has ``help`` and ``metavar``."""
    return tuple(attribute for attribute in attrs.fields(Settings) if not attribute.metadata["is_table"])


def _store_path(store: str) -> Path:
    """The file of a store that is in one; ``sqlite:///var/lib/x.db`` is what others call ``sqlite:/var/lib/x.db``."""
    return Path(re.sub("^///+", "/", store.removeprefix("sqlite:"))).expanduser()
