"""The tracker as an ASGI 3 application: HTTP to the shim, WebSocket to conversations.

What ASGI has no words for is left to its server: pings, the size of messages, the time that a head may take.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import attrs
import h11
import trio

from wsproto_tracker.errors import ErrorCode, FrameError
from wsproto_tracker.server.budget import Account
from wsproto_tracker.server.core import Core
from wsproto_tracker.server.gate import Gate
from wsproto_tracker.server.hosted import AcceptedElsewhere, HostedLink
from wsproto_tracker.server.http1 import Request, Response, error_response, request_of, too_large
from wsproto_tracker.server.limits import group_of
from wsproto_tracker.server.metrics import Transport
from wsproto_tracker.server.mounted import respond
from wsproto_tracker.server.peer import Peer, address_of
from wsproto_tracker.server.tally import Tally
from wsproto_tracker.server.websocket import Conversations
from wsproto_tracker.settings.values import UNIX_PEER

__all__ = ["Asgi", "Receive", "Scope", "Send"]

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

_NORMAL_CLOSURE = 1000


@attrs.frozen
class Asgi:
    """The application.

    :ivar joins: how many answers may be joined at the same time, of all connections.
    """

    core: Core
    gate: Gate
    conversations: Conversations
    joins: trio.CapacityLimiter

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one scope.

        :raises ValueError: for one that is not HTTP, WebSocket or lifespan.
        """
        match scope["type"]:
            case "http":
                await self._http(scope, receive, send)
            case "websocket":
                await self._websocket(scope, receive, send)
            case "lifespan":
                await _live(receive, send)
            case other:
                raise ValueError(f"ASGI: expected a scope of type http, websocket or lifespan, not {other}")

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        with Tally(self.core.metrics, _address(scope), Transport.HTTP).held() as tally:
            account = Account(self.core.budget, group_of(_address(scope)))
            exchange = _Exchange(receive, tally, self.core, account)
            try:
                request = self._request(scope, scope["method"])
            except FrameError as problem:
                response = error_response(problem)
            else:
                response = await respond(self.core, self.gate, request, exchange)
            tally.requested(response.status, response.error)
            try:
                await self._send_response(response, scope["method"] == "HEAD", send, "http")
            finally:
                account.close()
                if not isinstance(response.body, bytes):
                    await response.body.aclose()

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()  # websocket.connect
        with Tally(self.core.metrics, _address(scope), Transport.HTTP).held() as tally:
            try:
                request = self._request(scope, "GET")
                refusal = self.gate.refusal(request) or self._not_here(request)
            except FrameError as problem:
                refusal = error_response(problem)
            if refusal is not None:
                tally.requested(refusal.status, refusal.error)
                if "websocket.http.response" in (scope.get("extensions") or {}):
                    await self._send_response(refusal, False, send, "websocket.http")
                else:
                    await send({"type": "websocket.close", "code": _NORMAL_CLOSURE})
                return
            tally.upgraded()
            await send({"type": "websocket.accept"})
            accepted = AcceptedElsewhere(_WebSocket(receive, send))
            link = HostedLink(accepted, request.peer, self.core.settings, self.core.budget, tally, self.joins)
            await self.conversations.hold(link)

    def _not_here(self, request: Request) -> Response | None:
        """The refusal of a handshake that would come to nothing (CONN-8, CLOSE-5)."""
        if request.path.rstrip("/") != f"{self.core.settings.base_path}/ws":
            return error_response(FrameError(ErrorCode.NOT_FOUND, "there is no WebSocket endpoint at this path"))
        self.core.check_may_converse(request.peer)
        return None

    def _request(self, scope: Scope, method: str) -> Request:
        """The head of a request; its path is the one below the prefix that the application is mounted at.

        :raises FrameError: if it cannot be read.
        """
        path = scope["path"].removeprefix(scope.get("root_path") or "")
        query = scope.get("query_string", b"").decode("latin-1")
        server = scope.get("server")
        peer = Peer(_address(scope), is_called=server is None or server[1] is not None)
        try:
            return request_of(
                method,
                f"{path}?{query}" if query else path,
                scope["headers"],
                scope.get("http_version", "1.1"),
                peer,
                self.core.settings.trusted_proxy,
            )
        except (ValueError, h11.RemoteProtocolError):
            raise FrameError(ErrorCode.BAD_REQUEST, "the target or a header cannot be read") from None

    async def _send_response(self, response: Response, is_head: bool, send: Send, prefix: str) -> None:
        headers = [(name.lower().encode("ascii"), value.encode("latin-1")) for name, value in response.all_headers]
        await send({"type": f"{prefix}.response.start", "status": response.status, "headers": headers})
        body = f"{prefix}.response.body"
        if isinstance(response.body, bytes):
            with trio.move_on_after(self.core.settings.send_timeout_s):
                await send({"type": body, "body": b"" if is_head else response.body})
            return
        with trio.move_on_after(self.core.settings.answer_timeout_s) as scope:
            if not is_head:
                async for piece in response.body:
                    if piece:
                        await send({"type": body, "body": bytes(piece), "more_body": True})
            await send({"type": body, "body": b""})
        if scope.cancelled_caught:  # without its end, so that nobody takes it for whole
            raise trio.BrokenResourceError("the peer takes too long over an answer")


@attrs.define
class _Exchange:
    """The body of a request, message by message."""

    _receive: Receive
    tally: Tally
    _core: Core
    _account: Account

    async def read_body(self, request: Request) -> bytes:
        settings = self._core.settings
        declared = request.headers.get("content-length", "0")
        if declared.isascii() and declared.isdigit() and int(declared) > settings.max_frame_bytes:
            raise too_large(settings.max_frame_bytes)
        body = bytearray()
        with trio.move_on_after(settings.message_timeout_s):
            while True:
                await self._account.wait_for_room()
                message = await self._receive()
                if message["type"] == "http.disconnect":  # before its end: nothing of it is saved (HTTP-12)
                    raise FrameError(ErrorCode.BAD_REQUEST, "the body ended before its Content-Length")
                body += message.get("body", b"")
                self._account.add(len(message.get("body", b"")))
                if len(body) > settings.max_frame_bytes:
                    raise too_large(settings.max_frame_bytes)
                if not message.get("more_body", False):
                    return bytes(body)
        raise FrameError(ErrorCode.TIMEOUT, f"the body did not end within {settings.message_timeout_s:g} seconds")


@attrs.frozen
class _WebSocket:
    """A WebSocket of ASGI, in the form that ``Tracker.handle`` takes."""

    _receive: Receive
    _send: Send

    async def receive(self) -> str | bytes:
        message = await self._receive()
        if message["type"] == "websocket.disconnect":
            raise trio.EndOfChannel
        text = message.get("text")
        return message["bytes"] if text is None else text  # type: ignore[no-any-return]

    async def send(self, text: str) -> None:
        await self._send({"type": "websocket.send", "text": text})

    async def aclose(self, code: int, reason: str) -> None:
        await self._send({"type": "websocket.close", "code": code, "reason": reason})


def _address(scope: Scope) -> str:
    client, server = scope.get("client"), scope.get("server")
    if client:
        return address_of(str(client[0]))
    return UNIX_PEER if server is not None and server[1] is None else ""


async def _live(receive: Receive, send: Send) -> None:
    """The tracker runs already, and goes on until the program stops it."""
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
