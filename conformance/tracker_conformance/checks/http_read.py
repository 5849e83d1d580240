"""Section 9: reads and pings by ``GET``, and what a server may offer beyond."""

from collections.abc import Mapping
from typing import Any

from tracker_conformance.checks.http import batch, post, responded, wrong_key
from tracker_conformance.http import with_parameters
from tracker_conformance.model import FailedError, SkippedError, demand
from tracker_conformance.probe import Probe
from tracker_conformance.registry import check
from tracker_conformance.transcript import Transcript

_READ_URL = ("read_url",)
_READS = ("http-read.reads",)
_PINGS = ("http-read.answers-pings",)
_LOOKS = 8
_MANY = 300


async def read(p: Probe, parameters: Mapping[str, object] | None = None, method: str = "GET", **options: Any) -> None:
    """Read the check's window, or with other parameters."""
    url = with_parameters(p.target.read_url, p.window if parameters is None else parameters)
    await p.request(method, url, **options)


async def save(p: Probe, *events: Any) -> None:
    """Save events over WebSocket."""
    async with p.connect() as ws:
        await ws.ingest(*events)


def answer(t: Transcript, number: int = -1) -> dict[str, Any]:
    """The answer to a read: an object with an array ``events``.

    :raises FailedError: where it is something else.
    """
    response = responded(t, number if number >= 0 else max(len(t.responses()) - 1, 0))
    expected = 'a 2xx with {"events":[…],"total":n}'
    demand(response.is_success, expected, response)
    value = response.json()
    demand(isinstance(value, dict) and isinstance(value.get("events"), list), expected, response)
    found: dict[str, Any] = value
    return found


def labels(t: Transcript, number: int = -1) -> list[str]:
    """The labels of the events in the answer to a read, in its order."""
    return t.labels_of(answer(t, number)["events"])


# keys


def _takes_the_key(t: Transcript) -> None:
    demand(responded(t).is_success, "a 2xx to a request with the right key", responded(t))


@check("HTTP-8", judge=_takes_the_key, needs=("basics.authenticates",), uses=("api_key", "read_url"), writes=False)
async def takes_the_key_in_the_header(p: Probe) -> None:
    """Accepts the key of a read in the header ``X-Tracker-Key``."""
    await read(p)


def _reads(t: Transcript) -> None:
    total, found = answer(t).get("total"), sorted(labels(t))
    demand(isinstance(total, int) and not isinstance(total, bool), "an integer total", total)
    demand(found == ["a", "b"], "both events", found)


@check(
    "HTTP-10",
    judge=_reads,
    needs=("basics.round-trip", "http-read.takes-the-key-in-the-header"),
    uses=_READ_URL,
)
async def reads(p: Probe) -> None:
    """Answers a read with ``{"events":[…],"total":n}``."""
    await save(p, p.event("a"), p.event("b", 2))
    for _ in range(_LOOKS):  # when they appear is ACK-4's affair
        await read(p)
        try:
            if labels(p.seen):
                break
        except FailedError:
            break
        await p.quiet(0.5)


def _refuses_keys(t: Transcript) -> None:
    for response in t.responses():
        demand(response.status == 401, "401", response)


@check("HTTP-6", judge=_refuses_keys, needs=_READS, uses=("api_key", "read_url"), writes=False)
async def refuses_reads_without_the_key(p: Probe) -> None:
    """Answers 401 to a read with a wrong key, an empty one or none."""
    await read(p, auth=False)
    for key in (wrong_key(p), "", f"{p.target.api_key}x"):
        await read(p, auth=False, headers={"X-Tracker-Key": key})
    await read(p, {**p.window, "key": wrong_key(p)}, auth=False)


@check("HTTP-9", judge=_takes_the_key, needs=_READS, uses=("api_key", "read_url"), writes=False)
async def takes_the_key_in_the_url(p: Probe) -> None:
    """Accepts the key of a read as ``?key=``."""
    await read(p, {**p.window, "key": p.target.api_key}, auth=False)


# what is read


def _shows_at_once(t: Transcript) -> None:
    for number in range(len(t.responses())):
        demand(f"e{number}" in labels(t, number), f"the event e{number}, which is acked", labels(t, number))


@check("ACK-4", "HTTP-10", judge=_shows_at_once, needs=_READS, uses=_READ_URL)
async def shows_acked_events(p: Probe) -> None:
    """Shows events to a read that comes after their ack over WebSocket."""
    async with p.connect() as ws:
        for number in range(5):
            await ws.ingest(p.event(f"e{number}"))
            await read(p)


def _shows_posted_events(t: Transcript) -> None:
    demand(any(response.is_success for response in t.responses()[::2]), "a 2xx to a batch", responded(t))
    for number, response in enumerate(t.responses()[::2]):
        if response.is_success:
            found = labels(t, 2 * number + 1)
            demand(f"e{number}" in found, f"the event e{number}, which a 2xx says is saved", found)


