"""A server whose disk fails, and is mended: nothing that it acked is missing, and nothing is there twice."""

import json
import random
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path

import pytest
import trio

from tests.store_support import Disk, block_count, large, problems
from tests.support import Running, event, ingest, query, running
from wsproto_tracker.errors import UnavailableError
from wsproto_tracker.store import Chunk, engine
from wsproto_tracker.store.reading import next_chunks


def heavy(number: int, **members: object) -> dict[str, object]:
    """An event that a full disk has no room for."""
    return dict(json.loads(large(number).text)) | {"id": ""} | members


@pytest.fixture
async def failing(tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Running, None]:
    """A server whose disk is full."""
    monkeypatch.setattr(engine, "_RETRY_S", 0.02)
    async with running(store=f"sqlite:{tmp_path / 'tracker.db'}") as it:
        disk.fill()
        yield it
    disk.free()
    assert problems(tmp_path / "tracker.db") == []


class TestWebSocket:
    async def test_late_ack(self, failing: Running, disk: Disk) -> None:
        """A batch that cannot be saved is told of, kept, and acked when it is saved (ACK-7, X-LATE-1)."""
        async with failing.client() as client, failing.client() as dashboard:
            told = await client.ask(ingest(heavy(1), heavy(2)))
            assert (told["type"], told["code"]) == ("error", "unavailable")
            assert "what was sent is kept" in told["message"]
            assert await dashboard.events() == []
            disk.free()
            assert await client.receive() == {"type": "ack", "saved": 2}
            assert len(await dashboard.events()) == 2

    async def test_told_once(self, failing: Running, disk: Disk) -> None:
        """An outage is told once to a connection, however many batches it meets; so is the next (X-LATE-1)."""
        async with failing.client() as client:
            for number in range(5):
                await client.send(ingest(heavy(number)))
            assert (await client.receive())["code"] == "unavailable"
            await trio.sleep(0.1)
            disk.free()
            assert [await client.receive() for _ in range(5)] == [{"type": "ack", "saved": 1}] * 5
            disk.fill()
            await client.send(ingest(heavy(9)))
            assert (await client.receive())["code"] == "unavailable"
            disk.free()
            assert await client.receive() == {"type": "ack", "saved": 1}
            assert len(await client.events()) == 6

    async def test_order_is_kept(self, failing: Running, disk: Disk) -> None:
        """What a connection asks after a batch is answered after its late ack, and shows it (CONN-6, ACK-4)."""
        async with failing.client() as client:
            await client.send(ingest(heavy(1)), query(), {"type": "ping"})
            assert (await client.receive())["code"] == "unavailable"
            disk.free()
            answers = [await client.receive() for _ in range(3)]
            assert [answer["type"] for answer in answers] == ["ack", "events:response", "pong"]
            assert answers[1]["response"]["total"] == 1

    async def test_subscribers_hear_what_is_saved(self, failing: Running, disk: Disk) -> None:
        """A push means saved: during an outage there is none (PUSH-1, X-SUB-1)."""
        async with failing.client() as client, failing.client() as subscriber:
            assert await subscriber.ask({"type": "subscribe"}) == {"type": "subscribed"}
            await client.ask(ingest(heavy(1)))
            assert await subscriber.ask({"type": "ping"}) == {"type": "pong"}
            disk.free()
            assert (await subscriber.receive())["type"] == "push"

    async def test_client_that_goes(self, failing: Running, disk: Disk) -> None:
        """A batch whose sender has gone is saved all the same when the disk is back (ACK-6)."""
        async with failing.client() as client:
            await client.ask(ingest(heavy(1)))
        disk.free()
        async with failing.client() as dashboard:
            with trio.fail_after(20):
                while not await dashboard.events():
                    await trio.sleep(0.01)


