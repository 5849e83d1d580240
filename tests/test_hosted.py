"""Connections and requests that a program brings: the protocol over whatever it accepted them with."""

import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

import pytest
import trio
import trio_websocket
import websockets.trio.server
from hypercorn.config import Config
from hypercorn.trio import serve as serve_asgi
from tracker_conformance import Target, Verdict, run_suite
from websockets.exceptions import InvalidStatus
from websockets.trio.client import connect

from tests.support import Client, Response, Running, elsewhere, event, ingest, query
from tests.test_conformance_servers import told
from wsproto_tracker import Address, ConfigurationError, Grant, Scope, Settings, Tracker, open_tracker
from wsproto_tracker.server.hosted import AcceptedElsewhere

Handle = Callable[[Tracker, object], Awaitable[None]]
BAD = (Verdict.FAIL, Verdict.UNTESTABLE, Verdict.ERROR)


async def handle(tracker: Tracker, connection: object) -> None:
    await tracker.handle(connection)


@asynccontextmanager
async def by_trio_websocket(tracker: Tracker, how: Handle = handle) -> AsyncGenerator[str, None]:
    """A server by trio-websocket; its URL."""

    async def serve(request: trio_websocket.WebSocketRequest) -> None:
        if request.path == "/_tracker/ws":
            await how(tracker, request)
        else:
            await request.reject(404)

    async with trio.open_nursery() as nursery:
        start = partial(trio_websocket.serve_websocket, serve, "127.0.0.1", 0, None, max_message_size=16 * 1024 * 1024)
        server = await nursery.start(start)
        yield f"ws://127.0.0.1:{server.port}/_tracker/ws"
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def by_websockets(tracker: Tracker, how: Handle = handle) -> AsyncGenerator[str, None]:
    """A server by websockets; its URL."""

    async def serve(connection: websockets.trio.server.ServerConnection) -> None:
        await how(tracker, connection)

    async with trio.open_nursery() as nursery:
        start = partial(
            websockets.trio.server.serve, serve, 0, host="127.0.0.1", max_size=16 * 1024 * 1024, ping_interval=None
        )
        server = await nursery.start(start)
        yield f"ws://127.0.0.1:{server.listeners[0].socket.getsockname()[1]}/_tracker/ws"
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def by_hypercorn(tracker: Tracker, app: Any = None) -> AsyncGenerator[str, None]:
    """The ASGI application by Hypercorn; its URL."""
    config = Config()
    config.bind = ["127.0.0.1:0"]
    config.websocket_max_message_size = 16 * 1024 * 1024
    config.errorlog = None
    async with trio.open_nursery() as nursery:
        (address,) = await nursery.start(serve_asgi, app or tracker.asgi, config)
        yield f"ws{address.removeprefix('http')}/_tracker/ws"
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def mounted(**options: Any) -> AsyncGenerator[Tracker, None]:
    async with open_tracker(Settings(**({"store": "memory:"} | options)), listen=False) as tracker:
        yield tracker


@asynccontextmanager
async def client_of(url: str, **options: Any) -> AsyncGenerator[Client, None]:
    async with connect(url, max_size=None, **options) as websocket:
        yield Client(websocket)


WAYS = {"trio-websocket": by_trio_websocket, "websockets": by_websockets, "hypercorn": by_hypercorn}


OF_THE_LIBRARY = {
    "trio-websocket": {"connection.agrees-to-deflate", "frames.closes-on-bad-utf8"},
    "websockets": {"connection.refuses-other-versions", "connection.refuses-unknown-paths"},
    "hypercorn": {"connection.refuses-other-versions", "frames.closes-on-bad-utf8"},
}
"""What the suite warns of, for the library decides it."""

LATE = ("websockets", "")
"""Where a page that is not let in is told so after the handshake, which the library has accepted (SEC-4)."""


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("key", ["", "s3cret"])
async def test_it_conforms(way: str, key: str) -> None:
    """The suite passes, but for what is the library's: a close code, or the answer to a wrong handshake."""
    async with mounted(api_key=key or None) as tracker, WAYS[way](tracker) as url:
        base = url.replace("ws:", "http:").removesuffix("/ws")
        http = (f"{base}/events", base, f"{base}/ping") if way == "hypercorn" else ("", "", "")
        run = await run_suite(Target(url, *http, key, timeout_scale=2))
    assert told(run, *BAD) == []
    warned = {found.check for found in run.results if found.judgement.verdict is Verdict.WARN}
    assert warned == OF_THE_LIBRARY[way] | ({"origins.strangers-get-no-connection"} if (way, key) == LATE else set())
    assert sum(found.judgement.verdict is Verdict.PASS for found in run.results) > (150 if way == "hypercorn" else 110)


