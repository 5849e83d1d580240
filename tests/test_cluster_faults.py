"""Several trackers over one stream while everything fails: what was acked is on each once, and all say the same.

``pytest tests/test_cluster_faults.py --cluster-runs 50`` is the long form. Its choices come from a seed, which is
printed; when what fails meets what is sent depends on the machine.
"""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import nats
import pytest
import trio

from tests.cluster_load import MARK, NOW, Ledger
from tests.cluster_nemesis import Nemesis
from tests.cluster_support import TrackerProcess
from tests.nats_support import NatsServers, kept_servers, nats_url, needs_nats, running_servers
from tests.proxy_support import wires
from tests.store_contract import append, at, ids
from tests.store_support import problems
from tests.support import event, ingest
from wsproto_tracker.protocol.timestamps import format_instant
from wsproto_tracker.store import open_timeline

pytestmark = needs_nats

STREAM = "TRACKER"
TRACKERS = 3
WRITERS, READERS = 4, 3
FAULTS = 5  # of a run; there are 13 kinds, and three runs have all of them
QUIET_S = 0.5
LAST_ACKS_S = 30
ANSWER_S = 60
DEADLINE_S = 40
REMEMBERED_S = 1.0  # by the servers, of what was published; so messages come to be there twice
QUERIES: Sequence[Mapping[str, object]] = (
    {"limit": 40, "page": 3},
    {"level": "error", "search": "BuyBuy"},
    {"since": "2025-11-24T16:00:01Z", "limit": 200},
    {"userId": "batch-0"},
)


@asynccontextmanager
async def running_trackers(folder: Path, servers: NatsServers) -> AsyncGenerator[list[TrackerProcess], None]:
    """Trackers that are ready, each with wires of its own to the servers."""
    trackers: list[TrackerProcess] = []
    async with AsyncExitStack() as stack:
        for number in range(TRACKERS):
            between = await stack.enter_async_context(wires(*servers.ports))
            url = f"{nats_url([wire.port for wire in between])}/{STREAM}?monitor={','.join(servers.monitors)}"
            trackers.append(TrackerProcess(f"tracker {number}", folder / f"tracker-{number}", url, wires=between))
            stack.callback(trackers[-1].kill)
        for tracker in trackers:
            tracker.start()
        for tracker in trackers:
            await tracker.wait_ready()
        yield trackers


async def run_under_load(ledger: Ledger, nemesis: Nemesis) -> None:
    """Write and read while things fail, and a moment longer; then nothing is on its way any more."""
    stopped = trio.Event()
    async with trio.open_nursery() as nursery:
        for _ in range(WRITERS):
            nursery.start_soon(ledger.write, nemesis.trackers, stopped)
        for _ in range(READERS):
            nursery.start_soon(ledger.read, nemesis.trackers, stopped)
        await trio.sleep(QUIET_S)
        await nemesis.strike(FAULTS)
        await nemesis.heal()
        acked = len(ledger.acked)
        with trio.fail_after(LAST_ACKS_S):
            while len(ledger.acked) <= acked:
                await trio.sleep(0.05)
        stopped.set()


async def same_answer(trackers: Sequence[TrackerProcess], query: Mapping[str, object]) -> bytes:
    """The body that all of them answer, byte by byte."""
    bodies = set()
    for tracker in trackers:
        answer = await tracker.ask("/events", query, within_s=ANSWER_S)
        assert answer is not None, f"{tracker.name} does not answer"
        assert answer.status == 200, answer
        assert "tracker-behind" not in answer.headers, f"{tracker.name} may be behind"
        bodies.add(answer.body)
    assert len(bodies) == 1, f"the answers to {query} differ"
    return bodies.pop()


