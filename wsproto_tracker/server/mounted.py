"""HTTP requests that came by a server of the program's own."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager

import attrs
import h11

from wsproto_tracker.access import Grant
from wsproto_tracker.errors import ErrorCode, FrameError
from wsproto_tracker.server.core import Core
from wsproto_tracker.server.gate import Gate
from wsproto_tracker.server.http1 import Request, Response, error_response, request_of, too_large
from wsproto_tracker.server.metrics import Transport
from wsproto_tracker.server.peer import Peer, address_of
from wsproto_tracker.server.shim import Exchange, Shim
from wsproto_tracker.server.tally import Tally
from wsproto_tracker.settings.values import UNIX_PEER

__all__ = ["HttpRequest", "HttpResponse", "answered", "respond"]


@attrs.frozen(kw_only=True)
class HttpRequest:
    """A request, as an HTTP server of the program's own has read it.

    :ivar method: such as ``GET``.
    :ivar target: the path, with the base path, and the parameters: ``/_tracker/events?since=…``.
    :ivar headers: by name, in any case.
    :ivar address: the IP address of the client; ``unix`` where it came by a unix socket.
    """

    method: str
    target: str
    headers: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    body: bytes = attrs.field(default=b"", repr=False)
    address: str = ""


@attrs.frozen
class HttpResponse:
    """What is to be sent back.

    :ivar headers: as they are to be sent; where there is no ``Content-Length``, the length is not known.
    :ivar body: its pieces, to be iterated once.
    """

    status: int
    headers: tuple[tuple[str, str], ...]
    body: AsyncGenerator[bytes, None]

    async def read(self) -> bytes:
        """All of the body."""
        return b"".join([piece async for piece in self.body])


@attrs.frozen
class _Read:
    """A request whose body is here."""

    body: bytes
    tally: Tally
    max_bytes: int

    async def read_body(self, request: Request) -> bytes:  # noqa: ARG002
        if len(self.body) > self.max_bytes:
            raise too_large(self.max_bytes)
        return self.body


@asynccontextmanager
async def answered(
    core: Core, gate: Gate, given: HttpRequest, grant: Grant | None
) -> AsyncGenerator[HttpResponse, None]:
    """The answer to a request, for as long as it is being sent."""
    with Tally(core.metrics, address_of(given.address), Transport.HTTP).held() as tally:
        exchange = _Read(given.body, tally, core.settings.max_frame_bytes)
        try:
            raw = [(name.encode("ascii"), value.encode("latin-1")) for name, value in given.headers.items()]
            peer = Peer(address_of(given.address), is_called=given.address != UNIX_PEER)
            request = request_of(given.method, given.target, raw, "1.1", peer, core.settings.trusted_proxy)
        except (ValueError, h11.RemoteProtocolError):
            problem = FrameError(ErrorCode.BAD_REQUEST, "the target is no URL, or a header cannot be in HTTP")
            response = error_response(problem)
        else:
            response = await respond(core, gate, request, exchange, grant)
        tally.requested(response.status, response.error)
        pieces = _pieces(response, is_head=given.method == "HEAD")
        try:
            yield HttpResponse(response.status, response.all_headers, pieces)
        finally:
            await pieces.aclose()
            if not isinstance(response.body, bytes):
                await response.body.aclose()


async def respond(core: Core, gate: Gate, request: Request, exchange: Exchange, grant: Grant | None = None) -> Response:
    """Answer a request, unless its page is not let in; a grant lets it in."""
    refusal = gate.refusal(request) if grant is None else None
    return refusal or await Shim(core, grant).respond(request, exchange)


async def _pieces(response: Response, *, is_head: bool) -> AsyncGenerator[bytes, None]:
    if is_head:  # X-HEAD-1
        return
    if isinstance(response.body, bytes):
        yield response.body
        return
    async for piece in response.body:
        if piece:
            yield bytes(piece)
