"""A store that nodes share, on a real NATS server: the contract of stores, and what is between two nodes."""

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import trio
from nats.aio.client import Client

from tests.nats_support import NatsServers, kept_servers
from tests.store_contract import StoreContract, accepted, append, asked, at, ids, read
from tests.support import event, ingest, query, running
from wsproto_tracker import open_client
from wsproto_tracker.cluster.errors import UnfitError
from wsproto_tracker.cluster.link import Opened
from wsproto_tracker.cluster.local import Found, check_position
from wsproto_tracker.cluster.outbox import Pace
from wsproto_tracker.cluster.store import ClusterStore, open_cluster
from wsproto_tracker.cluster.url import MAX_EVENT_BYTES, ClusterUrl, parse_cluster_url
from wsproto_tracker.errors import StoreError, UnavailableError
from wsproto_tracker.protocol.events import Event
from wsproto_tracker.protocol.ids import new_id
from wsproto_tracker.protocol.query import Query
from wsproto_tracker.store import Appended, Capacity, EventStore, OnCommitted, OnStored, open_timeline
from wsproto_tracker.store.place import Position

QUICK = Pace(retry_s=0.05, outage_s=0.2, read_s=0.5, trial_s=0.3, start_s=0.2)


@pytest.fixture(scope="module")
def nats(tmp_path_factory: pytest.TempPathFactory) -> Generator[NatsServers, None, None]:
    """One server, alone: that is enough where nothing is said of machines that fail."""
    with kept_servers(tmp_path_factory.mktemp("nats"), 1, sync_always=False) as servers:
        yield servers


@pytest.fixture
def url(nats: NatsServers) -> ClusterUrl:
    """A stream that is not there yet."""
    return new_url(nats)


def new_url(nats: NatsServers, **parameters: Any) -> ClusterUrl:
    told = "&".join(f"{name}={value}" for name, value in {"replicas": 1, "max_bytes": 50_000_000, **parameters}.items())
    return parse_cluster_url(f"{nats.urls}/T{new_id().replace('-', '_')}?{told}")


@asynccontextmanager
async def node(
    url: ClusterUrl, path: Path, max_events: int = 1000, **options: Any
) -> AsyncGenerator[ClusterStore, None]:
    """A node; ``trio.run`` of a test that has ended is none."""
    async with open_cluster(url, path, Capacity(max_events), **{"is_full": False, "pace": QUICK, **options}) as store:
        yield store


class TestContract(StoreContract):
    """A store of a cluster is one like any other."""

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def _servers(cls, nats: NatsServers) -> None:
        cls.nats = nats

    nats: NatsServers
    examples = 30

    @asynccontextmanager
    async def open_store(
        self,
        max_events: int = 1000,
        on_stored: OnStored = lambda _events: None,
        on_committed: OnCommitted = lambda _commit: None,
    ) -> AsyncGenerator[EventStore, None]:
        with TemporaryDirectory() as directory:
            path = Path(directory, "tracker.db")
            url = new_url(self.nats, max_bytes=1_000_000)
            async with node(url, path, max_events, on_stored=on_stored, on_committed=on_committed) as store:
                yield store


async def delete_stream(url: ClusterUrl) -> None:
    async def delete() -> None:
        client = Client()
        await client.connect(list(url.servers))
        await client.jetstream().delete_stream(url.stream)
        await client.close()

    await trio.to_thread.run_sync(asyncio.run, delete())


async def bytes_of(store: EventStore) -> bytes:
    answer = await store.query(Query())
    return b",".join([chunk.text async for chunk in answer.chunks])


