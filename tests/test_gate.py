"""The gate: pages of which origins are let in, by WebSocket and HTTP, and by which names the server may be called."""

import json

import pytest
from websockets.exceptions import InvalidStatus

from tests.support import Response, Running, elsewhere, event, running
from wsproto_tracker import Address
from wsproto_tracker.access import Access
from wsproto_tracker.server.gate import Gate
from wsproto_tracker.server.http1 import Request
from wsproto_tracker.server.peer import Peer

HERE = "http://localhost:5173"
SHOP = "https://shop.example"
FOREIGN = ["https://evil.example", "null", "http://192.168.0.7:5173", "http://localhost.evil.example"]
BODY = json.dumps({"type": "ingest", "events": [event()]}).encode()
REQUESTS = [
    *(("POST", "/events"), ("POST", "/ingest"), ("GET", ""), ("GET", "/events"), ("HEAD", ""), ("GET", "/ping")),
    *(("GET", "//health"), ("OPTIONS", "/events"), ("OPTIONS", "/ping"), ("GET", "/ws"), ("GET", "//nowhere")),
]


async def ask(server: Running, method: str, path: str, **headers: str) -> Response:
    """One request, with an event in its body where it has one."""
    return await server.http(method, path, BODY if method == "POST" else b"", headers)


async def is_let_in(server: Running, origin: str | None) -> bool:
    """Whether a handshake from there succeeds; where it does not, the answer has to be the right one."""
    try:
        async with server.client(origin=origin) as client:
            assert await client.ask({"type": "ping"}) == {"type": "pong"}
            return True
    except InvalidStatus as error:
        refused = error.response
    assert refused.status_code == 403
    assert json.loads(refused.body or b"")["code"] == "forbidden"
    assert "access-control-allow-origin" not in refused.headers
    return False


async def total(server: Running) -> int:
    return int((await server.http("GET", "")).json()["total"])


class TestWithoutKey:
    @pytest.mark.parametrize("origin", FOREIGN)
    @pytest.mark.parametrize(("method", "path"), REQUESTS)
    async def test_requests_of_other_pages(self, server: Running, method: str, path: str, origin: str) -> None:
        """What comes from pages of other machines is 403, preflights too, and no page can read it (SEC-4, SEC-5)."""
        response = await ask(server, method, path, Origin=origin)
        assert response.status == 403
        assert not [name for name in response.headers if name.startswith("access-control")]
        assert response.headers["vary"] == "Origin"
        if method != "HEAD":
            assert response.json()["code"] == "forbidden"
            assert "--origins" in response.json()["message"]
        assert await total(server) == 0

    @pytest.mark.parametrize("origin", FOREIGN)
    async def test_handshakes_of_other_pages(self, server: Running, origin: str) -> None:
        """So are their handshakes (SEC-4, SEC-5)."""
        assert not await is_let_in(server, origin)

    @pytest.mark.parametrize("origin", [HERE, "http://127.0.0.1:3000", "https://[::1]", "http://shop.localhost"])
    async def test_pages_of_this_machine(self, server: Running, origin: str) -> None:
        """Pages of this machine are let in (SEC-4, CORS-1, CORS-2)."""
        assert await is_let_in(server, origin)
        for method, path, status in (("POST", "/events", 200), ("OPTIONS", "/events", 204), ("GET", "//nowhere", 404)):
            response = await ask(server, method, path, Origin=origin)
            assert response.status == status
            assert response.headers["access-control-allow-origin"] == origin  # CORS-3
        assert await total(server) == 1

    async def test_no_page(self, server: Running) -> None:
        """Clients that are no pages are let in (SEC-4, CONN-2)."""
        assert await is_let_in(server, None)
        assert (await ask(server, "POST", "/events")).status == 200

    @pytest.mark.parametrize("origin", [*FOREIGN, HERE])
    async def test_any_origin_by_a_star(self, origin: str) -> None:
        """Any is let in where the operator says so, ``null`` included (SEC-4)."""
        async with running(origins=("*",)) as server:
            assert await is_let_in(server, origin)
            response = await ask(server, "POST", "/events", Origin=origin)
            assert (response.status, response.headers["access-control-allow-origin"]) == (200, origin)


class TestWithKeys:
    @pytest.mark.parametrize("origin", [*FOREIGN, HERE])
    async def test_any_origin(self, locked: Running, origin: str) -> None:
        """With a key pages of any origin are let in, for public pages send (SEC-4, CORS-2)."""
        assert await is_let_in(locked, origin)
        response = await ask(locked, "POST", "/events", Origin=origin, **{"X-Tracker-Key": "s3cret"})
        assert (response.status, response.headers["access-control-allow-origin"]) == (200, origin)

    async def test_a_list(self) -> None:
        """Where origins are listed, a key does not help the others (SEC-5)."""
        async with running(api_key="s3cret", origins=(SHOP,)) as server:
            for origin in (*FOREIGN, HERE):
                assert not await is_let_in(server, origin)
                response = await ask(server, "GET", "", Origin=origin, **{"X-Tracker-Key": "s3cret"})
                assert response.status == 403
            assert await is_let_in(server, SHOP)
            assert (await ask(server, "OPTIONS", "/events", Origin=SHOP)).status == 204
            assert (await ask(server, "GET", "", Origin=SHOP)).status == 401


