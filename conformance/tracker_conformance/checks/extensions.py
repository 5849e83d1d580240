"""Section 13: what a server may offer beyond the protocol. Where it does not, the checks are skipped."""

from tracker_conformance.model import SkippedError, demand
from tracker_conformance.probe import Probe
from tracker_conformance.registry import check
from tracker_conformance.transcript import Transcript

_SPELLED = (
    '{"timestamp" : "%s","level":"info","type":"click","appId":"%s","sessionId":"%s","userId":"u\\u0041\\/","payload":'
    '{"b":1.0,"a":1e3,"n":100000000000000000000,"d":1,"d":2},"meta":{ },"x":"\\ud83d\\ude00"%s}'
)


def _raw(t: Transcript) -> list[str]:
    return [entry.text for entry in t.entries if entry.kind == "receive" and '"events:response"' in entry.text]


def _keeps_bytes(t: Transcript) -> None:
    demand(len(t.labels("r")) == 2, "two events", t.told())
    plain, spelled = t.note("texts")
    answers = "".join(_raw(t))
    if '"b":1.0,"a":1e3' not in answers:
        raise SkippedError("it is not offered: numbers are spelled anew")
    for text in (plain, spelled):
        demand(text in answers, f"the very text that was sent: {text}", answers)


@check("X-BYTES-1", judge=_keeps_bytes)
async def exact_bytes(p: Probe) -> None:
    """Gives an event back in the very bytes that came: order, spelling and unknown members."""
    texts = []
    for label in ("a", "b"):
        given = f',"id":"{p.facts.prefix}given-{label}"'
        texts.append(_SPELLED % (p.at(2), p.target.app_id, p.facts.prefix + label, given))
    p.note("texts", texts)
    async with p.connect() as ws:
        await ws.send(f'{{"type":"ingest","events":[{texts[0]}, {texts[1]} ]}}')
        await ws.until_acked(1)
        await ws.query("r", **p.window)


def _tells_rejections(t: Transcript) -> None:
    acks = t.of_type("ack")
    demand(len(acks) == 2, "two acks", t.told())
    if "rejected" not in acks[0]:
        raise SkippedError("it is not offered: there is no rejected in the ack")
    rejected = acks[0]["rejected"]
    demand(isinstance(rejected, list) and len(rejected) == 2, "one item for each of two rejected events", rejected)
    demand(all(isinstance(item, dict) for item in rejected), "items that are objects", rejected)
    demand([item.get("index") for item in rejected] == [1, 3], "their places, 1 and 3", rejected)
    reasons = [item.get("reason") for item in rejected]
    demand(all(isinstance(reason, str) for reason in reasons), "reasons that are strings", reasons)
    demand("events[1].meta" in reasons[0] and "events[3].level" in reasons[1], "reasons with paths", reasons)
    demand("events[3].payload" in reasons[1], "every fault of an event in its reason", reasons[1])
    demand("rejected" not in acks[1], "no rejected where there is none", acks[1])


@check("X-REJECT-1", judge=_tells_rejections)
async def rejections(p: Probe) -> None:
    """Names in the ack each event that was rejected, with its place and every fault."""
    async with p.connect() as ws:
        wrong = (p.event("no-meta", meta=...), p.event("two-faults", level="loud", payload=7))
        await ws.ingest(p.event("a"), wrong[0], p.event("b"), wrong[1])
        await ws.ingest(p.event("c"))


def _duplicates(t: Transcript) -> list[int | None]:
    found = [ack.get("duplicates") for ack in t.of_type("ack")]
    if not any(found):
        raise SkippedError("it is not offered: no ack tells of duplicates")
    return found


def _is_for_one_app(t: Transcript) -> bool:
    """Whether the key is for the suite's app only: the other app's event is rejected (X-SCOPE-4)."""
    acks = t.of_type("ack", 2)
    return t.facts.has_key and len(acks) > 1 and acks[1].get("saved") == 0 and "other-app" not in t.labels("r")


def _stores_once(t: Transcript) -> None:
    _duplicates(t)
    others = [] if _is_for_one_app(t) else ["other-app"]
    expected = sorted(["again", *others, "plain", "plain", "twice"])
    found = sorted(t.labels("r"))
    demand(found == expected, f"each id once for its app: {expected}", found)


async def _send_again(p: Probe) -> None:
    given = {name: f"{p.facts.prefix[1:]}{name}" for name in ("again", "twice")}
    async with p.connect() as ws, p.connect() as other:
        await ws.ingest(p.event("again", 1, id=given["again"]), p.event("plain", 2))
        await ws.ingest(p.event("twice", 3, id=given["twice"]), p.event("twice", 3, id=given["twice"]))
        await other.ingest(p.event("again", 1, id=given["again"]), p.event("plain", 2))
        await other.ingest(p.event("other-app", 4, id=given["again"], appId=f"{p.target.app_id}-2"))
        await ws.query("r", **p.window)


@check("X-DUP-1", judge=_stores_once)
async def stores_ids_once(p: Probe) -> None:
    """Stores an event once, though it is sent again with its id, in one frame or two."""
    await _send_again(p)


def _counts_duplicates(t: Transcript) -> None:
    _duplicates(t)
    first, other = t.of_type("ack", 1), t.of_type("ack", 2)
    found = [(ack.get("saved"), ack.get("duplicates")) for ack in (*first, *other)]
    expected = [(2, None), (2, 1), (2, 1), (0 if _is_for_one_app(t) else 1, None)]
    demand(found == expected, f"saved and duplicates of the acks: {expected}", found)


@check("X-DUP-2", judge=_counts_duplicates)
async def counts_duplicates(p: Probe) -> None:
    """Counts an event that was stored already in ``saved``, and in ``duplicates``, which is there only then."""
    await _send_again(p)


def _pongs(t: Transcript) -> None:
    if not t.of_type("pong"):
        raise SkippedError(f"it is not offered: {t.told()[:200]}")
    types = [frame.get("type") for frame in t.frames() if frame.get("type") != "auth_ok"]
    expected = ["pong", "ack", "pong", "ack", "pong"]
    demand(types == expected, f"pongs in order with other answers: {expected}", types)


@check("X-PING-1", judge=_pongs)
async def pings(p: Probe) -> None:
    """Answers ``ping`` with ``pong``, in order with its other answers, with a key or without."""
    async with p.connect(auth=False) as ws:
        await ws.send({"type": "ping"})
        await ws.until(lambda seen: bool(seen.of_type("pong") or seen.of_type("error")) or ws.is_closed, "an answer")
        if p.target.api_key:
            await ws.send({"type": "auth", "key": p.target.api_key})
            await ws.until_type("auth_ok")
        for number in range(2):
            await ws.send_ingest(p.event(f"e{number}"))
            await ws.send({"type": "ping"})
        await ws.until_acked()
        await ws.until(lambda seen: len(seen.of_type("pong")) > 2 or not seen.of_type("pong"), "a third pong")
