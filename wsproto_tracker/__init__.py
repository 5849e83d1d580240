"""A backend for the browser plugin ``@ndriadev/vite-plugin-monitor``, and a client for Python programs, on trio.

The protocol is specified in ``protocol-spec/SPEC.md``; docstrings and comments cite its requirements by id
(``AUTH-3``).
"""

from wsproto_tracker.access import Grant, Scope
from wsproto_tracker.client import Client, Rejected, Stats, Subscription, open_client
from wsproto_tracker.errors import (
    BufferFullError,
    ClientError,
    ClosedError,
    ConfigurationError,
    ConnectError,
    DeliveryError,
    ErrorCode,
    EventError,
    ForbiddenError,
    FrameError,
    NotATrackerError,
    QueryError,
    ServeError,
    SpoolError,
    StoreError,
    TrackerError,
    UnavailableError,
    UndeliveredError,
    WrongKeyError,
)
from wsproto_tracker.hooks import Caller, Hooks
from wsproto_tracker.protocol.events import Rejection
from wsproto_tracker.protocol.filters import Page
from wsproto_tracker.server import (
    Address,
    Answer,
    HttpRequest,
    HttpResponse,
    Saved,
    SavedEvents,
    Tracker,
    WebSocket,
    open_tracker,
    serve,
)
from wsproto_tracker.settings import Settings, load_settings
from wsproto_tracker.version import __version__

__all__ = [
    "Address",
    "Answer",
    "BufferFullError",
    "Caller",
    "Client",
    "ClientError",
    "ClosedError",
    "ConfigurationError",
    "ConnectError",
    "DeliveryError",
    "ErrorCode",
    "EventError",
    "ForbiddenError",
    "FrameError",
    "Grant",
    "Hooks",
    "HttpRequest",
    "HttpResponse",
    "NotATrackerError",
    "Page",
    "QueryError",
    "Rejected",
    "Rejection",
    "Saved",
    "SavedEvents",
    "Scope",
    "ServeError",
    "Settings",
    "SpoolError",
    "Stats",
    "StoreError",
    "Subscription",
    "Tracker",
    "TrackerError",
    "UnavailableError",
    "UndeliveredError",
    "WebSocket",
    "WrongKeyError",
    "__version__",
    "load_settings",
    "open_client",
    "open_tracker",
    "serve",
]
