"""permessage-deflate of answers: every client gets the same text, whatever it negotiated, between all other frames."""

import random
import tracemalloc
import zlib
from collections.abc import AsyncGenerator, Iterator
from contextlib import suppress
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
import trio
from websockets.exceptions import PayloadTooBig
from websockets.extensions.base import Extension
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.frames import Frame, Opcode
from websockets.typing import ExtensionParameter

from tests.raw_websocket import raw_websocket
from tests.store_contract import moment
from tests.support import Running, event, ingest, query, running
from wsproto_tracker.server.deflate import BlockDeflateFactory

COUNT = 13_000
TEXT, DEFLATED_TEXT = 0x1, 0x41
MIB = 1024 * 1024
END = b"\x00\x00\xff\xff"  # what the sender of a message leaves out


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


# What a browser offers, what one offers that shrinks no window, and what forgets each message.
NEGOTIATED: dict[str, tuple[list[ExtensionParameter], int]] = {
    "small window": ([("client_max_window_bits", None)], 12),
    "full window": ([], 15),
    "no takeover": ([("client_no_context_takeover", None)], 15),
}


def negotiated(parameters: list[ExtensionParameter], max_inflate_ratio: int = 500) -> Extension:
    """The server's end of a connection whose client offered these."""
    return BlockDeflateFactory(max_inflate_ratio).process_request_params(parameters, [])[1]


class Sender:
    """The deflating end of a client."""

    def __init__(self, window_bits: int, *, takes_over: bool = True) -> None:
        self._window_bits, self._takes_over = window_bits, takes_over
        self._compressor = self._new()

    def _new(self) -> "zlib._Compress":
        return zlib.compressobj(6, zlib.DEFLATED, -self._window_bits)

    def deflate(self, text: bytes) -> bytes:
        """A message without its end."""
        if not self._takes_over:
            self._compressor = self._new()
        return (self._compressor.compress(text) + self._compressor.flush(zlib.Z_SYNC_FLUSH)).removesuffix(END)

    def frames(self, text: bytes, cuts: list[int]) -> Iterator[Frame]:
        """The message as a text frame and its continuations, cut at some bytes; an empty ping before each of these."""
        data = self.deflate(text)
        bounds = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
        for start, end in pairwise(bounds):
            if start:
                yield Frame(Opcode.PING, b"")
            opcode = Opcode.CONT if start else Opcode.TEXT
            yield Frame(opcode, data[start:end], fin=end == len(data), rsv1=not start)


@pytest.mark.parametrize("agreed", NEGOTIATED)
def test_context_of_clients(agreed: str) -> None:
    """Messages refer to those before, in one frame or many, with plain ones between: each is read as sent (CONN-3)."""
    parameters, window_bits = NEGOTIATED[agreed]
    chance = random.Random(9)
    extension = negotiated(parameters)
    sender = Sender(window_bits, takes_over=agreed != "no takeover")
    said = chance.randbytes(1 << window_bits)
    for _ in range(300):
        start = chance.randrange(len(said))
        text = said[start : start + chance.choice([0, 1, 300, 5000, len(said)])] + chance.randbytes(chance.randrange(9))
        cuts = [chance.randrange(1, 3000) for _ in range(chance.choice([0, 0, 1, 5]))]
        decoded = [extension.decode(frame, max_size=1 << 20) for frame in sender.frames(text, cuts)]
        assert b"".join(frame.data for frame in decoded) == text
        assert not any(frame.rsv1 for frame in decoded)
        plain = Frame(Opcode.TEXT, text)
        assert extension.decode(plain, max_size=1 << 20) == plain


@pytest.mark.parametrize("cuts", [(4 * 1024,), (4 * 1024, 5 * 1024), (4 * 1024, 4 * 1024 + 1, 5 * 1024)])
@pytest.mark.parametrize("ratio", [10, 500])
def test_a_fragment_that_fills_what_is_allowed(cuts: tuple[int, ...], ratio: int) -> None:
    """Where fragments inflate to just what is allowed, the next has no room left, rather than all (CLOSE-3)."""
    deflater = zlib.compressobj(9, wbits=-15)
    pieces, begin = [], 0
    for cut in (*cuts, 100 * 1024):  # KiB of zeros
        pieces.append(deflater.compress(bytes(1024 * (cut - begin))) + deflater.flush(zlib.Z_SYNC_FLUSH))
        begin = cut
    extension = negotiated([], ratio)
    with pytest.raises(PayloadTooBig):
        for number, piece in enumerate(pieces):
            opcode = Opcode.CONT if number else Opcode.TEXT
            is_last = number == len(pieces) - 1
            frame = extension.decode(Frame(opcode, piece, fin=is_last, rsv1=not number), max_size=1 << 30)
            assert len(frame.data) <= 4 * MIB + ratio * sum(map(len, pieces[: number + 1]))


@pytest.mark.parametrize("agreed", NEGOTIATED)
def test_memory_of_idle_connections(agreed: str) -> None:
    """A connection keeps no codec: nothing before it is used, and afterwards what messages may refer back to."""
    parameters, window_bits = NEGOTIATED[agreed]
    kept = 0 if agreed == "no takeover" else 1 << window_bits
    text = random.Random(10).randbytes(50_000).hex().encode()

    def use(extension: Extension) -> None:
        sender = Sender(window_bits, takes_over=bool(kept))
        for message in (text, *[text[:1000]] * 5):
            for frame in sender.frames(message, [20_000]):
                extension.decode(frame, max_size=1 << 20)
        assert extension.encode(Frame(Opcode.TEXT, text)).rsv1

    tracemalloc.start()
    try:
        extensions = [negotiated(parameters) for _ in range(100)]
        assert tracemalloc.get_traced_memory()[0] / len(extensions) < 1000
        for extension in extensions:
            use(extension)
        assert kept <= tracemalloc.get_traced_memory()[0] / len(extensions) < kept + 2000
    finally:
        tracemalloc.stop()


async def test_ingest_with_context(server: Running) -> None:
    """Batches that refer to those before are saved like all others, and so are those after one that ends for good."""
    sender = Sender(12)
    async with raw_websocket(server, extensions="permessage-deflate; client_max_window_bits") as peer:
        for number in range(20):
            data = sender.deflate(ingest(event(id=f"e{number}")).encode())
            if number == 10:  # with its last block marked as such (RFC 7692, section 7.2.3.4)
                sender = Sender(12)
                final = zlib.compressobj(6, zlib.DEFLATED, -12)
                data = final.compress(ingest(event(id=f"e{number}")).encode()) + final.flush() + b"\x00"
            await peer.send_frame(DEFLATED_TEXT, data)
            assert (await peer.receive_frame())[1] == b'{"type":"ack","saved":1}'
    async with server.client() as client:
        assert {found["id"] for found in await client.events()} == {f"e{number}" for number in range(20)}


@pytest.mark.parametrize("accepted", ["gzip", "identity"])
async def test_slow_http_reader(accepted: str) -> None:
    """So is one over HTTP."""
    noise = random.Random(6)
    async with running(answer_timeout_s=0.5, max_events=10_000) as it, it.client() as other:
        for _ in range(10):
            await other.ask(ingest(*(event(payload={"noise": noise.randbytes(4000).hex()}) for _ in range(300))))
        stream = await it.connect()
        head = f"GET {it.settings.base_path} HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: {accepted}\r\n\r\n"
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
