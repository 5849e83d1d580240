"""A backend for the browser plugin ``@ndriadev/vite-plugin-monitor``, and a client for Python programs, on trio.

The protocol is specified in ``protocol-spec/SPEC.md``; docstrings and comments cite its requirements by id
(``AUTH-3``).

What is public is imported when it is first used: most programs need a part of it, and the command has to be able to
take a Ctrl-C before all of it is there.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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

_HOMES = ("version", "errors", "access", "hooks", "protocol.events", "protocol.filters", "client", "settings", "server")

if not TYPE_CHECKING:  # or any name would be right for who checks types

    def __getattr__(name: str) -> Any:
        """Import a public name from where it is at home."""
        if name in __all__:
            for home in _HOMES:
                if hasattr(module := import_module(f"{__name__}.{home}"), name):
                    return globals().setdefault(name, getattr(module, name))
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        """All that is public, whether it is there yet or not."""
        return sorted({*globals(), *__all__})
