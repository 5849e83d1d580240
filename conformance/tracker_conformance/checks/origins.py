"""Section 10: which pages are let in. A browser tells where a page comes from; what tells nothing is no page."""

from tracker_conformance.checks.http import batch, look, post, responded, stored
from tracker_conformance.http import with_parameters
from tracker_conformance.model import SkippedError, UntestableError, demand
from tracker_conformance.probe import Probe
from tracker_conformance.registry import check
from tracker_conformance.transcript import Response, Transcript

_STRANGERS = ("https://evil.example", "null")
_SWITCHING = 101
_NO_PAGE = "a request without an Origin is not answered with success"
_NEEDS = {"read": ("http-read.reads",), "ping": ("http-read.answers-pings",)}


def _is_success(response: Response) -> bool:
    return response.is_success or response.status == _SWITCHING


def _of_strangers(t: Transcript) -> list[tuple[str, Response]]:
    """The responses to the pages of other origins, once it is clear that what is no page has success."""
    if not _is_success(responded(t)):
        raise UntestableError(_NO_PAGE)
    origins = [entry.data["headers"].get("Origin") for entry in t.entries if entry.kind == "request"]
    return [(origin, found) for origin, found in zip(origins, t.responses(), strict=False) if origin is not None]


def _are_refused(t: Transcript) -> None:
    found = _of_strangers(t)
    demand(len(found) == len(_STRANGERS), f"answers to the origins {_STRANGERS}", found)
    for origin, response in found:
        demand(400 <= response.status < 500, f"a refusal, such as 403, of the origin {origin}", response)


async def _shake_hands(p: Probe) -> None:
    await p.handshake(p.http_url)
    for origin in _STRANGERS:
        await p.handshake(p.http_url, {"Origin": origin})


@check("SEC-4", judge=_are_refused, needs=("basics.connects",), uses=("no_key",), writes=False)
async def strangers_get_no_connection(p: Probe) -> None:
    """Refuses, without a key, the handshakes of pages of other machines, and of those that hide their origin."""
    await _shake_hands(p)


def _saves_nothing_of_strangers(t: Transcript) -> None:
    _are_refused(t)
    demand(stored(t) == ["own"], "nothing of theirs to be stored", stored(t))


@check(
    "SEC-4",
    judge=_saves_nothing_of_strangers,
    needs=("http.takes-batches",),
    uses=("no_key", "write_url"),
)
async def strangers_send_nothing(p: Probe) -> None:
    """Refuses, without a key, the batches of such pages, and saves nothing of them."""
    await post(p, batch(p.event("own"), type="ingest"))
    for origin in _STRANGERS:
        await post(p, batch(p.event("stranger"), type="ingest"), headers={"Origin": origin})
    await look(p, "own")


async def _get(p: Probe, endpoint: str) -> None:
    url = with_parameters(p.target.read_url, p.window) if endpoint == "read" else p.target.ping_url
    await p.request("GET", url)
    for origin in _STRANGERS:
        await p.request("GET", url, headers={"Origin": origin})


@check("SEC-4", judge=_are_refused, needs=_NEEDS["read"], uses=("no_key", "read_url"), writes=False)
async def strangers_read_nothing(p: Probe) -> None:
    """Refuses, without a key, the reads of such pages."""
    await _get(p, "read")


@check("SEC-4", judge=_are_refused, needs=_NEEDS["ping"], uses=("no_key", "ping_url"), writes=False)
async def strangers_get_no_ping(p: Probe) -> None:
    """Refuses, without a key, the pings of such pages."""
    await _get(p, "ping")


def _is_let_in(response: Response) -> bool:
    allowed = response.status == _SWITCHING or "access-control-allow-origin" in response.headers
    return _is_success(response) and allowed


def _refuses_with_403(t: Transcript) -> None:
    refused = [(origin, response) for origin, response in _of_strangers(t) if not _is_let_in(response)]
    if not refused:
        raise SkippedError(f"pages of {' and '.join(_STRANGERS)} are let in")
    for origin, response in refused:
        demand(response.status == 403, f"403 to the origin {origin}, which is not allowed", response)
        allowing = [name for name in response.headers if name.startswith("access-control-allow-")]
        demand(not allowing, "none of the headers that allow an origin", f"{response.status} with {allowing}")


@check("SEC-5", judge=_refuses_with_403, needs=("basics.connects",), writes=False)
async def refuses_handshakes_with_403(p: Probe) -> None:
    """Refuses the handshake of a page whose origin it does not allow with 403."""
    await _shake_hands(p)


@check("SEC-5", judge=_refuses_with_403, needs=("http.takes-batches",), uses=("write_url",), writes=False)
async def refuses_batches_with_403(p: Probe) -> None:
    """Refuses a batch of such a page with 403, and without CORS headers."""
    await post(p, batch(type="ingest"))
    for origin in _STRANGERS:
        await post(p, batch(type="ingest"), headers={"Origin": origin})


@check("SEC-5", judge=_refuses_with_403, needs=_NEEDS["read"], uses=("read_url",), writes=False)
async def refuses_reads_with_403(p: Probe) -> None:
    """Refuses a read of such a page with 403, and without CORS headers."""
    await _get(p, "read")


@check("SEC-5", judge=_refuses_with_403, needs=_NEEDS["ping"], uses=("ping_url",), writes=False)
async def refuses_pings_with_403(p: Probe) -> None:
    """Refuses a ping of such a page with 403, and without CORS headers."""
    await _get(p, "ping")
