"""Section 9: batches by ``POST``. Whether they are saved is asked over WebSocket."""

import json
from collections.abc import Sequence
from typing import Any

from tracker_conformance.http import with_parameters
from tracker_conformance.model import SkippedError, demand
from tracker_conformance.probe import Probe
from tracker_conformance.registry import check
from tracker_conformance.transcript import Response, Transcript

__all__ = ["JSON", "batch", "look", "post", "responded", "stored"]

JSON = "application/json"
_LOOKS = 8
_WRITES = ("write_url",)
_TAKES = ("http.takes-batches",)


def batch(*events: Any, **members: Any) -> bytes:
    """A body with these events."""
    return json.dumps({**members, "events": events}).encode()


async def post(p: Probe, body: bytes, content_type: str | None = JSON, *, url: str = "", **options: Any) -> None:
    """Post a body to the write URL; ``None`` for no content type."""
    headers = ({} if content_type is None else {"Content-Type": content_type}) | options.pop("headers", {})
    await p.request("POST", url or p.target.write_url, body, headers=headers, **options)


async def look(p: Probe, *awaited: str) -> None:
    """Save a sentinel, and query until these labels are there, too, for a while: how soon is HTTP-3's affair."""
    async with p.connect() as ws:
        await ws.ingest(p.event("sentinel"))
        for number in range(_LOOKS):
            await ws.query(f"look {number}", **p.window)
            if number == _LOOKS - 1 or set(awaited) <= set(p.seen.labels_if_any(f"look {number}")):
                p.note("last look", f"look {number}")
                break
            await ws.quiet(0.5)


def stored(t: Transcript) -> list[str]:
    """The labels that the last look saw, sorted, without the sentinel."""
    labels = sorted(t.labels(t.note("last look")))
    demand("sentinel" in labels, "an event sent over WebSocket to be stored", t.told())
    labels.remove("sentinel")
    return labels


def responded(t: Transcript, number: int = 0) -> Response:
    """The response with this number, from 0."""
    found = t.responses()
    demand(len(found) > number, "an HTTP response", "none")
    return found[number]


def wrong_key(p: Probe) -> str:
    """A key that is not the right one."""
    return f"wrong-{p.facts.prefix}key"


def _are_saved(t: Transcript) -> None:
    found = t.responses()
    for response in found:
        demand(response.is_success, "a 2xx", response)
    expected = [f"e{number}" for number in range(max(len(found), 1))]
    demand(stored(t) == expected, f"the events of all requests to be stored: {expected}", stored(t))


def _nothing_is_saved(t: Transcript) -> None:
    demand(not stored(t), "nothing of it to be stored", stored(t))


async def _post_each(p: Probe, bodies: Sequence[bytes], content_type: str | None = JSON) -> None:
    """Post bodies of which number n holds the event ``en``, and look for all of them."""
    for body in bodies:
        await post(p, body, content_type)
    await look(p, *(f"e{number}" for number in range(len(bodies))))


# keys


def _takes_the_key(t: Transcript) -> None:
    demand(any(found.is_success for found in t.responses()), "a 2xx to a request with the right key", responded(t))


@check("HTTP-8", judge=_takes_the_key, needs=("basics.authenticates",), uses=("api_key", "write_url"))
async def takes_the_key_in_the_header(p: Probe) -> None:
    """Accepts the key of an ingest in the header ``X-Tracker-Key``."""
    await post(p, batch(p.event("e0"), type="ingest"))
    await post(p, batch(p.event("e1")))  # either form will do: which it takes is HTTP-1's affair


@check(
    "HTTP-1",
    judge=_are_saved,
    needs=("basics.round-trip", "http.takes-the-key-in-the-header"),
    uses=_WRITES,
)
async def takes_batches(p: Probe) -> None:
    """Accepts a ``POST`` of ``{"type":"ingest","events":[…]}``, and saves what is in it."""
    await _post_each(p, [batch(p.event("e0"), type="ingest")])


def _refuses_keys(t: Transcript) -> None:
    for response in t.responses():
        demand(response.status == 401, "401", response)