class TestTwoNodes:
    async def test_one_answer(self, url: ClusterUrl, tmp_path: Path) -> None:
        """What one node has acked, the other shows at once, in the same order, whoever took it in."""
        async with node(url, tmp_path / "a.db") as a, node(url, tmp_path / "b.db") as b:
            for number in range(20):
                writer, reader = (a, b) if number % 2 else (b, a)
                assert await append(writer, at(0, id=f"{number:02}"), at(number, userId="ü")) == Appended(2, 0)
                assert f"{number:02}" in await ids(reader)
            assert await bytes_of(a) == await bytes_of(b)
            assert await append(b, at(5, id="07")) == Appended(0, 1)
            assert await append(a, at(5, id="07", appId="other")) == Appended(1, 0)
            assert await bytes_of(a) == await bytes_of(b)

    async def test_pushed_once(self, url: ClusterUrl, tmp_path: Path) -> None:
        """Each node is told once of what is saved anywhere, and not of what was saved before it came."""
        told: dict[str, list[str]] = {"a": [], "b": []}
        async with node(url, tmp_path / "a.db", on_stored=lambda found: told["a"].extend(one.id for one in found)) as a:
            await append(a, at(0, id="old"))
            async with node(
                url, tmp_path / "b.db", on_stored=lambda found: told["b"].extend(one.id for one in found)
            ) as b:
                assert await ids(b) == ["old"]
                await append(a, at(1, id="1"))
                await append(b, at(2, id="2"))
                await append(a, at(3, id="3"))
                assert await ids(b) == ["3", "2", "1", "old"]
        assert told == {"a": ["old", "1", "2", "3"], "b": ["1", "2", "3"]}

    async def test_restart(self, url: ClusterUrl, tmp_path: Path) -> None:
        """A node goes on from where it was; what came meanwhile is there at the first query, and is no news."""
        told: list[str] = []
        async with node(url, tmp_path / "a.db") as a:
            async with node(url, tmp_path / "b.db") as b:
                await append(b, at(0, id="0"))
            await append(a, at(1, id="1"))
            async with node(url, tmp_path / "b.db", on_stored=lambda found: told.extend(one.id for one in found)) as b:
                assert await ids(b) == ["1", "0"]
                assert await append(b, at(0, id="0")) == Appended(0, 1)
                assert b.why_incomplete == ""
                assert b.status().position > 0
        assert told == []

    async def test_erase(self, url: ClusterUrl, tmp_path: Path) -> None:
        """An erasure reaches every node, those as well that come later, and nothing that is sent after it."""
        async with node(url, tmp_path / "a.db") as a, node(url, tmp_path / "b.db") as b:
            await append(a, at(0, id="1", userId="ann"), at(1, id="2", userId="bob"))
            await append(b, at(2, id="3", userId="ann"))
            assert await b.erase(user="ann") == 2
            await append(a, at(3, id="4", userId="ann"))
            async with node(url, tmp_path / "c.db") as c:
                assert await ids(a) == await ids(b) == await ids(c) == ["4", "2"]

    async def test_large_batches(self, url: ClusterUrl, tmp_path: Path) -> None:
        """A batch that fits in no message is cut, and is acked and counted as one; the largest event fits."""
        noise = ["".join(new_id() for _ in range(4000)) for _ in range(40)]  # deflate makes nothing of it
        async with node(url, tmp_path / "a.db") as a, node(url, tmp_path / "b.db") as b:
            batch = [at(number, id=f"{number:02}", payload={"noise": text}) for number, text in enumerate(noise)]
            assert sum(len(event.text) for event in batch) > 2_500_000
            assert await append(a, *batch, batch[0]) == Appended(40, 1)
            assert await ids(b) == [f"{number:02}" for number in range(39, -1, -1)]
            largest = accepted(payload={"noise": ("".join(noise) * 1)[: MAX_EVENT_BYTES - 300]})
            assert await append(b, largest) == Appended(1, 0)
            assert (await read(a, asked(limit=1, type=json.loads(largest.text)["type"])))[0].total >= 1


