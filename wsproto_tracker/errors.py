"""The errors of this package, in three families.

::

    TrackerError
    ├── ConfigurationError      you misused us: a setting, an option, a file
    ├── EventError              you misused us: an event is no JSON, or one that every server rejects
    ├── ServeError              the machine refuses what the settings ask for (port in use, …)
    ├── StoreError              the store cannot be used as it is (in use, foreign, damaged, …)
    │   ├── DamagedFileError    its file is not as it was written
    │   └── UnavailableError    it cannot read or write for now (disk full, …)
    ├── FrameError              the peer misbehaved; becomes an ``error`` frame or an HTTP status
    └── ClientError             the client cannot do what it was asked for
        ├── ConnectError        no connection came about in time
        ├── NotATrackerError    what answers there does not speak the protocol
        ├── WrongKeyError       the server wants another key; it will not change its mind
        ├── ForbiddenError      the key is right, but not for sending
        ├── BufferFullError     too much waits to be sent
        ├── SpoolError          the spool cannot be used as it is (in use, damaged, foreign, disk full, …)
        ├── DeliveryError       events are not acked (in time)
        │   └── UndeliveredError    … and the client is closed
        ├── QueryError          a query or subscription got no answer but an error
        └── ClosedError         the client is closed

``ErrorCode`` is the closed list of SPEC.md section 8 (ERR-2).
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Any

__all__ = [
    "HTTP_STATUS",
    "BufferFullError",
    "ClientError",
    "ClosedError",
    "ConfigurationError",
    "ConnectError",
    "DamagedFileError",
    "DeliveryError",
    "ErrorCode",
    "EventError",
    "ForbiddenError",
    "FrameError",
    "NotATrackerError",
    "QueryError",
    "ServeError",
    "SpoolError",
    "StoreError",
    "TrackerError",
    "UnavailableError",
    "UndeliveredError",
    "WrongKeyError",
]


class ErrorCode(StrEnum):
    """Every ``code`` that an ``error`` frame may carry (ERR-2)."""

    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    BAD_REQUEST = "bad_request"
    BAD_JSON = "bad_json"
    BAD_FRAME = "bad_frame"
    BAD_QUERY = "bad_query"
    UNKNOWN_TYPE = "unknown_type"
    UNSUPPORTED = "unsupported"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    TIMEOUT = "timeout"
    TOO_LARGE = "too_large"
    UPGRADE_REQUIRED = "upgrade_required"
    RATE_LIMITED = "rate_limited"
    HEAD_TOO_LARGE = "head_too_large"
    UNAVAILABLE = "unavailable"
    INTERNAL = "internal"


HTTP_STATUS: dict[ErrorCode, int] = {
    ErrorCode.UNAUTHORIZED: 401,
    ErrorCode.FORBIDDEN: 403,
    ErrorCode.BAD_REQUEST: 400,
    ErrorCode.BAD_JSON: 400,
    ErrorCode.BAD_FRAME: 400,
    ErrorCode.BAD_QUERY: 400,
    ErrorCode.UNKNOWN_TYPE: 400,
    ErrorCode.UNSUPPORTED: 415,
    ErrorCode.NOT_FOUND: 404,
    ErrorCode.METHOD_NOT_ALLOWED: 405,
    ErrorCode.TIMEOUT: 408,
    ErrorCode.TOO_LARGE: 413,
    ErrorCode.UPGRADE_REQUIRED: 426,
    ErrorCode.RATE_LIMITED: 429,
    ErrorCode.HEAD_TOO_LARGE: 431,
    ErrorCode.UNAVAILABLE: 503,
    ErrorCode.INTERNAL: 500,
}


class TrackerError(Exception):
    """Base class of every error that this package raises on purpose."""


class ConfigurationError(TrackerError):
    """A setting is wrong; the message names the option and what is allowed."""


class EventError(TrackerError):
    """An event is no JSON, is too large, or one that every server rejects (section 4); nothing of it is kept."""


class ServeError(TrackerError):
    """The server cannot start as configured; the message says what to change."""


class StoreError(TrackerError):
    """A store cannot be used as it is; the message says why, and what can be done."""


class DamagedFileError(StoreError):
    """The file of a store is not as it was written."""


class UnavailableError(StoreError):
    """A store cannot read or write for now, because the disk is full, say; it may later.

    :param may_be_kept: whether what was to be saved may be, or come to be, all the same.
    """

    def __init__(self, message: str, *, may_be_kept: bool = False) -> None:
        super().__init__(message)
        self.may_be_kept = may_be_kept


class FrameError(TrackerError):
    """The peer sent what cannot be accepted.

    :param code: from the closed list of SPEC.md section 8.
    :param message: a sentence for the sender; it names members, never values (SEC-1, SEC-3).
    :param req_id: the frame's ``reqId``, where it had one that is a string (ERR-3).
    :param retry_after_s: when to come back, where it was too much (LIMIT-6).
    """

    def __init__(
        self, code: ErrorCode, message: str, req_id: str | None = None, *, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.req_id = req_id
        self.retry_after_s = retry_after_s


class ClientError(TrackerError):
    """The client cannot do what it was asked for; the message says why, and what can be done."""


class ConnectError(ClientError):
    """No connection to the server came about in time; the message has the last reason."""


class NotATrackerError(ClientError):
    """What answers at the address does not speak the protocol; the message says what it did, and what it should."""


class WrongKeyError(ClientError):
    """The server wants a key, and not this one (AUTH-3); no attempt with it is made again."""


class ForbiddenError(ClientError):
    """The key is right, but is not for sending, or not from here (X-SCOPE-2, X-SCOPE-6)."""


class BufferFullError(ClientError):
    """As much waits to be sent as may; this event is not taken, and those before it are kept."""


class SpoolError(ClientError):
    """The spool cannot be used: in use, damaged, of another app, on a full disk; the message says what to do."""


class DeliveryError(ClientError):
    """Events are not acked yet.

    :param waiting: how many.
    """

    def __init__(self, message: str, waiting: int) -> None:
        super().__init__(message)
        self.waiting = waiting


class UndeliveredError(DeliveryError):
    """The client is closed, and events are not acked; the reason is its ``__cause__``, where it is a permanent one.

    :param events: the events; none where they are kept in the spool.
    :param is_spooled: whether the spool keeps them, to be sent by the next client that opens it.
    """

    def __init__(self, message: str, waiting: int, events: Sequence[dict[str, Any]], *, is_spooled: bool) -> None:
        super().__init__(message, waiting)
        self.events = events
        self.is_spooled = is_spooled


class QueryError(ClientError):
    """A query or a subscription got no answer.

    :param code: the server's (ERR-2); or ``timeout`` or ``too_large``, which the client finds by itself.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class ClosedError(ClientError):
    """The client is closed; open another one."""
