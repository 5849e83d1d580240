"""Section 9, CORS: what a browser asks for before it lets a page talk to a server of another origin."""

from collections.abc import Awaitable, Callable
from typing import Any

from tracker_conformance.checks.http import batch, look, post, responded, stored
from tracker_conformance.http import with_parameters
from tracker_conformance.model import SkippedError, demand
from tracker_conformance.probe import Probe
from tracker_conformance.registry import Judge, check
from tracker_conformance.transcript import Response, Transcript

_ALLOWANCE = ("access-control-allow-origin", "access-control-allow-credentials")
_METHODS = {"write": "POST", "read": "GET", "ping": "GET"}
_NEEDS = {
    "write": ("http.takes-batches",),
    "read": ("http-read.reads",),
    "ping": ("http-read.answers-pings",),
}


def _listed(response: Response, name: str) -> list[str]:
    return [item.strip().lower() for item in response.headers.get(name, "").split(",")]


def _headers(response: Response) -> dict[str, str]:
    """What a response says about origins."""
    return {name: response.headers.get(name, "none") for name in _ALLOWANCE}


def _origin(t: Transcript) -> str:
    """The origin that the first request came from."""
    origin: str = next(entry.data["headers"]["Origin"] for entry in t.entries if entry.kind == "request")
    return origin


def _not_let_in(t: Transcript) -> SkippedError:
    return SkippedError(f"the origin {_origin(t)} is not allowed; --origin names one that is")


def _needs_entrance(t: Transcript) -> None:
    """Skip where the first request is refused for its origin (SEC-5)."""
    if responded(t).status == 403:
        raise _not_let_in(t)


def _needs_allowance(t: Transcript) -> None:
    """Skip unless the first response, to a request that is right, allows the origin."""
    if "access-control-allow-origin" not in responded(t).headers:
        raise _not_let_in(t)


def _url(p: Probe, endpoint: str) -> str:
    url: str = getattr(p.target, f"{endpoint}_url")
    return with_parameters(url, p.window) if endpoint == "read" else url


async def _preflight(p: Probe, endpoint: str) -> None:
    asked = {
        "Origin": p.target.origin,
        "Access-Control-Request-Method": _METHODS[endpoint],
        "Access-Control-Request-Headers": "content-type,x-tracker-key",
    }
    await p.request("OPTIONS", _url(p, endpoint), auth=False, headers=asked)


async def _ask(p: Probe, endpoint: str, **options: Any) -> None:
    """A request that is right, and saves nothing."""
    headers = {"Origin": p.target.origin}
    if endpoint == "write":
        await post(p, batch(type="ingest"), headers=headers, **options)
    else:
        await p.request("GET", _url(p, endpoint), headers=headers, **options)


# each endpoint


def _allows_method(method: str) -> Judge:
    def judge(t: Transcript) -> None:
        _needs_entrance(t)
        response = responded(t)
        demand(response.is_success, "a 2xx to a preflight without a key", response)
        methods = _listed(response, "access-control-allow-methods")
        demand(method.lower() in methods, f"Access-Control-Allow-Methods with {method}", methods)
        allowed = _listed(response, "access-control-allow-headers")
        are_allowed = {"content-type", "x-tracker-key"} <= set(allowed)
        demand(are_allowed, "Access-Control-Allow-Headers with content-type and x-tracker-key, by name", allowed)

    return judge


def _allows_the_origin(t: Transcript) -> None:
    _needs_allowance(t)
    right = dict(zip(_ALLOWANCE, (_origin(t), "true"), strict=True))
    for response in t.responses():
        if response.is_success:
            demand(_headers(response) == right, str(right), f"{response.status} with {_headers(response)}")


def _varies(t: Transcript) -> None:
    _needs_entrance(t)
    names = _listed(responded(t), "vary")
    demand("origin" in names or "*" in names, "Vary: Origin", f"Vary: {', '.join(names) or 'none'}")