class TestUnreachable:
    async def test_outage_and_recovery(
        self, nats: NatsServers, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Without the stream: no ack, answers from what is here that say so; with it, all goes on (X-BEHIND-1)."""
        url = new_url(nats)
        try:
            with caplog.at_level(logging.WARNING):
                async with node(url, tmp_path / "a.db") as store:
                    await append(store, at(0, id="0"))
                    assert not (await store.query(Query())).is_behind
                    nats.kill(0)
                    patient = await store.append([at(1, id="1")])
                    with trio.fail_after(20):
                        assert await patient.attempted() is not None
                        assert store.outage is not None
                        answer, found = await read(store, Query())
                        assert (answer.is_behind, [one["id"] for one in found]) == (True, ["0"])
                        with pytest.raises(UnavailableError):
                            await (await store.append([at(2)], is_patient=False)).committed()
                        await nats.restart(0)
                        assert await patient.committed() == Appended(1, 0)
                        while store.outage is not None:
                            await trio.sleep(0.01)
                    answer, found = await read(store, Query())
                    assert (answer.is_behind, [one["id"] for one in found]) == (False, ["1", "0"])
        finally:
            await nats.revive()
        told = [record.message for record in caplog.records]
        assert sum("nothing can be saved" in line for line in told) == 1
        assert sum("events are saved again" in line for line in told) == 1

    async def test_start_without_the_stream(self, nats: NatsServers, tmp_path: Path) -> None:
        """A node starts without the stream, shows what it has, says that more may be missing, and catches up."""
        url, path = new_url(nats), tmp_path / "a.db"
        async with node(url, path) as store:
            await append(store, at(0, id="0"))
        try:
            nats.kill(0)
            async with node(url, path) as store:
                answer, found = await read(store, Query())
                assert (answer.is_behind, len(found)) == (True, 1)
                assert store.why_incomplete
                with trio.fail_after(20):
                    while store.outage is None:
                        await trio.sleep(0.01)
                    await nats.restart(0)
                    assert await append(store, at(1, id="1")) == Appended(1, 0)
                    while (await store.query(Query())).is_behind:
                        await trio.sleep(0.01)
                assert store.why_incomplete == ""
        finally:
            await nats.revive()

    async def test_close_in_an_outage(self, nats: NatsServers, tmp_path: Path) -> None:
        """Closing does not wait for servers that are away: who waits for an ack is told that there is none."""
        url = new_url(nats)
        try:
            async with node(url, tmp_path / "a.db") as store:
                await append(store, at(0))
                nats.kill(0)
                with trio.fail_after(20):
                    receipt = await store.append([at(1)])
                    await receipt.attempted()
            with pytest.raises(UnavailableError):
                await receipt.committed()
        finally:
            await nats.revive()


class TestOverTheWire:
    async def test_behind(self, nats: NatsServers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """What a client sees of an outage of the stream, however it asks (X-BEHIND-1, HTTP-17)."""
        monkeypatch.setattr("wsproto_tracker.cluster.store.open_cluster", partial(open_cluster, pace=QUICK))
        url = f"{nats.urls}/T{new_id()}?replicas=1&max_bytes=10000000"
        try:
            async with (
                running(store=url, local=tmp_path / "a.db", durability="replicated") as it,
                it.client() as socket,
                open_client(it.ws_url, app_id="shop") as client,
            ):
                await socket.ask(ingest(event(id="1")))
                response = await it.http("GET", "")
                assert "behind" not in response.json()
                assert "tracker-behind" not in response.headers
                assert not (await client.page(limit=1)).is_behind
                assert (await it.http("GET", "//ready")).status == 200
                nats.kill(0)
                response = await it.http("GET", "", headers={"Origin": "http://localhost:5173"})
                assert (response.json()["behind"], response.headers["tracker-behind"]) == (True, "true")
                assert "Tracker-Behind" in response.headers["access-control-expose-headers"]
                assert (await client.page(limit=1)).is_behind
                assert (await it.server.page()).is_behind
                answer = await socket.ask(query())
                assert (answer["response"]["behind"], answer["response"]["total"]) == (True, 1)
                refused = await it.http("POST", "/events", json.dumps({"events": [event()]}).encode())
                assert (refused.status, refused.json()["code"]) == (503, "unavailable")
                assert "whether this was is not known" in refused.json()["message"]
                ready = await it.http("GET", "//ready")
                assert (ready.status, ready.json()["reasons"]) == (503, ["nothing can be saved for now"])
                await nats.restart(0)
                with trio.fail_after(20):
                    while (await it.http("GET", "//ready")).status != 200:
                        await trio.sleep(0.02)
                assert not (await client.page(limit=1)).is_behind
        finally:
            await nats.revive()


class TestFiles:
    async def test_files_that_do_not_belong(self, nats: NatsServers, tmp_path: Path) -> None:
        """A file of another stream, or of none, is refused, and a node's file is served as a node's only."""
        url, path = new_url(nats), tmp_path / "a.db"
        async with node(url, path) as store:
            await append(store, at(0))
        other_url = new_url(nats)
        with pytest.raises(
            UnfitError, match="there is no such stream any more, and the file of this node was built from"
        ):
            async with node(other_url, path):
                pass
        async with node(other_url, tmp_path / "b.db"):
            pass
        with pytest.raises(UnfitError, match=r"built from the stream T\S+ \S+, and the stream is now T"):
            async with node(other_url, path):
                pass
        standing = Found(Position("S 1", 7))
        with pytest.raises(
            UnfitError, match="stands at message 7, and the stream ends at 6: the stream has lost what was"
        ):
            check_position(path, standing, Opened("S 1", 1, 6))
        with pytest.raises(UnfitError, match="stands at message 7, and the stream begins at 9"):
            check_position(path, standing, Opened("S 1", 9, 20))
        check_position(path, standing, Opened("S 1", 8, 7))
        with pytest.raises(
            StoreError, match=r"is of a node of the cluster with the stream T.*expected --store nats://"
        ):
            async with open_timeline(path):
                pass
        other = tmp_path / "other.db"
        async with open_timeline(other) as alone:
            await append(alone, at(0))
        with pytest.raises(UnfitError, match="holds events that did not come from the stream"):
            async with node(url, other):
                pass

    async def test_stream_that_is_replaced(self, nats: NatsServers, tmp_path: Path) -> None:
        """A stream that is deleted, or made anew under its name, is an outage: nothing is acked into it."""
        url = new_url(nats)
        async with node(url, tmp_path / "a.db") as store:
            await append(store, at(0, id="0"))
            await delete_stream(url)
            with trio.fail_after(20):
                while store.outage is None:
                    await trio.sleep(0.01)
                assert "there is no such stream any more" in store.outage.reason
                async with node(url, tmp_path / "b.db") as other:
                    await append(other, at(1, id="1"))
                    receipt = await store.append([at(2, id="2")])
                    await trio.sleep(0.5)
                    assert not receipt.has_ended
                    assert store.outage is not None
                    answer, found = await read(store, Query())
                    assert (answer.is_behind, [one["id"] for one in found]) == (True, ["0"])
                    assert await ids(other) == ["1"]

    async def test_damaged_and_lost_files(self, url: ClusterUrl, tmp_path: Path) -> None:
        """A file that is damaged is set aside, one that is lost is gone: either is built anew from the stream."""
        path = tmp_path / "a.db"
        batch = [at(number, id=str(number), payload={"n": "x" * 5000}) for number in range(50)]
        async with node(url, path) as store:
            await append(store, *batch)
            before = await bytes_of(store)
        content = bytearray(path.read_bytes())
        place = content.index(b"\x00" * 64, len(content) // 2)
        for offset in range(8192, len(content), 1024):
            content[offset] ^= 0xFF
        assert place
        path.write_bytes(content)
        async with node(url, path) as store:
            assert await bytes_of(store) == before
        assert len(list(tmp_path.glob("a.db.damaged-*"))) >= 1
        path.unlink()
        async with node(url, path) as store:
            assert await bytes_of(store) == before


class TestUnfitStreams:
    async def test_durability(self, nats: NatsServers, tmp_path: Path) -> None:
        """``full`` wants three replicas that sync always, and says what to change; ``replicated`` goes on."""
        with pytest.raises(UnfitError, match=r"cannot be made.*expected 3 servers.*--durability replicated"):
            async with node(new_url(nats, replicas=3), tmp_path / "a.db"):
                pass
        url = new_url(nats, monitor=nats.monitors[0])
        with pytest.raises(UnfitError, match="expected replicas=3, or --durability replicated"):
            async with node(url, tmp_path / "a.db", is_full=True):
                pass
        async with node(url, tmp_path / "a.db"):
            pass
        with pytest.raises(UnfitError, match=r"it has 1 replicas; expected 3"):
            async with node(url, tmp_path / "a.db", is_full=True):
                pass


async def test_events_that_nobody_waits_for(url: ClusterUrl, tmp_path: Path) -> None:
    """A wait for an ack that is cancelled takes nothing back."""
    async with node(url, tmp_path / "a.db") as store:
        receipt = await store.append([at(0, id="0")])
        with trio.move_on_after(0):
            await receipt.committed()
        await append(store, at(1, id="1"))
        assert await ids(store) == ["1", "0"]


async def test_many_at_once(url: ClusterUrl, tmp_path: Path) -> None:
    """Batches of many senders are gathered; each is acked for itself, and those of one sender keep their order."""
    events: list[Event] = []
    async with node(url, tmp_path / "a.db", 10_000) as store, trio.open_nursery() as nursery:

        async def send(sender: int) -> None:
            for number in range(50):
                event = at(0, id=f"{sender}-{number:02}")
                events.append(event)
                assert await append(store, event) == Appended(1, 0)

        async with trio.open_nursery() as senders:
            for sender in range(20):
                senders.start_soon(send, sender)
        found = await ids(store)
        assert len(found) == 1000
        for sender in range(20):
            own = [one for one in found if one.startswith(f"{sender}-")]
            assert own == [f"{sender}-{number:02}" for number in range(49, -1, -1)]
        nursery.cancel_scope.cancel()
