"""Section 9: requests that are wrong, and what is answered to them."""

import json

from tracker_conformance.checks.http import JSON, batch, look, post, responded, stored
from tracker_conformance.model import SkippedError, demand
from tracker_conformance.probe import Probe
from tracker_conformance.registry import check
from tracker_conformance.spec import error_codes
from tracker_conformance.transcript import Response, Transcript

_WRITES = ("write_url",)
_TAKES = ("http.takes-batches",)
_CLAIMED = 1 << 40  # no server takes a body of a TiB


def _refuses_with_400(t: Transcript) -> None:
    for response in t.responses():
        demand(response.status == 400, "400", response)
    demand(not stored(t), "nothing of it to be stored", stored(t))


@check("HTTP-5", judge=_refuses_with_400, needs=_TAKES, uses=_WRITES)
async def refuses_what_is_no_json(p: Probe) -> None:
    """Answers 400 to a body that is not JSON, and saves nothing of it."""
    whole = batch(p.event("within"), type="ingest")
    for body in (whole[:-1], whole[:-2] + b",]}", whole + b"}", whole.replace(b'"', b"'"), b""):
        await post(p, body)
    await look(p)


@check("HTTP-5", judge=_refuses_with_400, needs=_TAKES, uses=_WRITES)
async def refuses_what_is_no_object(p: Probe) -> None:
    """Answers 400 to a body that is JSON and no object, an array of events included, and saves nothing of it."""
    for value in ([p.event("within")], [{"type": "ingest", "events": [p.event("within")]}], "text", 7, None):
        await post(p, json.dumps(value).encode())
    await look(p)


@check("HTTP-5", judge=_refuses_with_400, needs=_TAKES, uses=_WRITES)
async def refuses_what_has_no_events(p: Probe) -> None:
    """Answers 400 to an object whose ``events`` is missing or no array, and saves nothing of it."""
    await post(p, b'{"type":"ingest"}')
    await post(p, json.dumps(p.event("itself")).encode())
    for events in (p.event("single"), {"0": p.event("numbered")}, json.dumps([p.event("text")]), None):
        await post(p, json.dumps({"type": "ingest", "events": events}).encode())
    await look(p)


def _saves_nothing(t: Transcript) -> None:
    demand(not stored(t), "nothing of the body to be stored", stored(t))


@check("HTTP-12", judge=_saves_nothing, needs=_TAKES, uses=_WRITES)
async def saves_no_cut_body(p: Probe) -> None:
    """Saves nothing of a body that ends before its ``Content-Length``, though what came of it is a whole batch."""
    body = batch(p.event("cut"), type="ingest")
    await post(p, body, claimed_bytes=len(body) + 1)
    await look(p)


def _refuses_with(t: Transcript, status: int) -> None:
    demand(responded(t).status == status, str(status), responded(t))


def _is_too_large(t: Transcript) -> None:
    if not responded(t).status and any(entry.kind == "waited" for entry in t.entries):
        raise SkippedError("a Content-Length of 1 TiB is not refused before the body, and its limit is not known")
    _refuses_with(t, 413)


@check("HTTP-13", judge=_is_too_large, needs=_TAKES, uses=_WRITES, writes=False)
async def refuses_large_bodies(p: Probe) -> None:
    """Answers 413 to a body that is announced with 1 TiB."""
    await post(p, b'{"events":[', claimed_bytes=_CLAIMED, ends_early=False)


def _is_not_found(t: Transcript) -> None:
    _refuses_with(t, 404)


@check("HTTP-13", judge=_is_not_found, needs=_TAKES, uses=_WRITES, writes=False)
async def refuses_unknown_paths(p: Probe) -> None:
    """Answers 404 to an unknown path."""
    await post(p, batch(type="ingest"), url=_unknown(p))


def _is_not_allowed(t: Transcript) -> None:
    _refuses_with(t, 405)
    allowed = responded(t).headers.get("allow", "none")
    methods = [method.strip() for method in allowed.split(",")]
    demand("POST" in methods, "Allow with POST in it", f"Allow: {allowed}")


@check("HTTP-13", judge=_is_not_allowed, needs=_TAKES, uses=_WRITES, writes=False)
async def refuses_other_methods(p: Probe) -> None:
    """Answers 405 with ``Allow`` to a ``PATCH`` of the write URL."""
    await _patch(p)


def _is_unsupported(t: Transcript) -> None:
    _refuses_with(t, 415)


@check("HTTP-13", judge=_is_unsupported, needs=_TAKES, uses=_WRITES)
async def refuses_other_content_types(p: Probe) -> None:
    """Answers 415 to a body of content type ``application/x-protobuf``."""
    await post(p, batch(p.event("a"), type="ingest"), "application/x-protobuf")


@check("HTTP-13", judge=_is_unsupported, needs=_TAKES, uses=_WRITES)
async def refuses_unknown_codings(p: Probe) -> None:
    """Answers 415 to a body with the ``Content-Encoding`` ``x-unknown``."""
    await post(p, batch(p.event("a"), type="ingest"), headers={"Content-Encoding": "x-unknown"})


def _errors(t: Transcript) -> list[Response]:
    found = [response for response in t.responses() if response.status >= 400]
    if not found:
        raise SkippedError("no such request is refused")
    return found


def _are_frames(t: Transcript) -> None:
    for response in _errors(t):
        body = response.json()
        is_error = isinstance(body, dict) and body.get("type") == "error" and isinstance(body.get("message"), str)
        demand(is_error, "an error frame with a string message as the body", response)


async def _patch(p: Probe) -> None:
    await p.request("PATCH", p.target.write_url, b"", headers={"Content-Type": JSON})


async def _send_wrong_requests(p: Probe) -> None:
    await post(p, b"}{")
    await post(p, batch(type="ingest"), url=_unknown(p))
    await _patch(p)
    await post(p, batch(type="ingest"), "application/x-protobuf")


@check("HTTP-14", judge=_are_frames, needs=_TAKES, uses=_WRITES, writes=False)
async def sends_errors_as_frames(p: Probe) -> None:
    """Sends ``error`` frames as the bodies of 400, 404, 405 and 415."""
    await _send_wrong_requests(p)


@check("HTTP-14", judge=_are_frames, needs=_TAKES, uses=("api_key", "write_url"), writes=False)
async def sends_401_as_a_frame(p: Probe) -> None:
    """Sends an ``error`` frame as the body of 401."""
    await post(p, batch(type="ingest"), auth=False)


def _have_codes(t: Transcript) -> None:
    frames = []
    for response in _errors(t):
        try:
            frames.append(json.loads(response.body))
        except ValueError:
            continue
    found = [frame.get("code") for frame in frames if isinstance(frame, dict) and frame.get("type") == "error"]
    if not found:
        raise SkippedError("no answer is an error frame")
    for code in found:
        demand(isinstance(code, str) and code in error_codes(), "a code of the table in section 8", code)


@check("ERR-2", judge=_have_codes, needs=_TAKES, uses=_WRITES, writes=False)
async def sends_codes(p: Probe) -> None:
    """Puts a ``code`` of the table into the ``error`` frames of 400, 404, 405 and 415."""
    await _send_wrong_requests(p)


def _unknown(p: Probe) -> str:
    """A URL at which there is nothing."""
    return f"{p.target.write_url.partition('?')[0]}/tc-unknown-{p.facts.prefix}path"
