"""The gate: which pages may talk to the server, and by which names it may be called (SEC-4, SEC-5)."""

import logging
import re

from wsproto_tracker.access import Access, host_of
from wsproto_tracker.errors import ErrorCode, FrameError
from wsproto_tracker.server.http1 import Request, Response, error_response

__all__ = ["Gate"]

_log = logging.getLogger("wsproto_tracker")

_VARY = ("Vary", "Origin")
_MAX_TOLD = 100
_PRESENTABLE = re.compile(r"([a-z-]{1,20}://)?[A-Za-z0-9._:\[\]-]{1,100}")


class Gate:
    """Refuses pages of origins that are not allowed, and those that reach the server by a name of their own.

    The log tells of each once, while it is among the last hundred, for browsers show the page's author no more than
    that something failed.

    :param own_name: the host that the server was told to listen on.
    """

    def __init__(self, access: Access, own_name: str) -> None:
        self._access = access
        self._own_name = own_name.lower()
        self._told: dict[str, None] = {}  # the one that was told last comes last

    def refusal(self, request: Request) -> Response | None:
        """The answer to a request that is not let in: 403, with what can be done about it, and nothing of CORS."""
        message = self._why_not(request)
        if message is None:
            return None
        if message not in self._told:
            _log.warning("refused a page: %s", message)
        self._told.pop(message, None)
        self._told[message] = None
        if len(self._told) > _MAX_TOLD:
            del self._told[next(iter(self._told))]
        return error_response(FrameError(ErrorCode.FORBIDDEN, message), (_VARY,))

    def _why_not(self, request: Request) -> str | None:
        peer, host = request.peer, request.headers.get("host")
        if peer.origin is not None:
            return None if self._access.takes_origin(peer.origin) else self._foreign(peer.origin)
        if host is None or not peer.is_called:  # no browser leaves the host out
            return None
        name = host_of(f"//{host}")
        return None if name == self._own_name or self._access.takes_name(name) else _renamed(host)

    def _foreign(self, origin: str) -> str:
        if origin == "null":
            return "a page that hides its origin (null) is let in only with --origins '*'"
        shown, example = _shown(origin, "this origin", "https://shop.example")
        if self._access.trusts_this_machine_only:
            return (
                f"without a key only pages of this machine are let in; for those of {shown} "
                f"start the server with --origins {example}, or with a key"
            )
        return f"pages of {shown} are not let in; for them add {example} to --origins"


def _renamed(host: str) -> str:
    shown, example = _shown(host, "this name", "tracker.example")
    return (
        f"without a key this server is not to be called {shown}, or a website could read it under a name of its own; "
        f"use localhost or its IP address, add http://{example} to --origins, or set a key"
    )


def _shown(sent: str, otherwise: str, example: str) -> tuple[str, str]:
    """What was sent, once to be told and once as an example; something else where it is long or odd."""
    return (sent, sent) if _PRESENTABLE.fullmatch(sent) else (otherwise, example)