@check(
    "HTTP-3",
    "ACK-4",
    judge=_shows_posted_events,
    needs=("http.takes-batches", *_READS),
    uses=("write_url", "read_url"),
)
async def shows_posted_events(p: Probe) -> None:
    """Shows events to a read that comes after the 2xx to their batch."""
    for number in range(5):
        await post(p, batch(p.event(f"e{number}"), type="ingest"))
        await read(p)


def _reads_a_window(t: Transcript) -> None:
    found = sorted(labels(t))
    demand(found == ["at-since", "at-until", "within"], "the events from since to until, both inclusive", found)


@check("HTTP-10", "QUERY-2", "QUERY-3", judge=_reads_a_window, needs=_READS, uses=_READ_URL)
async def reads_windows(p: Probe) -> None:
    """Returns the events from ``since`` to ``until``, both inclusive, and no others."""
    inside = (p.event("at-since", 2), p.event("within", 3), p.event("at-until", 4))
    await save(p, p.event("before", 1.999), *inside, p.event("later", 4.001))
    await read(p, {"since": p.at(2), "until": p.at(4)})


def _is_newest_first(t: Transcript) -> None:
    demand(labels(t) == ["e3", "e2", "e1"], "the events newest first: e3, e2, e1", labels(t))


@check("HTTP-10", "QUERY-5", judge=_is_newest_first, needs=_READS, uses=_READ_URL)
async def reads_newest_first(p: Probe) -> None:
    """Returns the events newest first, by ``timestamp``."""
    await save(p, p.event("e2", 2), p.event("e3", 3), p.event("e1", 1))
    await read(p)


def _reads_all(t: Transcript) -> None:
    found, events = labels(t), answer(t)["events"]
    demand(len(found) == _MANY, f"all {_MANY} events", f"{len(found)} of them")
    demand(answer(t).get("total") == len(events), f"the number of events, {len(events)}, as total", answer(t)["total"])


@check("HTTP-10", "QUERY-7", "RESP-2", judge=_reads_all, needs=_READS, uses=_READ_URL)
async def reads_all(p: Probe) -> None:
    """Returns every event of a window, and their number as ``total``."""
    await save(p, *(p.event(f"e{number}", 1 + number / 10) for number in range(_MANY)))
    await read(p)


def _is_empty(t: Transcript) -> None:
    found = (answer(t)["events"], answer(t).get("total"))
    demand(found == ([], 0), "no events and total 0", responded(t))


@check("HTTP-10", "QUERY-8", judge=_is_empty, needs=_READS, uses=_READ_URL)
async def reads_backward_windows(p: Probe) -> None:
    """Answers a window whose ``since`` is after its ``until`` with no events and ``total`` 0."""
    await save(p, p.event("a", 2))
    await read(p, {"since": p.at(3), "until": p.at(1)})


def _has_the_same_ids(t: Transcript) -> None:
    asked = {str(event.get("userId")): event.get("id") for event in t.events("r")}
    seen = {str(event.get("userId")): event.get("id") for event in t.mine(answer(t)["events"])}
    demand(asked and asked == seen, f"the ids that the query over WebSocket gave: {asked}", seen)


@check("ID-3", "HTTP-10", judge=_has_the_same_ids, needs=_READS, uses=_READ_URL)
async def reads_the_same_ids(p: Probe) -> None:
    """Gives an event the same ``id`` over HTTP as over WebSocket."""
    async with p.connect() as ws:
        await ws.ingest(p.event("a"), p.event("b", 2))
        await ws.query("r", **p.window)
    await read(p)


def _refuses_with_400(t: Transcript) -> None:
    for response in t.responses():
        demand(response.status == 400, "400", response)


@check("HTTP-11", judge=_refuses_with_400, needs=_READS, uses=_READ_URL, writes=False)
async def refuses_unreadable_windows(p: Probe) -> None:
    """Answers 400 to a read whose ``since`` or ``until`` is no timestamp."""
    await read(p, p.window | {"since": "yesterday"})
    await read(p, p.window | {"until": "2026-11-31T00:00:00Z"})


def _is_not_coded(t: Transcript) -> None:
    for response in t.responses():
        demand(response.status, "an answer", response)
        coding = response.headers.get("content-encoding", "identity")
        demand(coding.lower() == "identity", "an answer without a coding", f"Content-Encoding: {coding}")


@check("HTTP-18", judge=_is_not_coded, needs=_READS, uses=_READ_URL)
async def codes_only_what_is_accepted(p: Probe) -> None:
    """Sends no answer in a coding, such as gzip, where the request accepts none."""
    await save(p, *(p.event(f"e{number}", 1 + number / 10) for number in range(100)))  # enough to be worth it
    for accepted in ("identity", "gzip;q=0", "identity, *;q=0"):
        await read(p, headers={"Accept-Encoding": accepted})


