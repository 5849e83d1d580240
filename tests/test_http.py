"""The HTTP shim and the front, over real sockets: as the plugin's HTTP mode uses them, and as nobody should."""

import gzip
import json
import ssl

import pytest
import trio

from tests.support import Running, event, parse_response, running
from wsproto_tracker.access import Key, Scope

ORIGIN = {"Origin": "http://localhost:5173"}
KEY = {"X-Tracker-Key": "s3cret"}
KEYS = (
    Key(key="s3cret", name="everything"),
    Key(key="p4ge", name="page", scopes=frozenset([Scope.INGEST]), apps=frozenset(["shop"])),
    Key(key="0ffice", name="office", scopes=frozenset([Scope.QUERY]), apps=frozenset(["blog"])),
    Key(key="0ther", name="elsewhere", origins=("https://other.example",)),
)


def body(*events: object, **members: object) -> bytes:
    """The body of an ingest."""
    return json.dumps({"type": "ingest", "events": events} | members).encode()


class TestIngest:
    @pytest.mark.parametrize("path", ["/events", "/ingest", "/events/"])
    @pytest.mark.parametrize("content_type", ["application/json", "text/plain;charset=UTF-8", "Application/JSON", None])
    async def test_saves(self, server: Running, path: str, content_type: str | None) -> None:
        """A batch is saved at both paths, from fetch and beacons, and acked (HTTP-1 to HTTP-3, HTTP-16)."""
        headers = {"Content-Type": content_type} if content_type else {}
        response = await server.http("POST", path, body(event(), event()), headers)
        assert (response.status, response.json()) == (200, {"type": "ack", "saved": 2})
        assert response.headers["content-type"] == "application/json"
        assert (await server.http("GET", "")).json()["total"] == 2

    @pytest.mark.parametrize("members", [{}, {"type": ...}, {"type": "other"}, {"extra": [1]}])
    async def test_type_does_not_matter(self, server: Running, members: dict[str, object]) -> None:
        """1.x sends no type; what it is does not matter (HTTP-1)."""
        whole = {"type": "ingest", "events": [event()]} | members
        data = json.dumps({name: value for name, value in whole.items() if value is not ...}).encode()
        assert (await server.http("POST", "/events", data)).json()["saved"] == 1

    async def test_rejected_events(self, server: Running) -> None:
        """A batch without one valid event is answered 200, or it would be sent again for ever (HTTP-4, X-REJECT-1)."""
        response = await server.http("POST", "/events", body(event(meta=None), 5))
        assert response.status == 200
        assert response.json()["saved"] == 0
        assert [rejection["index"] for rejection in response.json()["rejected"]] == [0, 1]

    @pytest.mark.parametrize(
        ("data", "code"),
        [
            (b"", "bad_json"),
            (b"{", "bad_json"),
            (b"\xff{}", "bad_json"),
            (b"[" * 100_000, "bad_json"),
            (b"[]", "bad_frame"),
            (b"{}", "bad_frame"),
            (b'{"type":"ingest","events":{}}', "bad_frame"),
            (b'{"events":null}', "bad_frame"),
        ],
    )
    async def test_no_batch(self, server: Running, data: bytes, code: str) -> None:
        """A body that is no batch is answered 400 and saves nothing (HTTP-5)."""
        response = await server.http("POST", "/events", data, ORIGIN)
        assert (response.status, response.json()["code"]) == (400, code)
        assert response.headers["access-control-allow-origin"] == ORIGIN["Origin"]  # CORS-3
        assert (await server.http("GET", "")).json()["total"] == 0

    @pytest.mark.parametrize(
        ("headers", "named"),
        [
            ({"Content-Type": "application/x-www-form-urlencoded"}, "content type"),
            ({"Content-Type": "application/jsonp"}, "content type"),
            ({"Content-Encoding": "gzip"}, "content coding"),
        ],
    )
    async def test_unsupported(self, server: Running, headers: dict[str, str], named: str) -> None:
        """A type or a coding that cannot be read is 415, and says what can be (HTTP-13)."""
        response = await server.http("POST", "/events", body(event()), headers)
        assert response.status == 415
        assert response.json()["message"].startswith(f"{named}: expected")

    async def test_lone_surrogate(self, server: Running) -> None:
        """Bodies bear lone surrogates as frames do (FRAME-8)."""
        assert (await server.http("POST", "/events", body(event(userId="\ud83d")))).json()["saved"] == 1

    async def test_chunked(self, server: Running) -> None:
        """A body may come in chunks, of unknown length."""
        data = body(event())
        chunks = b"".join(b"%x\r\n%s\r\n" % (len(data[i : i + 50]), data[i : i + 50]) for i in range(0, len(data), 50))
        head = b"POST /_tracker/events HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        head += b"Transfer-Encoding: chunked\r\n\r\n"
        response = parse_response(await server.raw(head + chunks + b"0\r\n\r\n"), "POST")
        assert response.json() == {"type": "ack", "saved": 1}

    @pytest.mark.parametrize("framing", ["Content-Length: 5000", "Transfer-Encoding: chunked"])
    async def test_body_over_the_limit(self, framing: str) -> None:
        """A body over the limit is 413, with the limit, and the client can read that (HTTP-13, LIMIT-2)."""
        async with running(max_frame_bytes=4096) as server:
            head = f"POST /_tracker/events HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{framing}\r\n\r\n"
            data = b"1388\r\n" + b" " * 5000 if "chunked" in framing else b" " * 5000
            response = parse_response(await server.raw(head.encode() + data), "POST")
            assert (response.status, response.json()["code"]) == (413, "too_large")
            assert "4096" in response.json()["message"]
            exact = body(event())
            assert (await server.http("POST", "/events", exact.ljust(4096))).status == 200

    async def test_client_that_sends_before_it_reads(self) -> None:
        """A client that sends all of a refused body before it reads finds the answer there (HTTP-13)."""
        async with running(max_frame_bytes=4096) as server:
            stream = await server.connect()
            async with stream:
                size = 20_000_000
                head = b"POST /_tracker/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % size
                await stream.send_all(head + b" " * size)
                received = b""
                async for chunk in stream:
                    received += chunk
            assert parse_response(received, "POST").status == 413

    async def test_announced_body_over_the_limit(self) -> None:
        """A body that says it is too large is refused before it is read (HTTP-13, HTTP-15)."""
        async with running(max_frame_bytes=4096) as server:
            head = b"POST /_tracker/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000\r\n"
            received = await server.raw(head + b"Expect: 100-continue\r\n\r\n")
            assert received.startswith(b"HTTP/1.1 413 ")

    async def test_large_body(self, server: Running) -> None:
        """A body of nearly 16 MiB is accepted (LIMIT-1, LIMIT-2)."""
        data = body(*[event(payload={"text": "x" * 4000})] * 3700)
        assert 15_000_000 < len(data) < 16 * 1024 * 1024
        assert (await server.http("POST", "/events", data)).json()["saved"] == 3700

    async def test_expect_continue(self, server: Running) -> None:
        """A client that waits for 100 gets it, and then its answer (HTTP-15)."""
        data = body(event())
        stream = await server.connect()
        async with stream:
            await stream.send_all(
                b"POST /_tracker/events HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nExpect: 100-continue\r\n"
                b"Content-Length: %d\r\n\r\n" % len(data)
            )
            received = b""
            while not received.endswith(b"\r\n\r\n"):
                received += await stream.receive_some()
            assert received.startswith(b"HTTP/1.1 100 ")
            await stream.send_all(data)
            async for chunk in stream:
                received += chunk
            assert parse_response(received, "POST").json()["saved"] == 1

    async def test_expect_refused(self, locked: Running) -> None:
        """Without the key the final answer comes in place of the 100 (HTTP-6, HTTP-15)."""
        received = await locked.raw(
            b"POST /_tracker/events HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n"
        )
        assert received.startswith(b"HTTP/1.1 401 ")

    async def test_short_body(self, server: Running) -> None:
        """Of a body that ends before its length nothing is saved, and it is said so (HTTP-12)."""
        data = body(event())
        head = b"POST /_tracker/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % (len(data) + 1)
        response = parse_response(await server.raw(head + data, then_eof=True), "POST")
        assert (response.status, response.json()["code"]) == (400, "bad_request")
        assert (await server.http("GET", "")).json()["total"] == 0

    async def test_body_that_stops(self) -> None:
        """A body that stops coming is 408 in the end, and nothing of it is saved (HTTP-12)."""
        async with running(receive_timeout_s=0.2) as server:
            data = body(event())
            head = b"POST /_tracker/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(data)
            response = parse_response(await server.raw(head + data[:-1]), "POST")
            assert (response.status, response.json()["code"]) == (408, "timeout")
            assert (await server.http("GET", "")).json()["total"] == 0


