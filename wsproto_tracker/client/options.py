"""The options of a client: one frozen class, which says what is allowed."""

import math
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypedDict
from urllib.parse import urlsplit

import attrs

from wsproto_tracker.errors import ConfigurationError

__all__ = ["ClientOptions", "Options", "Rejected"]

MAX_BATCH_EVENTS = 1_000
"""As many rejections as an ack lists, so that each is told by its event (X-REJECT-2)."""

_MIN_FRAME_BYTES = 1024
_INFINITE = "expected a finite number of seconds"


@attrs.frozen
class Rejected:
    """Events that the server did not take, and will not.

    :ivar reason: in the server's words.
    :ivar event: the event; ``None`` where the server did not say which of a batch it was.
    :ivar count: how many they are.
    """

    reason: str
    event: dict[str, Any] | None
    count: int = 1


def _text(_instance: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
    _need(isinstance(value, str) and value != "", attribute, "expected text that is not empty")


def _whole_number(minimum: int, maximum: int | None = None) -> Callable[..., None]:
    allowed = f"expected a whole number from {minimum}" + ("" if maximum is None else f" to {maximum}")

    def validate(_instance: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
        is_whole = isinstance(value, int) and not isinstance(value, bool)
        is_allowed = is_whole and minimum <= value and (maximum is None or value <= maximum)  # type: ignore[operator]
        _need(is_allowed, attribute, allowed)

    return validate


def _seconds(*, may_be_zero: bool = False) -> Callable[..., None]:
    allowed = f"{_INFINITE}, {'0 or more' if may_be_zero else 'more than 0'}"

    def validate(_instance: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
        is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        _need(is_number and (value > 0 or (may_be_zero and value == 0)), attribute, allowed)  # type: ignore[operator]

    return validate


def _instance(kind: type, allowed: str) -> Callable[..., None]:
    def validate(_instance: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
        _need(isinstance(value, kind), attribute, f"expected {allowed}")

    return validate


def _callable(_instance: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
    _need(callable(value), attribute, "expected a function that takes a Rejected")


def _url(_instance: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
    example = "expected a WebSocket URL such as ws://127.0.0.1:4242/_tracker/ws or wss://tracker.example/_tracker/ws"
    _need(isinstance(value, str), attribute, example)
    try:
        parts = urlsplit(str(value))
        is_right = parts.scheme in ("ws", "wss") and bool(parts.hostname) and not parts.fragment
        is_right = is_right and (parts.port is None or parts.port > 0)
    except ValueError:  # a port that is none, say
        is_right = False
    _need(is_right, attribute, example)


def _need(is_right: bool, attribute: "attrs.Attribute[Any]", allowed: str) -> None:
    if not is_right:
        raise ConfigurationError(f"{attribute.name}: {allowed}")


def _optional(validator: Callable[..., None]) -> Callable[..., None]:
    return attrs.validators.optional(validator)


@attrs.frozen(kw_only=True)
class ClientOptions:
    """Everything that can be set; ``docs/client.md`` says what each is for. Sizes are in bytes, times in seconds.

    :raises ConfigurationError: for a value that is not allowed.
    """

    url: str = attrs.field(validator=_url, repr=False)  # it may hold a key
    app_id: str = attrs.field(validator=_text)
    api_key: str | None = attrs.field(default=None, validator=_optional(_text), repr=False)
    session_id: str | None = attrs.field(default=None, validator=_optional(_text))
    user_id: str | None = attrs.field(default=None, validator=_optional(_text))
    batch_size: int = attrs.field(default=25, validator=_whole_number(1, MAX_BATCH_EVENTS))
    flush_interval_s: float = attrs.field(default=3.0, validator=_seconds(may_be_zero=True))
    max_buffer_events: int = attrs.field(default=500_000, validator=_whole_number(1))
    max_buffer_bytes: int = attrs.field(default=256 * 1024 * 1024, validator=_whole_number(_MIN_FRAME_BYTES))
    max_frame_bytes: int = attrs.field(default=1024 * 1024, validator=_whole_number(_MIN_FRAME_BYTES))
    max_batches_in_flight: int = attrs.field(default=8, validator=_whole_number(1))
    connect_timeout_s: float = attrs.field(default=10.0, validator=_seconds())
    ack_timeout_s: float = attrs.field(default=30.0, validator=_seconds())
    close_timeout_s: float = attrs.field(default=10.0, validator=_seconds(may_be_zero=True))
    query_timeout_s: float = attrs.field(default=30.0, validator=_seconds())
    backoff_min_s: float = attrs.field(default=0.25, validator=_seconds())
    backoff_max_s: float = attrs.field(default=30.0, validator=_seconds())
    ping_interval_s: float = attrs.field(default=20.0, validator=_seconds())
    ping_timeout_s: float = attrs.field(default=20.0, validator=_seconds())
    page_size: int = attrs.field(default=1_000, validator=_whole_number(1))
    max_answer_bytes: int = attrs.field(default=64 * 1024 * 1024, validator=_whole_number(_MIN_FRAME_BYTES))
    wait_for_server: bool = attrs.field(default=True, validator=_instance(bool, "True or False"))
    spool: Path | None = attrs.field(default=None, validator=_optional(_instance(Path, "a pathlib.Path")))
    ssl_context: ssl.SSLContext | None = attrs.field(
        default=None, validator=_optional(_instance(ssl.SSLContext, "an ssl.SSLContext"))
    )
    on_rejected: Callable[[Rejected], object] | None = attrs.field(default=None, validator=_optional(_callable))

    def __attrs_post_init__(self) -> None:
        if self.ssl_context is not None and not self.url.startswith("wss:"):
            raise ConfigurationError("ssl_context: there is no TLS with ws://; use wss://, or leave it out")
        if self.backoff_min_s > self.backoff_max_s:
            raise ConfigurationError("backoff_min_s: expected no more than backoff_max_s")

    @property
    def address(self) -> str:
        """The URL for messages and logs: without user, password and query, which may hold a key."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


class Options(TypedDict, total=False):
    """What ``open_client`` takes beside the address, the app and the key: the same as ``ClientOptions`` has."""

    session_id: str | None
    user_id: str | None
    batch_size: int
    flush_interval_s: float
    max_buffer_events: int
    max_buffer_bytes: int
    max_frame_bytes: int
    max_batches_in_flight: int
    connect_timeout_s: float
    ack_timeout_s: float
    close_timeout_s: float
    query_timeout_s: float
    backoff_min_s: float
    backoff_max_s: float
    ping_interval_s: float
    ping_timeout_s: float
    page_size: int
    max_answer_bytes: int
    wait_for_server: bool
    spool: Path | None
    ssl_context: ssl.SSLContext | None
    on_rejected: Callable[[Rejected], object] | None
