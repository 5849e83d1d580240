"""The client while everything around it fails: what was tracked is stored once, as it was.

``pytest tests/test_client_faults.py --client-runs 200`` is the long form. Its choices come from a seed, which is
printed; when what fails meets what is sent depends on the machine.
"""

import random
import resource
import signal
import subprocess
import sys
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from bench.soak.proxy import Proxy
from tests.command import Command, started
from tests.support import ROOT, query
from tests.test_crash import limit_files
from tests.tracking_process import data_of
from wsproto_tracker import Client, open_client

EVENTS = 400
DELIVERY_S = 60.0
LONGEST_FAULT_S = 0.2
FULL_BYTES = 32 * 1024  # beyond, no file of the server can be written; its log stays below


class Backend:
    """The server as a process that can be killed, and comes back on the same port with the same store.

    :ivar outages: how often it has said that it could not save.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._stack = AsyncExitStack()
        self.port = 0
        self.process: Command | None = None
        self.outages = 0

    async def start(self) -> None:
        store = f"sqlite:{self._directory / 'tracker.db'}"
        arguments = ("--port", str(self.port), "--store", store, "--max-events", "100000000")
        self.process = await self._stack.enter_async_context(started(*arguments))
        await self.process.until("Ctrl-C stops it.\n")
        self.port = self.process.running.address.port

    async def kill(self) -> None:
        if self.process is not None:
            self.outages += self.process.errors().count("nothing can be saved")
        await self._stack.aclose()

    async def stop(self) -> None:
        """End it as an init system does: it acks what it has received, and closes with 1001 (CLOSE-4)."""
        assert self.process is not None
        assert (await self.process.stop()).status == 0
        await self.kill()

    def fill_disk(self) -> None:
        assert self.process is not None
        limit_files(self.process, FULL_BYTES)

    def free_disk(self) -> None:
        assert self.process is not None
        limit_files(self.process, resource.RLIM_INFINITY)

    async def stored(self, app: str) -> list[dict[str, Any]]:
        """The events of an app that the server has."""
        assert self.process is not None
        async with self.process.running.client() as client:
            answer = await client.ask(query(appId=app))
        return list(answer["response"]["events"])


@attrs.define
class Run:
    """One run: a client that tracks, and faults.

    :ivar chance: for what the client does.
    :ivar luck: for what fails; another one, so that neither changes the choices of the other.
    :ivar tracked: the ids and numbers of which the client has said that they are tracked.
    :ivar unknown: the numbers of which a killed client may have tracked, and could not say so.
    """

    backend: Backend
    proxy: Proxy
    chance: random.Random
    luck: random.Random
    app: str
    spool: Path
    faults: Counter[str]
    tracked: dict[str, int] = attrs.field(factory=dict)
    unknown: set[int] = attrs.field(factory=set)

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.proxy.port}/_tracker/ws"

    # --- the clients

    async def in_this_process(self) -> None:
        """Track with a client in this process, which is cancelled sometimes, where it has a spool."""
        has_spool = self.chance.random() < 0.5
        stops_at = self.chance.randrange(EVENTS) if has_spool else EVENTS
        with trio.CancelScope() as scope:
            async with self._open(has_spool) as client:
                await self._track(client, range(stops_at))
                if stops_at < EVENTS:
                    self.faults["client cancelled"] += 1
                    scope.cancel()
                    await trio.lowlevel.checkpoint()
        if scope.cancelled_caught:
            async with self._open(has_spool) as client:
                await self._track(client, range(stops_at, EVENTS))
                self._check_stats(client, EVENTS - stops_at)
        else:
            self._check_stats(client, EVENTS)

    def _open(self, has_spool: bool) -> Any:
        return open_client(
            self.url,
            app_id=self.app,
            spool=self.spool if has_spool else None,
            batch_size=self.chance.randint(1, 30),
            max_batches_in_flight=self.chance.randint(1, 8),
            flush_interval_s=0.01,
            backoff_min_s=0.01,
            backoff_max_s=0.1,
            ack_timeout_s=1.0,
            close_timeout_s=DELIVERY_S,
            wait_for_server=False,
        )

    async def _track(self, client: Client, numbers: range) -> None:
        for number in numbers:
            self.tracked[client.track("counted", data_of(number))] = number
            if self.chance.random() < 0.1:
                await trio.sleep(self.chance.uniform(0, 0.02))

    def _check_stats(self, client: Client, count: int) -> None:
        if client.stats.waiting == 0:
            assert client.stats.acked == client.stats.tracked + client.stats.restored
        assert (client.stats.tracked, client.stats.rejected) == (count, 0)

    async def in_a_process(self) -> None:
        """Track with a client in a process of its own, which is killed once or twice."""
        first = 0
        for _ in range(self.chance.randint(1, 2)):
            self.faults["client killed"] += 1
            first = await self._process(first, kill_after=self.chance.randint(0, EVENTS // 2))
        await self._process(first, kill_after=None)

    async def _process(self, first: int, kill_after: int | None) -> int:
        """Run the process; returns the number that the next one begins with."""
        arguments = (self.url, self.app, str(self.spool), str(first), str(max(EVENTS - first, 0)))
        command = [sys.executable, "-m", "tests.tracking_process", *arguments]
        process = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE, cwd=ROOT)
        assert process.stdout is not None
        said = b""
        try:
            async with process.stdout:
                while data := await process.stdout.receive_some():
                    said += data
                    if kill_after is not None and said.count(b"\n") > kill_after:
                        process.send_signal(signal.SIGKILL)
        finally:
            process.kill()
            with trio.CancelScope(shield=True):
                status = await process.wait()
        for line in said.decode().splitlines():
            number, event_id = line.split()
            self.tracked[event_id] = int(number)
            first = int(number) + 1
        if status == -signal.SIGKILL:
            self.unknown.add(first)
            return first + 1
        assert status == 0
        return first

    # --- the faults

    async def disturb(self) -> None:
        """Let some things fail, one after the other, and mend them."""
        kinds = [
            self._cut,
            self._tear,
            self._stall,
            self._refuse,
            self._kill_server,
            self._stop_server,
            self._fill_disk,
        ]
        weights = [4, 4, 4, 3, 3, 2, 2]
        for fault in self.luck.choices(kinds, weights, k=self.luck.randint(1, 4)):
            await trio.sleep(self.luck.uniform(0, 0.15))
            self.faults[fault.__name__.strip("_").replace("_", " ")] += 1
            await fault()

    async def _cut(self) -> None:
        self.proxy.cut()

    async def _tear(self) -> None:
        self.proxy.tear()

    async def _stall(self) -> None:
        self.proxy.stall()
        await trio.sleep(self.luck.uniform(0, LONGEST_FAULT_S))
        self.proxy.go_on()

    async def _refuse(self) -> None:
        self.proxy.refuses = True
        self.proxy.cut()
        await trio.sleep(self.luck.uniform(0, LONGEST_FAULT_S))
        self.proxy.refuses = False

    async def _kill_server(self) -> None:
        await self.backend.kill()
        await trio.sleep(self.luck.uniform(0, LONGEST_FAULT_S))
        await self.backend.start()

    async def _stop_server(self) -> None:
        await self.backend.stop()
        await self.backend.start()

    async def _fill_disk(self) -> None:
        self.backend.fill_disk()
        await trio.sleep(self.luck.uniform(0, LONGEST_FAULT_S))
        self.backend.free_disk()

    # --- the end

    async def check(self) -> None:
        """What is stored is what was tracked: each once, with its contents."""
        found = await self.backend.stored(self.app)
        ids = Counter(event["id"] for event in found)
        assert [event_id for event_id, count in ids.items() if count > 1] == [], "these are there twice"
        assert self.tracked.keys() - ids.keys() == set(), "these are lost"
        for event in found:
            number = event["payload"]["data"]["n"]
            assert event["payload"] == {"name": "counted", "data": data_of(number)}
            assert event["appId"] == self.app
            if event["id"] in self.tracked:
                assert self.tracked[event["id"]] == number
            else:
                assert number in self.unknown, "nobody has tracked this"
        assert len(found) <= len(self.tracked) + len(self.unknown)


async def test_everything_fails_and_nothing_is_lost(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Servers are killed, networks cut, disks fill up, clients die: every event that was tracked is stored once."""
    seed = request.config.getoption("--seed") or random.randrange(2**32)
    runs = request.config.getoption("--client-runs")
    print(f"pytest tests/test_client_faults.py --client-runs {runs} --seed {seed}")
    faults: Counter[str] = Counter()
    tracked = 0
    (tmp_path / "store").mkdir()
    backend, proxy = Backend(tmp_path / "store"), Proxy(random.Random(seed))
    try:
        await backend.start()
        async with trio.open_nursery() as network:
            await network.start(proxy.run)
            proxy.target = backend.port
            for number in range(runs):
                chance, luck = random.Random(f"{seed} {number}"), random.Random(f"{seed} {number} luck")
                run = Run(backend, proxy, chance, luck, f"app-{number}", tmp_path / f"spool-{number}.db", faults)
                with trio.fail_after(DELIVERY_S):
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(run.disturb)
                        await (run.in_a_process() if chance.random() < 0.25 else run.in_this_process())
                await run.check()
                tracked += len(run.tracked)
            network.cancel_scope.cancel()
    finally:
        with trio.CancelScope(shield=True):
            await backend.kill()
    print(
        f"{tracked} events tracked; {backend.outages} outages of the disk; "
        + ", ".join(f"{kind}: {count}" for kind, count in sorted(faults.items()))
    )
