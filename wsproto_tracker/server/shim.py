"""The HTTP shim: ingest, read and ping for those who do not come by WebSocket (SPEC.md section 9)."""

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import attrs

from wsproto_tracker.errors import ErrorCode, FrameError
from wsproto_tracker.protocol.decoding import read_body, read_parameters
from wsproto_tracker.protocol.events import new_id
from wsproto_tracker.server.coding import Coding
from wsproto_tracker.server.http1 import HttpConnection, Request, Response, error_response
from wsproto_tracker.server.tracker import Tracker
from wsproto_tracker.version import __version__

__all__ = ["Shim"]

_READABLE_TYPES = ("application/json", "text/plain", "")
_KEY_HEADER = "x-tracker-key"
_RETRY_AFTER_S = "5"
_VARY = ("Vary", "Origin, Accept-Encoding")
_PREFLIGHT_S = 7200  # what Chromium keeps at the most

Handler = Callable[[Request, HttpConnection], Coroutine[Any, Any, Response]]


@attrs.frozen
class Shim:
    """Answers the requests that are no WebSocket handshake."""

    tracker: Tracker

    async def respond(self, request: Request, connection: HttpConnection) -> Response:
        """Answer one request; what is wrong with it becomes the answer (HTTP-14)."""
        cors = cors_headers(request)
        try:
            response = await self._route(request)(request, connection)
        except FrameError as problem:
            return error_response(problem, (*cors, *self._headers_of(problem, request)))  # CORS-3
        return attrs.evolve(response, headers=(*cors, *response.headers))

    def _routes(self, path: str) -> dict[str, Handler]:
        """What can be done at a path, by method."""
        base = self.tracker.settings.base_path
        read: dict[str, Handler] = {"GET": self._read}
        write: dict[str, Handler] = {"POST": self._ingest}
        ping: dict[str, Handler] = {"GET": self._ping}
        by_path: dict[str, dict[str, Handler]] = {
            base: read,
            f"{base}/events": {**read, **write},
            f"{base}/ingest": write,
            f"{base}/ping": ping,
            "/health": ping,
            f"{base}/ws": {"GET": self._upgrade},
        }
        handlers = by_path.get(path.rstrip("/"))
        if handlers is None:
            known = ", ".join(by_path)
            raise FrameError(ErrorCode.NOT_FOUND, f"there is nothing at this path; there is something at {known}")
        if "GET" in handlers:
            handlers = {**handlers, "HEAD": handlers["GET"]}  # X-HEAD-1
        return {**handlers, "OPTIONS": self._options}

    def _route(self, request: Request) -> Handler:
        handlers = self._routes(request.path)
        if request.method not in handlers:
            methods = ", ".join(handlers)
            raise FrameError(ErrorCode.METHOD_NOT_ALLOWED, f"expected one of {methods} at this path")
        return handlers[request.method]

    def _headers_of(self, problem: FrameError, request: Request) -> tuple[tuple[str, str], ...]:
        match problem.code:
            case ErrorCode.METHOD_NOT_ALLOWED:
                return self._allowed(request.path)
            case ErrorCode.UNAVAILABLE:
                return (("Retry-After", _RETRY_AFTER_S),)  # HTTP-17
            case _:
                return ()

    def _allowed(self, path: str) -> tuple[tuple[str, str], ...]:
        return (("Allow", ", ".join(self._routes(path))),)

    async def _options(self, request: Request, connection: HttpConnection) -> Response:
        """A preflight: no key is asked for, since browsers send none with it (CORS-1)."""
        await connection.read_body(request)
        return Response(
            204,
            headers=(
                *self._allowed(request.path),
                ("Access-Control-Allow-Methods", ", ".join(self._routes(request.path))),
                ("Access-Control-Allow-Headers", f"content-type, {_KEY_HEADER}"),
                ("Access-Control-Max-Age", str(_PREFLIGHT_S)),
            ),
        )

    async def _ping(self, request: Request, connection: HttpConnection) -> Response:
        await connection.read_body(request)
        return Response(200, b'{"ok":true,"version":"%s"}' % __version__.encode())  # PING-1, PING-2

    async def _upgrade(self, request: Request, connection: HttpConnection) -> Response:
        """The WebSocket path, asked for otherwise."""
        await connection.read_body(request)
        problem = FrameError(ErrorCode.UPGRADE_REQUIRED, "this is the WebSocket endpoint; connect with version 13")
        return error_response(problem, (("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")))  # CONN-8

    async def _ingest(self, request: Request, connection: HttpConnection) -> Response:
        self._check_key(request)
        content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if content_type not in _READABLE_TYPES:  # HTTP-2, HTTP-13
            raise FrameError(ErrorCode.UNSUPPORTED, "content type: expected application/json or text/plain")
        if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
            raise FrameError(ErrorCode.UNSUPPORTED, "content coding: expected none")
        body = await connection.read_body(request)
        batch = await self.tracker.decode(partial(read_body, new_id=new_id), body)
        return Response(200, await self.tracker.save(batch))  # HTTP-3, HTTP-4

    async def _read(self, request: Request, connection: HttpConnection) -> Response:
        self._check_key(request)
        await connection.read_body(request)
        parameters = {name: value for name, value in request.parameters.items() if name != "key"}
        query = read_parameters(parameters)
        takes_gzip = _takes_gzip(request.headers.get("accept-encoding", ""))  # HTTP-18
        answer = await self.tracker.answer(query, None, Coding.GZIP if takes_gzip else Coding.PLAIN)
        coding = (("Content-Encoding", "gzip"),) if takes_gzip else ()
        return Response(200, answer, coding)

    def _check_key(self, request: Request) -> None:
        """HTTP-6, HTTP-8, HTTP-9."""
        key = request.headers.get(_KEY_HEADER, request.parameters.get("key"))
        if not self.tracker.access.admits(key):
            message = f"Unauthorized: the key in {_KEY_HEADER} or ?key= is missing or wrong"
            raise FrameError(ErrorCode.UNAUTHORIZED, message)


def _takes_gzip(accepted: str) -> bool:
    """Whether a client that accepts these codings takes gzip (RFC 9110, section 12.5.3)."""
    weights: dict[str, float] = {}
    for item in accepted.split(","):
        coding, _, weight = item.partition(";")
        try:
            weights[coding.strip().lower()] = float(weight.partition("=")[2] or 1)
        except ValueError:
            continue
    gzip = weights.get("gzip", weights.get("*", 0))
    return gzip > 0 and gzip >= weights.get("identity", 0)


def cors_headers(request: Request) -> tuple[tuple[str, str], ...]:
    """Let pages of any origin in; who may read and write is the key's affair (CORS-2, CORS-4)."""
    origin = request.headers.get("origin")
    if origin is None:
        return (_VARY,)
    return (
        _VARY,
        ("Access-Control-Allow-Origin", origin),
        ("Access-Control-Allow-Credentials", "true"),
    )
