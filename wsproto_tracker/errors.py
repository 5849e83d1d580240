"""The errors of this package, in two families.

::

    TrackerError
    ├── ConfigurationError      you misused us: a setting, an option, a file
    ├── ServeError              the machine refuses what the settings ask for (port in use, …)
    ├── StoreError              the store cannot be used as it is (in use, foreign, damaged, …)
    │   └── UnavailableError    it cannot read or write for now (disk full, …)
    └── FrameError              the peer misbehaved; becomes an ``error`` frame or an HTTP status

``ErrorCode`` is the closed list of SPEC.md section 8 (ERR-2).
"""

from enum import StrEnum

__all__ = [
    "HTTP_STATUS",
    "ConfigurationError",
    "ErrorCode",
    "FrameError",
    "ServeError",
    "StoreError",
    "TrackerError",
    "UnavailableError",
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


class ServeError(TrackerError):
    """The server cannot start as configured; the message says what to change."""


class StoreError(TrackerError):
    """A store cannot be used as it is; the message says why, and what can be done."""


class UnavailableError(StoreError):
    """A store cannot read or write for now, because the disk is full, say; it may later."""


class FrameError(TrackerError):
    """The peer sent what cannot be accepted.

    :param code: from the closed list of SPEC.md section 8.
    :param message: a sentence for the sender; it names members, never values (SEC-1, SEC-3).
    :param req_id: the frame's ``reqId``, where it had one that is a string (ERR-3).
    """

    def __init__(self, code: ErrorCode, message: str, req_id: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.req_id = req_id
