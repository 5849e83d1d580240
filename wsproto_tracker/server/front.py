"""The front: one port. It reads each request's head; WebSocket handshakes go one way, everything else the other."""

import logging
from contextlib import AbstractContextManager, ExitStack, nullcontext

import trio
from trio.abc import HalfCloseableStream

from wsproto_tracker.errors import ErrorCode, FrameError, UnavailableError
from wsproto_tracker.server.budget import Account
from wsproto_tracker.server.core import Core
from wsproto_tracker.server.gate import Gate
from wsproto_tracker.server.http1 import HttpConnection, IdleConnections, Request, error_response
from wsproto_tracker.server.limits import group_of
from wsproto_tracker.server.peer import Peer, peer_of
from wsproto_tracker.server.shim import Shim
from wsproto_tracker.server.streams import UpgradedStream, UpgradeListener
from wsproto_tracker.server.tally import Tally
from wsproto_tracker.server.tls import Certificate, TlsStream

__all__ = ["Front"]

_MAX_REFUSALS = 64  # connections beyond the limit that are told so at the same time; others are closed without a word

_log = logging.getLogger("wsproto_tracker")


class Front:
    """Handles every accepted connection.

    :param upgrades: takes the WebSocket handshakes.
    :param certificate: what connections are encrypted with, if they are.
    """

    def __init__(self, core: Core, upgrades: UpgradeListener, certificate: Certificate | None) -> None:
        self._certificate = certificate
        self._settings = core.settings
        self._core = core
        self._shim = Shim(core)
        self._gate = Gate(core.access, core.settings.host)
        self._upgrades = upgrades
        self._refusals = trio.CapacityLimiter(_MAX_REFUSALS)
        self._idle = IdleConnections()

    def drain(self) -> None:
        """End idle connections now, and the others after the request in hand."""
        self._idle.end()

    async def handle(self, accepted: trio.SocketStream) -> None:
        """Serve one connection to its end."""
        try:
            peer = peer_of(accepted)
        except OSError:
            return  # the client has gone already
        with Tally(self._core.metrics, peer.address).held() as tally:
            await self._handle(accepted, peer, tally)

    async def _handle(self, accepted: trio.SocketStream, peer: Peer, tally: Tally) -> None:
        account = Account(self._core.budget, group_of(peer.address))
        try:
            async with self._transport(accepted) as stream:
                connection = HttpConnection(stream, peer, self._settings, account, tally)
                with ExitStack() as places:
                    try:
                        places.enter_context(self._core.limits.connected())
                        if not connection.is_through_proxy:
                            places.enter_context(self._core.limits.connected_from(peer.address))
                    except FrameError as problem:
                        await self._refuse(connection, problem)
                    else:
                        await self._serve_or_say(stream, connection, account)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the client has gone
        except UnavailableError as error:
            _log.error("an answer was cut short: %s", error, extra={"address": tally.address})
        except Exception:  # a fault of ours: this connection is lost, the others are not (CONN-7)
            tally.failed(ErrorCode.INTERNAL)
            _log.exception("a request failed", extra={"address": tally.address})
        finally:
            account.close_unless_in_use()

    def _transport(self, accepted: trio.SocketStream) -> HalfCloseableStream:
        if self._certificate is None:
            return accepted
        return TlsStream(accepted, self._certificate.context, self._settings.head_timeout_s)

    async def _serve_or_say(self, stream: HalfCloseableStream, connection: HttpConnection, account: Account) -> None:
        """Serve a connection, and say why where it is no use to go on."""
        try:
            await self._serve(stream, connection, account)
        except FrameError as problem:
            _log.warning("refused a request: %s", problem.message, extra={"address": connection.tally.address})
            await connection.respond(error_response(problem), close=True)

    async def _refuse(self, connection: HttpConnection, problem: FrameError) -> None:
        """Say that there are too many connections, unless as many as may be are being told so already (CLOSE-5)."""
        try:
            self._refusals.acquire_nowait()
        except trio.WouldBlock:
            return
        try:
            await connection.respond(error_response(problem), close=True)
        finally:
            self._refusals.release()

    async def _serve(self, stream: HalfCloseableStream, connection: HttpConnection, account: Account) -> None:
        while not self._core.is_draining and await self._idle.wait_for_request(connection):
            request = await connection.read_head()
            connection.tally.address = request.peer.address
            account.belong_to(group_of(request.peer.address))  # by a proxy, each request may be of another client
            with self._place_of(request, connection):
                if not await self._answer(request, stream, connection, account):
                    return

    def _place_of(self, request: Request, connection: HttpConnection) -> AbstractContextManager[None]:
        """Count a request that comes by a proxy as a connection of its client; the next may be somebody else's.

        Raises ``FrameError`` where that is one too many.
        """
        if connection.is_through_proxy:
            return self._core.limits.connected_from(request.peer.address)
        return nullcontext()

    async def _answer(
        self, request: Request, stream: HalfCloseableStream, connection: HttpConnection, account: Account
    ) -> bool:
        """Answer one request; whether the connection can serve another."""
        refusal = self._gate.refusal(request)
        if refusal is None and self._is_handshake(request):
            self._core.check_may_converse(request.peer)
            connection.tally.upgraded()
            upgraded = UpgradedStream(
                stream,
                _handshake(request),
                connection.unread,
                request.peer,
                self._settings,
                account,
                connection.tally,
            )
            await self._upgrades.hand_over(upgraded)
            return False
        response = refusal or await self._shim.respond(request, connection)
        return await connection.respond(response, close=self._core.is_draining)

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
