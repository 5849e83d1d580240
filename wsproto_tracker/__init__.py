"""A backend for the browser plugin ``@ndriadev/vite-plugin-monitor``, on trio.

The protocol is specified in ``protocol-spec/SPEC.md``; docstrings and comments cite its requirements by id
(``AUTH-3``).
"""

from wsproto_tracker.errors import ConfigurationError, ErrorCode, FrameError, ServeError, StoreError, TrackerError
from wsproto_tracker.server import Address, Server, serve
from wsproto_tracker.settings import Settings, load_settings
from wsproto_tracker.version import __version__

__all__ = [
    "Address",
    "ConfigurationError",
    "ErrorCode",
    "FrameError",
    "ServeError",
    "Server",
    "Settings",
    "StoreError",
    "TrackerError",
    "__version__",
    "load_settings",
    "serve",
]