@pytest.mark.parametrize("way", WAYS)
class TestEveryWay:
    async def test_beside_the_program(self, way: str) -> None:
        """What comes that way is what the program sees, and what the program appends is pushed (X-SUB-1)."""
        async with mounted() as tracker, WAYS[way](tracker) as url, client_of(url) as client:
            assert await client.ask(ingest(event(type="theirs"))) == {"type": "ack", "saved": 1}
            assert (await tracker.page()).events[0]["type"] == "theirs"
            assert await client.ask({"type": "subscribe"}) == {"type": "subscribed"}
            await tracker.append([event(type="ours")])
            assert [found["type"] for found in (await client.receive())["events"]] == ["ours"]

    async def test_large_answers(self, way: str) -> None:
        """Answers of several megabytes come whole (QUERY-7)."""
        async with mounted() as tracker, WAYS[way](tracker) as url, client_of(url) as client:
            for _ in range(5):
                await tracker.append([event(payload={"text": "é" * 500}) for _ in range(1_000)])
            assert len(await client.events()) == 5_000

    async def test_large_frames(self, way: str) -> None:
        """Frames of several megabytes are taken (LIMIT-1)."""
        async with mounted() as tracker, WAYS[way](tracker) as url, client_of(url) as client:
            frame = ingest(*[event(payload={"text": "x" * 1_000})] * 4_000)
            assert await client.ask(frame) == {"type": "ack", "saved": 4_000}

    async def test_foreign_pages(self, way: str) -> None:
        """Without a key, pages of other machines are told that they are not let in (SEC-4)."""
        async with mounted() as tracker, WAYS[way](tracker) as url:
            if way != "websockets":
                with pytest.raises(InvalidStatus) as caught:
                    async with client_of(url, origin="https://evil.example"):
                        pass
                assert caught.value.response.status_code == 403
                return
            async with client_of(url, origin="https://evil.example") as client:
                assert (await client.receive())["code"] == "forbidden"
                await client.websocket.wait_closed()
                assert client.websocket.close_code == 1000

    async def test_shutdown(self, way: str) -> None:
        """When the tracker stops, what was received is acked, and the connection closed with 1001 (CLOSE-4)."""
        async with mounted() as tracker, WAYS[way](tracker) as url, client_of(url) as client:
            await client.send(ingest(event()))
            assert await client.receive() == {"type": "ack", "saved": 1}
            tracker.stop()
            with trio.fail_after(20):
                await client.websocket.wait_closed()
            assert client.websocket.close_code == 1001

    async def test_what_came_before_the_close(self, way: str) -> None:
        """Frames that came before the client closed or vanished are saved (ACK-6)."""
        async with mounted() as tracker, WAYS[way](tracker) as url:
            async with client_of(url) as client:
                await client.send(*[ingest(event()) for _ in range(20)])
            with trio.fail_after(20):
                while (await tracker.page()).total != 20:
                    await trio.sleep(0.01)

    async def test_nothing_is_left(self, way: str) -> None:
        """When connections end, however they do, nothing is counted of them any more."""
        async with mounted() as tracker, WAYS[way](tracker) as url:
            for _ in range(3):
                async with client_of(url) as client:
                    await client.ask(ingest(event()))
                    await client.ask({"type": "subscribe"})
                    await client.websocket.stream.aclose()
            with trio.fail_after(20):
                while tracker._core.hub.subscriptions or tracker._core.budget.used_bytes:
                    await trio.sleep(0.01)


