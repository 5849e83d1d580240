"""The front: one port. It reads each request's head; WebSocket handshakes go one way, everything else the other."""

import logging

import trio

from wsproto_tracker.errors import ErrorCode, FrameError, UnavailableError
from wsproto_tracker.server.http1 import HttpConnection, Request, error_response
from wsproto_tracker.server.shim import Shim
from wsproto_tracker.server.streams import UpgradedStream, UpgradeListener
from wsproto_tracker.settings import Settings

__all__ = ["Front"]

_log = logging.getLogger("wsproto_tracker")


class Front:
    """Handles every accepted connection.

    :param upgrades: takes the WebSocket handshakes.
    """

    def __init__(self, settings: Settings, shim: Shim, upgrades: UpgradeListener) -> None:
        self._settings = settings
        self._shim = shim
        self._upgrades = upgrades
        self._idle: set[trio.CancelScope] = set()
        self.is_draining = False

    def drain(self) -> None:
        """End idle connections now, and the others after the request in hand."""
        self.is_draining = True
        for scope in self._idle:
            scope.cancel()

    async def handle(self, stream: trio.SocketStream) -> None:
        """Serve one connection to its end."""
        connection = HttpConnection(stream, self._settings)
        try:
            try:
                await self._serve(stream, connection)
            except FrameError as problem:  # the head of a request could not be read
                _log.warning("refused a request: %s", problem.message)
                await connection.respond(error_response(problem), close=True)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return  # the client has gone
        except UnavailableError as error:
            _log.error("an answer was cut short: %s", error)
        except Exception:  # a fault of ours: this connection is lost, the others are not (CONN-7)
            _log.exception("a request failed")

    async def _serve(self, stream: trio.SocketStream, connection: HttpConnection) -> None:
        while not self.is_draining and await self._request_begins(connection):
            request = await connection.read_head()
            if self._is_handshake(request):
                if self.is_draining:
                    raise FrameError(ErrorCode.UNAVAILABLE, "the server is shutting down")  # CLOSE-5
                received = _handshake(request) + connection.unread
                await self._upgrades.hand_over(UpgradedStream(stream, received, self._settings.send_timeout_s))
                return
            response = await self._shim.respond(request, connection)
            if not await connection.respond(response, close=self.is_draining):
                return

    async def _request_begins(self, connection: HttpConnection) -> bool:
        with trio.CancelScope() as scope:
            self._idle.add(scope)
            try:
                return await connection.wait_for_request()
            finally:
                self._idle.discard(scope)
        return False

    def _is_handshake(self, request: Request) -> bool:
        """Whether the WebSocket server is to answer it (CONN-1); another version is for the shim to refuse (CONN-8)."""
        upgrades = [name.strip().lower() for name in request.headers.get("upgrade", "").split(",")]
        return (
            (request.method, request.http_version) == ("GET", "1.1")
            and request.path.rstrip("/") == f"{self._settings.base_path}/ws"
            and "websocket" in upgrades
            and request.headers.get("sec-websocket-version") == "13"
        )


def _handshake(request: Request) -> bytes:
    """The head again, as the WebSocket server is to read it: without the cookies of a developer's every localhost
    application, which can be longer than a header may be there, and without parameters, which may hold a key.
    """
    needed = {"host", "origin", "connection", "upgrade"}
    lines = [f"GET {request.path} HTTP/1.1"]
    lines += [
        f"{name}: {value}"
        for name, value in request.headers.items()
        if name in needed or name.startswith("sec-websocket-")
    ]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")
