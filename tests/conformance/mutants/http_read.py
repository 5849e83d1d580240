"""Mutants of section 9: reads, pings, errors and CORS."""

import gzip
from collections.abc import Mapping
from typing import Any

import attrs

from tests.conformance.mutants.registry import mutant
from tests.conformance.reference import Reference
from tests.conformance.reference.http import Answer, Request
from tests.conformance.reference.json_text import Raw
from tests.conformance.reference.store import QueryError


@mutant("HTTP-10", fails=("http-read.reads",))
class ReadsAnArray(Reference):
    """Answers a read with the array of events alone."""

    def read(self, parameters: Mapping[str, str]) -> Any:
        return super().read(parameters)["events"]


@mutant("HTTP-10", fails=("http-read.reads-windows",))
class ReadsToUntil(Reference):
    """Leaves the events at ``until`` out of the answer to a read."""

    def read(self, parameters: Mapping[str, str]) -> dict[str, Any]:
        response = super().read(parameters)
        until = self.parse_timestamp(parameters.get("until", ""))
        at_until = {stored.text for stored in self.kept if stored.instant == until}
        return response | {"events": [text for text in response["events"] if text not in at_until]}


@mutant("HTTP-10", fails=("http-read.reads-newest-first",))
class ReadsOldestFirst(Reference):
    """Answers a read with the oldest event first."""

    def read(self, parameters: Mapping[str, str]) -> dict[str, Any]:
        response = super().read(parameters)
        return response | {"events": response["events"][::-1]}


@mutant("HTTP-10", fails=("http-read.reads-all",))
class ReadsAHundred(Reference):
    """Answers a read with a hundred events at most."""

    def read(self, parameters: Mapping[str, str]) -> dict[str, Any]:
        response = super().read(parameters)
        return response | {"events": response["events"][:100]}


@mutant("HTTP-10", fails=("http-read.reads-backward-windows",))
class RefusesBackwardReads(Reference):
    """Answers 400 to a read whose ``since`` is after its ``until``."""

    def read(self, parameters: Mapping[str, str]) -> dict[str, Any]:
        since, until = (self.parse_timestamp(parameters.get(name, "")) for name in ("since", "until"))
        if since is not None and until is not None and since > until:
            raise QueryError("until: before since")
        return super().read(parameters)


@mutant("HTTP-10", fails=("http-read.reads-the-same-ids",))
class ReadsOtherIds(Reference):
    """Answers a read with other ids."""

    def read(self, parameters: Mapping[str, str]) -> dict[str, Any]:
        response = super().read(parameters)
        return response | {"events": [Raw(text.replace('"ref-', '"read-', 1)) for text in response["events"]]}


@mutant("ACK-4", fails=("http-read.shows-acked-events",), also=("http-read.shows-posted-events",))
class CachesReads(Reference):
    """Repeats an answer to the next one who asks the same."""

    def __init__(self, key: str = "") -> None:
        super().__init__(key)
        self.cached: dict[str, dict[str, Any]] = {}

    def read(self, parameters: Mapping[str, str]) -> dict[str, Any]:
        asked = repr(parameters)
        if asked in self.cached:
            return self.cached.pop(asked)
        self.cached[asked] = super().read(parameters)
        return self.cached[asked]


@mutant("HTTP-11", skips=("cors.allows-the-origin-on-refused-reads",))
class IgnoresBadReads(Reference):
    """Answers a read that it cannot read with no events."""

    def on_bad_read(self, problem: str) -> Answer:
        del problem
        return Answer(200, '{"events":[],"total":0}')


@mutant("HTTP-18")
class AlwaysGzip(Reference):
    """Compresses an answer where the request speaks of gzip, though it be to refuse it."""

    def is_compressed(self, request: Request) -> bool:
        """Whether the answer is compressed."""
        return "gzip" in request.headers.get("accept-encoding", "")

    def coded(self, request: Request, body: bytes) -> bytes:
        return gzip.compress(body) if self.is_compressed(request) else body

    def cors_headers(self, request: Request, answer: Answer) -> dict[str, str]:
        coding = {"Content-Encoding": "gzip"} if self.is_compressed(request) else {}
        return super().cors_headers(request, answer) | coding


