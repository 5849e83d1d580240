"""``/metrics`` on an address of its own, for a network where only Prometheus is: nothing else, and no key."""

import logging

import trio

from wsproto_tracker.errors import ErrorCode, FrameError
from wsproto_tracker.server.budget import Account
from wsproto_tracker.server.core import Core
from wsproto_tracker.server.http1 import HttpConnection, IdleConnections, Request, Response, error_response
from wsproto_tracker.server.limits import group_of
from wsproto_tracker.server.metrics import CONTENT_TYPE, Transport
from wsproto_tracker.server.peer import Peer, peer_of
from wsproto_tracker.server.tally import Tally

__all__ = ["Scrapes"]

_log = logging.getLogger("wsproto_tracker")

_MAX_CONNECTIONS = 16
_PATH = "/metrics"


class Scrapes:
    """Handles the connections that come there."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._idle = IdleConnections()
        self._count = 0

    def drain(self) -> None:
        """End idle connections now, and the others after the request in hand."""
        self._idle.end()

    async def handle(self, stream: trio.SocketStream) -> None:
        """Serve one connection to its end; where there are too many, the end is now."""
        if self._count >= _MAX_CONNECTIONS:
            return
        try:
            peer = peer_of(stream)
        except OSError:
            return  # the client has gone already
        self._count += 1
        try:
            with Tally(self._core.metrics, peer.address, Transport.METRICS).held() as tally:
                await self._serve(stream, peer, tally)
        finally:
            self._count -= 1

    async def _serve(self, stream: trio.SocketStream, peer: Peer, tally: Tally) -> None:
        account = Account(self._core.budget, group_of(peer.address))
        connection = HttpConnection(stream, peer, self._core.settings, account, tally)
        try:
            try:
                await self._answer_all(connection)
            except FrameError as problem:
                await connection.respond(error_response(problem), close=True)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return  # the client has gone
        except Exception:  # a fault of ours: this connection is lost, the others are not
            tally.failed(ErrorCode.INTERNAL)
            _log.exception("a request for metrics failed", extra={"address": tally.address})

    async def _answer_all(self, connection: HttpConnection) -> None:
        while not self._core.is_draining and await self._idle.wait_for_request(connection):
            response = await self._respond(await connection.read_head())
            if not await connection.respond(response, close=self._core.is_draining):
                return

    async def _respond(self, request: Request) -> Response:
        if request.path != _PATH:
            return error_response(FrameError(ErrorCode.NOT_FOUND, f"there is nothing here but {_PATH}"))
        if request.method not in ("GET", "HEAD"):
            problem = FrameError(ErrorCode.METHOD_NOT_ALLOWED, "expected GET or HEAD at this path")
            return error_response(problem, (("Allow", "GET, HEAD"),))
        return Response(200, await self._core.metrics_text(), content_type=CONTENT_TYPE)
