"""Section 1: what a server has to survive below the frames."""

import json

from tracker_conformance.model import SkippedError, demand
from tracker_conformance.probe import Probe
from tracker_conformance.registry import check
from tracker_conformance.transcript import Transcript
from tracker_conformance.websocket import CONTINUATION, PING, TEXT, frame


def _agrees_to_deflate(t: Transcript) -> None:
    opened = [entry for entry in t.entries if entry.kind == "open"]
    demand(opened, "a completed handshake", t.told())
    offered = "permessage-deflate in Sec-WebSocket-Extensions"
    demand(opened[0].data["deflated"], offered, opened[0].data["headers"].get("sec-websocket-extensions", "none"))


@check("CONN-3", judge=_agrees_to_deflate, writes=False)
async def agrees_to_deflate(p: Probe) -> None:
    """Agrees to permessage-deflate where the client offers it."""
    async with p.connect(auth=False, deflate=True):
        pass


def _is_agreed(t: Transcript) -> None:
    if any(entry.kind == "open" and entry.connection == 1 and not entry.data["deflated"] for entry in t.entries):
        raise SkippedError("permessage-deflate is not agreed to")


def _takes_both(t: Transcript) -> None:
    _is_agreed(t)
    stored = sorted(t.labels("r", 2))
    demand(stored == ["compressed", "plain"], "the events of both messages to be stored", f"{stored}; {t.told()}")


@check("CONN-4", judge=_takes_both)
async def takes_compressed_and_plain_messages(p: Probe) -> None:
    """Accepts compressed messages, and others, once permessage-deflate is agreed."""
    async with p.connect(deflate=True) as ws:
        await ws.ingest(p.event("compressed"))
        plain = json.dumps({"type": "ingest", "events": [p.event("plain")]}).encode()
        await ws.send_raw(frame(TEXT, plain), "an ingest frame that is not compressed")
        await ws.until_acked(2)
    async with p.connect() as ws:
        await ws.query("r", **p.window)


def _takes_deflated_answers(t: Transcript) -> None:
    _is_agreed(t)
    count = len(t.labels("r"))
    demand(count == 200, "an answer of 200 events that can be inflated", f"{count} events; {t.told()[:500]}")


@check("CONN-4", judge=_takes_deflated_answers)
async def answers_over_deflate(p: Probe) -> None:
    """Answers a query over a compressed connection, between acks."""
    async with p.connect(deflate=True) as ws:
        await ws.ingest(*(p.event(f"e{number}", number / 10) for number in range(200)))
        await ws.send_ingest()
        await ws.query("r", **p.window)
        await ws.ingest()


def _takes_fragments(t: Transcript) -> None:
    demand(t.labels("r") == ["a"], "the event of the fragmented message to be stored", t.told())


@check("CONN-5", judge=_takes_fragments)
async def takes_fragments(p: Probe) -> None:
    """Accepts a message cut into fragments, within a character of UTF-8 too, with pings between them."""
    async with p.connect() as ws:
        text = json.dumps({"type": "ingest", "events": [p.event("a", payload={"text": "ü€😀"})]}, ensure_ascii=False)
        data = text.encode()
        size = len(data)
        cuts = [0, 1, size // 2, data.index("😀".encode()) + 2, size]
        for start, stop in zip(sorted(cuts), sorted(cuts)[1:], strict=False):
            opcode = TEXT if start == 0 else CONTINUATION
            piece = frame(opcode, data[start:stop], is_last=stop == size)
            await ws.send_raw(piece, f"bytes {start} to {stop} of {text}" if start == 0 else f"bytes {start} to {stop}")
            if stop != size:
                await ws.send_raw(frame(PING, b"between"), "a ping")
        await ws.until_acked(1)
        await ws.query("r", **p.window)


def _keeps_order(t: Transcript) -> None:
    for count in range(1, 4):
        expected = set("abc"[:count])
        found = t.labels(f"r{count}")
        demand(expected <= set(found), f"{sorted(expected)}, which were sent before the query", found)


@check("CONN-6", judge=_keeps_order)
async def keeps_order(p: Probe) -> None:
    """Handles the frames of one connection in their order: a query sees the batches that were sent before it."""
    async with p.connect() as ws:
        for number, label in enumerate("abc", 1):
            await ws.send_ingest(p.event(label))
            await ws.send({"type": "events:query", "reqId": f"r{number}", "query": p.window})
        await ws.until_acked()
        await ws.until_answered("r3")


def _goes_on(t: Transcript) -> None:
    demand(t.saved() == [1, 1] and t.is_open(), "two acks on the connection that did nothing wrong", t.told())
    demand(sorted(t.labels("r")) == ["after", "before"], "its events in the answer", t.told())


@check("CONN-7", judge=_goes_on)
async def goes_on_beside_broken_ones(p: Probe) -> None:
    """Serves a connection while others send what is wrong, send nothing, or vanish."""
    async with p.connect() as ws:
        await ws.ingest(p.event("before"))
        async with p.connect() as wrong, p.connect(auth=False) as silent, p.connect() as half:
            await wrong.send("}{")
            await wrong.send({"type": "ingest", "events": 7})
            await wrong.send_raw(b"\xff\xff\xff\xff\xff", "five bytes that are no frame")
            await half.send_raw(frame(TEXT, b"{", claimed=1000), "the beginning of a frame")
            await half.drop()
            await silent.drop()
            await ws.ingest(p.event("after"))
            await ws.query("r", **p.window)


def _refuses_version(t: Transcript) -> None:
    response = t.response()
    versions = response.headers.get("sec-websocket-version", "")
    is_right = response.status == 426 and "13" in versions.replace(" ", "").split(",")
    demand(is_right, "426 and Sec-WebSocket-Version: 13", f"{response}, Sec-WebSocket-Version: {versions or 'none'}")


@check("CONN-8", judge=_refuses_version, needs=("basics.connects",), writes=False)
async def refuses_other_versions(p: Probe) -> None:
    """Refuses a handshake of WebSocket version 12 with 426, and says that it speaks 13."""
    await p.handshake(p.http_url, {"Sec-WebSocket-Version": "12"})


def _refuses_path(t: Transcript) -> None:
    demand(t.response().status == 404, "404", str(t.response()))


@check("CONN-8", judge=_refuses_path, needs=("basics.connects",), writes=False)
async def refuses_unknown_paths(p: Probe) -> None:
    """Refuses a handshake at an unknown path with 404."""
    await p.handshake(f"{p.http_url.partition('?')[0].rstrip('/')}/{p.facts.prefix}nowhere")