class TestHttp:
    async def test_refused(self, failing: Running, disk: Disk) -> None:
        """An ingest that cannot be saved gets 503 with Retry-After, and may be sent again (HTTP-3, HTTP-17)."""
        body = json.dumps({"events": [heavy(1), heavy(2, id="given")]}).encode()
        headers = {"Origin": "http://localhost:5173"}
        for _ in range(3):
            refused = await failing.http("POST", "/events", body, headers)
            assert refused.status == 503
            assert int(refused.headers["retry-after"]) > 0
            assert refused.headers["access-control-allow-origin"] == "http://localhost:5173"  # CORS-3
            assert refused.json()["code"] == "unavailable"
            assert "send it again later" in refused.json()["message"]
        disk.free()
        accepted = await failing.http("POST", "/events", body)
        assert (accepted.status, accepted.json()) == (200, {"type": "ack", "saved": 2})
        assert (await failing.http("GET", "")).json()["total"] == 2

    async def test_ping_and_read_work(self, failing: Running, disk: Disk) -> None:
        """What needs no disk space works during an outage (PING-1)."""
        async with failing.client() as client:
            await client.ask(ingest(heavy(1)))
            assert (await failing.http("GET", "/ping")).status == 200
            assert (await failing.http("GET", "")).json() == {"events": [], "total": 0, "page": 1, "limit": 0}
            disk.free()
            await client.receive()


async def test_unavailable_while_reading(tmp_path: Path, disk: Disk) -> None:
    """A query that cannot be read now gets an error with its reqId, over HTTP 503 with Retry-After (ERR-3)."""
    path = tmp_path / "tracker.db"
    async with running(store=f"sqlite:{path}") as it, it.client() as client:
        assert (await client.ask(ingest(*(event(id=str(number)) for number in range(9000)))))["saved"] == 9000
        with trio.fail_after(20):
            while not block_count(path):
                await trio.sleep(0.01)
        disk.hide()
        answer = await client.ask(query("r7", search="button"))
        assert (answer["type"], answer["code"], answer["reqId"]) == ("error", "unavailable", "r7")
        refused = await it.http("GET", "?search=button")
        assert (refused.status, refused.json()["code"]) == (503, "unavailable")
        assert int(refused.headers["retry-after"]) > 0
        disk.show()
        assert len(await client.events(search="button")) == 9000


class TestBlocksThatCannotBeRead:
    async def test_whole_window(self, tmp_path: Path, disk: Disk) -> None:
        """Where the first piece of an answer cannot be read, the query gets an error, and the connection goes on."""
        path, later = tmp_path / "tracker.db", "2026-11-24T00:00:00Z"
        async with running(store=f"sqlite:{path}") as it, it.client() as client:
            await client.ask(ingest(*(event() for _ in range(4000)), *(event(timestamp=later) for _ in range(5000))))
            with trio.fail_after(20):
                while not block_count(path):
                    await trio.sleep(0.01)
            disk.hide()
            older = {"until": event()["timestamp"]}
            answer = await client.ask(query("r8", **older))
            assert (answer["type"], answer["code"], answer["reqId"]) == ("error", "unavailable", "r8")
            assert (await it.http("GET", f"?until={older['until']}")).status == 503
            assert await client.ask({"type": "ping"}) == {"type": "pong"}
            disk.show()
            assert len(await client.events(**older)) == 4000

    async def test_second_piece(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where what follows the first piece cannot be read, nothing has been sent yet, so that is an error as well."""
        noise = random.Random(1)
        async with running(store=f"sqlite:{tmp_path / 'tracker.db'}") as it, it.client() as client:
            for _ in range(4):
                await client.ask(ingest(*(event(payload={"noise": noise.randbytes(400).hex()}) for _ in range(2500))))
            read_ahead = next_chunks
            calls: list[int] = []

            def failing(remaining: Iterator[Chunk]) -> list[Chunk]:
                calls.append(1)
                if len(calls) > 1:
                    raise UnavailableError("no")
                return read_ahead(remaining)

            monkeypatch.setattr("wsproto_tracker.store.engine.next_chunks", failing)
            answer = await client.ask(query("r9"))
            assert (answer["type"], answer["code"], answer["reqId"]) == ("error", "unavailable", "r9")
            monkeypatch.setattr("wsproto_tracker.store.engine.next_chunks", read_ahead)
            assert len(await client.events()) == 10_000