class TestNames:
    @pytest.mark.parametrize("host", ["evil.example", "evil.example:4242", "localhost.evil.example", "x", "[::1", ""])
    async def test_of_a_website(self, server: Running, host: str) -> None:
        """A website that has its own name lead here sends no origin with GET, and is refused by that name (SEC-4)."""
        for method, path in (("GET", ""), ("GET", "/ping"), ("POST", "/events"), ("HEAD", "//health"), ("GET", "/ws")):
            response = await ask(server, method, path, Host=host)
            assert response.status == 403
            assert "access-control-allow-origin" not in response.headers
        assert "localhost" in (await ask(server, "GET", "", Host=host)).json()["message"]
        handshake = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}
        response = await ask(server, "GET", "/ws", **handshake, **{"Sec-WebSocket-Version": "13"}, Host=host)
        assert response.status == 403
        assert await total(server) == 0

    @pytest.mark.parametrize(
        "host", ["localhost", "LOCALHOST:1", "127.0.0.1:4242", "[::1]:4242", "10.0.0.9", "a.localhost"]
    )
    async def test_of_this_machine(self, server: Running, host: str) -> None:
        """It may be called by addresses and by names of this machine (SEC-4)."""
        assert (await ask(server, "GET", "", Host=host)).status == 200

    async def test_with_an_origin_that_is_let_in(self, server: Running) -> None:
        """A page that is let in may come by any name, through a proxy say."""
        assert (await ask(server, "GET", "", Host="tracker.example", Origin=HERE)).status == 200

    async def test_with_a_key(self, locked: Running) -> None:
        """With a key the name does not matter."""
        assert (await ask(locked, "GET", "/ping", Host="tracker.example")).status == 200
        assert (await ask(locked, "GET", "", Host="tracker.example")).status == 401

    async def test_of_a_listed_origin(self) -> None:
        """Pages that are let in may be served under the server's own name, behind a proxy (SEC-4)."""
        async with running(origins=(SHOP,)) as server:
            assert (await ask(server, "GET", "", Host="shop.example")).status == 200
            assert (await ask(server, "GET", "", Host="evil.example")).status == 403

    def test_its_own(self) -> None:
        """The name that it was told to listen on is its own; a unix socket is not called by any."""
        gate = Gate(Access(), "Tracker.Example")
        for host, is_called in (("tracker.example:4242", True), ("nas.example", False)):
            assert gate.refusal(request(host=host, is_called=is_called)) is None
        assert gate.refusal(request(host="nas.example")) is not None

    async def test_of_any_network(self) -> None:
        """It does not matter from where it is reached: a container's port is published on this machine (SEC-4)."""
        async with running(host="0.0.0.0") as server:
            here = Running(elsewhere(Address("127.0.0.1", server.address.port)), server.settings)
            assert (await ask(here, "GET", "", Host="evil.example")).status == 403
            assert (await ask(here, "GET", "", Host="192.0.2.7:4242")).status == 200


def request(*, host: str = "localhost", origin: str | None = None, is_called: bool = True) -> Request:
    return Request("GET", "/_tracker", {}, {"host": host}, "1.1", Peer("127.0.0.1", origin, is_called))


class TestWhatIsSaid:
    @pytest.mark.parametrize(
        ("access", "origin", "told"),
        [
            (Access(), SHOP, f"start the server with --origins {SHOP}, or with a key"),
            (Access(), "null", "only with --origins '*'"),
            (Access.of("s3cret", origins=(SHOP,)), HERE, f"add {HERE} to --origins"),
            (
                Access(),
                "https://<script>.example",
                "of this origin start the server with --origins https://shop.example",
            ),
            (Access(), "https://" + "x" * 1000, "of this origin start the server with --origins https://shop.example"),
        ],
    )
    def test_what_to_do(self, access: Access, origin: str, told: str, caplog: pytest.LogCaptureFixture) -> None:
        """An answer says what lets the page in; the log has the same, and nothing that is long or odd (SEC-3)."""
        gate = Gate(access, "127.0.0.1")
        response = gate.refusal(request(origin=origin))
        assert response is not None
        assert isinstance(response.body, bytes)
        message = json.loads(response.body)["message"]
        assert told in message
        assert "<script>" not in message
        assert "xxxx" not in message
        assert message in caplog.text

    def test_told_once(self, caplog: pytest.LogCaptureFixture) -> None:
        """However often a page tries, it is told of once, and however many pages tried before, it is told of."""
        gate = Gate(Access(), "127.0.0.1")
        for number in range(300):
            for _ in range(3):
                assert gate.refusal(request(origin=f"https://evil-{number}.example"))
        assert len(caplog.records) == 300
        assert caplog.text.count("--origins https://evil-7.example,") == 1
        assert len(gate._told) == 100

    def test_a_name(self, caplog: pytest.LogCaptureFixture) -> None:
        """For a name it says how it may be called, and how the name is let in (SEC-4)."""
        gate = Gate(Access(), "127.0.0.1")
        for host in ("nas.example:4242", "nas example"):
            assert gate.refusal(request(host=host)) is not None
        assert "use localhost or its IP address, add http://nas.example:4242 to --origins, or set a key" in caplog.text
        assert "nas example" not in caplog.text


async def test_connection_goes_on(server: Running) -> None:
    """Refusing one request leaves its connection to the next, body and all."""
    head = b"POST /_tracker/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n" % len(BODY)
    received = await server.raw(
        head + b"Origin: https://evil.example\r\n\r\n" + BODY + head + b"Connection: close\r\n\r\n" + BODY
    )
    assert [part[:3] for part in received.split(b"HTTP/1.1 ")[1:]] == [b"403", b"200"]
    assert await total(server) == 1
