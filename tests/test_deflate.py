"""permessage-deflate of answers: every client gets the same text, whatever it negotiated, between all other frames."""

import random
from collections.abc import AsyncGenerator
from contextlib import suppress
from functools import partial
from typing import Any

import pytest
import trio
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

from tests.raw_websocket import raw_websocket
from tests.store_contract import moment
from tests.support import Running, event, ingest, query, running

COUNT = 13_000
TEXT = 1


@pytest.fixture(scope="module")
def sent() -> list[dict[str, Any]]:
    """Events enough for several blocks and a tail: many with equal timestamps, some late."""
    chance = random.Random(4)
    return [
        event(
            id=f"e{number}",
            timestamp=moment(chance.choice([number // 3, number // 3, number // 3, chance.randrange(number // 3 + 1)])),
            payload={"text": f"Größe \U0001f680 {chance.random()}"},
        )
        for number in range(COUNT)
    ]


@pytest.fixture
async def filled(sent: list[dict[str, Any]]) -> AsyncGenerator[Running, None]:
    async with running() as it:
        async with it.client() as client:
            for start in range(0, COUNT, 1000):
                assert (await client.ask(ingest(*sent[start : start + 1000])))["saved"] == 1000
        yield it


def expected(sent: list[dict[str, Any]], **window: str) -> list[str]:
    """The ids of the answer, by the words of the specification."""
    found = [
        (found["timestamp"], arrival, found["id"])
        for arrival, found in enumerate(sent)
        if window.get("since", "") <= found["timestamp"] <= window.get("until", "~")
    ]
    return [name for _, _, name in sorted(found, reverse=True)]


FULL = partial(ClientPerMessageDeflateFactory, client_max_window_bits=True)
OFFERS = {
    "full": [FULL()],
    "small window": [FULL(server_max_window_bits=9)],
    "no takeover": [FULL(server_no_context_takeover=True, client_no_context_takeover=True)],
    "none": None,
}


@pytest.mark.parametrize("offer", OFFERS)
async def test_every_offer(filled: Running, sent: list[dict[str, Any]], offer: str) -> None:
    """Whole windows, windows that cut blocks, and empty ones are right, whatever is offered (CONN-3, QUERY-6)."""
    async with filled.client(compression=None, extensions=OFFERS[offer]) as client:
        for window in (
            {},
            {"since": moment(1000), "until": moment(2000)},
            {"until": moment(3)},
            {"since": moment(4332)},
            {"since": moment(9999)},
            {"since": moment(17), "until": moment(17)},
        ):
            found = await client.events(**window)
            assert [entry["id"] for entry in found] == expected(sent, **window)
        assert found[0]["payload"] == next(entry["payload"] for entry in sent if entry["id"] == found[0]["id"])


async def test_between_other_frames(filled: Running, sent: list[dict[str, Any]]) -> None:
    """Acks, pushes, pongs and answers of one connection do not disturb each other, in whichever order they come."""
    async with filled.client() as client, filled.client() as other:
        assert await client.ask({"type": "subscribe"}) == {"type": "subscribed"}
        wanted: list[tuple[str, Any]] = []
        for number in range(5):
            await client.send(ingest(event(id=f"x{number}", timestamp=moment(99_999))), query(f"q{number}"))
            await client.send({"type": "ping"})
            wanted += [("ack", None), ("events:response", f"q{number}"), ("pong", None)]
            await other.ask(ingest(event(id=f"y{number}", timestamp=moment(99_998), payload={"long": "x" * 3000})))
        seen: list[dict[str, Any]] = []
        pushed: list[str] = []
        while len(seen) < len(wanted) or len(pushed) < 10:
            frame = await client.receive()
            if frame["type"] == "push":
                pushed += [entry["id"] for entry in frame["events"]]
            else:
                seen.append(frame)
        assert [(frame["type"], frame.get("reqId")) for frame in seen] == wanted
        assert sorted(pushed) == sorted([f"{letter}{number}" for letter in "xy" for number in range(5)])
        answers = [frame["response"] for frame in seen if frame["type"] == "events:response"]
        for number, answer in enumerate(answers):
            names = [entry["id"] for entry in answer["events"]]
            assert answer["total"] == len(names)
            assert f"x{number}" in names
            assert [name for name in names if name.startswith("e")] == expected(sent)


async def test_negotiation(server: Running) -> None:
    """The client is told that no context is taken over, so that it may let go of its window."""
    async with server.client(extensions=[FULL()], compression=None) as client:
        assert client.websocket.response is not None
        agreed = client.websocket.response.headers["Sec-WebSocket-Extensions"]
        assert "server_no_context_takeover" in agreed
        assert "server_max_window_bits" not in agreed


async def test_short_frames_are_not_compressed(server: Running) -> None:
    """What is short goes as it is; what is long is compressed (CONN-4)."""
    async with raw_websocket(server, extensions="permessage-deflate") as peer:
        await peer.send_frame(TEXT, ingest(event()).encode())
        assert not (await peer.receive_frame())[0] & 0x40
        await peer.send_frame(TEXT, query().encode())
        assert (await peer.receive_frame())[0] & 0x40


@pytest.mark.parametrize("accepted", ["gzip", "identity"])
async def test_slow_http_reader(accepted: str) -> None:
    """So is one over HTTP."""
    noise = random.Random(6)
    async with running(answer_timeout_s=0.5, max_events=10_000) as it, it.client() as other:
        for _ in range(10):
            await other.ask(ingest(*(event(payload={"noise": noise.randbytes(4000).hex()}) for _ in range(300))))
        stream = await it.connect()
        head = f"GET {it.settings.base_path} HTTP/1.1\r\nHost: x\r\nAccept-Encoding: {accepted}\r\n\r\n"
        await stream.send_all(head.encode())
        received = 0
        with trio.fail_after(20), suppress(trio.BrokenResourceError):
            while data := await stream.receive_some(1000):
                received += len(data)
                assert await other.ask({"type": "ping"}) == {"type": "pong"}
                await trio.sleep(0.01)
        assert 0 < received < 10 * 300 * 4000
        await stream.aclose()


async def test_slow_reader() -> None:
    """A reader that takes too long over an answer, though it takes some all the time, is cut off; others go on."""
    noise = random.Random(5)
    async with running(answer_timeout_s=0.5, max_events=10_000) as it, it.client() as other:
        for _ in range(10):
            await other.ask(ingest(*(event(payload={"noise": noise.randbytes(4000).hex()}) for _ in range(300))))
        async with raw_websocket(it, extensions="permessage-deflate") as slow:
            await slow.send_frame(TEXT, query().encode())
            received = 0
            with trio.fail_after(20), suppress(trio.BrokenResourceError):
                while data := await slow.stream.receive_some(1000):
                    received += len(data)
                    assert await other.ask({"type": "ping"}) == {"type": "pong"}
                    await trio.sleep(0.01)
            assert 0 < received < 10 * 300 * 4000
