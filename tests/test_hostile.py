"""Hostile clients: each does its worst, and meanwhile a client that behaves gets its acks."""

import gc
import json
import struct
import tracemalloc
import zlib
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

import attrs
import pytest
import trio
from websockets.frames import Frame

from tests.raw_websocket import Peer, masked, raw_websocket
from tests.support import Client, Running, event, ingest, parse_response, query, running
from wsproto_tracker.server.front import Front

TEXT, BINARY, PING = 1, 2, 9
DEADLINE_S = 60
MIB = 1024 * 1024
DEFLATE = "permessage-deflate; client_no_context_takeover"


@attrs.frozen
class Behaved:
    """A client that behaves."""

    client: Client

    async def gets_acks(self, count: int = 5) -> None:
        """Send some batches, one after the other, and get an ack for each."""
        with trio.fail_after(DEADLINE_S):
            for _ in range(count):
                assert (await self.client.ask(ingest(event(), event())))["saved"] == 2


@asynccontextmanager
async def attacked(*, key: str | None = None, **options: Any) -> AsyncGenerator[tuple[Running, Behaved], None]:
    """A server that is to be attacked, and a client that behaves and was there before."""
    with trio.fail_after(2 * DEADLINE_S):
        async with running(api_key=key, **options) as server, server.client(key=key) as client:
            behaved = Behaved(client)
            await behaved.gets_acks(1)
            yield server, behaved
            await behaved.gets_acks()


@contextmanager
def within_memory(max_bytes: int) -> Generator[None, None, None]:
    """What is done here takes no more than so much memory at any time."""
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        yield
        _, peak = tracemalloc.get_traced_memory()
        assert peak - before < max_bytes, f"{(peak - before) / MIB:.1f} MiB"
    finally:
        tracemalloc.stop()


async def until_closed(stream: trio.SocketStream) -> bytes:
    """Everything that comes until the server closes."""
    received = bytearray()
    with trio.fail_after(DEADLINE_S), suppress(trio.BrokenResourceError):
        async for data in stream:
            received += data
    return bytes(received)


async def close_code(peer: Peer) -> int:
    """The code of the close frame that comes in the end."""
    while True:
        head, payload = await peer.receive_frame()
        if head & 0x0F == 8:
            return int(struct.unpack("!H", payload[:2])[0])