class TestKeys:
    @pytest.mark.parametrize(
        ("method", "path"), [("POST", "/events"), ("POST", "/ingest"), ("GET", ""), ("GET", "/events")]
    )
    async def test_key(self, locked: Running, method: str, path: str) -> None:
        """Ingest and read want the key, in header or URL; the page can read the 401 (HTTP-6, HTTP-8, HTTP-9)."""
        data = body(event()) if method == "POST" else b""
        for headers, suffix in (({}, ""), ({"X-Tracker-Key": "guess"}, ""), ({}, "?key=guess"), ({}, "?key=")):
            response = await locked.http(method, path + suffix, data, headers | ORIGIN)
            assert (response.status, response.json()["code"]) == (401, "unauthorized")
            assert response.headers["access-control-allow-origin"] == ORIGIN["Origin"]
        for headers, suffix in ((KEY, ""), ({"x-tracker-key": "s3cret"}, ""), ({}, "?key=s3cret")):
            assert (await locked.http(method, path + suffix, data, headers)).status == 200

    @pytest.mark.parametrize(
        ("key", "method", "path", "said"),
        [
            ("p4ge", "GET", "", "the key is not for asking for events"),
            ("p4ge", "GET", "/events?limit=x", "the key is not for asking for events"),
            ("0ffice", "POST", "/events", "the key is not for sending events"),
            ("0ffice", "POST", "/ingest", "the key is not for sending events"),
            ("0ther", "POST", "/events", "the key is not for pages of this origin"),
            ("0ther", "GET", "", "the key is not for pages of this origin"),
        ],
    )
    async def test_forbidden(self, key: str, method: str, path: str, said: str) -> None:
        """A key that is right but does not allow the request is told so with 403, and the page can read it.

        HTTP-7, CORS-3, X-SCOPE-1, X-SCOPE-2, X-SCOPE-6.
        """
        async with running(keys=KEYS) as server:
            response = await server.http(
                method, path, body(event()) if method == "POST" else b"", {"X-Tracker-Key": key} | ORIGIN
            )
            assert (response.status, response.json()["code"], response.json()["message"]) == (403, "forbidden", said)
            assert response.headers["access-control-allow-origin"] == ORIGIN["Origin"]
            assert (await server.http("GET", "", headers={"X-Tracker-Key": "0ffice"})).json()["total"] == 0

    async def test_forbidden_before_the_body(self) -> None:
        """A batch that the key does not allow is refused before its body is sent (HTTP-7, HTTP-15)."""
        async with running(keys=KEYS) as server:
            received = await server.raw(
                b"POST /_tracker/events HTTP/1.1\r\nHost: localhost\r\nX-Tracker-Key: 0ffice\r\n"
                b"Expect: 100-continue\r\nContent-Length: 9\r\n\r\n"
            )
            assert received.startswith(b"HTTP/1.1 403 ")

    async def test_apps(self) -> None:
        """Over HTTP too a key is for its apps: others' events are rejected by index, and not seen.

        X-SCOPE-4, X-SCOPE-5, HTTP-4.
        """
        async with running(keys=KEYS) as server:
            times = [f"2026-11-23T10:00:0{second}.000Z" for second in range(3)]
            apps = ["shop", "blog", "shop"]
            batch = body(*(event(appId=app, timestamp=time) for app, time in zip(apps, times, strict=True)))
            accepted = await server.http("POST", "/events?key=p4ge", batch)
            reason = "events[1].appId: the key is not for this app; it is for shop"
            assert (accepted.status, accepted.json()) == (
                200,
                {"type": "ack", "saved": 2, "rejected": [{"index": 1, "reason": reason}]},
            )
            await server.http("POST", "/events?key=s3cret", body(event(appId="blog", timestamp=times[1])))
            rest = await server.http("GET", "?key=0ffice")
            assert [entry["timestamp"] for entry in rest.json()["events"]] == [times[1]]
            assert {name: rest.json()[name] for name in ("total", "limit", "nextCursor")} == {
                "total": 1,
                "limit": 1,
                "nextCursor": times[1],
            }
            assert (await server.http("GET", "?key=0ffice&appId=shop")).json()["total"] == 0
            assert (await server.http("GET", "?key=s3cret")).json()["total"] == 3

    async def test_refused_batch_is_not_saved(self, locked: Running) -> None:
        """Nothing of a batch without the key is saved (HTTP-6)."""
        await locked.http("POST", "/events", body(event()))
        assert (await locked.http("GET", "", headers=KEY)).json()["total"] == 0

    async def test_no_key_configured(self, server: Running) -> None:
        """Where no key is configured, any is as good as none (HTTP-6)."""
        assert (await server.http("GET", "?key=x", headers=KEY)).status == 200


