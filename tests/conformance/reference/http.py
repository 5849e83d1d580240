"""HTTP, with CORS (section 9 of the specification)."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import attrs
import h11
import trio

from tests.conformance.reference.access import Grant
from tests.conformance.reference.frames import array_of_events
from tests.conformance.reference.json_text import dump
from tests.conformance.reference.store import QueryError
from tests.conformance.reference.websocket import WebSockets, headed

__all__ = ["Answer", "Https", "Request"]

_CHUNK_BYTES = 256 * 1024
_LINGER_S = 1.0
_GONE = (trio.BrokenResourceError, trio.ClosedResourceError, h11.RemoteProtocolError)
_REASONS = {
    200: "OK",
    204: "No Content",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    413: "Content Too Large",
    415: "Unsupported Media Type",
    426: "Upgrade Required",
}
_CODES = {
    400: "bad_request",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    413: "too_large",
    415: "unsupported",
    426: "upgrade_required",
}


@attrs.frozen
class Request:
    """A request; header names in lower case."""

    method: str
    path: str
    parameters: dict[str, str]
    headers: dict[str, str]
    body: bytes = b""


@attrs.frozen
class Answer:
    """A response.

    :ivar body: JSON text.
    """

    status: int
    body: str = ""
    headers: dict[str, str] = attrs.field(factory=dict)


class Https(WebSockets):
    """The HTTP side. Every connection is for one request."""

    max_body = 32 * 1024 * 1024
    ws_path, write_path, read_path, ping_path = "/ws", "/ingest", "/events", "/ping"

    def routes(self) -> dict[str, dict[str, Callable[[Request], Answer]]]:
        """What answers a request, by path and method."""
        return {
            self.ws_path: {"GET": self.on_refused_handshake},
            self.write_path: {"POST": self.on_write, "OPTIONS": self.on_preflight},
            self.read_path: {"GET": self.on_read, "HEAD": self.on_read, "OPTIONS": self.on_preflight},
            self.ping_path: {"GET": self.on_http_ping, "HEAD": self.on_http_ping, "OPTIONS": self.on_preflight},
        }

    async def serve(self, stream: trio.abc.Stream) -> None:
        """Serve a connection, whatever comes over it."""
        async with stream:
            with suppress(*_GONE):
                parser = h11.Connection(h11.SERVER, max_incomplete_event_size=64 * 1024)
                head = await self.next_event(stream, parser)
                if not isinstance(head, h11.Request):
                    return
                request = _read(head)
                is_handshake = request.method == "GET" and self.is_websocket_path(request)
                if is_handshake and self.refusal(request.headers) is None:
                    await self.converse(stream, request.headers, parser.trailing_data[0])
                else:
                    await self.exchange(stream, parser, request)

    def is_websocket_path(self, request: Request) -> bool:
        """CONN-1, CONN-8."""
        return request.path == self.ws_path

    async def next_event(self, stream: trio.abc.Stream, parser: h11.Connection) -> object:
        """The next event of h11."""
        while (event := parser.next_event()) is h11.NEED_DATA:
            parser.receive_data(bytes(await stream.receive_some(_CHUNK_BYTES)))
        return event

    async def exchange(self, stream: trio.abc.Stream, parser: h11.Connection, request: Request) -> None:
        """Read the body of a request, and answer it."""
        early = self.early_answer(request)
        if early is None:
            body = bytearray()
            try:
                if parser.they_are_waiting_for_100_continue:
                    await self.go_on(stream)
                while isinstance(event := await self.next_event(stream, parser), h11.Data):
                    body += event.data
                    if len(body) > self.max_body:
                        early = self.on_too_large()
                        break
            except h11.RemoteProtocolError:
                early = self.on_cut_body(attrs.evolve(request, body=bytes(body)))
            request = attrs.evolve(request, body=bytes(body))
        answer = early if early is not None else self.answer(request)
        await self.respond(stream, request, answer)
        with trio.move_on_after(_LINGER_S):
            while await stream.receive_some(_CHUNK_BYTES):
                pass

    async def respond(self, stream: trio.abc.Stream, request: Request, answer: Answer) -> None:
        """Send an answer."""
        body = self.coded(request, answer.body.encode())
        headers = {"Content-Type": "application/json", "Content-Length": str(len(body)), "Connection": "close"}
        headers |= answer.headers | self.cors_headers(request, answer)
        head = headed(f"{answer.status} {_REASONS.get(answer.status, 'Unknown')}", headers)
        await stream.send_all(head + self.body_sent(request, body))
        if isinstance(stream, trio.SocketStream):
            await stream.send_eof()

    def coded(self, request: Request, body: bytes) -> bytes:  # noqa: ARG002 - for subclasses
        """HTTP-18: no content coding."""
        return body

    def body_sent(self, request: Request, body: bytes) -> bytes:
        """X-HEAD-1."""
        return b"" if request.method == "HEAD" else body

    async def go_on(self, stream: trio.abc.Stream) -> None:
        """HTTP-15."""
        await stream.send_all(headed("100 Continue", {}))

    # Before the body is read

    def early_answer(self, request: Request) -> Answer | None:
        """What answers a request whose body need not be read."""
        if not self.takes_origin(request.headers.get("origin")):
            return self.on_other_page()
        length = request.headers.get("content-length", "0")
        return self.on_too_large() if length.isdigit() and int(length) > self.max_body else None

    def on_other_page(self) -> Answer:
        """SEC-5."""
        return self.failed(403, "pages of this origin are not let in")

    def on_too_large(self) -> Answer:
        """HTTP-13."""
        return self.failed(413, "the body is too large")

    def on_cut_body(self, request: Request) -> Answer:  # noqa: ARG002 - for subclasses
        """HTTP-12."""
        return self.failed(400, "the body ends too early")

    # Requests

    def answer(self, request: Request) -> Answer:
        """What answers a whole request."""
        methods = self.routes().get(request.path)
        if methods is None:
            return self.on_unknown_path()
        handler = methods.get(request.method)
        return self.on_wrong_method(methods) if handler is None else handler(request)

    def on_unknown_path(self) -> Answer:
        """HTTP-13."""
        return self.failed(404, "there is nothing here")

    def on_wrong_method(self, methods: Mapping[str, object]) -> Answer:
        """HTTP-13."""
        return self.failed(405, "not with this method", {"Allow": ", ".join(methods)})

    def on_refused_handshake(self, request: Request) -> Answer:
        """CONN-8."""
        status, headers = self.refusal(request.headers) or (400, {})
        return self.failed(status, "no handshake", headers)

    def on_write(self, request: Request) -> Answer:
        """HTTP-1 to HTTP-6."""
        if not self.may_write(request):
            return self.unauthorized()
        if not self.may_send(self.grant_of(request)):
            return self.on_forbidden()
        if not self.is_content_type_read(request.headers.get("content-type", "")):
            return self.failed(415, "a content type that is not read")
        if not self.is_coding_read(request.headers.get("content-encoding", "identity")):
            return self.failed(415, "a content coding that is not read")
        try:
            text = request.body.decode()
            value = self.parse(text)
        except ValueError:
            return self.failed(400, "the body is no JSON", code="bad_json")
        if not isinstance(value, dict) or not isinstance(value.get("events"), list):
            return self.on_no_batch(value)
        with self.serving(self.grant_of(request)):
            ack, saved = self.ingest(array_of_events(text))
        self.push(saved)
        return self.acked(ack)

    def on_no_batch(self, value: Any) -> Answer:  # noqa: ARG002 - for subclasses
        """HTTP-5."""
        return self.failed(400, "an ingest has an array events", code="bad_frame")

    def acked(self, ack: dict[str, object]) -> Answer:
        """HTTP-4, HTTP-16."""
        return Answer(200, dump(ack))

    def on_read(self, request: Request) -> Answer:
        """HTTP-6, HTTP-10, HTTP-11."""
        if not self.may_read(request):
            return self.unauthorized()
        if not self.may_ask(self.grant_of(request)):
            return self.on_forbidden()
        try:
            with self.serving(self.grant_of(request)):
                return Answer(200, dump(self.read(request.parameters)))
        except QueryError as error:
            return self.on_bad_read(str(error))

    def on_bad_read(self, problem: str) -> Answer:
        """HTTP-11."""
        return self.failed(400, problem, code="bad_query")

    def on_http_ping(self, request: Request) -> Answer:  # noqa: ARG002 - a handler
        """PING-1, PING-2."""
        return Answer(200, dump({"ok": True}))

    def is_content_type_read(self, content_type: str) -> bool:
        """HTTP-2, HTTP-13."""
        return content_type.partition(";")[0].strip().lower() in ("", "application/json", "text/plain")

    def is_coding_read(self, coding: str) -> bool:
        """HTTP-13."""
        return coding.lower() == "identity"

    def may_write(self, request: Request) -> bool:
        """HTTP-6."""
        return self.is_allowed(request)

    def may_read(self, request: Request) -> bool:
        """HTTP-6."""
        return self.is_allowed(request)

    def is_allowed(self, request: Request) -> bool:
        """HTTP-6, HTTP-8, HTTP-9."""
        return self.grant(self.key_of(request)) is not None

    def grant_of(self, request: Request) -> Grant:
        """What its key is for."""
        return self.grant(self.key_of(request)) or Grant()

    def on_forbidden(self) -> Answer:
        """HTTP-7."""
        return self.failed(403, "the key is not for this")

    def key_of(self, request: Request) -> str:
        """HTTP-8, HTTP-9."""
        return request.headers.get("x-tracker-key", request.parameters.get("key", ""))

    def unauthorized(self) -> Answer:
        """HTTP-6."""
        return self.failed(401, "Unauthorized")

    def failed(self, status: int, message: str, headers: Mapping[str, str] | None = None, code: str = "") -> Answer:
        """HTTP-14."""
        return Answer(status, dump(self.error_frame(code or _CODES[status], message)), dict(headers or {}))

    # CORS

    def on_preflight(self, request: Request) -> Answer:
        """CORS-1."""
        methods = [method for method in self.routes()[request.path] if method != "OPTIONS"]
        headers = {
            "Access-Control-Allow-Methods": ", ".join(methods),
            "Access-Control-Allow-Headers": self.allowed_headers(),
        }
        return Answer(204, "", headers)

    def allowed_headers(self) -> str:
        """CORS-1."""
        return "content-type, x-tracker-key"

    def cors_headers(self, request: Request, answer: Answer) -> dict[str, str]:  # noqa: ARG002 - for subclasses
        """CORS-2 to CORS-4, SEC-5."""
        origin = request.headers.get("origin")
        if origin is None or not self.takes_origin(origin):
            return {"Vary": "Origin"}
        return {
            "Access-Control-Allow-Origin": origin,
            "Access-Control-Allow-Credentials": "true",
            "Vary": "Origin",
        }


def _read(head: h11.Request) -> Request:
    target = urlsplit(head.target.decode("latin-1"))
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in head.headers}
    parameters = dict(parse_qsl(target.query, keep_blank_values=True))
    return Request(head.method.decode(), target.path, parameters, headers)
