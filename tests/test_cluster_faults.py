"""Several trackers over one stream while everything fails: what was acked is on each once, and all say the same.

``pytest tests/test_cluster_faults.py --cluster-runs 50`` is the long form. Its choices come from a seed, which is
printed; when what fails meets what is sent depends on the machine.
"""

import random
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
import trio

from tests.cluster_load import Ledger
from tests.cluster_nemesis import Nemesis
from tests.cluster_support import TrackerProcess
from tests.nats_support import NatsServers, nats_url, needs_nats, running_servers
from tests.proxy_support import wires
from tests.store_support import problems

pytestmark = needs_nats

TRACKERS = 3
WRITERS, READERS = 4, 3
FAULTS = (2, 5)
QUIET_S = 0.5
LAST_ACKS_S = 30
ANSWER_S = 60
QUERIES: Sequence[dict[str, object]] = (
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
            url = f"{nats_url([wire.port for wire in between])}/TRACKER?monitor={','.join(servers.monitors)}"
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
        await nemesis.strike(nemesis.chance.randint(*FAULTS))
        await nemesis.heal()
        acked = len(ledger.acked)
        with trio.fail_after(LAST_ACKS_S):
            while len(ledger.acked) <= acked:
                await trio.sleep(0.05)
        stopped.set()


async def same_answer(trackers: Sequence[TrackerProcess], **parameters: object) -> bytes:
    """The body that all of them answer, byte by byte."""
    bodies = set()
    for tracker in trackers:
        answer = await tracker.ask("/events", within_s=ANSWER_S, **parameters)
        assert answer is not None, f"{tracker.name} does not answer"
        assert answer.status == 200, answer
        assert "tracker-behind" not in answer.headers, f"{tracker.name} may be behind"
        bodies.add(answer.body)
    assert len(bodies) == 1, f"the answers to {parameters} differ"
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
        async with running_trackers(tmp_path, servers) as trackers:
            nemesis = Nemesis(servers, trackers, random.Random(seed))
            for run in range(runs):
                ledger = Ledger(f"run-{run}", first, random.Random(f"{seed} {run}"))
                began = trio.current_time()
                before = nemesis.counts.copy()
                try:
                    await run_under_load(ledger, nemesis)
                    ledger.check("each tracker", await same_answer(trackers, appId=ledger.app))
                    for parameters in QUERIES:
                        await same_answer(trackers, **parameters)
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