async def _post_with_wrong_keys(p: Probe) -> None:
    body = batch(p.event("stranger"), type="ingest")
    wrong = {"X-Tracker-Key": wrong_key(p)}
    await post(p, body, auth=False)
    await post(p, body, auth=False, headers=wrong)
    await post(p, body, auth=False, headers={"X-Tracker-Key": ""})
    await post(p, body, auth=False, headers={"X-Tracker-Key": f"{p.target.api_key}x"})
    await post(p, body, auth=False, url=with_parameters(p.target.write_url, {"key": wrong_key(p)}))


def _refuses_writes(t: Transcript) -> None:
    _refuses_keys(t)
    _nothing_is_saved(t)


@check("HTTP-6", judge=_refuses_writes, needs=_TAKES, uses=("api_key", "write_url"))
async def refuses_batches_without_the_key(p: Probe) -> None:
    """Answers 401 to an ingest with a wrong key, an empty one or none, and saves nothing of it."""
    await _post_with_wrong_keys(p)
    await look(p)


def _tells_no_key(t: Transcript) -> None:
    for response in t.responses():
        demand(response.status, "an answer", response)
        text = response.body + json.dumps(response.headers)
        demand(t.facts.prefix not in text and "[key]" not in text, "no part of the key in the answer", text)


@check("SEC-1", judge=_tells_no_key, needs=_TAKES, uses=("api_key", "write_url"))
async def repeats_no_key(p: Probe) -> None:
    """Repeats no key in what it answers to an ingest with a wrong one."""
    await _post_with_wrong_keys(p)


@check("HTTP-9", judge=_are_saved, needs=_TAKES, uses=("api_key", "write_url"))
async def takes_the_key_in_the_url(p: Probe) -> None:
    """Accepts the key of an ingest as ``?key=``."""
    url = with_parameters(p.target.write_url, {"key": p.target.api_key})
    await post(p, batch(p.event("e0"), type="ingest"), auth=False, url=url)
    await look(p, "e0")


# what is accepted


@check("HTTP-1", judge=_are_saved, needs=_TAKES, uses=_WRITES)
async def takes_batches_without_type(p: Probe) -> None:
    """Accepts ``{"events":[…]}``, as 1.x sends it."""
    await _post_each(p, [batch(p.event("e0"))])


@check("HTTP-1", judge=_are_saved, needs=_TAKES, uses=_WRITES)
async def takes_batches_of_any_type(p: Probe) -> None:
    """Does not look at ``type``: accepts batches in which it is another string, a number, or null."""
    await _post_each(p, [batch(p.event(f"e{n}"), type=value) for n, value in enumerate(("events", 7, None))])


@check("HTTP-2", judge=_are_saved, needs=_TAKES, uses=_WRITES)
async def takes_json_with_charset(p: Probe) -> None:
    """Reads a body of content type ``application/json; charset=utf-8`` as JSON."""
    await _post_each(p, [batch(p.event("e0"), type="ingest")], "application/json; charset=utf-8")


@check("HTTP-2", judge=_are_saved, needs=_TAKES, uses=_WRITES)
async def takes_plain_text(p: Probe) -> None:
    """Reads a body of content type ``text/plain`` as JSON."""
    await _post_each(p, [batch(p.event("e0"), type="ingest")], "text/plain")


@check("HTTP-2", judge=_are_saved, needs=_TAKES, uses=_WRITES)
async def takes_no_content_type(p: Probe) -> None:
    """Reads a body as JSON that comes without a content type."""
    await _post_each(p, [batch(p.event("e0"), type="ingest")], None)


def _shows_at_once(t: Transcript) -> None:
    demand(any(response.is_success for response in t.responses()), "a 2xx to a batch", responded(t))
    for number, response in enumerate(t.responses()):
        if response.is_success:
            label, found = f"e{number}", t.labels(f"r{number}")
            demand(label in found, f"the event {label}, which a 2xx says is saved, in the next answer", found)


