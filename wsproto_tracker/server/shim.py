"""The HTTP shim: ingest, read and ping for those who do not come by WebSocket (SPEC.md section 9)."""

import re
from collections.abc import Callable, Coroutine
from functools import partial
from time import perf_counter
from typing import Any, Protocol

import attrs
import msgspec

from wsproto_tracker.access import Grant, Scope
from wsproto_tracker.errors import ErrorCode, FrameError
from wsproto_tracker.protocol.decoding import read_body, read_parameters
from wsproto_tracker.protocol.ids import new_id
from wsproto_tracker.server.coding import Coding
from wsproto_tracker.server.core import Core, work_of
from wsproto_tracker.server.http1 import Request, Response, error_response
from wsproto_tracker.server.metrics import CONTENT_TYPE
from wsproto_tracker.server.tally import Tally
from wsproto_tracker.version import __version__

__all__ = ["Exchange", "Shim"]

_READABLE_TYPES = ("application/json", "text/plain", "")
_KEY_HEADER = "x-tracker-key"
_RETRY_AFTER = (("Retry-After", "5"),)
_VARY = ("Vary", "Origin, Accept-Encoding")
_ORIGIN = re.compile(r"[!-+\--~]+")  # visible ASCII without commas: what else comes is none, or several (RFC 6454)
_PREFLIGHT_S = 7200  # what Chromium keeps at the most


class Exchange(Protocol):
    """What is needed of the connection that a request came by."""

    @property
    def tally(self) -> Tally:
        """What happens on it."""
        ...

    async def read_body(self, request: Request) -> bytes:
        """Read the body of the request.

        :raises FrameError: where it cannot be had.
        """
        ...


Handler = Callable[[Request, Exchange], Coroutine[Any, Any, Response]]


