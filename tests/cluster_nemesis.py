"""What fails in a cluster: faults that are drawn from a seed, each for a bounded time, and mended all at the end."""

import random
import signal
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial

import attrs
import trio

from tests.cluster_support import TrackerProcess
from tests.nats_support import NatsServers

LONGEST_RUN_S = 4.0  # within which the faults of a run begin
SHORT_S = (0.2, 3.0)
LONG_S = (15.0, 18.0)  # longer than an outage takes to be noticed, by trackers that were just started as well
LONG_SHARE = 0.1
HEAL_S = 90
POLL_S = 0.1
EXPECTED_ENDS = (
    "it is built anew when the stream can be reached",  # a damaged file, and no stream
    "disk I/O error",  # a disk that was full when it started
    "sync is not known",  # too few servers, in the moment in which it asks
)


@attrs.define
class Nemesis:
    """Lets servers and trackers fail.

    :param chance: draws what fails, when, and for how long.
    :ivar counts: how often what has failed.
    """

    servers: NatsServers
    trackers: list[TrackerProcess]
    chance: random.Random
    counts: Counter[str] = attrs.field(factory=Counter)
    _kinds: Iterator[Callable[[], Awaitable[None]]] = attrs.field(init=False)
    _busy: set[object] = attrs.field(factory=set)

    def __attrs_post_init__(self) -> None:
        self._kinds = self._deck()

    def _deck(self) -> Iterator[Callable[[], Awaitable[None]]]:
        """All kinds in an order of chance, again and again, so that few runs have each of them."""
        kinds = [
            self.kill_tracker,
            self.kill_server,
            self.kill_both,
            self.kill_most_servers,
            self.pause_tracker,
            self.pause_server,
            self.part_server,
            self.part_tracker,
            self.lose_file,
            self.damage_file,
            self.fill_disk,
            self.restart_trackers,
            self.restart_servers,
        ]
        while True:
            yield from self.chance.sample(kinds, len(kinds))

    async def strike(self, count: int) -> None:
        """Let some things fail, beside one another, and mend them; then all is as it was, but for what it takes."""
        within_s = self.chance.uniform(0, LONGEST_RUN_S)
        with trio.fail_after(HEAL_S):
            async with trio.open_nursery() as nursery:
                for _ in range(count):
                    nursery.start_soon(self._strike, next(self._kinds), self.chance.uniform(0, within_s))

    async def _strike(self, fault: Callable[[], Awaitable[None]], after_s: float) -> None:
        await trio.sleep(after_s)
        self.counts[fault.__name__.replace("_", " ")] += 1
        await fault()

    async def heal(self) -> None:
        """Mend what was not, and wait until all is well; no tracker is started again that runs."""
        await self.servers.revive()
        for tracker in self.trackers:
            tracker.start_if_dead()
        with trio.fail_after(HEAL_S):
            for tracker in self.trackers:
                while tracker.has_died or not await tracker.is_ready():
                    tracker.start_if_dead()
                    await trio.sleep(POLL_S)
        self.check_ends()

    def check_ends(self) -> None:
        """None has ended by itself, but for reasons for which an init system starts it again."""
        for tracker in self.trackers:
            for said in tracker.ends:
                assert any(reason in said for reason in EXPECTED_ENDS), f"{tracker.name} has ended:\n{said}"
            self.counts["trackers that had to be started twice"] += len(tracker.ends)
            tracker.ends.clear()

    @asynccontextmanager
    async def _some_of(self, targets: list[int], kind: str, count: int = 1) -> AsyncGenerator[list[int], None]:
        """Some that nothing else is done to meanwhile."""
        while len(free := [target for target in targets if (kind, target) not in self._busy]) < count:
            await trio.sleep(POLL_S)
        taken = self.chance.sample(free, count)
        self._busy.update((kind, target) for target in taken)
        try:
            yield taken
        finally:
            self._busy.difference_update((kind, target) for target in taken)

    @asynccontextmanager
    async def _a_tracker(self) -> AsyncGenerator[TrackerProcess, None]:
        async with self._some_of(list(range(len(self.trackers))), "tracker") as (index,):
            yield self.trackers[index]

    def _some_servers(self, count: int = 1) -> AbstractAsyncContextManager[list[int]]:
        return self._some_of(list(range(len(self.servers.servers))), "server", count)

    async def _wait(self, *, may_be_long: bool = False) -> None:
        await trio.sleep(self._chosen_s(may_be_long=may_be_long))

    def _chosen_s(self, *, may_be_long: bool) -> float:
        is_long = may_be_long and self.chance.random() < LONG_SHARE
        return self.chance.uniform(*(LONG_S if is_long else SHORT_S))

    async def _check_outage(self, down_s: float) -> None:
        """No tracker is ready where most servers have been down for so long, but one that has not noticed a pause."""
        for index, tracker in enumerate(self.trackers):
            if down_s > LONG_S[0] and ("tracker", index) not in self._busy:
                assert not await tracker.is_ready(), f"{tracker.name} is ready without servers"

    # --- the faults

    async def kill_tracker(self) -> None:
        async with self._a_tracker() as tracker:
            tracker.kill()
            await self._wait()
            tracker.start()

    async def kill_server(self) -> None:
        async with self._some_servers() as (index,):
            self.servers.kill(index)
            await self._wait()
            self.servers.start(index)

    async def kill_both(self) -> None:
        async with self._a_tracker() as tracker, self._some_servers() as (index,):
            tracker.kill()
            self.servers.kill(index)
            await self._wait()
            starts: list[Callable[[], None]] = [tracker.start, partial(self.servers.start, index)]
            for start in self.chance.sample(starts, 2):
                start()

    async def kill_most_servers(self) -> None:
        async with self._some_servers(self.chance.choice([2, 2, 3])) as taken:
            for index in taken:
                self.servers.kill(index)
            down_s = self._chosen_s(may_be_long=True)
            await trio.sleep(down_s)
            await self._check_outage(down_s)
            for index in taken:
                self.servers.start(index)

    async def pause_tracker(self) -> None:
        async with self._a_tracker() as tracker:
            tracker.pause()
            await self._wait(may_be_long=True)
            tracker.resume()

    async def pause_server(self) -> None:
        async with self._some_servers() as (index,):
            self.servers.pause(index)
            await self._wait(may_be_long=True)
            self.servers.resume(index)

    async def part_server(self) -> None:
        async with self._some_servers() as (index,):
            self.servers.isolate(index)
            await self._wait(may_be_long=True)
            self.servers.rejoin(index)

    async def part_tracker(self) -> None:
        async with self._a_tracker() as tracker:
            tracker.part()
            await self._wait(may_be_long=True)
            for wire in tracker.wires:
                if self.chance.random() < 0.5:
                    wire.reset()
            tracker.join()

    async def lose_file(self) -> None:
        async with self._a_tracker() as tracker:
            tracker.kill()
            tracker.lose_file()
            await self._wait()
            tracker.start()

    async def damage_file(self) -> None:
        async with self._a_tracker() as tracker:
            tracker.kill()
            if tracker.local.exists():
                tracker.damage_file(self.chance)
            await self._wait()
            tracker.start()

    async def fill_disk(self) -> None:
        async with self._a_tracker() as tracker:
            tracker.fill_disk()
            await self._wait(may_be_long=True)
            tracker.free_disk()
            self.counts["full disks that were noticed"] += "disk" in tracker.said.lower()

    async def restart_trackers(self) -> None:
        for index in range(len(self.trackers)):
            async with self._some_of([index], "tracker"):
                tracker = self.trackers[index]
                tracker.start_if_dead()
                assert await tracker.stop() in (0, 1, -signal.SIGTERM), (
                    tracker.said
                )  # 1: in an outage; -15: at its start
                tracker.start()
                with trio.move_on_after(SHORT_S[1]):  # others may be failing
                    while not await tracker.is_ready():
                        await trio.sleep(POLL_S)

    async def restart_servers(self) -> None:
        for index in range(len(self.servers.servers)):
            async with self._some_of([index], "server"):
                await self.servers.terminate(index)
                self.servers.start(index)
                with trio.move_on_after(SHORT_S[1]):
                    await self.servers.wait_healthy()
