"""What the server counts is what was sent, ``/metrics`` tells it to whom it is for, and ``/ready`` tells the truth."""

import json
import os
import re
import socket
from collections.abc import AsyncGenerator, Callable, Sequence
from pathlib import Path

import attrs
import pytest
import trio
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

import wsproto_tracker.server.app
from tests.raw_websocket import masked, raw_websocket
from tests.store_support import Disk, large
from tests.support import ROOT, Running, elsewhere, event, ingest, opening, query, running
from wsproto_tracker import Address, ErrorCode, ServeError, Settings, Tracker, serve
from wsproto_tracker.protocol.events import Cause, Envelope, Event
from wsproto_tracker.server import scrape
from wsproto_tracker.server.budget import Budget
from wsproto_tracker.server.core import Core
from wsproto_tracker.server.framing import FRAME_BYTES
from wsproto_tracker.server.metrics import FRAME_TYPES, Metrics, Transport
from wsproto_tracker.server.push import Hub
from wsproto_tracker.store import MemoryStore, Receipt, engine

PING = {"type": "ping"}
HANDSHAKE = (
    b"GET /_tracker/ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\n"
)


@attrs.frozen
class Scraped:
    """What an answer of ``/metrics`` says."""

    families: dict[str, Metric]

    @classmethod
    def of(cls, text: bytes) -> "Scraped":
        found = list(text_string_to_metric_families(text.decode()))
        assert len(found) == len({family.name for family in found})
        return cls({family.name: family for family in found})

    def __call__(self, name: str, **labels: str) -> float:
        """The value of a sample; 0 where a counter has not begun."""
        family = self.families[re.sub("_(total|sum|count|bucket)$", "", name)]
        return sum(sample.value for sample in family.samples if (sample.name, sample.labels) == (name, labels))

    def labels(self, label: str) -> set[str]:
        """The values that a label has anywhere."""
        return {
            sample.labels[label]
            for name, family in self.families.items()
            for sample in family.samples
            if name.startswith("tracker_") and label in sample.labels
        }


async def scraped(server: Running, key: str = "") -> Scraped:
    answer = await server.http("GET", "//metrics", headers={"X-Tracker-Key": key} if key else None)
    assert answer.status == 200, answer
    return Scraped.of(answer.body)


async def until(server: Running, holds: Callable[[Scraped], bool]) -> Scraped:
    """Wait until what is scraped is so: the end of a connection is noticed a moment after it."""
    with trio.fail_after(20):
        while not holds(found := await scraped(server)):
            await trio.sleep(0.01)
    return found


