"""The frames from a server, as values: what cannot be one is told in words, without repeating what came (SEC-1)."""

from typing import Any

import msgspec

from wsproto_tracker.errors import ErrorCode
from wsproto_tracker.protocol import json_text

__all__ = [
    "Ack",
    "AuthOk",
    "Error",
    "EventsResponse",
    "Incoming",
    "Other",
    "Push",
    "Rejected",
    "Response",
    "Subscribed",
    "Violation",
    "read_frame",
]


class Violation(Exception):  # noqa: N818 - the word that the messages use
    """The server sent what the protocol does not allow; the message says what, and what would be right."""


class Rejected(msgspec.Struct, frozen=True):
    """One item of an ack's ``rejected`` (X-REJECT-1)."""

    index: int
    reason: str = ""


class AuthOk(msgspec.Struct, frozen=True):
    """``auth_ok`` (AUTH-1)."""


class Ack(msgspec.Struct, frozen=True):
    """``ack`` (ACK-1); the members beside ``saved`` are extensions (X-DUP-2, X-REJECT-1)."""

    saved: int
    duplicates: int = 0
    rejected: tuple[Rejected, ...] = ()


class Error(msgspec.Struct, frozen=True):
    """``error`` (ERR-1 to ERR-3, LIMIT-6)."""

    message: str
    code: str = ""
    reqId: str | None = None
    retryAfterMs: float = 0

    @property
    def is_unauthorized(self) -> bool:
        """Whether it is about the key; the ``code`` is an addition to the documented protocol (AUTH-3)."""
        return self.code == ErrorCode.UNAUTHORIZED or (not self.code and self.message == "Unauthorized")

    @property
    def retry_after_s(self) -> float:
        """When to come back, in seconds."""
        return max(self.retryAfterMs, 0) / 1000

    @property
    def name(self) -> str:
        """The ``code``, for logs: nothing else of it, for a server may repeat there what it was sent."""
        return self.code if self.code in _CODES else "an error"


class Response(msgspec.Struct, frozen=True):
    """The ``response`` of an ``events:response`` (RESP-1 to RESP-4, X-BEHIND-1)."""

    events: list[dict[str, Any]]
    total: int
    page: int = 1
    limit: int | None = None
    nextCursor: str | None = None
    behind: bool = False


class EventsResponse(msgspec.Struct, frozen=True):
    """``events:response`` (QUERY-1)."""

    reqId: str
    response: Response


class Push(msgspec.Struct, frozen=True):
    """``push`` (PUSH-1, X-SUB-2)."""

    events: list[dict[str, Any]]
    dropped: int = 0


class Subscribed(msgspec.Struct, frozen=True):
    """``subscribed`` (X-SUB-1)."""


class Other(msgspec.Struct, frozen=True):
    """A frame that nothing here waits for, such as one of a later version (section 12)."""


Incoming = Ack | AuthOk | Error | EventsResponse | Push | Subscribed | Other

_TYPES: dict[str, type[Incoming]] = {
    "ack": Ack,
    "auth_ok": AuthOk,
    "error": Error,
    "events:response": EventsResponse,
    "push": Push,
    "subscribed": Subscribed,
}
_CODES = frozenset(ErrorCode)
_FROM_CLIENTS = frozenset(("auth", "events:query", "ingest", "ping", "subscribe"))
_RIGHT = "a tracker sends one JSON object with a string type in each text message"


def read_frame(message: str | bytes) -> Incoming:
    """Read a message.

    :raises Violation: where it is no frame that a server may send (FRAME-1).
    """
    if isinstance(message, bytes):
        raise Violation(f"it sent a binary message; {_RIGHT}")
    frame = _loaded(message)
    type_ = frame.get("type") if isinstance(frame, dict) else None
    if not isinstance(type_, str):
        raise Violation(f"it sent JSON that is no frame; {_RIGHT}")
    if type_ in _FROM_CLIENTS:
        raise Violation(f"it sent a frame of type {type_}, which only clients send; does it echo what it gets?")
    try:
        return msgspec.convert(frame, _TYPES.get(type_, Other))
    except msgspec.ValidationError as error:
        raise Violation(f"it sent a frame of type {type_} that is none: {error}") from None


def _loaded(message: str) -> Any:
    try:
        return msgspec.json.decode(message)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        pass  # it may have a lone surrogate (FRAME-8)
    try:
        return json_text.loads(message)
    except (ValueError, RecursionError):
        raise Violation(f"it sent a message that is not JSON; {_RIGHT}") from None
