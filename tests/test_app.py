"""Starting, stopping, and being cancelled: what is in hand is finished, and nothing is left behind."""

import json
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked
from websockets.exceptions import ConnectionClosed

import wsproto_tracker.server.app
from tests.raw_websocket import Peer, masked, raw_websocket
from tests.support import Running, event, ingest, opening, query, running
from wsproto_tracker import ServeError, Settings, Tracker, serve
from wsproto_tracker.protocol.events import Event
from wsproto_tracker.protocol.query import Query
from wsproto_tracker.server.websocket import Conversation
from wsproto_tracker.store import Answer, MemoryStore, Receipt


class GatedStore(MemoryStore):
    """Commits nothing before ``gate`` is set."""

    gate: trio.Event

    async def append(self, events: Sequence[Event], *, is_patient: bool = True) -> Receipt:
        await self.gate.wait()
        return await super().append(events, is_patient=is_patient)


@pytest.fixture
def gated(monkeypatch: pytest.MonkeyPatch) -> type[GatedStore]:
    monkeypatch.setattr(GatedStore, "gate", trio.Event(), raising=False)
    monkeypatch.setattr(wsproto_tracker.server.app, "open_store", opening(GatedStore))
    return GatedStore


class TestStop:
    async def test_in_hand_is_acked(self, gated: type[GatedStore]) -> None:
        """What was received is acked, once the store has it and not before, then comes the close with 1001.

        ACK-5, CLOSE-4.
        """
        settings = Settings(port=0, store="memory:")
        async with trio.open_nursery() as nursery:
            server: Tracker = await nursery.start(serve, settings)
            async with Running(server, settings).client() as client:
                for _ in range(10):
                    await client.send(ingest(event()))
                await client.websocket.ping()
                await trio.sleep(0.05)
                server.stop()
                with trio.move_on_after(0.3):  # longer than the server takes for quiet
                    pytest.fail(f"an early {await client.receive()}")
                gated.gate.set()
                acks = [await client.receive() for _ in range(10)]
                assert acks == [{"type": "ack", "saved": 1}] * 10
                with pytest.raises(ConnectionClosed), trio.fail_after(20):
                    await client.websocket.recv()
                assert client.websocket.close_code == 1001

    async def test_frames_after_the_close_are_kept(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A frame that crosses the server's close frame is saved, though it can no longer be acked (ACK-6)."""
        kept: list[bytes] = []

        class Store(MemoryStore):
            async def append(self, events: Sequence[Event], *, is_patient: bool = True) -> Receipt:
                kept.extend(entry.text for entry in events)
                return await super().append(events, is_patient=is_patient)

        monkeypatch.setattr(wsproto_tracker.server.app, "open_store", opening(Store))
        async with running() as server, raw_websocket(server) as peer:
            server.server.stop()
            opcode, _ = await peer.receive_frame()
            assert opcode & 0x0F == 0x8
            await peer.stream.send_all(masked(0x1, ingest(event()).encode()) + masked(0x8, b"\x03\xe9"))
            with trio.fail_after(20):
                assert await peer.stream.receive_some() == b""
                while not kept:
                    await trio.sleep(0.01)
            assert len(kept) == 1

    async def test_handshake_during_the_stop(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A connection that opens just as the server stops is answered like the others, then closed (CLOSE-4)."""
        async with running() as server:
            run = Conversation.run
            monkeypatch.setattr(Conversation, "run", lambda self, **_: run(self, already_draining=True))
            async with raw_websocket(server, at_once=masked(0x1, ingest(event()).encode())) as peer:
                assert json.loads((await peer.receive_frame())[1]) == {"type": "ack", "saved": 1}
                opcode, payload = await peer.receive_frame()
                assert (opcode & 0x0F, payload[:2]) == (0x8, b"\x03\xe9")

    async def test_late_handshake(self, server: Running) -> None:
        """A handshake that comes while the server shuts down is refused with 503, not accepted and closed (CLOSE-5)."""
        stream = await server.connect()
        async with stream:
            await stream.send_all(
                b"GET /_tracker/ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            )
            await trio.sleep(0.05)
            server.server.stop()
            await trio.sleep(0.05)
            await stream.send_all(b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n")
            received = b""
            async for chunk in stream:
                received += chunk
        assert received.startswith(b"HTTP/1.1 503 ")
        assert b'"code":"unavailable"' in received

    async def test_nothing_new(self, server: Running) -> None:
        """After stop nobody is let in, idle connections end, and serve returns at once (CLOSE-4)."""
        idle = await server.connect()
        used = await server.connect()
        await used.send_all(b"GET /_tracker/ping HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await used.receive_some()
        server.server.stop()
        for stream in (idle, used):
            async with stream:
                with trio.fail_after(20):
                    while await stream.receive_some():
                        pass
        with pytest.raises(OSError, match="all attempts to connect"):
            await server.connect()

    async def test_request_in_hand(self, server: Running) -> None:
        """An HTTP request that has begun is finished, and its connection then closed (CLOSE-4)."""
        stream = await server.connect()
        data = json.dumps({"events": [event()]}).encode()
        async with stream:
            head = b"POST /_tracker/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(data)
            await stream.send_all(head + data[:10])
            await trio.sleep(0.05)
            server.server.stop()
            await trio.sleep(0.05)
            await stream.send_all(data[10:])
            received = b""
            async for chunk in stream:
                received += chunk
        assert received.endswith(b'{"type":"ack","saved":1}')
        assert b"Connection: close" in received

    async def test_drain_timeout(self, gated: type[GatedStore]) -> None:
        """What cannot be finished in time does not hold up the end (CLOSE-4)."""
        settings = Settings(port=0, store="memory:", drain_timeout_s=0.3)
        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                server: Tracker = await nursery.start(serve, settings)
                async with raw_websocket(Running(server, settings)) as peer:
                    await peer.send_frame(0x1, ingest(event()).encode())
                    await trio.sleep(0.05)
                    server.stop()
                    with trio.fail_after(20):
                        while await peer.stream.receive_some():
                            pass
        assert not gated.gate.is_set()

    async def test_drain_timeout_of_a_request(self) -> None:
        """An HTTP request that is never finished does not hold up the end either (CLOSE-4)."""
        settings = Settings(port=0, store="memory:", drain_timeout_s=0.2)
        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                server: Tracker = await nursery.start(serve, settings)
                stream = await Running(server, settings).connect()
                async with stream:
                    head = b"POST /_tracker/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n"
                    await stream.send_all(head + b"{")
                    await trio.sleep(0.05)
                    server.stop()
                    with pytest.raises(trio.BrokenResourceError), trio.fail_after(20):
                        if await stream.receive_some() == b"":
                            raise trio.BrokenResourceError

    async def test_frame_on_its_way(self, server: Running) -> None:
        """A frame of which the first part came before the stop is received to its end, and acked (CLOSE-4)."""
        async with raw_websocket(server) as peer:
            frame = masked(0x1, ingest(event(payload={"text": "x" * 100_000})).encode())
            await peer.stream.send_all(frame[:10_000])
            await trio.sleep(0.05)
            server.server.stop()
            for start in range(10_000, len(frame), 10_000):
                await peer.stream.send_all(frame[start : start + 10_000])
                await trio.sleep(0.03)
            assert json.loads((await peer.receive_frame())[1]) == {"type": "ack", "saved": 1}
            assert (await peer.receive_frame())[1][:2] == b"\x03\xe9"

    async def test_busy_client(self) -> None:
        """A client that never stops sending is closed with 1001 in the end, and every ack it got was earned."""
        async with running(drain_timeout_s=1.0) as server, server.client() as client:
            async with trio.open_nursery() as nursery:

                async def send() -> None:
                    with pytest.raises(ConnectionClosed):
                        while True:
                            await client.send(ingest(event()))

                nursery.start_soon(send)
                await client.receive()
                server.server.stop()
                with pytest.raises(ConnectionClosed), trio.fail_after(20):
                    while True:
                        await client.websocket.recv()
                assert client.websocket.close_code == 1001


class Unanswered(MemoryStore):
    """Answers no query."""

    async def query(self, query: Query, apps: frozenset[str] | None = None) -> Answer:  # noqa: ARG002
        await trio.sleep_forever()
        raise AssertionError


async def to_the_end(peer: Peer) -> None:
    """Read until the server has closed."""
    with suppress(trio.BrokenResourceError):
        while await peer.stream.receive_some():
            pass


async def a_while() -> None:
    """Let every task that can go on do so, many times; no time passes."""
    for _ in range(100):
        await trio.lowlevel.checkpoint()


class TestDrainTimeout:
    """On a clock that only the test moves: what needs more time than there is would never end."""

    async def ends_in_time(
        self, mock_clock: MockClock, behave: Callable[[Peer, trio.Nursery], Awaitable[trio.Event]]
    ) -> None:
        """Stop a server while a client behaves like this; it returns what is set when the client sees the end."""
        settings = Settings(port=0, store="memory:", drain_timeout_s=10.0)
        async with trio.open_nursery() as serving:
            server: Tracker = await serving.start(serve, settings)
            it = Running(server, settings)
            async with raw_websocket(it) as peer, trio.open_nursery() as clients:
                is_over = await behave(peer, clients)
                server.stop()
                with pytest.raises(OSError, match="all attempts to connect"):
                    while True:  # until it has begun to stop
                        await (await it.connect()).aclose()
                await a_while()
                assert not is_over.is_set()
                mock_clock.jump(settings.drain_timeout_s)
                await is_over.wait()
                clients.cancel_scope.cancel()
            await a_while()
            mock_clock.jump(wsproto_tracker.server.app._LAST_MOMENT_S)

    async def test_client_that_never_stops(self, mock_clock: MockClock) -> None:
        """A client that goes on sending, and reads, is cut off when the time is over (CLOSE-4)."""

        async def send(peer: Peer) -> None:
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                while True:
                    await peer.stream.send_all(masked(0x1, ingest(event()).encode()) * 20)

        async def behave(peer: Peer, clients: trio.Nursery) -> trio.Event:
            is_over = trio.Event()

            async def read() -> None:
                await to_the_end(peer)
                is_over.set()

            await peer.send_frame(0x1, ingest(event()).encode())
            await peer.receive_frame()
            clients.start_soon(send, peer)
            clients.start_soon(read)
            return is_over

        await self.ends_in_time(mock_clock, behave)

    async def test_client_that_never_reads(self, mock_clock: MockClock) -> None:
        """A client that reads nothing of its answers is cut off when the time is over (CLOSE-4)."""

        async def behave(peer: Peer, clients: trio.Nursery) -> trio.Event:
            await peer.send_frame(0x1, ingest(*[event(payload={"text": "x" * 1000})] * 2000).encode())
            await peer.stream.send_all(masked(0x1, query().encode()) * 30)
            return await self.when_all_is_still(peer, clients)

        await self.ends_in_time(mock_clock, behave)

    async def test_query_in_hand(self, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
        """A query that is not answered in time is given up (CLOSE-4)."""
        monkeypatch.setattr(wsproto_tracker.server.app, "open_store", opening(Unanswered))

        async def behave(peer: Peer, clients: trio.Nursery) -> trio.Event:
            await peer.send_frame(0x1, query().encode())
            return await self.when_all_is_still(peer, clients)

        await self.ends_in_time(mock_clock, behave)

    async def when_all_is_still(self, peer: Peer, clients: trio.Nursery) -> trio.Event:
        """Wait until nothing happens any more; what is returned is set when the server has closed since."""
        await wait_all_tasks_blocked(0.05)
        is_over = trio.Event()

        async def read() -> None:
            await trio.sleep(1)  # on the clock: after the jump
            await to_the_end(peer)
            is_over.set()

        clients.start_soon(read)
        return is_over


class TestCancel:
    async def test_cancelled_server_closes_its_store(self, tmp_path: Path) -> None:
        """Cancelled by its host, the server ends at once; the store is closed, and keeps what was acked."""
        settings = Settings(port=0, store=f"sqlite:{tmp_path / 'tracker.db'}")
        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                server: Tracker = await nursery.start(serve, settings)
                async with Running(server, settings).client() as client:
                    assert (await client.ask(ingest(event())))["saved"] == 1
                    await client.send(ingest(event()))
                    nursery.cancel_scope.cancel()
        async with running(store=settings.store) as again, again.client() as client:
            assert len(await client.events()) in (1, 2)

    async def test_address_is_free_again(self) -> None:
        """A server that ended leaves its port to the next."""
        async with running() as first:
            port = first.address.port
            async with first.client() as client:
                await client.ask({"type": "ping"})
        async with running(port=port) as second:
            assert second.address.port == port
            assert (await second.http("GET", "/ping")).status == 200


class TestListen:
    async def test_port_in_use(self, server: Running) -> None:
        """A port that is taken is said to be, with its option."""
        with pytest.raises(ServeError, match=r"--port: 127\.0\.0\.1 port \d+ is in use"):
            await serve(Settings(port=server.address.port, store="memory:"))

    @pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
    async def test_wrong_host(self, host: str) -> None:
        """A host that is none of this machine is said to be, with its option."""
        with pytest.raises(ServeError, match=f"--host: {host} is no address"):
            await serve(Settings(host=host, port=0, store="memory:"))

    async def test_addresses(self) -> None:
        """The server tells where it really listens."""
        async with running(host="127.0.0.1") as server:
            assert str(server.address) == f"127.0.0.1:{server.address.port}"
            assert server.address.port != 0