# pings


def _answers(t: Transcript) -> None:
    demand(responded(t).is_success, "a 2xx", responded(t))


@check("PING-1", judge=_answers, needs=("basics.connects",), uses=("ping_url",), writes=False)
async def answers_pings(p: Probe) -> None:
    """Answers ``GET`` on the ping endpoint with a 2xx."""
    await p.request("GET", p.target.ping_url)


@check("PING-2", judge=_answers, needs=_PINGS, uses=("api_key", "ping_url"), writes=False)
async def answers_pings_without_the_key(p: Probe) -> None:
    """Answers a ping without a key, where one is configured."""
    await p.request("GET", p.target.ping_url, auth=False)


# extensions


def _needs_parameters(t: Transcript) -> None:
    """Skip unless the first read, of two events with ``limit=1``, shows that parameters are taken."""
    if len(answer(t, 0)["events"]) != 1:
        raise SkippedError("it is not offered: limit=1 does not limit")


def _filters(p: Probe) -> list[dict[str, Any]]:
    user = f"{p.facts.prefix}b"
    return [
        {"limit": 1},
        {"limit": 1, "page": 2},
        {"after": p.at(1)},
        {"type": "click"},
        {"level": "warn"},
        {"userId": user},
        {"sessionId": user},
        {"groupId": "group b"},
        {"appId": f"{p.target.app_id}-none"},
        {"search": "MÜSLI & more"},
    ]


def _reads_alike(t: Transcript) -> None:
    _needs_parameters(t)
    for number, members in enumerate(t.note("filters")):
        asked, got = t.answer(f"r{number}"), answer(t, number)
        expected = f"what a query over WebSocket with {members} gives: {_told(t, asked)}"
        demand(_told(t, got) == _told(t, asked), expected, _told(t, got))


def _told(t: Transcript, response: dict[str, Any]) -> str:
    return f"{t.labels_of(response['events'])}, total {response.get('total')}"


@check("X-READ-1", judge=_reads_alike, needs=_READS, uses=_READ_URL)
async def takes_filters(p: Probe) -> None:
    """Takes the filters and pages of a query as parameters of a read, with the same meaning."""
    p.note("filters", _filters(p))
    other = {"type": "console", "level": "warn", "groupId": "group b", "payload": {"message": "müsli & MORE"}}
    async with p.connect() as ws:
        await ws.ingest(p.event("a", 1), p.event("b", 2, **other))
        for number, members in enumerate(_filters(p)):
            await ws.query(f"r{number}", **p.window, **members)
            await read(p, p.window | members)


def _has_members(t: Transcript) -> None:
    _needs_parameters(t)
    found = {name: answer(t).get(name) for name in ("page", "limit", "nextCursor")}
    is_there = found["page"] == 1 and found["limit"] == 1 and isinstance(found["nextCursor"], str)
    demand(is_there, "page 1, limit 1, and a string nextCursor", found)


@check("X-READ-1", judge=_has_members, needs=_READS, uses=_READ_URL)
async def tells_page_and_cursor(p: Probe) -> None:
    """Answers a read with ``page``, ``limit`` and ``nextCursor`` as well, where it takes parameters."""
    await save(p, p.event("a"), p.event("b", 2))
    await read(p, {**p.window, "limit": 1})


def _is_like_get(t: Transcript) -> None:
    by_get, by_head = responded(t, 0), responded(t, 1)
    demand(by_get.is_success, "a 2xx to the GET", by_get)
    if by_head.status in (404, 405, 501):
        raise SkippedError(f"it is not offered: HEAD is answered with {by_head.status}")
    demand(by_head.status == by_get.status, f"the status of GET, {by_get.status}", by_head)
    demand(not by_head.body, "no body", by_head)
    types = [response.headers.get("content-type", "none") for response in (by_get, by_head)]
    demand(types[0] == types[1], f"the content type of GET, {types[0]}", types[1])


@check("X-HEAD-1", judge=_is_like_get, needs=_READS, uses=_READ_URL, writes=False)
async def answers_head_of_reads(p: Probe) -> None:
    """Answers ``HEAD`` on the read endpoint like ``GET``, without a body."""
    await read(p)
    await read(p, method="HEAD")


@check("X-HEAD-1", judge=_is_like_get, needs=_PINGS, uses=("ping_url",), writes=False)
async def answers_head_of_pings(p: Probe) -> None:
    """Answers ``HEAD`` on the ping endpoint like ``GET``, without a body."""
    await p.request("GET", p.target.ping_url)
    await p.request("HEAD", p.target.ping_url)
