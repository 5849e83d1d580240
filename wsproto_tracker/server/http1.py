"""HTTP/1.1 on one connection, by ``h11``: requests in, responses out, and every wait with its bound."""

import re
from collections.abc import Iterable, Sequence
from email.utils import formatdate
from http import HTTPStatus
from math import ceil
from urllib.parse import parse_qsl, urlsplit

import attrs
import h11
import trio
from trio.abc import HalfCloseableStream

from wsproto_tracker.errors import HTTP_STATUS, ErrorCode, FrameError
from wsproto_tracker.protocol import frames
from wsproto_tracker.server.budget import RECEIVE_BYTES, Account
from wsproto_tracker.server.coding import Pieces
from wsproto_tracker.server.peer import Peer, client_address, is_trusted
from wsproto_tracker.server.streams import send_in_pieces
from wsproto_tracker.server.tally import Tally
from wsproto_tracker.server.tls import TLS_HANDSHAKE, TlsStream
from wsproto_tracker.settings import Settings
from wsproto_tracker.settings.values import Network

__all__ = ["HttpConnection", "IdleConnections", "Request", "Response", "error_response", "request_of", "too_large"]

_LINGER_S = 2.0  # for a peer that still sends while it is refused, to take the answer
_MAX_PARAMETERS = 100
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")  # all but tabs


@attrs.frozen
class Request:
    """The head of a request.

    :ivar path: as it came, without the parameters.
    :ivar parameters: decoded; the last of several with the same name counts.
    :ivar headers: names in lower case; several with the same name are joined by commas.
    :ivar http_version: ``1.1``, or ``1.0``.
    :ivar peer: who asks.
    """

    method: str
    path: str
    parameters: dict[str, str] = attrs.field(repr=False)
    headers: dict[str, str] = attrs.field(repr=False)
    http_version: str
    peer: Peer


@attrs.frozen
class Response:
    """What is sent back.

    :ivar body: all of it, or in pieces where its length is not known.
    :ivar error: the code, where it tells what is wrong.
    """

    status: int
    body: bytes | Pieces = b""
    headers: tuple[tuple[str, str], ...] = ()
    content_type: str = "application/json"
    error: ErrorCode | None = None

    @property
    def all_headers(self) -> tuple[tuple[str, str], ...]:
        """The headers, with those that tell of the body."""
        if self.status == HTTPStatus.NO_CONTENT:
            return self.headers
        of_body = [("Content-Type", self.content_type), ("Cache-Control", "no-store")]
        of_body.append(("X-Content-Type-Options", "nosniff"))
        if isinstance(self.body, bytes):
            of_body.append(("Content-Length", str(len(self.body))))
        return (*self.headers, *of_body)


def error_response(problem: FrameError, headers: tuple[tuple[str, str], ...] = ()) -> Response:
    """The answer that tells of a problem, as an ``error`` frame (HTTP-14, HTTP-17, LIMIT-6)."""
    if problem.retry_after_s is not None:
        headers = (*headers, ("Retry-After", str(ceil(problem.retry_after_s))))
    return Response(HTTP_STATUS[problem.code], frames.encode(frames.error(problem)), headers, error=problem.code)