class TestGzip:
    @pytest.mark.parametrize("accepted", ["gzip", "deflate, gzip;q=0.5, br", "*", "GZIP;q=1.0, identity"])
    async def test_accepted(self, server: Running, accepted: str) -> None:
        """An answer is gzipped for who takes that, in pieces of the store or small, empty or not (HTTP-18)."""
        for count in (0, 1, 9000):
            if count:
                await server.http("POST", "/events", body(*(event() for _ in range(count))))
            answer = await server.http("GET", "", headers={"Accept-Encoding": accepted})
            assert answer.headers["content-encoding"] == "gzip"
            assert answer.headers["vary"] == "Origin, Accept-Encoding"
            assert gzip.decompress(answer.body) == (await server.http("GET", "")).body
        assert len(answer.body) < len((await server.http("GET", "")).body) / 5

    @pytest.mark.parametrize("accepted", ["", "br", "gzip;q=0", "identity", "gzip;q=x", "*;q=0"])
    async def test_not_accepted(self, server: Running, accepted: str) -> None:
        """Who does not take gzip, gets none (HTTP-18)."""
        answer = await server.http("GET", "", headers={"Accept-Encoding": accepted})
        assert "content-encoding" not in answer.headers
        assert answer.json()["events"] == []


class TestRead:
    async def test_window(self, server: Running) -> None:
        """The read endpoint answers windows by the rules of queries (HTTP-10, QUERY-2, QUERY-3, QUERY-8)."""
        times = [f"2026-11-23T10:00:0{second}.000Z" for second in range(4)]
        await server.http("POST", "/events", body(*(event(timestamp=time) for time in times)))
        for path in ("", "/", "/events"):
            answer = (await server.http("GET", f"{path}?since={times[1]}&until={times[2]}")).json()
            assert [entry["timestamp"] for entry in answer["events"]] == [times[2], times[1]]
            assert answer["total"] == 2
        backwards = await server.http("GET", f"?since={times[2]}&until={times[1]}")
        assert (backwards.status, backwards.json()["events"], backwards.json()["total"]) == (200, [], 0)

    async def test_filters(self, server: Running) -> None:
        """The members of queries are parameters, unknown ones do nothing (X-READ-1, FRAME-2)."""
        await server.http("POST", "/events", body(*(event(userId=f"u {n}", payload={"t": "ü"}) for n in range(5))))
        answer = (await server.http("GET", "?limit=2&page=2&search=%C3%BC&type=click&_=123")).json()
        assert [entry["userId"] for entry in answer["events"]] == ["u 2", "u 1"]
        rest = {name: value for name, value in answer.items() if name != "events"}
        assert rest == {"total": 5, "page": 2, "limit": 2, "nextCursor": "2026-11-23T21:05:13.536Z"}
        assert (await server.http("GET", "?userId=u+3")).json()["total"] == 1

    @pytest.mark.parametrize(
        ("parameters", "named"),
        [
            ("since=yesterday", ["since"]),
            ("until=2026-11-23", ["until"]),
            ("limit=-1&page=0", ["limit", "page"]),
            ("limit=ten", ["limit"]),
            ("limit=", ["limit"]),
            ("limit=true&level=fatal&after=", ["limit", "level", "after"]),
            ("since=2026-11-23T10:00:00+01:00", ["since", "%2B"]),
        ],
    )
    async def test_wrong_parameters(self, server: Running, parameters: str, named: list[str]) -> None:
        """A parameter that cannot be read is 400, and every wrong one is named (HTTP-11, FILTER-8)."""
        response = await server.http("GET", f"?{parameters}", headers=ORIGIN)
        assert (response.status, response.json()["code"]) == (400, "bad_query")
        assert all(name in response.json()["message"] for name in named)

    async def test_many_events(self, server: Running) -> None:
        """A large answer comes in pieces and is whole (QUERY-7), to an HTTP/1.0 client as well."""
        for _ in range(4):
            await server.http("POST", "/events", body(*[event()] * 1000))
        assert len((await server.http("GET", "")).json()["events"]) == 4000
        received = await server.raw(b"GET /_tracker HTTP/1.0\r\n\r\n")
        assert len(json.loads(received.partition(b"\r\n\r\n")[2])["events"]) == 4000

    async def test_poison_is_not_in_answers(self, server: Running) -> None:
        """Messages name members, not values: markup that was sent is in no answer (SEC-3, EVENT-3, EVENT-4)."""
        script = "<img src=x onerror=alert(1)>"
        response = await server.http(
            "POST", "/events", body(event(type=script), event(level=script), event(meta=script), script)
        )
        assert response.json()["saved"] == 0
        assert b"<img" not in response.body
        assert b"<img" not in (await server.http("GET", f"?level={script.replace(' ', '%20')}")).body