class TestWebSocket:
    async def test_frames(self, locked: Running) -> None:
        """Every message counts once, by the type of its frame, or as refused; so does each error, by its code."""
        async with locked.client(key="s3cret") as client:
            await client.ask(ingest(event()))
            await client.ask(ingest())
            await client.ask(query())
            await client.ask(query(limit=-1))
            for message in ({"type": "subscribe"}, PING, PING, "[", "{}", b"x", {"type": "hello"}):
                await client.ask(message)
            found = await scraped(locked, "s3cret")
        counts = {name: found("tracker_frames_total", type=name) for name in FRAME_TYPES}
        assert counts == {"ingest": 2, "events:query": 1, "auth": 1, "ping": 2, "subscribe": 1, "refused": 5}
        told = {code: count for code in ErrorCode if (count := found("tracker_errors_total", code=code.value))}
        assert told == {"bad_query": 1, "bad_json": 1, "bad_frame": 1, "unsupported": 1, "unknown_type": 1}

    async def test_wrong_key(self, locked: Running) -> None:
        """A wrong key is an error like others; what follows it counts as refused."""
        async with raw_websocket(locked) as peer:
            wrong, late = b'{"type":"auth","key":"x"}', ingest(event()).encode()
            await peer.stream.send_all(masked(0x1, wrong) + masked(0x1, late))
            await peer.receive_frame()
        found = await scraped(locked, "s3cret")
        assert found("tracker_errors_total", code="unauthorized") == 1
        assert found("tracker_frames_total", type="auth") == found("tracker_frames_total", type="ingest") == 0
        assert found("tracker_frames_total", type="refused") >= 1

    async def test_events(self, server: Running) -> None:
        """Events count as saved, as duplicates, or by what was wrong with them first; each once."""
        async with server.client() as client:
            await client.ask(ingest(event(), event(id="a"), event(id="a"), event(meta=...), event(level=1, meta=1), 7))
            await client.ask(ingest(event(id="a"), event(type="error"), event(timestamp="now"), event(type="<b>")))
            found = await scraped(server)
        assert found("tracker_events_saved_total") == 2
        assert found("tracker_events_duplicate_total") == 2
        rejected = {cause: count for cause in Cause if (count := found("tracker_events_rejected_total", reason=cause))}
        assert rejected == {"meta": 1, "level": 1, "event": 1, "payload": 1, "timestamp": 1, "type": 1}
        assert found("tracker_store_events") == 2

    async def test_more_than_are_listed(self, server: Running) -> None:
        """Rejected events count though the sender is not told of each (X-REJECT-2)."""
        async with server.client() as client:
            ack = await client.ask(ingest(*[event(meta=...)] * 1200))
            assert len(ack["rejected"]) == 1000
            assert (await scraped(server))("tracker_events_rejected_total", reason="meta") == 1200

    async def test_acks_and_commits(self, server: Running) -> None:
        """There is a latency for each ack, and a time and a size for each commit."""
        async with server.client() as client:
            for _ in range(5):
                await client.ask(ingest(event(), event()))
            found = await scraped(server)
        assert found("tracker_ack_seconds_count") == found("tracker_commit_seconds_count") == 5
        assert 0 < found("tracker_commit_seconds_sum") < found("tracker_ack_seconds_sum")
        assert (found("tracker_commit_events_count"), found("tracker_commit_events_sum")) == (5, 10)
        assert found("tracker_commit_events_bucket", le="1.0") == 0
        assert found("tracker_commit_events_bucket", le="10.0") == 5

    @pytest.mark.parametrize("count", [1, 3000], ids=["short", "long"])
    async def test_answers(self, server: Running, count: int) -> None:
        """Each answer counts, with its bytes as they were sent, in one piece or in many."""
        async with server.client(compression=None) as client:
            await client.ask(ingest(*(event(payload={"noise": os.urandom(40).hex()}) for _ in range(count))))
            await client.send(query(), query())
            with trio.fail_after(20):
                sizes = [len(str(await client.websocket.recv()).encode()) for _ in range(2)]
            await client.ask(PING)
            found = await scraped(server)
        assert found("tracker_query_seconds_count") == found("tracker_answer_seconds_count") == 2
        assert 0 < found("tracker_query_seconds_sum") <= found("tracker_answer_seconds_sum")
        assert found("tracker_answer_bytes_total", coding="plain") == sum(sizes)

    async def test_deflated_answers(self, server: Running) -> None:
        """What goes out deflated counts as it goes."""
        async with server.client() as client:
            await client.ask(ingest(*[event()] * 1000))
            size = len(json.dumps(await client.events()))
            await client.ask(PING)
            found = await scraped(server)
        assert 0 < found("tracker_answer_bytes_total", coding="deflated") < size / 2
        assert found("tracker_answer_bytes_total", coding="plain") == 0

    async def test_pending(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Frames that wait for their answer are told, and no more when their connection is gone."""
        gate = trio.Event()

        class Store(MemoryStore):
            async def append(self, events: Sequence[Event], *, is_patient: bool = True) -> Receipt:
                await gate.wait()
                return await super().append(events, is_patient=is_patient)

        monkeypatch.setattr(wsproto_tracker.server.app, "open_store", opening(Store))
        async with running() as server, raw_websocket(server) as peer:
            await peer.send_frame(0x1, ingest(event()).encode())
            await until(server, lambda found: found("tracker_pending_replies") == 1)
            await peer.reset()
            gate.set()
            await until(server, lambda found: found("tracker_pending_replies") == 0)
            assert (await scraped(server))("tracker_events_saved_total") == 1

    async def test_pushes(self, server: Running) -> None:
        """Subscriptions are told as long as they last."""
        async with server.client() as client:
            await client.ask({"type": "subscribe"})
            assert (await scraped(server))("tracker_subscriptions") == 1
        await until(server, lambda found: found("tracker_subscriptions") == 0)

    async def test_slow_reader(self) -> None:
        """What waits for a reader is told, and what it misses."""
        hub = Hub(max_bytes=1000, max_subscriptions=9)
        hub.subscribe()
        sent = Event("demo", "a", False, 0, b"x" * 600)
        for _ in range(4):
            hub.publish([sent])
        found = Scraped.of(await Metrics().text(MemoryStore(), hub, Budget(1)))
        assert (found("tracker_push_waiting_bytes"), found("tracker_push_dropped_events_total")) == (600, 3)

    async def test_fault_of_ours(self, server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
        """A fault of the server counts as internal, by either way."""

        def fails(*_: object) -> None:
            raise RuntimeError("a bug")

        monkeypatch.setattr("wsproto_tracker.server.core.Core.answer", fails)
        async with raw_websocket(server) as peer:
            await peer.send_frame(0x1, query().encode())
            assert (await peer.receive_frame())[1][:2] == b"\x03\xf3"
        assert await server.raw(b"GET /_tracker HTTP/1.1\r\nHost: localhost\r\n\r\n") == b""
        await until(server, lambda found: found("tracker_errors_total", code="internal") == 2)


class TestConnections:
    async def test_counted_by_transport(self, server: Running) -> None:
        """A connection is of HTTP until it is a WebSocket; a failed handshake was one as well."""
        async with server.client() as client:
            await client.ask(PING)
            await server.http("GET", "/ping")
            found = await until(server, lambda found: found("tracker_open_connections", transport="http") == 1)
            assert found("tracker_open_connections", transport="websocket") == 1
            assert found("tracker_connections_total", transport="websocket") == 1
            assert found("tracker_connections_total", transport="http") >= 1
        assert (await server.raw(HANDSHAKE + b"Sec-WebSocket-Key: short\r\n\r\n")).startswith(b"HTTP/1.1 400 ")
        found = await until(server, lambda found: found("tracker_open_connections", transport="websocket") == 0)
        assert found("tracker_connections_total", transport="websocket") == 2
        assert found("tracker_connections_total", transport="metrics") == 0

    async def test_each_once(self, server: Running) -> None:
        """Every connection counts once, however it ends."""
        for data in (
            b"",
            b"\x16\x03\x01",
            b"GET / HTTP/1.1\r\n",
            b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n" * 3,
        ):
            await server.raw(data, then_eof=True)
        found = await until(server, lambda found: found("tracker_open_connections", transport="http") == 1)
        asked = found("tracker_http_requests_total", status="200") - 3  # each of them a scrape on its own connection
        assert found("tracker_connections_total", transport="http") - asked == 4


class TestHttp:
    async def test_requests(self, server: Running) -> None:
        """Every request counts by its status, and every error by its code."""
        body = json.dumps({"events": [event(), event(meta=1)]}).encode()
        assert (await server.http("POST", "/events", body)).status == 200
        assert (await server.http("POST", "/events", b"[")).status == 400
        assert (await server.http("GET", "?limit=x")).status == 400
        assert (await server.http("GET", "/nowhere")).status == 404
        assert (await server.http("PUT", "/events")).status == 405
        assert (await server.http("GET", "/ws")).status == 426
        assert (await server.http("OPTIONS", "/events")).status == 204
        found = await scraped(server)
        statuses = {"200": 1, "204": 1, "400": 2, "404": 1, "405": 1, "426": 1}
        assert {status: found("tracker_http_requests_total", status=status) for status in statuses} == statuses
        assert found.labels("status") == set(statuses)
        codes = {"bad_json": 1, "bad_query": 1, "not_found": 1, "method_not_allowed": 1, "upgrade_required": 1}
        assert {code: count for code in ErrorCode if (count := found("tracker_errors_total", code=code.value))} == codes
        assert (found("tracker_events_saved_total"), found("tracker_ack_seconds_count")) == (1, 1)
        assert found("tracker_events_rejected_total", reason="meta") == 1

    @pytest.mark.parametrize(("accepted", "coding"), [("identity", "plain"), ("gzip", "gzip")])
    async def test_answers(self, server: Running, accepted: str, coding: str) -> None:
        """Answers count as the bytes of their bodies; one to HEAD has none."""
        await server.http("POST", "/events", json.dumps({"events": [event()] * 2000}).encode())
        size = len((await server.http("GET", "", headers={"Accept-Encoding": accepted})).body)
        await server.http("HEAD", "", headers={"Accept-Encoding": accepted})
        found = await scraped(server)
        assert found("tracker_answer_bytes_total", coding=coding) == size
        assert (found("tracker_query_seconds_count"), found("tracker_answer_seconds_count")) == (2, 1)


class TestStore:
    async def test_gauges(self) -> None:
        """The store is told of: what it holds, and what had to go."""
        async with running(max_events=9000) as server, server.client() as client:
            for _ in range(5):
                await client.ask(ingest(*[event()] * 2000))
            found = await until(server, lambda found: found("tracker_store_blocks") > 0)
        assert (found("tracker_store_events"), found("tracker_store_evicted_events_total")) == (9000, 1000)
        assert (found("tracker_store_writable"), found("tracker_store_damages")) == (1, 0)
        assert found("tracker_uncommitted_bytes") == 0
        assert 0 < found("tracker_store_bytes") < 9000 * len(json.dumps(event()))
        assert found("tracker_store_file_bytes") == 0, "it is in memory"

    async def test_outage(self, tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
        """An outage is told, with what waits for its end and what is told to clients."""
        monkeypatch.setattr(engine, "_RETRY_S", 0.02)
        async with running(store=f"sqlite:{tmp_path / 'tracker.db'}") as server, server.client() as client:
            disk.fill()
            await client.ask(ingest(json.loads(large(1).text)))
            found = await scraped(server)
            assert (found("tracker_store_writable"), found("tracker_pending_replies")) == (0, 1)
            assert found("tracker_uncommitted_bytes") > 20_000
            assert found("tracker_errors_total", code="unavailable") == 1
            disk.free()
            assert (await client.receive())["saved"] == 1
            found = await scraped(server)
            assert (found("tracker_store_writable"), found("tracker_uncommitted_bytes")) == (1, 0)
            assert found("tracker_store_file_bytes") > 0


class TestReceiving:
    async def test_everything_is_let_go_of(self, server: Running) -> None:
        """Whatever came, in every form that there is, it counts until it is handled, and no longer (LIMIT-3)."""
        batch = {"events": [event(), {}, event(payload={"text": "x" * 200_000})]}
        async with server.client() as deflated, server.client(compression=None) as plain:
            for client in (deflated, plain):
                for message in (PING, "{", b"binary", ingest(event(), {}), query(), {"type": "subscribe"}):
                    await client.ask(message)
                await client.websocket.send(iter([ingest(event())[:50], ingest(event())[50:]]))
                await client.receive()
                await client.websocket.ping()
            for _ in range(3):
                await server.http("POST", "/events", json.dumps(batch).encode())
                await server.http("POST", "/events", b"}{")
            async with raw_websocket(server) as peer:
                await peer.stream.send_all(masked(0x1, b" " * 9_000)[:5_000])
                found = await scraped(server)
                while not found("tracker_receiving_bytes"):
                    found = await scraped(server)
                assert found("tracker_receiving_bytes") <= 5_000 + FRAME_BYTES
            with trio.fail_after(20):
                while (await scraped(server))("tracker_receiving_bytes"):
                    pass


class TestLabels:
    async def test_are_closed_sets(self, server: Running) -> None:
        """Nothing that a client sends becomes the value of a label (LIMIT-3)."""
        hostile = 'x"} 1\nforged{a="'
        async with server.client() as client:
            for message in (
                {"type": hostile},
                {"type": "auth", "key": hostile},
                ingest(event(type=hostile), event(level=hostile), {hostile: 1}, event(appId=hostile, id=hostile)),
                query(type=hostile, appId=hostile),
                {"type": "events:query", "reqId": hostile, "query": {hostile: 1}},
            ):
                await client.ask(message)
        await server.raw(b'G"} HTTP/1.1\r\nx{}: y\r\n\r\n')
        await server.http(
            "BREW", "/tea?pot=x", headers={"Accept-Encoding": 'gzip;q="x"', "Origin": "http://localhost:5173"}
        )
        found = await scraped(server)
        assert found.labels("type") == set(FRAME_TYPES)
        assert found.labels("reason") == {cause.value for cause in Cause}
        assert found.labels("code") == {code.value for code in ErrorCode}
        assert found.labels("transport") == {transport.value for transport in Transport}
        assert found.labels("coding") == {"plain", "deflated", "gzip"}
        assert found.labels("status") <= {"200", "400", "404", "405"}
        assert not any("forged" in name for name in found.families)

    def test_causes(self) -> None:
        """Every member of an event that is judged can be a cause; the others are about all of it."""
        members = {field.name for field in attrs.fields(Envelope)}
        assert {cause.value for cause in Cause} == {"event", "limit", "dropped", "failed", *members}


class TestDocumentation:
    async def test_table(self, server: Running) -> None:
        """The table of docs/metrics.md has every metric, with its type, labels and meaning, and no others."""
        page = (ROOT / "docs" / "metrics.md").read_text("utf-8")
        rows = re.findall(r"^\| `(tracker_\w+)` \| (\w+) \| (?:`(\w+)`)? ?\| (.+) \|$", page, re.M)
        documented = {name: (kind, label, meaning) for name, kind, label, meaning in rows}
        await scraped(server)  # after which a request was answered
        told: dict[str, tuple[str, str, str]] = {}
        for family in (await scraped(server)).families.values():
            if family.name.startswith("tracker_"):
                suffix = "_total" if family.type == "counter" else ""
                labels = {label for sample in family.samples for label in sample.labels} - {"le"}
                told[family.name + suffix] = (family.type, "".join(labels), family.documentation)
        assert told == documented
        assert len(rows) == len(documented) > 20

    async def test_process(self, server: Running) -> None:
        """The process and Python are told of as well."""
        found = await scraped(server)
        assert found("process_resident_memory_bytes") > 1_000_000
        assert "python_info" in found.families

    async def test_nothing_about_creation(self, server: Running) -> None:
        """There is no family that only says when another one began."""
        assert not [name for name in (await scraped(server)).families if name.endswith("_created")]


async def test_several_servers(server: Running, locked: Running) -> None:
    """Several servers in one process count each their own."""
    async with server.client() as client:
        await client.ask(ingest(event()))
        assert (await scraped(server))("tracker_events_saved_total") == 1
        assert (await scraped(locked, "s3cret"))("tracker_events_saved_total") == 0


class TestOnTheMainPort:
    async def test_open(self, server: Running) -> None:
        """Without keys everybody may ask; the answer is in Prometheus' format, and HEAD has its head."""
        answer = await server.http("GET", "//metrics")
        assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        head = await server.http("HEAD", "//metrics")
        assert (head.status, head.body) == (200, b"")
        assert (await server.http("POST", "//metrics")).status == 405

    async def test_key(self, locked: Running) -> None:
        """With keys it needs one, in the header or the parameter, which Prometheus can both send."""
        assert (await locked.http("GET", "//metrics")).json()["code"] == "unauthorized"
        assert (await locked.http("GET", "//metrics?key=wrong")).status == 401
        assert (await locked.http("GET", "//metrics?key=s3cret")).status == 200
        assert (await locked.http("GET", "//metrics", headers={"X-Tracker-Key": "s3cret"})).status == 200


class Scraping:
    """A server whose metrics have their own address."""

    def __init__(self, running: Running) -> None:
        self.main = running
        (self.address,) = running.server.metrics_addresses
        self.metrics = Running(elsewhere(self.address), Settings(base_path=""))


@pytest.fixture
async def apart() -> AsyncGenerator[Scraping, None]:
    async with running(api_key="s3cret", metrics_address=("127.0.0.1", 0), idle_timeout_s=60) as it:
        yield Scraping(it)


class TestOnItsOwnAddress:
    async def test_there_alone(self, apart: Scraping) -> None:
        """It is served there without a key, and there alone; the main port has none."""
        assert apart.address.port not in (0, apart.main.address.port)
        found = Scraped.of((await apart.metrics.http("GET", "/metrics")).body)
        assert found("tracker_open_connections", transport="metrics") == 1
        assert found("tracker_open_connections", transport="http") == 0
        for headers in ({}, {"X-Tracker-Key": "s3cret"}):
            refused = await apart.main.http("GET", "//metrics", headers=headers)
            assert (refused.status, refused.json()["code"]) == (404, "not_found")
            assert "/metrics" not in refused.json()["message"]

    async def test_nothing_else(self, apart: Scraping) -> None:
        """Nothing else is there, and nothing is taken."""
        for path in ("/", "/_tracker", "/health", "/ready", "/metrics/"):
            assert (await apart.metrics.http("GET", path)).status == 404
        refused = await apart.metrics.http("POST", "/metrics", b"x" * 100)
        assert (refused.status, refused.headers["allow"]) == (405, "GET, HEAD")
        assert (await apart.metrics.raw(b"\x16\x03\x01\x00\r\n")).startswith(b"HTTP/1.1 400 ")
        assert (await apart.metrics.raw(HANDSHAKE + b"\r\n", then_eof=True)).startswith(b"HTTP/1.1 404 ")

    async def test_keep_alive(self, apart: Scraping) -> None:
        """One connection serves one scrape after the other, and each counts the one before."""
        async with await apart.metrics.connect() as stream:
            for before in range(3):
                await stream.send_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
                received = b""
                with trio.fail_after(20):
                    while b"python_info{" not in received:
                        received += await stream.receive_some()
                counted = re.findall(rb'^tracker_http_requests_total{status="200"} ([0-9]+)', received, re.M)
                assert sum(map(int, counted)) == before

    async def test_few_connections(self, apart: Scraping, monkeypatch: pytest.MonkeyPatch) -> None:
        """Beyond a few connections there is no other, until one ends."""
        monkeypatch.setattr(scrape, "_MAX_CONNECTIONS", 2)
        first, second = await apart.metrics.connect(), await apart.metrics.connect()
        for stream in (first, second):
            await stream.send_all(b"GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 404 ")
        assert await apart.metrics.raw(b"") == b""
        await first.aclose()
        with trio.fail_after(20):
            while not (await apart.metrics.raw(b"GET /x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")):
                await trio.sleep(0.01)
        await second.aclose()

    async def test_stop(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """With the server its idle connections end, a scrape in hand is finished, and its port is free."""
        begun, gate = trio.Event(), trio.Event()
        metrics_text = Core.metrics_text

        async def slow(core: Core) -> bytes:
            begun.set()
            await gate.wait()
            return await metrics_text(core)

        monkeypatch.setattr(Core, "metrics_text", slow)
        settings = Settings(port=0, store="memory:", metrics_address=("127.0.0.1", 0))
        async with trio.open_nursery() as nursery:
            server: Tracker = await nursery.start(serve, settings)
            (address,) = server.metrics_addresses
            idle, busy = [await trio.open_tcp_stream(address.host, address.port) for _ in range(2)]
            async with idle, busy:
                await busy.send_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
                await begun.wait()
                server.stop()
                with trio.fail_after(20):
                    assert await idle.receive_some() == b""
                    gate.set()
                    received = b"".join([data async for data in busy])
        assert received.startswith(b"HTTP/1.1 200 ")
        assert b"Connection: close" in received
        with socket.create_server((address.host, address.port)):
            pass

    async def test_cannot_listen(self, apart: Scraping) -> None:
        """Where it cannot listen, the server does not start, and the option is named; nothing stays open."""
        for address, why in (
            (("127.0.0.1", apart.address.port), r"127\.0\.0\.1 port [0-9]+ is in use"),
            (("nowhere.invalid", 0), r"nowhere\.invalid is no address, and no name that can be found"),
            (("192.0.2.1", 0), r"192\.0\.2\.1 is no address of this machine"),
        ):
            with pytest.raises(ServeError, match=f"^--metrics-address: {why}"):
                await serve(Settings(port=0, store="memory:", metrics_address=address))

    async def test_address(self, apart: Scraping) -> None:
        """The server tells where it is."""
        assert apart.address == Address("127.0.0.1", apart.address.port)


class TestReady:
    async def test_ready(self, locked: Running) -> None:
        """A server that can save is ready, and says so to everybody; it is alive as well."""
        for path in ("//ready", "//health"):
            assert (await locked.http("GET", path)).status == 200
        assert (await locked.http("GET", "//ready")).json() == {"ready": True}
        assert (await locked.http("HEAD", "//ready")).body == b""

    async def test_failing_disk(self, tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
        """While nothing can be saved it is alive but not ready; when the disk is back, it is by itself."""
        monkeypatch.setattr(engine, "_RETRY_S", 0.02)
        path = tmp_path / "tracker.db"
        async with running(store=f"sqlite:{path}") as server:
            disk.fill()
            body = json.dumps({"events": [json.loads(large(1).text)]}).encode()
            assert (await server.http("POST", "/events", body)).status == 503
            refused = await server.http("GET", "//ready")
            assert (refused.status, refused.json()) == (
                503,
                {"ready": False, "reasons": ["nothing can be saved for now"]},
            )
            assert int(refused.headers["retry-after"]) > 0
            assert str(path).encode() not in refused.body
            assert (await server.http("GET", "//health")).status == 200
            disk.free()
            with trio.fail_after(20):
                while (await server.http("GET", "//ready")).status != 200:
                    await trio.sleep(0.01)
            assert (await server.http("POST", "/events", body)).status == 200

    async def test_draining(self, server: Running) -> None:
        """While the server shuts down it is not ready, which who has begun to ask still hears."""
        async with await server.connect() as stream:
            await stream.send_all(
                b"GET /ready HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n"
            )
            with trio.fail_after(20):
                assert (await stream.receive_some()).startswith(b"HTTP/1.1 100 ")
                server.server.stop()
                with pytest.raises(OSError, match="all attempts to connect"):
                    while True:  # until it has begun to stop
                        await (await server.connect()).aclose()
                await stream.send_all(b"x")
                received = b"".join([data async for data in stream])
        assert received.startswith(b"HTTP/1.1 503 ")
        assert json.loads(received.partition(b"\r\n\r\n")[2])["reasons"] == ["the server is shutting down"]