class HttpConnection:
    """One client's connection, for one request after the other.

    :param peer: what is at the other end of the transport.
    :ivar tally: what happens on it.
    """

    def __init__(
        self, stream: HalfCloseableStream, peer: Peer, settings: Settings, account: Account, tally: Tally
    ) -> None:
        self._stream = stream
        self._peer = peer
        self._settings = settings
        self._account = account
        self.tally = tally
        self._h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=settings.max_head_bytes)
        self._head_only = False
        self._is_tls = False

    @property
    def is_through_proxy(self) -> bool:
        """Whether a trusted proxy is at the other end, so that each request may be of another client."""
        return is_trusted(self._peer.address, self._settings.trusted_proxy)

    @property
    def unread(self) -> bytes:
        """What was received and is not part of the current request, as far as it was read."""
        return self._h11.trailing_data[0]

    async def wait_for_request(self) -> bool:
        """Wait until the next request begins; whether it does before the idle time is over or the client leaves."""
        if self.unread:
            return True
        received = b""
        with trio.move_on_after(self._settings.idle_timeout_s):
            received = await self._receive()
        self._is_tls = received[:1] == TLS_HANDSHAKE
        return bool(received)

    async def read_head(self) -> Request:
        """Read the head of the request that has begun.

        :raises FrameError: where it is malformed, too large, too slow, TLS, or no TLS on a port that speaks it.
        """
        if isinstance(self._stream, TlsStream) and self._stream.is_plain:
            raise FrameError(ErrorCode.BAD_REQUEST, "this port speaks TLS: use wss:// or https://")
        if self._is_tls:
            raise FrameError(
                ErrorCode.BAD_REQUEST, "this port does not speak TLS: use ws:// or http://, or put a TLS proxy in front"
            )
        with trio.move_on_after(self._settings.head_timeout_s):
            try:
                return await self._next_head()
            except h11.RemoteProtocolError as error:
                raise _malformed(error) from None
            except ValueError:
                raise FrameError(
                    ErrorCode.BAD_REQUEST, f"the target is no URL, or has more than {_MAX_PARAMETERS} parameters"
                ) from None
        raise FrameError(
            ErrorCode.TIMEOUT, f"the request head did not end within {self._settings.head_timeout_s:g} seconds"
        )

    async def read_body(self, request: Request) -> bytes:
        """Read the body of the current request, after the 100 that the client may wait for (HTTP-15).

        :raises FrameError: where it is larger than allowed, too slow, or shorter than its ``Content-Length`` (HTTP-12).
        """
        limit = self._settings.max_frame_bytes
        if int(request.headers.get("content-length", "0")) > limit:
            raise too_large(limit)
        body = bytearray()
        deadline = trio.current_time() + self._settings.message_timeout_s
        while True:
            try:
                event = self._h11.next_event()
            except h11.RemoteProtocolError:
                raise FrameError(
                    ErrorCode.BAD_REQUEST, "the body ended before its Content-Length, or its chunks are malformed"
                ) from None
            if event is h11.NEED_DATA:
                began = trio.current_time()
                max_bytes = await self._account.wait_to_receive()
                deadline += trio.current_time() - began  # it is the server that has waited, not its client
                await self._receive_body(max_bytes, deadline)
            elif isinstance(event, h11.Data):
                body += event.data
                self._account.add(len(event.data))
                if len(body) > limit:
                    raise too_large(limit)
            else:
                return bytes(body)

    async def respond(self, response: Response, *, close: bool) -> bool:
        """Send the response; whether the connection can serve another request.

        :param close: whether this is the last one, whatever the client would like.
        """
        self.tally.requested(response.status, response.error)
        body = response.body
        close = close or not self._request_is_over()
        headers = [("Date", formatdate(usegmt=True)), ("Server", "wsproto-tracker"), *response.all_headers]
        if close:
            headers.append(("Connection", "close"))
        try:
            phrase = HTTPStatus(response.status).phrase
            await self._send(h11.Response(status_code=response.status, reason=phrase, headers=headers))
            if not self._head_only:
                await self._send_body(body)
            await self._send(h11.EndOfMessage())
        finally:
            if not isinstance(body, bytes):
                await body.aclose()
        if close or self._h11.our_state is not h11.DONE or self._h11.their_state is not h11.DONE:
            await self._linger()
            return False
        self._h11.start_next_cycle()
        self._account.clear()
        self._head_only = False
        return True

    def _request_is_over(self) -> bool:
        """Whether all of the request is here; what nobody asked for is skipped."""
        try:
            while self._h11.their_state is h11.SEND_BODY and self._h11.next_event() is not h11.NEED_DATA:
                pass
        except h11.RemoteProtocolError:
            return False
        return self._h11.their_state is h11.DONE

    async def _next_head(self) -> Request:
        while True:
            event = self._h11.next_event()
            if isinstance(event, h11.Request):
                self._head_only = event.method == b"HEAD"
                return _request(event, self._peer, self._settings.trusted_proxy)
            if event is not h11.NEED_DATA:
                raise h11.RemoteProtocolError("the request head ended too early")
            await self._receive()

    async def _receive(self, max_bytes: int = RECEIVE_BYTES) -> bytes:
        data = bytes(await self._stream.receive_some(max_bytes))
        self._h11.receive_data(data)
        return data

    async def _receive_body(self, max_bytes: int, deadline: float) -> None:
        if self._h11.they_are_waiting_for_100_continue:
            await self._send(h11.InformationalResponse(status_code=100, reason="Continue", headers=[]))
        with trio.move_on_at(min(trio.current_time() + self._settings.receive_timeout_s, deadline)):
            await self._receive(max_bytes)
            return
        raise FrameError(
            ErrorCode.TIMEOUT,
            f"nothing of the body came for {self._settings.receive_timeout_s:g} seconds, or it did not end within "
            f"{self._settings.message_timeout_s:g} seconds",
        )

    async def _send_body(self, body: bytes | Pieces) -> None:
        if isinstance(body, bytes):
            await self._send(h11.Data(data=body))
            return
        with trio.move_on_after(self._settings.answer_timeout_s) as scope:
            async for piece in body:
                if piece:
                    await self._send(h11.Data(data=bytes(piece)))
        if scope.cancelled_caught:
            raise trio.BrokenResourceError("the peer takes too long over an answer")

    async def _send(self, event: h11.Event) -> None:
        data = self._h11.send(event) or b""
        try:
            async for _ in send_in_pieces(self._stream, data, self._settings.send_timeout_s):
                pass
        except trio.TooSlowError:
            raise trio.BrokenResourceError("the peer does not read") from None

    async def _linger(self) -> None:
        """Let the client take the answer before the connection closes under what it still sends."""
        with trio.move_on_after(_LINGER_S):
            try:
                await self._stream.send_eof()
                while await self._stream.receive_some(RECEIVE_BYTES):
                    pass
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass


class IdleConnections:
    """Those that wait for a request, so that a server that shuts down need not wait for them."""

    def __init__(self) -> None:
        self._scopes: set[trio.CancelScope] = set()

    async def wait_for_request(self, connection: HttpConnection) -> bool:
        """Wait until its next request begins; whether it does before the connection ends, or all are ended."""
        with trio.CancelScope() as scope:
            self._scopes.add(scope)
            try:
                return await connection.wait_for_request()
            finally:
                self._scopes.discard(scope)
        return False

    def end(self) -> None:
        """End those that wait now."""
        for scope in self._scopes:
            scope.cancel()


def _request(event: h11.Request, peer: Peer, trusted: Sequence[Network]) -> Request:
    method, version = event.method.decode("ascii"), event.http_version.decode("ascii")
    return request_of(method, event.target.decode("latin-1"), event.headers, version, peer, trusted)


def request_of(
    method: str,
    target: str,
    raw_headers: Iterable[tuple[bytes, bytes]],
    http_version: str,
    peer: Peer,
    trusted: Sequence[Network],
) -> Request:
    """A request from what an HTTP server knows of it.

    :param target: the path and the parameters, or a whole URL.
    :param peer: what is at the other end of the transport.
    :param trusted: the proxies that may tell who is behind them.
    :raises ValueError: if the target is no URL, or has too many parameters.
    :raises h11.RemoteProtocolError: for a header that cannot be.
    """
    path, _, query = target.partition("?")
    if not target.startswith("/"):  # the absolute form, as proxies get it
        path, query = urlsplit(target).path, urlsplit(target).query
    parameters = parse_qsl(query, keep_blank_values=True, max_num_fields=_MAX_PARAMETERS)
    headers: dict[str, str] = {}
    for raw_name, raw_value in raw_headers:
        if _CONTROL.search(raw_value):  # h11 lets some pass (RFC 9110, section 5.5)
            raise h11.RemoteProtocolError("control characters in a header")
        name, value = raw_name.decode("ascii").lower(), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    address = client_address(peer.address, headers.get("x-forwarded-for", ""), trusted)
    peer = attrs.evolve(peer, address=address, origin=headers.get("origin"))
    return Request(method, path, dict(parameters), headers, http_version, peer)


def _malformed(error: h11.RemoteProtocolError) -> FrameError:
    if error.error_status_hint == HTTP_STATUS[ErrorCode.HEAD_TOO_LARGE]:
        return FrameError(ErrorCode.HEAD_TOO_LARGE, "the request head is over the limit")
    return FrameError(ErrorCode.BAD_REQUEST, "this is no HTTP/1.1 request")  # h11 would quote it, keys and all (SEC-1)


def too_large(limit: int) -> FrameError:
    """What is told of a body over the limit (HTTP-13)."""
    return FrameError(ErrorCode.TOO_LARGE, f"the body is over the limit of {limit} bytes")
