"""HTTP/1.1 on one connection, by ``h11``: requests in, responses out, and every wait with its bound."""

from email.utils import formatdate
from http import HTTPStatus
from urllib.parse import parse_qsl, urlsplit

import attrs
import h11
import trio

from wsproto_tracker.errors import HTTP_STATUS, ErrorCode, FrameError
from wsproto_tracker.protocol import frames
from wsproto_tracker.server.coding import Pieces
from wsproto_tracker.server.streams import send_in_pieces
from wsproto_tracker.settings import Settings

__all__ = ["HttpConnection", "Request", "Response", "error_response"]

_RECEIVE_BYTES = 64 * 1024
_LINGER_S = 2.0  # for a peer that still sends while it is refused, to take the answer
_TLS_HANDSHAKE = 0x16
_MAX_PARAMETERS = 100


@attrs.frozen
class Request:
    """The head of a request.

    :ivar path: as it came, without the parameters.
    :ivar parameters: decoded; the last of several with the same name counts.
    :ivar headers: names in lower case; several with the same name are joined by commas.
    :ivar http_version: ``1.1``, or ``1.0``.
    """

    method: str
    path: str
    parameters: dict[str, str] = attrs.field(repr=False)
    headers: dict[str, str] = attrs.field(repr=False)
    http_version: str


@attrs.frozen
class Response:
    """What is sent back.

    :ivar body: JSON, all of it, or in pieces where its length is not known.
    """

    status: int
    body: bytes | Pieces = b""
    headers: tuple[tuple[str, str], ...] = ()


def error_response(problem: FrameError, headers: tuple[tuple[str, str], ...] = ()) -> Response:
    """The answer that tells of a problem, as an ``error`` frame (HTTP-14)."""
    return Response(HTTP_STATUS[problem.code], frames.encode(frames.error(problem)), headers)


class HttpConnection:
    """One client's connection, for one request after the other."""

    def __init__(self, stream: trio.SocketStream, settings: Settings) -> None:
        self._stream = stream
        self._settings = settings
        self._h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=settings.max_head_bytes)
        self._head_only = False
        self._is_tls = False

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
        self._is_tls = received[:1] == bytes([_TLS_HANDSHAKE])
        return bool(received)

    async def read_head(self) -> Request:
        """Read the head of the request that has begun.

        :raises FrameError: where it is malformed, too large, too slow, or TLS.
        """
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
            raise _too_large(limit)
        body = bytearray()
        while True:
            try:
                event = self._h11.next_event()
            except h11.RemoteProtocolError:
                raise FrameError(
                    ErrorCode.BAD_REQUEST, "the body ended before its Content-Length, or its chunks are malformed"
                ) from None
            if event is h11.NEED_DATA:
                await self._receive_body()
            elif isinstance(event, h11.Data):
                body += event.data
                if len(body) > limit:
                    raise _too_large(limit)
            else:
                return bytes(body)

    async def respond(self, response: Response, *, close: bool) -> bool:
        """Send the response; whether the connection can serve another request.

        :param close: whether this is the last one, whatever the client would like.
        """
        body = response.body
        close = close or not self._request_is_over()
        headers = [("Date", formatdate(usegmt=True)), ("Server", "wsproto-tracker"), *response.headers]
        if response.status != 204:
            headers += [("Content-Type", "application/json"), ("Cache-Control", "no-store")]
            headers += [("X-Content-Type-Options", "nosniff")]
            if isinstance(body, bytes):
                headers.append(("Content-Length", str(len(body))))
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
                return _request(event)
            if event is not h11.NEED_DATA:
                raise h11.RemoteProtocolError("the request head ended too early")
            await self._receive()

    async def _receive(self) -> bytes:
        data = bytes(await self._stream.receive_some(_RECEIVE_BYTES))
        self._h11.receive_data(data)
        return data

    async def _receive_body(self) -> None:
        if self._h11.they_are_waiting_for_100_continue:
            await self._send(h11.InformationalResponse(status_code=100, reason="Continue", headers=[]))
        with trio.move_on_after(self._settings.receive_timeout_s):
            await self._receive()
            return
        raise FrameError(
            ErrorCode.TIMEOUT, f"nothing of the body came for {self._settings.receive_timeout_s:g} seconds"
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
                while await self._stream.receive_some(_RECEIVE_BYTES):
                    pass
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass


def _request(event: h11.Request) -> Request:
    target = event.target.decode("latin-1")
    path, _, query = target.partition("?")
    if not target.startswith("/"):  # the absolute form, as proxies get it
        path, query = urlsplit(target).path, urlsplit(target).query
    parameters = parse_qsl(query, keep_blank_values=True, max_num_fields=_MAX_PARAMETERS)
    headers: dict[str, str] = {}
    for raw_name, raw_value in event.headers:
        name, value = raw_name.decode("ascii"), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    version = event.http_version.decode("ascii")
    return Request(event.method.decode("ascii"), path, dict(parameters), headers, version)


def _malformed(error: h11.RemoteProtocolError) -> FrameError:
    if error.error_status_hint == HTTP_STATUS[ErrorCode.HEAD_TOO_LARGE]:
        return FrameError(ErrorCode.HEAD_TOO_LARGE, "the request head is over the limit")
    return FrameError(ErrorCode.BAD_REQUEST, "this is no HTTP/1.1 request")  # h11 would quote it, keys and all (SEC-1)


def _too_large(limit: int) -> FrameError:
    return FrameError(ErrorCode.TOO_LARGE, f"the body is over the limit of {limit} bytes")