class TestSlow:
    async def test_heads(self) -> None:
        """Heads that never end are answered 408, and held no longer than they may take."""
        async with attacked(head_timeout_s=0.5) as (server, behaved), trio.open_nursery() as nursery:

            async def attack() -> None:
                async with await server.connect() as stream:
                    await stream.send_all(b"GET /_tracker/ws HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
                    assert parse_response(await until_closed(stream)).status == 408

            for _ in range(50):
                nursery.start_soon(attack)
            await behaved.gets_acks()

    @pytest.mark.parametrize("trickles", [False, True], ids=["stalls", "trickles"])
    async def test_bodies(self, trickles: bool) -> None:
        """A body that stops coming, or that comes byte by byte, is answered 408."""
        pause_s, all_s = (60.0, 0.5) if trickles else (0.5, 60.0)
        async with (
            attacked(receive_timeout_s=pause_s, message_timeout_s=all_s) as (server, behaved),
            trio.open_nursery() as nursery,
        ):

            async def attack() -> None:
                async with await server.connect() as stream:
                    await stream.send_all(
                        b"POST /_tracker/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9000\r\n\r\n{"
                    )
                    async with trio.open_nursery() as sending:
                        if trickles:
                            sending.start_soon(trickle, stream)
                        assert parse_response(await until_closed(stream)).status == 408
                        sending.cancel_scope.cancel()

            for _ in range(20):
                nursery.start_soon(attack)
            await behaved.gets_acks()

    @pytest.mark.parametrize("trickles", [False, True], ids=["stalls", "trickles"])
    async def test_messages(self, trickles: bool) -> None:
        """A WebSocket message that stops coming, or that comes byte by byte, costs its sender the connection."""
        pause_s, all_s = (60.0, 0.5) if trickles else (0.5, 60.0)
        async with (
            attacked(receive_timeout_s=pause_s, message_timeout_s=all_s) as (server, behaved),
            trio.open_nursery() as nursery,
        ):

            async def attack() -> None:
                async with raw_websocket(server) as peer:
                    await peer.stream.send_all(masked(TEXT, b" " * 9000)[:100])
                    async with trio.open_nursery() as sending:
                        if trickles:
                            sending.start_soon(trickle, peer.stream)
                        await until_closed(peer.stream)
                        sending.cancel_scope.cancel()

            for _ in range(20):
                nursery.start_soon(attack)
            await behaved.gets_acks()


async def trickle(stream: trio.SocketStream) -> None:
    """Send a byte now and then, until the server has had enough."""
    with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        while True:
            await stream.send_all(b" ")
            await trio.sleep(0.02)


class TestSilent:
    async def test_never_reads_its_answers(self) -> None:
        """Who asks and does not read is dropped; it holds a place for answers no longer than that."""
        async with attacked(send_timeout_s=0.5, max_queries=4, max_query_delay_s=30.0) as (server, behaved):
            await fill(behaved.client, 20_000)
            async with trio.open_nursery() as nursery:

                async def attack() -> None:
                    async with raw_websocket(server) as peer:
                        with suppress(trio.BrokenResourceError):
                            await peer.stream.send_all(masked(TEXT, query().encode()) * 20)
                        await has_been_dropped(peer.stream)

                for _ in range(8):
                    nursery.start_soon(attack)
                await behaved.gets_acks()
            assert len(await behaved.client.events(limit=5)) == 5

    async def test_half_open(self) -> None:
        """Who has vanished without a word is noticed, for no pong comes."""
        async with (
            attacked(ping_interval_s=0.2, ping_timeout_s=0.2) as (server, behaved),
            raw_websocket(server) as peer,
        ):
            await behaved.gets_acks()
            assert await close_code(peer) == 1011

    async def test_shows_no_key(self) -> None:
        """Where there is a key, who shows none for long is closed, with a code that lets pages come back (CLOSE-6)."""
        async with (
            attacked(key="s3cret", first_frame_timeout_s=0.3) as (server, behaved),
            raw_websocket(server) as peer,
        ):
            await behaved.gets_acks()
            assert await close_code(peer) == 1000


async def fill(client: Client, count: int) -> None:
    """Store so many events."""
    for _ in range(count // 1000):
        assert (await client.ask(ingest(*[event()] * 1000)))["saved"] == 1000


async def has_been_dropped(stream: trio.SocketStream) -> None:
    """Wait until the server has closed, without reading what it sent."""
    with trio.fail_after(DEADLINE_S), suppress(trio.BrokenResourceError):
        while True:
            await stream.send_all(masked(TEXT, b'{"type":"ping"}'))
            await trio.sleep(0.1)


class TestMany:
    async def test_connections_in_a_burst(self) -> None:
        """Of a thousand at once those that are too many are refused with 503, and when they have gone others get in."""
        statuses: list[bytes] = []
        allow_files(4_000)
        async with attacked(max_connections=200) as (server, behaved):
            async with trio.open_nursery() as nursery:
                done = trio.Event()

                async def attack() -> None:
                    async with await server.connect() as stream:
                        try:
                            await stream.send_all(HANDSHAKE)
                            statuses.append(bytes(await stream.receive_some(4096))[9:12])
                        except trio.BrokenResourceError:
                            statuses.append(b"")
                        await done.wait()

                for _ in range(1_000):
                    nursery.start_soon(attack)
                await behaved.gets_acks()
                while len(statuses) < 1_000:
                    await trio.sleep(0.01)
                done.set()
            assert statuses.count(b"101") == 199
            assert set(statuses) <= {b"101", b"503", b""}
            assert statuses.count(b"503") > 0
            async with server.client() as client:
                await Behaved(client).gets_acks()

    async def test_connections_from_one_address(self) -> None:
        """One address gets no more than its share, and is told so."""
        async with attacked(max_connections_per_address=3) as (server, behaved):
            async with raw_websocket(server), raw_websocket(server):
                response = parse_response(await server.raw(HANDSHAKE))
            assert (response.status, response.json()["code"]) == (429, "rate_limited")
            assert int(response.headers["retry-after"]) > 0
            await behaved.gets_acks()

    async def test_tiny_frames(self, pytestconfig: pytest.Config) -> None:
        """A million tiny frames from one client do not keep others waiting; --tiny-frames has so many."""
        async with attacked() as (server, behaved), raw_websocket(server) as peer, trio.open_nursery() as nursery:
            total = int(pytestconfig.getoption("--tiny-frames"))

            async def read() -> None:
                with suppress(trio.BrokenResourceError):
                    async for _ in peer.stream:
                        pass

            nursery.start_soon(read)
            for _ in range(10):
                await peer.stream.send_all(masked(PING, b"") * (total // 10))
                await behaved.gets_acks(1)
            nursery.cancel_scope.cancel()

    @pytest.mark.parametrize("opcode", [TEXT, PING], ids=["messages", "pings"])
    async def test_empty_frames(self, opcode: int) -> None:
        """Thousands of empty frames of clients that read nothing are never all objects, and all that waits counts."""
        async with attacked(key="s3cret") as (server, behaved), trio.open_nursery() as nursery:
            flood = masked(opcode, b"") * 40_000

            async def attack() -> None:
                async with raw_websocket(server) as peer:
                    with suppress(trio.BrokenResourceError):
                        await peer.stream.send_all(flood)
                    await trio.sleep_forever()

            for _ in range(5):
                nursery.start_soon(attack)
            for _ in range(10):
                await behaved.gets_acks(1)
                assert sum(type(found) is Frame for found in gc.get_objects()) < 5 * 100
            nursery.cancel_scope.cancel()

    async def test_queries_of_everything(self) -> None:
        """Fifty clients that ask for everything at once all get it, and take no more memory than a few of them."""
        async with attacked(max_queries_per_address=8, max_query_delay_s=60.0) as (server, behaved):
            await fill(behaved.client, 20_000)
            totals: list[int] = []

            async def ask() -> None:
                async with server.client() as client:
                    await client.send(query())
                    received = await client.websocket.recv(decode=False)
                    totals.append(received.count(b'"sessionId"'))

            async with trio.open_nursery() as nursery:
                for _ in range(50):
                    nursery.start_soon(ask)
                await behaved.gets_acks()
            assert len(totals) == 50
            assert min(totals) >= 20_000


HANDSHAKE = (
    b"GET /_tracker/ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def allow_files(count: int) -> None:
    """Let this process have so many files open."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(count, hard), hard))


class TestLarge:
    @pytest.mark.parametrize("fragments", [1, 4])
    async def test_deflate_bomb(self, fragments: int) -> None:
        """A megabyte that inflates to a gigabyte is closed with 1009, and never inflated (CLOSE-3)."""
        deflater = zlib.compressobj(9, wbits=-15)
        bomb = b"".join(deflater.compress(bytes(MIB)) for _ in range(1024)) + deflater.flush(zlib.Z_SYNC_FLUSH)[:-4]
        assert len(bomb) < 1.1 * MIB
        size = len(bomb) // fragments + 1
        async with attacked() as (server, behaved), raw_websocket(server, extensions=DEFLATE) as peer:
            with within_memory(40 * MIB):
                with suppress(trio.BrokenResourceError):
                    for number in range(fragments):
                        head = bytes([(0x80 if number == fragments - 1 else 0) | (0x41 if number == 0 else 0)])
                        frame = masked(TEXT, bomb[number * size : (number + 1) * size])
                        await peer.stream.send_all(head + frame[1:])
                await behaved.gets_acks()
                assert await close_code(peer) == 1009

    async def test_four_mib_of_one_letter(self) -> None:
        """What inflates as well as anything can is taken up to 4 MiB (LIMIT-1)."""
        async with running() as server, server.client() as client:
            assert (await client.ask(ingest(event(payload={"text": "x" * (4 * MIB - 2000)}))))["saved"] == 1

    async def test_what_inflates_too_well(self) -> None:
        """A message within the size that is allowed is refused too where it inflates too well (CLOSE-3)."""
        data = zlib.compress(bytes(8 * MIB), 9, wbits=-15)
        async with attacked(max_inflate_ratio=100) as (server, behaved):
            async with raw_websocket(server, extensions=DEFLATE) as peer:
                await peer.stream.send_all(bytes([0xC1]) + masked(TEXT, data)[1:])
                assert await close_code(peer) == 1009
            await behaved.gets_acks()

    @pytest.mark.parametrize("text", [b"[" * MIB, b'{"type":"ingest","events":' + b'[{"a":' * MIB, b"[[]," * MIB])
    async def test_nested_json(self, text: bytes) -> None:
        """JSON that is nested without an end, or never ends, is an error, and the connection goes on (FRAME-10)."""
        async with attacked() as (server, behaved), server.client(compression=None) as client:
            await client.send(text.decode())
            await behaved.gets_acks()
            assert (await client.receive())["code"] == "bad_json"
            assert await client.ask({"type": "ping"}) == {"type": "pong"}

    async def test_tightly_packed_frame(self) -> None:
        """Millions of elements that are no events take no more memory than may be used for decoding (LIMIT-5)."""
        frame = '{"type":"ingest","events":[' + ",".join(["0"] * (2 * MIB)) + "]}"
        async with attacked() as (server, behaved), server.client(compression=None) as client:
            with within_memory(32 * len(frame)):
                await client.send(frame)
                await behaved.gets_acks()
                answer = await client.receive()
            assert answer["saved"] == 0
            assert len(answer["rejected"]) == 1_000

    async def test_headers(self) -> None:
        """A head that is too large is answered 431, long before it ends."""
        async with attacked() as (server, behaved):
            with within_memory(8 * MIB):
                received = await server.raw(b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Large: " + b"x" * MIB)
            assert parse_response(received).status == 431
            await behaved.gets_acks()

    async def test_messages_that_never_end(self) -> None:
        """The beginnings of large messages take no more memory than there is for them; small ones go on (LIMIT-3)."""
        beginning = masked(TEXT, b" " * (15 * MIB))[: 14 * MIB]
        async with attacked(max_receiving_bytes=16 * MIB, receive_timeout_s=30.0) as (server, behaved):
            with within_memory(64 * MIB):
                async with trio.open_nursery() as nursery:

                    async def attack() -> None:
                        async with raw_websocket(server) as peer:
                            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                                await peer.stream.send_all(beginning)
                            await trio.sleep_forever()

                    for _ in range(12):
                        nursery.start_soon(attack)
                    await behaved.gets_acks(20)
                    nursery.cancel_scope.cancel()


class TestWrong:
    @pytest.mark.parametrize(
        "frame",
        [b"\x81\x02{}", b"\xb1\x82\0\0\0\0{}", b"\x83\x82\0\0\0\0{}", b"\x09\x80\0\0\0\0", b"\xc1\x82\0\0\0\0{}"],
        ids=["no mask", "reserved bits", "reserved opcode", "fragmented ping", "compressed without a word"],
    )
    async def test_frames(self, frame: bytes) -> None:
        """Frames that RFC 6455 forbids are closed with 1002, and nobody else is."""
        async with attacked() as (server, behaved), raw_websocket(server) as peer:
            await peer.stream.send_all(frame)
            assert await close_code(peer) == 1002
            await behaved.gets_acks()

    async def test_key_guessing(self) -> None:
        """After some wrong keys an address may try no others for a while, over WebSocket or HTTP; who is in, stays."""
        async with attacked(key="s3cret", max_auth_failures=5) as (server, behaved):
            for number in range(5):
                async with raw_websocket(server) as peer:
                    await peer.send_frame(TEXT, json.dumps({"type": "auth", "key": f"guess{number}"}).encode())
                    assert await close_code(peer) == 1008
            response = parse_response(await server.raw(HANDSHAKE))
            assert (response.status, response.json()["code"]) == (429, "rate_limited")
            response = await server.http("GET", "", headers={"X-Tracker-Key": "s3cret"})
            assert (response.status, response.json()["code"]) == (429, "rate_limited")
            assert int(response.headers["retry-after"]) > 0
            assert (await server.http("GET", "")).status == 401  # no key is no guess
            await behaved.gets_acks()

    async def test_a_guess_counts_once(self) -> None:
        """What follows a wrong key on its connection, as a dashboard's query does, is no other guess (LIMIT-6)."""
        async with attacked(key="s3cret", max_auth_failures=2) as (server, _):
            async with raw_websocket(server) as peer:
                await peer.stream.send_all(
                    masked(TEXT, b'{"type":"auth","key":"guess"}') + masked(TEXT, query().encode()) * 3
                )
                assert await close_code(peer) == 1008
            async with server.client(key="s3cret") as client:
                assert await client.ask({"type": "ping"}) == {"type": "pong"}

    async def test_guessing_on_connections_that_are_open(self) -> None:
        """Connections that are open already are no way around: a key tried on them is not looked at (LIMIT-6)."""
        async with attacked(key="s3cret", max_auth_failures=1) as (server, behaved):
            async with raw_websocket(server) as guesser, server.client() as other:
                await guesser.send_frame(TEXT, b'{"type":"auth","key":"guess"}')
                assert await close_code(guesser) == 1008
                answer = await other.ask({"type": "auth", "key": "s3cret"})
                assert answer["code"] == "rate_limited"
                assert answer["retryAfterMs"] > 0
                await other.send(query("r"), ingest(event()))  # the dashboard does not wait for auth_ok
                answers = [await other.receive() for _ in range(2)]
                assert [(told["code"], told.get("reqId")) for told in answers] == [
                    ("rate_limited", "r"),
                    ("rate_limited", None),
                ]
                assert await other.ask({"type": "ping"}) == {"type": "pong"}
            await behaved.gets_acks()

    async def test_vanishes_while_it_is_accepted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A client that has gone before it is looked at does no harm."""
        handle = Front.handle

        async def handle_later(front: Front, stream: trio.SocketStream) -> None:
            await trio.sleep(0.05)
            await handle(front, stream)

        async with attacked() as (server, behaved):
            monkeypatch.setattr(Front, "handle", handle_later)
            for _ in range(10):
                stream = await server.connect()
                stream.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, struct.pack("ii", 1, 0))
                await stream.aclose()
            await behaved.gets_acks()