@mutant("PING-1")
class PingIsPost(Reference):
    """Answers 503 to pings."""

    def on_http_ping(self, request: Request) -> Answer:
        return attrs.evolve(super().on_http_ping(request), status=503)


@mutant("PING-2")
class PingWantsKey(Reference):
    """Answers 401 to pings without a key."""

    def on_http_ping(self, request: Request) -> Answer:
        return super().on_http_ping(request) if self.is_allowed(request) else self.unauthorized()


# errors


@mutant("HTTP-13", fails=("http-errors.refuses-large-bodies",))
class BadRequestForLarge(Reference):
    """Answers 400 to a body over its limit."""

    def on_too_large(self) -> Answer:
        return self.failed(400, "the body is too large")


@mutant("HTTP-13", fails=("http-errors.refuses-unknown-paths",))
class BadRequestForPaths(Reference):
    """Answers 400 to an unknown path, but for handshakes."""

    def answer(self, request: Request) -> Answer:
        is_known = request.path in self.routes() or "upgrade" in request.headers
        return super().answer(request) if is_known else self.failed(400, "there is nothing here")


@mutant("HTTP-13", fails=("http-errors.refuses-other-methods",))
class NoAllow(Reference):
    """Answers 405 without ``Allow``."""

    def on_wrong_method(self, methods: Mapping[str, object]) -> Answer:
        return attrs.evolve(super().on_wrong_method(methods), headers={})


@mutant("HTTP-13", fails=("http-errors.refuses-other-content-types",))
class AnyContentType(Reference):
    """Reads a body of any content type."""

    def is_content_type_read(self, content_type: str) -> bool:
        return isinstance(content_type, str)


@mutant("HTTP-13", fails=("http-errors.refuses-unknown-codings",))
class AnyCoding(Reference):
    """Takes no notice of ``Content-Encoding``."""

    def is_coding_read(self, coding: str) -> bool:
        return isinstance(coding, str)


@mutant("HTTP-14", fails=("http-errors.sends-errors-as-frames",))
class PlainNotFound(Reference):
    """Answers 404 in plain text."""

    def on_unknown_path(self) -> Answer:
        return attrs.evolve(super().on_unknown_path(), body="there is nothing here")


@mutant("HTTP-14", fails=("http-errors.sends-401-as-a-frame",))
class PlainUnauthorized(Reference):
    """Answers 401 in plain text."""

    def unauthorized(self) -> Answer:
        return attrs.evolve(super().unauthorized(), body="Unauthorized")


# CORS


@mutant("CORS-1")
class NoKeyHeader(Reference):
    """Does not allow the header of the key."""

    def allowed_headers(self) -> str:
        return "content-type"


@mutant("CORS-1")
class PreflightWantsKey(Reference):
    """Answers 401 to a preflight without a key."""

    def on_preflight(self, request: Request) -> Answer:
        return super().on_preflight(request) if self.is_allowed(request) else self.unauthorized()


@mutant("CORS-2")
class AnyOrigin(Reference):
    """Allows any origin by ``*``."""

    def cors_headers(self, request: Request, answer: Answer) -> dict[str, str]:
        headers = super().cors_headers(request, answer)
        return {name: "*" if name == "Access-Control-Allow-Origin" else value for name, value in headers.items()}


@mutant("CORS-2")
class NoCredentials(Reference):
    """Does not allow credentials."""

    def cors_headers(self, request: Request, answer: Answer) -> dict[str, str]:
        headers = super().cors_headers(request, answer)
        return {name: value for name, value in headers.items() if name != "Access-Control-Allow-Credentials"}


@mutant("CORS-3")
class NotOnErrors(Reference):
    """Allows no origin on errors."""

    def cors_headers(self, request: Request, answer: Answer) -> dict[str, str]:
        return super().cors_headers(request, answer) if answer.status < 400 else {"Vary": "Origin"}


@mutant("CORS-4")
class NoVary(Reference):
    """Sends no ``Vary``."""

    def cors_headers(self, request: Request, answer: Answer) -> dict[str, str]:
        headers = super().cors_headers(request, answer)
        return {name: value for name, value in headers.items() if name != "Vary"}