@attrs.frozen
class Shim:
    """Answers the requests that are no WebSocket handshake.

    :ivar grant: what everybody may do; ``None`` where their key tells.
    """

    core: Core
    grant: Grant | None = None

    async def respond(self, request: Request, exchange: Exchange) -> Response:
        """Answer one request; what is wrong with it becomes the answer (HTTP-14)."""
        cors = cors_headers(request)
        try:
            response = await self._route(request)(request, exchange)
        except FrameError as problem:
            return error_response(problem, (*cors, *self._headers_of(problem, request)))  # CORS-3
        return attrs.evolve(response, headers=(*cors, *response.headers))

    def _routes(self, path: str) -> dict[str, Handler]:
        """What can be done at a path, by method."""
        base = self.core.settings.base_path
        read: dict[str, Handler] = {"GET": self._read}
        write: dict[str, Handler] = {"POST": self._ingest}
        ping: dict[str, Handler] = {"GET": self._ping}
        by_path: dict[str, dict[str, Handler]] = {
            base: read,
            f"{base}/events": {**read, **write},
            f"{base}/ingest": write,
            f"{base}/ping": ping,
            "/health": ping,
            "/ready": {"GET": self._ready},
            f"{base}/ws": {"GET": self._upgrade},
        }
        if self.core.settings.metrics_address is None:
            by_path["/metrics"] = {"GET": self._metrics}
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
        return self._allowed(request.path) if problem.code is ErrorCode.METHOD_NOT_ALLOWED else ()

    def _allowed(self, path: str) -> tuple[tuple[str, str], ...]:
        return (("Allow", ", ".join(self._routes(path))),)

    async def _options(self, request: Request, exchange: Exchange) -> Response:
        """A preflight: no key is asked for, since browsers send none with it (CORS-1)."""
        await exchange.read_body(request)
        return Response(
            204,
            headers=(
                *self._allowed(request.path),
                ("Access-Control-Allow-Methods", ", ".join(self._routes(request.path))),
                ("Access-Control-Allow-Headers", f"content-type, {_KEY_HEADER}"),
                ("Access-Control-Max-Age", str(_PREFLIGHT_S)),
            ),
        )

    async def _ping(self, request: Request, exchange: Exchange) -> Response:
        await exchange.read_body(request)
        return Response(200, b'{"ok":true,"version":"%s"}' % __version__.encode())  # PING-1, PING-2

    async def _ready(self, request: Request, exchange: Exchange) -> Response:
        """Whether events had better come here; like a ping, it asks for no key and tells nothing that is secret."""
        await exchange.read_body(request)
        reasons = self.core.why_not_ready
        if not reasons:
            return Response(200, b'{"ready":true}')
        return Response(503, msgspec.json.encode({"ready": False, "reasons": reasons}), _RETRY_AFTER)

    async def _metrics(self, request: Request, exchange: Exchange) -> Response:
        """What Prometheus asks for, where it has no address of its own."""
        await self._grant(request, Scope.QUERY)
        await exchange.read_body(request)
        return Response(200, await self.core.metrics_text(), content_type=CONTENT_TYPE)

    async def _upgrade(self, request: Request, exchange: Exchange) -> Response:
        """The WebSocket path, asked for otherwise."""
        await exchange.read_body(request)
        problem = FrameError(ErrorCode.UPGRADE_REQUIRED, "this is the WebSocket endpoint; connect with version 13")
        return error_response(problem, (("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")))  # CONN-8

    async def _ingest(self, request: Request, exchange: Exchange) -> Response:
        grant = await self._grant(request, Scope.INGEST)
        content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if content_type not in _READABLE_TYPES:  # HTTP-2, HTTP-13
            raise FrameError(ErrorCode.UNSUPPORTED, "content type: expected application/json or text/plain")
        if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
            raise FrameError(ErrorCode.UNSUPPORTED, "content coding: expected none")
        body = await exchange.read_body(request)
        came_s = perf_counter()
        rules = attrs.evolve(self.core.rules, apps=grant.apps)
        batch = await self.core.decode(partial(read_body, new_id=new_id, rules=rules), body, work_of(body))
        batch = await self.core.take_in(batch, grant, request.peer)
        return Response(200, await self.core.save(batch, exchange.tally, came_s))  # HTTP-3, HTTP-4

    async def _read(self, request: Request, exchange: Exchange) -> Response:
        grant = await self._grant(request, Scope.QUERY)
        await exchange.read_body(request)
        parameters = {name: value for name, value in request.parameters.items() if name != "key"}
        query = read_parameters(parameters)
        takes_gzip = _takes_gzip(request.headers.get("accept-encoding", ""))  # HTTP-18
        coding = Coding.GZIP if takes_gzip else Coding.PLAIN
        answer = await self.core.answer(query, None, coding, grant.apps, request.peer.address)
        coded = (("Content-Encoding", "gzip"),) if takes_gzip else ()
        behind = (("Tracker-Behind", "true"),) if answer.is_behind else ()  # X-BEHIND-1
        return Response(200, answer.pieces, (*coded, *behind))

    async def _grant(self, request: Request, scope: Scope) -> Grant:
        """What the key of a request allows, if it is for this (HTTP-6 to HTTP-9)."""
        if self.grant is not None:
            self.grant.check(scope)
            return self.grant
        access, limits, address = self.core.access, self.core.limits, request.peer.address
        key = request.headers.get(_KEY_HEADER, request.parameters.get("key"))
        if access.needs_key and key is not None:
            limits.check_may_try_key(address)
        grant = await self.core.grant(key, request.peer)
        if grant is None:
            if key is not None:
                limits.note_wrong_key(address)
            message = f"Unauthorized: the key in {_KEY_HEADER} or ?key= is missing or wrong"
            raise FrameError(ErrorCode.UNAUTHORIZED, message)
        grant.check(scope)
        return grant


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
    """Let a page read the answer; those of other origins than are allowed do not get here (CORS-2, CORS-4)."""
    origin = request.peer.origin
    if origin is None or not _ORIGIN.fullmatch(origin):  # not all that comes could be sent back
        return (_VARY,)
    return (
        _VARY,
        ("Access-Control-Allow-Origin", origin),
        ("Access-Control-Allow-Credentials", "true"),
        ("Access-Control-Expose-Headers", "Tracker-Behind"),
    )