@check("HTTP-3", "ACK-4", judge=_shows_at_once, needs=_TAKES, uses=_WRITES)
async def shows_what_it_took(p: Probe) -> None:
    """Answers 2xx only when a query over WebSocket shows the events."""
    async with p.connect() as ws:
        for number in range(5):
            await post(p, batch(p.event(f"e{number}"), type="ingest"))
            await ws.query(f"r{number}", **p.window)


def _are_successes(t: Transcript) -> None:
    for response in t.responses():
        demand(response.is_success, "a 2xx", response)


@check("HTTP-4", judge=_are_successes, needs=_TAKES, uses=_WRITES, writes=False)
async def answers_empty_batches(p: Probe) -> None:
    """Answers 2xx to a batch without events."""
    await post(p, batch(type="ingest"))


@check("HTTP-4", judge=_are_successes, needs=_TAKES, uses=_WRITES)
async def answers_rejected_batches(p: Probe) -> None:
    """Answers 2xx to a batch of which every event is rejected."""
    await post(p, batch(p.event("no-meta", meta=...), p.event("loud", level="loud"), type="ingest"))
    await post(p, batch(7, {}, None, type="ingest"))


def _saves_the_valid(t: Transcript) -> None:
    found = stored(t)
    demand({"first", "last"} <= set(found), "the valid events to be stored: first and last", found)


async def _post_mixed(p: Probe) -> None:
    wrong = (p.event("no-meta", meta=...), p.event("loud", level="loud"), 7)
    await post(p, batch(p.event("first"), *wrong, p.event("last"), type="ingest"))
    await look(p, "first", "last")


@check("INGEST-2", judge=_saves_the_valid, needs=_TAKES, uses=_WRITES)
async def saves_valid_events(p: Probe) -> None:
    """Saves the valid events of a posted batch, though others beside them are not."""
    await _post_mixed(p)


def _saves_only_valid(t: Transcript) -> None:
    found = stored(t)
    demand(set(found) <= {"first", "last"}, "no invalid event to be stored", found)


@check("INGEST-3", judge=_saves_only_valid, needs=_TAKES, uses=_WRITES)
async def saves_no_invalid_event(p: Probe) -> None:
    """Saves no invalid event of a posted batch."""
    await _post_mixed(p)


def _acks(t: Transcript) -> None:
    body = responded(t).json()
    saved = body.get("saved") if isinstance(body, dict) and body.get("type") == "ack" else None
    demand(isinstance(saved, int) and not isinstance(saved, bool), "an ack frame as the body", responded(t))


@check("HTTP-16", judge=_acks, needs=_TAKES, uses=_WRITES)
async def answers_with_an_ack(p: Probe) -> None:
    """Answers a batch with an ``ack`` frame as the body."""
    await post(p, batch(p.event("a"), p.event("b"), type="ingest"))


def _counts(t: Transcript) -> None:
    try:
        body = json.loads(responded(t).body)
    except ValueError:
        body = None
    if not isinstance(body, dict) or body.get("type") != "ack":
        raise SkippedError("the body is no ack")
    kept = [label for label in stored(t) if label in ("first", "last")]
    demand(body.get("saved") == len(kept), f"the number of events that are kept, {len(kept)}, in saved", body)


@check("ACK-3", judge=_counts, needs=_TAKES, uses=_WRITES)
async def counts_what_it_keeps(p: Probe) -> None:
    """Counts in the ``ack`` to a posted batch the events that it keeps."""
    await _post_mixed(p)


def _continues(t: Transcript) -> None:
    response = responded(t)
    expected = "100, or the final status, before the body is sent"
    demand(response.before_body, expected, f"nothing for a while; after the body {response}")
    if response.before_body == 100:
        demand(response.is_success, "100, and after the body a 2xx", response)


@check("HTTP-15", judge=_continues, needs=_TAKES, uses=_WRITES)
async def lets_a_client_continue(p: Probe) -> None:
    """Answers ``Expect: 100-continue`` before it reads the body."""
    await post(p, batch(p.event("a"), type="ingest"), expects_continue=True)