class TestPing:
    @pytest.mark.parametrize("path", ["/ping", "//health"])
    async def test_ping(self, locked: Running, path: str) -> None:
        """Ping answers, with the key, a wrong one or none (PING-1, PING-2)."""
        for headers in ({}, KEY, {"X-Tracker-Key": "guess"}):
            response = await locked.http("GET", path, headers=headers)
            assert response.status == 200
            assert response.json()["ok"] is True


class TestCors:
    @pytest.mark.parametrize(
        ("path", "method"),
        [
            ("/events", "POST"),
            ("/ingest", "POST"),
            ("", "GET"),
            ("/events", "GET"),
            ("/ping", "GET"),
            ("//health", "GET"),
        ],
    )
    async def test_preflight(self, locked: Running, path: str, method: str) -> None:
        """A preflight needs no key, and lets the beacon of a hidden tab through (CORS-1, CORS-2, CORS-4)."""
        asked = ORIGIN | {
            "Access-Control-Request-Method": method,
            "Access-Control-Request-Headers": "content-type,x-tracker-key",
        }
        response = await locked.http("OPTIONS", path, headers=asked)
        assert response.status == 204
        assert method in response.headers["access-control-allow-methods"].split(", ")
        allowed = response.headers["access-control-allow-headers"].lower().split(", ")
        assert {"content-type", "x-tracker-key"} <= set(allowed)
        assert response.headers["access-control-allow-origin"] == ORIGIN["Origin"]
        assert response.headers["access-control-allow-credentials"] == "true"
        assert "Origin" in response.headers["vary"]

    async def test_answers(self, server: Running) -> None:
        """Every answer to a page names its origin, errors included; without an Origin there is nothing to name.

        CORS-2, CORS-3, CORS-4.
        """
        for method, path in (
            ("GET", ""),
            ("GET", "/ping"),
            ("POST", "/events"),
            ("GET", "//nowhere"),
            ("PUT", "/events"),
        ):
            response = await server.http(method, path, headers=ORIGIN)
            assert response.headers["access-control-allow-origin"] == ORIGIN["Origin"]
            assert response.headers["access-control-allow-credentials"] == "true"
            assert response.headers["vary"] == "Origin, Accept-Encoding"
        plain = await server.http("GET", "/ping")
        assert "access-control-allow-origin" not in plain.headers
        assert plain.headers["vary"] == "Origin, Accept-Encoding"

    @pytest.mark.parametrize("origin", [b"http://\xe9", b"http://a\r\nOrigin: http://b", b"http://a\r\nOrigin:", b""])
    async def test_origin_that_is_none(self, locked: Running, origin: bytes) -> None:
        """A request with an ``Origin`` that no browser sends is answered as one without (CONN-7)."""
        head = b"GET /_tracker/ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\nOrigin: %b\r\n\r\n" % origin
        response = parse_response(await locked.raw(head))
        assert response.status == 200
        assert "access-control-allow-origin" not in response.headers