class TestHandle:
    async def test_a_grant(self) -> None:
        """A program that knows who it is says what may be done; keys do not count then, and origins neither."""
        grant = Grant(name="page", scopes=frozenset({Scope.INGEST}), apps=frozenset({"shop"}))

        async def granted(tracker: Tracker, connection: object) -> None:
            await tracker.handle(connection, grant=grant)

        async with mounted(api_key="s3cret", origins=("https://office.example",)) as tracker:
            async with by_trio_websocket(tracker, granted) as url, client_of(url, origin="https://a.example") as client:
                assert await client.ask({"type": "auth", "key": "whatever"}) == {"type": "auth_ok"}
                ack = await client.ask(ingest(event(appId="shop"), event(appId="blog")))
                assert (ack["saved"], [found["index"] for found in ack["rejected"]]) == (1, [1])
                assert (await client.ask(query()))["code"] == "forbidden"

    async def test_wrong_keys_by_address(self) -> None:
        """The address that the program tells is the one that is counted (LIMIT-6)."""

        async def from_afar(tracker: Tracker, connection: object) -> None:
            await tracker.handle(connection, address="192.0.2.7")

        async with mounted(api_key="s3cret", max_auth_failures=1) as tracker:
            async with by_websockets(tracker, from_afar) as url, by_websockets(tracker) as near:
                codes = []
                for _ in range(2):
                    async with client_of(url) as client:
                        codes.append((await client.ask({"type": "auth", "key": "x"}))["code"])
                assert codes == ["unauthorized", "rate_limited"]
                async with client_of(near) as client:
                    assert await client.ask({"type": "auth", "key": "s3cret"}) == {"type": "auth_ok"}

    @pytest.mark.parametrize("given", [None, 5, "ws://x", object()])
    async def test_no_connection(self, given: object) -> None:
        async with mounted() as tracker:
            with pytest.raises(TypeError, match="is no WebSocket connection; expected one of trio_websocket or "):
                await tracker.handle(given)

    @pytest.mark.usefixtures("autojump_clock")
    async def test_a_client_that_answers_no_ping(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A peer that has vanished is noticed, though no byte tells of it (CONN-9)."""
        pipe = Pipe()
        monkeypatch.setattr(
            "wsproto_tracker.server.tracker.accepted_elsewhere",
            lambda given: AcceptedElsewhere(given, ping=trio.sleep_forever),
        )
        async with mounted(ping_interval_s=1.0, ping_timeout_s=1.0) as tracker:
            await tracker.handle(pipe, origin=None)
        assert pipe.closed == (1011, "keepalive ping timeout")

    async def test_an_accepted_connection(self) -> None:
        """One that is accepted already will do as well, if its origin is told, or does not matter (SEC-4)."""
        problems: list[str] = []

        async def accept(tracker: Tracker, request: Any, **known: Any) -> None:
            try:
                await tracker.handle(await request.accept(), **known)
            except ConfigurationError as error:
                problems.append(str(error))

        async with mounted() as tracker, by_trio_websocket(tracker, accept) as url:
            async with client_of(url) as client:
                await client.websocket.wait_closed()
        assert "the origin of this connection is not known" in problems.pop()
        ways: list[tuple[dict[str, Any], Handle]] = [
            ({}, lambda tracker, request: accept(tracker, request, origin=None)),
            ({"api_key": "s3cret"}, accept),
            ({"origins": ("*",)}, accept),
        ]
        for settings, how in ways:
            async with mounted(**settings) as tracker, by_trio_websocket(tracker, how) as url:
                async with client_of(url) as client:
                    assert await client.ask({"type": "ping"}) == {"type": "pong"}
        assert problems == []

    async def test_refused_after_it_was_accepted(self) -> None:
        """A page that is not let in is told so, and closed, not with 1008 (SEC-4, CLOSE-1)."""
        pipe = Pipe()
        async with mounted() as tracker:
            await tracker.handle(pipe, origin="https://evil.example")
            assert json.loads(await pipe.from_tracker.receive())["code"] == "forbidden"
        assert pipe.closed == (1000, "this page is not let in")


class Pipe:
    """A connection of a program's own, with the three methods that it has to have."""

    def __init__(self) -> None:
        self.to_tracker, self._incoming = trio.open_memory_channel[str | bytes](10)
        self._outgoing, self.from_tracker = trio.open_memory_channel[str](10)
        self.closed: tuple[int, str] | None = None

    async def receive(self) -> str | bytes:
        return await self._incoming.receive()

    async def send(self, text: str) -> None:
        await self._outgoing.send(text)

    async def aclose(self, code: int, reason: str) -> None:
        await trio.lowlevel.checkpoint()
        self.closed = (code, reason)
        self._outgoing.close()
        self._incoming.close()


class TestAnyConnection:
    @pytest.fixture
    async def pipe(self, nursery: trio.Nursery) -> AsyncGenerator[Pipe, None]:
        pipe = Pipe()
        async with mounted(api_key="s3cret", first_frame_timeout_s=600.0, send_timeout_s=0.2) as tracker:
            nursery.start_soon(tracker.handle, pipe)
            yield pipe
            nursery.cancel_scope.cancel()

    async def ask(self, pipe: Pipe, message: str | bytes | dict[str, Any]) -> Any:
        await pipe.to_tracker.send(json.dumps(message) if isinstance(message, dict) else message)
        with trio.fail_after(20):
            return json.loads(await pipe.from_tracker.receive())

    async def test_conversation(self, pipe: Pipe) -> None:
        assert await self.ask(pipe, {"type": "auth", "key": "s3cret"}) == {"type": "auth_ok"}
        assert await self.ask(pipe, ingest(event())) == {"type": "ack", "saved": 1}
        assert (await self.ask(pipe, query()))["response"]["total"] == 1
        assert (await self.ask(pipe, b"\x00"))["code"] == "unsupported"
        await pipe.to_tracker.aclose()

    async def test_wrong_key(self, pipe: Pipe) -> None:
        assert (await self.ask(pipe, {"type": "auth", "key": "x"}))["code"] == "unauthorized"
        with trio.fail_after(20):
            while pipe.closed is None:
                await trio.sleep(0.01)
        assert pipe.closed == (1008, "Unauthorized")

    async def test_who_does_not_read(self, pipe: Pipe) -> None:
        """A reader that takes nothing is left, and the conversation ends."""
        await pipe.to_tracker.send(json.dumps({"type": "auth", "key": "s3cret"}))
        with trio.fail_after(20):
            while pipe.closed is None:
                with trio.move_on_after(0.01), suppress(trio.BrokenResourceError):
                    await pipe.to_tracker.send('{"type":"ping"}')
        assert pipe.closed == (1011, "the peer takes too long")

    async def test_others_who_do_not_read(self, nursery: trio.Nursery) -> None:
        """Small answers do not wait for large ones that somebody does not take."""
        async with mounted(send_timeout_s=60.0) as tracker:
            await tracker.append([event(payload={"text": "x" * 1_000}) for _ in range(500)])
            slow, pipe = [Pipe(), Pipe()], Pipe()
            for connection in (*slow, pipe):
                nursery.start_soon(partial(tracker.handle, connection, origin=None))
            for connection in slow:
                for _ in range(11):  # one more than fit in
                    await connection.to_tracker.send(query())
            with trio.fail_after(20):
                while tracker._joins.borrowed_tokens != 2:
                    await trio.sleep(0.01)
            assert len((await self.ask(pipe, query(limit=1)))["response"]["events"]) == 1
            nursery.cancel_scope.cancel()

    async def test_a_peer_that_has_gone(self, pipe: Pipe) -> None:
        """Frames of a peer that has gone are still carried out (ACK-6)."""
        await pipe.to_tracker.send(json.dumps({"type": "auth", "key": "s3cret"}))
        pipe.from_tracker.close()
        for _ in range(5):
            await pipe.to_tracker.send(ingest(event()))
        await pipe.to_tracker.aclose()


class TestAsgi:
    async def http(self, url: str, method: str, path: str, body: bytes = b"", headers: Any = None) -> Response:
        host, _, port = url.removeprefix("ws://").partition("/")[0].rpartition(":")
        return await Running(elsewhere(Address(host, int(port))), Settings()).http(method, path, body, headers)

    async def test_routes(self) -> None:
        """The routes are those of the server itself."""
        body = json.dumps({"events": [event()]}).encode()
        async with mounted() as tracker, by_hypercorn(tracker) as url:
            assert (await self.http(url, "POST", "/events", body)).json() == {"type": "ack", "saved": 1}
            read = await self.http(url, "GET", "?limit=1", headers={"Accept-Encoding": "gzip"})
            assert (read.json()["total"], read.headers["content-encoding"]) == (1, "gzip")
            assert (await self.http(url, "GET", "/ping")).json()["ok"]
            assert (await self.http(url, "GET", "//ready")).json() == {"ready": True}
            assert b"tracker_events_saved_total 1.0" in (await self.http(url, "GET", "//metrics")).body
            assert (await self.http(url, "HEAD", "")).body == b""
            assert (await self.http(url, "GET", "/ws")).status == 426

    @pytest.mark.parametrize(
        ("method", "path", "body", "headers", "status"),
        [
            ("GET", "//nowhere", b"", {}, 404),
            ("PUT", "/events", b"", {}, 405),
            ("POST", "/events", b"}{", {}, 400),
            ("POST", "/events", b" " * 5_000, {}, 413),
            ("GET", "", b"", {"Origin": "https://evil.example"}, 403),
            ("GET", "", b"", {"Host": "evil.example"}, 403),
            ("GET", "?since=x", b"", {}, 400),
        ],
    )
    async def test_what_is_wrong(self, method: str, path: str, body: bytes, headers: Any, status: int) -> None:
        async with mounted(max_frame_bytes=4_096) as tracker, by_hypercorn(tracker) as url:
            response = await self.http(url, method, path, body, headers)
            assert (response.status, response.json()["type"]) == (status, "error")

    async def test_a_prefix(self) -> None:
        """Mounted below a prefix, its paths are below that."""

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await tracker.asgi({**scope, "root_path": "/tools"}, receive, send)

        async with mounted() as tracker, by_hypercorn(tracker, app) as url:
            assert (await self.http(url, "GET", "//tools/_tracker/ping")).status == 200
            async with client_of(url.replace("/_tracker", "/tools/_tracker")) as client:
                assert await client.ask({"type": "ping"}) == {"type": "pong"}

    async def test_a_body_that_ends_early(self) -> None:
        """Nothing is saved of a body that ends before its Content-Length (HTTP-12)."""
        head = {"type": "http", "method": "POST", "path": "/_tracker/events", "headers": [(b"content-length", b"900")]}
        body = json.dumps({"events": [event()]}).encode()
        messages: Iterator[dict[str, Any]] = iter(
            [{"type": "http.request", "body": body, "more_body": True}, {"type": "http.disconnect"}]
        )
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            await trio.lowlevel.checkpoint()
            return next(messages)

        async def send(message: dict[str, Any]) -> None:
            await trio.lowlevel.checkpoint()
            sent.append(message)

        async with mounted() as tracker:
            await tracker.asgi(head, receive, send)
            assert (sent[0]["status"], (await tracker.page()).total) == (400, 0)

    async def test_a_reader_that_takes_nothing(self) -> None:
        """An answer that is not taken in time ends without its end, and its place is free again (HTTP-10)."""
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            await trio.lowlevel.checkpoint()
            return {"type": "http.request", "body": b""}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)
            if message["type"] == "http.response.body":
                await trio.sleep_forever()

        scope = {"type": "http", "method": "GET", "path": "/_tracker", "headers": []}
        async with mounted(answer_timeout_s=0.05, max_queries=1) as tracker:
            await tracker.append([event()])
            for _ in range(3):
                with pytest.raises(trio.BrokenResourceError):
                    await tracker.asgi(scope, receive, send)
        assert all(message.get("more_body", True) for message in sent)

    async def test_bodies_are_counted(self) -> None:
        """What comes of bodies counts for the memory of all that come in (LIMIT-3)."""
        go_on = trio.Event()

        async def receive() -> dict[str, Any]:
            if tracker._core.budget.used_bytes:
                await go_on.wait()
                return {"type": "http.disconnect"}
            return {"type": "http.request", "body": b" " * 5_000, "more_body": True}

        async def send(_message: dict[str, Any]) -> None:
            await trio.lowlevel.checkpoint()

        scope = {"type": "http", "method": "POST", "path": "/_tracker/events", "headers": []}
        async with mounted() as tracker, trio.open_nursery() as nursery:
            nursery.start_soon(tracker.asgi, scope, receive, send)
            with trio.fail_after(20):
                while tracker._core.budget.used_bytes != 5_000:
                    await trio.sleep(0.01)
            go_on.set()
            with trio.fail_after(20):
                while tracker._core.budget.used_bytes:
                    await trio.sleep(0.01)

    @pytest.mark.usefixtures("autojump_clock")
    async def test_lifespan(self) -> None:
        """A server that outlives the tracker does not keep it from ending."""
        messages = iter(["lifespan.startup"])
        sent: list[str] = []

        async def receive() -> dict[str, Any]:
            for type_ in messages:
                return {"type": type_}
            await trio.sleep_forever()
            raise AssertionError

        async def send(message: dict[str, Any]) -> None:
            await trio.lowlevel.checkpoint()
            sent.append(message["type"])

        async with trio.open_nursery() as nursery:
            async with mounted() as tracker:
                nursery.start_soon(tracker.asgi, {"type": "lifespan"}, receive, send)
                await trio.sleep(1)
                began = trio.current_time()
            assert trio.current_time() - began < 1
            assert sent == ["lifespan.startup.complete"]
            nursery.cancel_scope.cancel()

    async def test_an_unknown_scope(self) -> None:
        async with mounted() as tracker:
            with pytest.raises(ValueError, match="expected a scope of type http, websocket or lifespan, not smtp"):
                await tracker.asgi({"type": "smtp"}, trio.sleep_forever, trio.sleep)  # type: ignore[arg-type]