def _check(name: str, endpoint: str, title: str, judge: Judge, *steps: Callable[[Probe, str], Awaitable[None]]) -> None:
    """Make a check of steps that are taken at an endpoint."""

    async def send(p: Probe) -> None:
        for step in steps:
            await step(p, endpoint)

    requirement, _, verb = name.partition(" ")
    send.__name__, send.__module__ = f"{verb}_{endpoint}", __name__
    send.__doc__ = f"{title} on the {endpoint} endpoint."
    check(requirement, judge=judge, needs=_NEEDS[endpoint], uses=(f"{endpoint}_url",), writes=False)(send)


for _endpoint, _method in _METHODS.items():
    _title = f"Answers a preflight without a key, and allows {_method}, ``content-type`` and ``x-tracker-key``,"
    _check("CORS-1 answers_preflights", _endpoint, _title, _allows_method(_method), _preflight)
    _title = "Allows a page's origin by name, and with credentials,"
    _check("CORS-2 allows_the_origin", _endpoint, _title, _allows_the_origin, _ask, _preflight)
    _check("CORS-4 varies_by_origin", _endpoint, "Sends ``Vary: Origin``", _varies, _ask)


# errors


def _allows_on_errors(t: Transcript) -> None:
    _needs_allowance(t)
    expected = _headers(responded(t))
    errors = [response for response in t.responses()[1:] if response.status >= 400]
    if not errors:
        raise SkippedError("no such request is refused")
    for response in errors:
        demand(_headers(response) == expected, f"{expected}, as without an error", f"{response} {_headers(response)}")


@check("CORS-3", judge=_allows_on_errors, needs=_NEEDS["write"], uses=("write_url",), writes=False)
async def allows_the_origin_on_refused_batches(p: Probe) -> None:
    """Sends these headers with 400 and 415 to a batch, too."""
    await _ask(p, "write")
    await post(p, b"}{", headers={"Origin": p.target.origin})
    await post(p, batch(type="ingest"), "application/x-protobuf", headers={"Origin": p.target.origin})


@check("CORS-3", judge=_allows_on_errors, needs=_NEEDS["write"], uses=("api_key", "write_url"), writes=False)
async def allows_the_origin_on_batches_without_the_key(p: Probe) -> None:
    """Sends these headers with 401 to a batch, too."""
    await _ask(p, "write")
    await _ask(p, "write", auth=False)


@check("CORS-3", judge=_allows_on_errors, needs=_NEEDS["read"], uses=("read_url",), writes=False)
async def allows_the_origin_on_refused_reads(p: Probe) -> None:
    """Sends these headers with 400 to a read, too."""
    await _ask(p, "read")
    url = with_parameters(p.target.read_url, {"since": "yesterday"})
    await p.request("GET", url, headers={"Origin": p.target.origin})


@check("CORS-3", judge=_allows_on_errors, needs=_NEEDS["read"], uses=("api_key", "read_url"), writes=False)
async def allows_the_origin_on_reads_without_the_key(p: Probe) -> None:
    """Sends these headers with 401 to a read, too."""
    await _ask(p, "read")
    await _ask(p, "read", auth=False)


# beacons


def _takes_the_beacon(t: Transcript) -> None:
    _needs_entrance(t)
    demand(stored(t) == ["beacon"], "the event of the beacon to be stored", f"{stored(t)}; {responded(t)}")


async def _send_beacon(p: Probe, url: str, content_type: str) -> None:
    headers = {"Origin": p.target.origin, "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Site": "cross-site"}
    await post(p, batch(p.event("beacon"), type="ingest"), content_type, url=url, auth=False, headers=headers)
    await look(p, "beacon")


@check("HTTP-2", judge=_takes_the_beacon, needs=_NEEDS["write"], uses=("no_key", "write_url"))
async def takes_beacons(p: Probe) -> None:
    """Saves what a beacon of 1.x carries: ``text/plain;charset=UTF-8``, from another origin."""
    await _send_beacon(p, p.target.write_url, "text/plain;charset=UTF-8")


@check("HTTP-9", judge=_takes_the_beacon, needs=_NEEDS["write"], uses=("api_key", "write_url"))
async def takes_beacons_with_a_key(p: Probe) -> None:
    """Saves what a beacon carries that has its key in the URL, for it can set no header."""
    url = with_parameters(p.target.write_url, {"key": p.target.api_key})
    await _send_beacon(p, url, "application/json")