class TestFront:
    async def test_unknown_path(self, server: Running) -> None:
        """An unknown path is 404, and the answer says what there is (HTTP-13, HTTP-14)."""
        response = await server.http("GET", "//api/events")
        assert (response.status, response.json()["type"], response.json()["code"]) == (404, "error", "not_found")
        assert "/_tracker/events" in response.json()["message"]

    @pytest.mark.parametrize(
        ("method", "path", "allowed"),
        [
            ("DELETE", "/events", "GET, POST, HEAD, OPTIONS"),
            ("POST", "", "GET, HEAD, OPTIONS"),
            ("GET", "/ingest", "POST, OPTIONS"),
        ],
    )
    async def test_wrong_method(self, server: Running, method: str, path: str, allowed: str) -> None:
        """A wrong method is 405 with what is allowed (HTTP-13)."""
        response = await server.http(method, path, headers=ORIGIN)
        assert (response.status, response.json()["code"]) == (405, "method_not_allowed")
        assert response.headers["allow"] == allowed

    async def test_head(self, server: Running) -> None:
        """HEAD is answered like GET, without a body (X-HEAD-1)."""
        await server.http("POST", "/events", body(event()))
        for path in ("", "/ping", "//health", "/ws", "//nowhere"):
            by_get, by_head = await server.http("GET", path), await server.http("HEAD", path)
            assert by_head.status == by_get.status
            assert by_head.body == b""
            assert set(by_head.headers) == set(by_get.headers)

    async def test_keep_alive(self, server: Running) -> None:
        """One connection serves requests one after the other, also when they come at once, 404 and 401 included."""
        data = body(event())
        post = b"POST /_tracker/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s" % (len(data), data)
        get = b"GET /_tracker/ping HTTP/1.1\r\nHost: localhost\r\n\r\n"
        lost = b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n"
        last = b"GET /_tracker?limit=0 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        received = await server.raw(post + get + lost + post + last)
        statuses = [part[:3] for part in received.split(b"HTTP/1.1 ")[1:]]
        assert statuses == [b"200", b"200", b"404", b"200", b"200"]
        assert b'"total":2' in received

    @pytest.mark.parametrize("method", ["GET", "HEAD"])
    async def test_rubbish_on_a_used_connection(self, server: Running, method: str) -> None:
        """Rubbish behind a request gets its answer, and takes nobody along (CONN-7)."""
        request = f"{method} /_tracker/ping HTTP/1.1\r\nHost: localhost\r\n\r\nrubbish\r\n\r\n"
        received = await server.raw(request.encode())
        assert received.startswith(b"HTTP/1.1 200 ")
        assert b"HTTP/1.1 400 " in received
        assert received.endswith(b'"this is no HTTP/1.1 request"}')
        assert (await server.http("GET", "/ping")).status == 200

    @pytest.mark.parametrize(
        ("target", "status"),
        [("//elsewhere/_tracker/ping", 404), ("http://elsewhere/_tracker/ping", 200), ("/_tracker/ping?a=?b", 200)],
    )
    async def test_targets(self, server: Running, target: str, status: int) -> None:
        """The absolute form, as proxies get it, is read as well; two slashes are no host."""
        received = await server.raw(f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        assert parse_response(received).status == status

    @pytest.mark.parametrize(
        "request_",
        [
            b"GET /_tracker HTTP/1.1\r\nHost: localhost\r\nX-Tracker-Key : gu3ss\r\n\r\n",
            b"GET /_tracker HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nX-Tracker-Key: gu3ss\x01\r\n\r\n",
            b"GET /_tracker?key=gu3ss foo HTTP/1.1\r\nHost: localhost\r\n\r\n",
            b"GET http://gu3ss\xe2\x84\x80/?key=gu3ss HTTP/1.1\r\nHost: localhost\r\n\r\n",
            b"GET /gu3ss HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        ],
    )
    async def test_nothing_is_quoted(self, locked: Running, request_: bytes, caplog: pytest.LogCaptureFixture) -> None:
        """A malformed request is not quoted, neither to the client nor in the log: it may hold a key (SEC-1, SEC-3)."""
        received = await locked.raw(request_)
        assert received.startswith(b"HTTP/1.1 40")
        assert b"gu3ss" not in received
        assert "gu3ss" not in caplog.text

    async def test_slow_reader(self) -> None:
        """A client that reads a large answer slowly, but without a pause, gets all of it."""
        async with running(send_timeout_s=1.0, max_event_bytes=16_000_000) as server:
            await server.http("POST", "/events", body(event(payload={"text": "x" * 12_000_000})))
            stream = await server.connect()
            received = 0
            async with stream:
                await stream.send_all(b"GET /_tracker HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                with trio.fail_after(60):
                    while data := await stream.receive_some(65536):
                        received += len(data)
                        await trio.sleep(0.01)
            assert received > 12_000_000

    async def test_handshake_on_a_used_connection(self, server: Running) -> None:
        """A connection that served HTTP may still become a WebSocket."""
        received = await self._first_bytes(
            server,
            b"GET /_tracker/ping HTTP/1.1\r\nHost: localhost\r\n\r\n"
            b"GET /_tracker/ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
            until=b"Sec-WebSocket-Accept",
        )
        assert received.startswith(b"HTTP/1.1 200 ")
        assert b"HTTP/1.1 101 " in received

    async def _first_bytes(self, server: Running, data: bytes, until: bytes) -> bytes:
        stream = await server.connect()
        async with stream:
            await stream.send_all(data)
            received = b""
            with trio.fail_after(20):
                while until not in received:
                    received += await stream.receive_some()
            return received

    @pytest.mark.parametrize(
        ("data", "status", "code"),
        [
            (b"hello\r\n\r\n", 400, "bad_request"),
            (b"GET /\r\n\r\n", 400, "bad_request"),
            (b"\x00\x01\x02\x03\r\n\r\n", 400, "bad_request"),
            (b"GET http://[ HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, "bad_request"),
            (b"GET /_tracker HTTP/1.1\r\n\r\n", 400, "bad_request"),
            (b"GET /_tracker?" + b"a=1&" * 200 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, "bad_request"),
            (b"POST /_tracker/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n", 400, "bad_request"),
            (b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Long: " + b"a" * 200_000, 431, "head_too_large"),
            (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "bad_request"),
            (
                b"GET /_tracker/ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nOrigin: \x04\r\n"
                b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
                400,
                "bad_request",
            ),
        ],
    )
    async def test_malformed_requests(self, server: Running, data: bytes, status: int, code: str) -> None:
        """What is no request is told so, and others are served (HTTP-14, CONN-7)."""
        response = parse_response(await server.raw(data))
        assert (response.status, response.json()["code"]) == (status, code)
        assert (await server.http("GET", "/ping")).status == 200

    async def test_tls(self, server: Running, caplog: pytest.LogCaptureFixture) -> None:
        """A TLS client on the plain port fails at once, and the log says why (HTTP-14)."""
        stream = await server.connect()
        secured = trio.SSLStream(stream, ssl.create_default_context(), server_hostname="localhost")
        with trio.fail_after(20), pytest.raises(trio.BrokenResourceError):
            await secured.do_handshake()
        assert "does not speak TLS: use ws:// or http://" in caplog.text
        await trio.aclose_forcefully(stream)

    async def test_head_that_never_ends(self) -> None:
        """A request head that stops coming is 408 in the end; a connection without any just ends."""
        async with running(head_timeout_s=0.2, idle_timeout_s=0.2) as server:
            response = parse_response(await server.raw(b"GET /_tracker HTTP/1.1\r\nHost: localhost\r\n"))
            assert (response.status, response.json()["code"]) == (408, "timeout")
            assert await server.raw(b"") == b""
            assert (await server.http("GET", "/ping")).status == 200

    async def test_client_that_leaves(self, server: Running) -> None:
        """A client that leaves in the middle of head, body or answer takes nobody along (CONN-7)."""
        await server.http("POST", "/events", body(*[event()] * 5000))
        for data in (
            b"GET /_tr",
            b"POST /_tracker/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50\r\n\r\n{",
            b"",
            None,
        ):
            stream = await server.connect()
            await stream.send_all(b"GET /_tracker HTTP/1.1\r\nHost: localhost\r\n\r\n" if data is None else data)
            await trio.aclose_forcefully(stream)
        assert (await server.http("GET", "?limit=0")).json()["total"] == 5000

    async def test_reader_that_does_not_read(self) -> None:
        """A client that takes nothing of a large answer is cut off in time."""
        async with running(send_timeout_s=0.2) as server:
            await server.http("POST", "/events", body(*[event(payload={"text": "x" * 2000})] * 5000))
            stream = await server.connect()
            async with stream:
                await stream.send_all(b"GET /_tracker HTTP/1.1\r\nHost: localhost\r\n\r\n")
                await trio.sleep(0.6)
                received = 0
                with trio.fail_after(20):
                    try:
                        while data := await stream.receive_some(1_000_000):
                            received += len(data)
                    except trio.BrokenResourceError:
                        pass
                assert received < 10_000_000, "the answer was cut"

    async def test_fault_of_ours(
        self, server: Running, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A fault of the server ends the connection concerned, is logged, and leaves the others (CONN-7)."""
        monkeypatch.setattr("wsproto_tracker.server.shim.read_body", lambda *_, **__: 1 / 0)
        request = b"POST /_tracker/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"
        assert await server.raw(request) == b""
        assert "ZeroDivisionError" in caplog.text
        assert (await server.http("GET", "/ping")).status == 200