async def test_everything_fails_and_all_have_the_same(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Trackers and servers die, stand still and are parted, files are lost: what was acked is on each tracker once."""
    seed = request.config.getoption("--cluster-seed")
    seed = random.randrange(2**32) if seed is None else seed
    runs = request.config.getoption("--cluster-runs")
    print(f"pytest tests/test_cluster_faults.py --cluster-runs {runs} --cluster-seed {seed}")
    counts: Counter[str] = Counter()
    first = 0
    async with running_servers(tmp_path / "nats", wired=True) as servers:
        await trio.to_thread.run_sync(asyncio.run, make_stream(servers.urls))
        async with running_trackers(tmp_path, servers) as trackers:
            nemesis = Nemesis(servers, trackers, random.Random(seed))
            for run in range(runs):
                ledger = Ledger(f"run-{run}", first, random.Random(f"{seed} {run}"))
                began = trio.current_time()
                before = nemesis.counts.copy()
                try:
                    await run_under_load(ledger, nemesis)
                    ledger.check("each tracker", await same_answer(trackers, {"appId": ledger.app}))
                    for query in QUERIES:
                        await same_answer(trackers, query)
                except BaseException:
                    for tracker in trackers:
                        print(f"--- {tracker.name}\n{tracker.said}")
                    print(servers.logs())
                    print(nemesis.counts, ledger.counts)
                    raise
                first += ledger.sent
                took = f"{trio.current_time() - began:.1f} s"
                print(f"run {run}: {took}: {len(ledger.acked)} acked; {dict(nemesis.counts - before)}")
                counts.update(ledger.counts)
                counts["events acked"] += len(ledger.acked)
                counts["events sent"] += ledger.sent
            for tracker in trackers:
                assert await tracker.stop() == 0
                assert problems(tracker.local) == []
    print(f"seed {seed}: ", end="")
    print(", ".join(f"{what}: {count}" for what, count in sorted((nemesis.counts + counts).items())))


class TestOneByOne:
    """Servers that do not sync: what is said of them is tried here as well, and what is tried is no loss of power."""

    @pytest.fixture(scope="class")
    @classmethod
    def servers(cls, tmp_path_factory: pytest.TempPathFactory) -> Generator[NatsServers, None, None]:
        with kept_servers(tmp_path_factory.mktemp("nats"), sync_always=False) as servers:
            yield servers

    @pytest.fixture
    async def trackers(self, servers: NatsServers, tmp_path: Path) -> AsyncGenerator[list[TrackerProcess], None]:
        """Two trackers of a stream that is not there yet, and that run not yet."""
        store = f"{servers.urls}/{tmp_path.name}?monitor={','.join(servers.monitors)}"
        found = [TrackerProcess(name, tmp_path / name, store, ("--durability", "replicated")) for name in "ab"]
        try:
            yield found
        finally:
            for tracker in found:
                tracker.kill()

    async def test_file_lost_and_damaged(self, trackers: list[TrackerProcess]) -> None:
        """A tracker without its file builds it anew; one that is damaged is set aside before (whatever came first)."""
        a, b = trackers
        await start(a, b)
        for _ in range(3):
            await same_answer(trackers, {})  # the stream begins with what marks its end, and keeps the last of that
        await post(a, 1, 2)
        b.kill()
        b.lose_file()
        await post(a, 3, 4)
        await start(b)
        assert await marks(trackers) == [4, 3, 2, 1]
        await b.stop()
        with b.local.open("r+b") as file:
            file.seek(4096)
            file.write(b"no page" * (b.local.stat().st_size // 7 - 4096))
        await post(a, 5)
        await start(b)
        assert "is built anew from the stream" in b.said
        assert len(list(b.folder.glob("tracker.db.damaged-*"))) == 1
        assert await marks(trackers) == [5, 4, 3, 2, 1]

    async def test_pushes_only_news(self, trackers: list[TrackerProcess]) -> None:
        """A tracker that was down catches up, and pushes only what is sent after it is back."""
        a, b = trackers
        await start(a, b)
        assert await b.stop() == 0
        await post(a, 1, 2, 3)
        b.start()
        with trio.fail_after(DEADLINE_S):
            while await b.ask("//health") is None:
                await trio.sleep(0.02)
        async with b.running.client() as subscriber:
            assert await subscriber.ask({"type": "subscribe"}) == {"type": "subscribed"}
            await b.wait_ready()
            await post(a, 4)
            pushed = await subscriber.receive()
            assert [it["payload"]["mark"] for it in pushed["events"]] == [4]
        assert await marks(trackers) == [4, 3, 2, 1]

    async def test_durability(self, servers: NatsServers, tmp_path: Path) -> None:
        """Full is refused by servers that do not sync, and by a stream that is on one of them only."""
        for name, parameter, complaint in (
            ("SYNC", "replicas=3", "sync_interval: always"),
            ("ALONE", "replicas=1", "expected replicas=3"),
        ):
            store = f"{servers.urls}/{name}?monitor={','.join(servers.monitors)}&{parameter}"
            said = await refused(TrackerProcess(name, tmp_path / name, store))
            assert complaint in said
            assert "--durability replicated" in said

    async def test_other_files(self, servers: NatsServers, trackers: list[TrackerProcess]) -> None:
        """A file with events of its own, or of a stream that was made anew, is refused and kept as it is."""
        a, b = trackers
        await start(a)
        await post(a, 1)
        b.folder.mkdir()
        async with open_timeline(b.local) as store:
            await append(store, at(0))
        assert "holds events that did not come from the stream" in await refused(b)
        await trio.to_thread.run_sync(asyncio.run, delete_stream(servers.urls, a.local.parent.parent.name))
        with trio.fail_after(DEADLINE_S):
            while await a.is_ready() or "name another file with --local" not in a.said:
                await trio.sleep(0.1)
        a.kill()
        assert "name another file with --local" in await refused(a)
        async with open_timeline(b.local) as store:
            assert len(await ids(store)) == 1


async def delete_stream(urls: str, name: str) -> None:
    async with await nats.connect(urls.split(",")) as connection:
        await connection.jetstream().delete_stream(name)


async def make_stream(urls: str) -> None:
    """Make the stream of the trackers as they do, but for how long ids are remembered."""
    async with await nats.connect(urls.split(",")) as connection:
        await connection.jetstream().add_stream(
            name=STREAM,
            subjects=[f"{STREAM}.>"],
            num_replicas=3,
            duplicate_window=REMEMBERED_S,
            allow_rollup_hdrs=True,
        )


async def start(*trackers: TrackerProcess) -> None:
    """Start them, and wait until they are ready."""
    for tracker in trackers:
        tracker.start()
    for tracker in trackers:
        await tracker.wait_ready()


async def refused(tracker: TrackerProcess) -> str:
    """What it says where it does not even start."""
    tracker.start()
    try:
        assert await tracker.ended() == 1, tracker.said
        assert "Traceback" not in tracker.said
        return tracker.said
    finally:
        tracker.kill()


def body_of(*numbers: int) -> bytes:
    return ingest(
        *(event(timestamp=format_instant(NOW + number), payload={"mark": number}) for number in numbers)
    ).encode()


async def post(tracker: TrackerProcess, *numbers: int) -> None:
    answer = await tracker.ask("/ingest", body=body_of(*numbers), within_s=DEADLINE_S)
    assert answer is not None
    assert answer.json() == {"type": "ack", "saved": len(numbers)}


async def marks(trackers: Sequence[TrackerProcess]) -> list[int]:
    """The events that all of them have, newest first."""
    return [int(mark) for mark in MARK.findall(await same_answer(trackers, {}))]
