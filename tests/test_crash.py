"""``kill -9`` under load, with a disk that fails now and then: what was acked is there once, nothing is there twice.

``pytest tests/test_crash.py --crashes 50`` is the long form. Its choices come from a seed, which is printed; when the
server really dies depends on the machine.
"""

import json
import random
import re
import resource
import signal
from collections import Counter, deque
from contextlib import suppress
from pathlib import Path

import attrs
import pytest
import trio
from websockets.exceptions import ConnectionClosed

from tests.command import Command, run, serving, started
from tests.store_support import block_count, problems
from tests.support import Client, Running, event, query
from wsproto_tracker.protocol.timestamps import format_instant

NOW = 1_764_000_000_000_000
CONNECTIONS = 4
IN_FLIGHT = 8
LONGEST_S = 1.0


@attrs.define
class Ledger:
    """What was sent, and what was acked. An event is told by its mark, a number in its payload."""

    chance: random.Random
    sent: set[int] = attrs.field(factory=set)
    acked: set[int] = attrs.field(factory=set)
    unacked: list[tuple[list[int], str]] = attrs.field(factory=list)  # frames whose events all have ids
    late_acks: int = 0

    def frame(self) -> tuple[list[int], str]:
        """A frame of new events: most of now, some late, some at the same instant."""
        marks = list(range(len(self.sent), len(self.sent) + self.chance.randint(1, 60)))
        self.sent.update(marks)
        has_ids = self.chance.random() < 0.5
        events = [event(id=f"m{mark}" if has_ids else "", **self._members(mark)) for mark in marks]
        return (marks if has_ids else []), json.dumps({"type": "ingest", "events": events})

    def _members(self, mark: int) -> dict[str, object]:
        late_by = self.chance.choice([0, 0, 0, 0, 0, 0, 0, 0, 0, self.chance.randint(1, max(mark, 1))])
        return {
            "timestamp": format_instant(NOW + (mark - late_by) // 3 * 1000),
            "appId": self.chance.choice(["shop", "blog"]),
            "payload": {"mark": mark, "text": self.chance.choice(["Buy", "Sell"]) * self.chance.randint(1, 20)},
        }

    async def load(self, server: Running) -> None:
        """Send and count acks on some connections, until the server dies."""
        async with trio.open_nursery() as nursery:
            for _ in range(CONNECTIONS):
                nursery.start_soon(self._load_one, server)

    async def _load_one(self, server: Running) -> None:
        waiting: deque[tuple[list[int], list[int], str]] = deque()  # all marks, those with ids, the frame
        with suppress(ConnectionClosed, OSError):
            async with server.client() as client:
                try:
                    while True:
                        while len(waiting) < IN_FLIGHT:
                            first = len(self.sent)
                            given, frame = self.frame()
                            waiting.append((list(range(first, len(self.sent))), given, frame))
                            await client.send(frame)
                        await self._take(client, waiting)
                finally:
                    self.unacked += [(given, frame) for _, given, frame in waiting if given]

    async def _take(self, client: Client, waiting: deque[tuple[list[int], list[int], str]]) -> None:
        answer = await client.receive()
        if answer["type"] == "error":
            assert answer["code"] == "unavailable", answer
            self.late_acks += 1
            return
        marks, _, _ = waiting.popleft()
        assert answer == {"type": "ack", "saved": len(marks)}
        self.acked.update(marks)

    async def send_again(self, server: Running) -> None:
        """Send the frames again that were not acked; what was saved of them all the same is noticed by its ids."""
        async with server.client() as client:
            for given, frame in self.unacked:
                answer = await client.ask(frame)
                assert (answer["type"], answer["saved"]) == ("ack", len(given)), answer
                self.acked.update(given)
        self.unacked.clear()

    async def more_acks(self) -> None:
        """Wait for an ack."""
        before = len(self.acked)
        while len(self.acked) <= before:
            await trio.sleep(0.02)

    async def check(self, server: Running) -> None:
        """Everything that was acked is there, once, and nothing that was never sent."""
        async with server.client() as client:
            await client.send(query())
            answer = await client.websocket.recv()
        found = Counter(map(int, re.findall(r'"mark": ?([0-9]+)', str(answer))))
        assert {mark for mark, count in found.items() if count > 1} == set(), "these are there twice"
        assert self.acked - found.keys() == set(), "these were acked and are lost"
        assert found.keys() - self.sent == set()


def largest_file(directory: Path) -> int:
    """The size of the largest file."""
    return max(file.stat().st_size for file in directory.iterdir())


def limit_files(process: Command, size: int) -> None:
    """Let the process write no file beyond a size; to it, the disk fails."""
    resource.prlimit(process.process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


async def run_until_killed(path: Path, ledger: Ledger) -> None:
    """Start the server, check what the last one left, load it, and kill it."""
    chance = ledger.chance
    arguments = ("--store", f"sqlite:{path}", "--max-events", "100000000")
    if chance.random() < 0.15:
        async with started("--port", "0", *arguments):
            await trio.sleep(chance.uniform(0, 0.7))  # it dies while it starts, or soon after
        return
    async with serving(*arguments) as process:
        await ledger.check(process.running)
        await ledger.send_again(process.running)
        with trio.move_on_after(chance.uniform(0.02, LONGEST_S)):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ledger.load, process.running)
                if chance.random() < 0.5:
                    await trio.sleep(chance.uniform(0, LONGEST_S / 2))
                    limit_files(process, largest_file(path.parent))
                    await trio.sleep(chance.uniform(0, LONGEST_S))
                    limit_files(process, resource.RLIM_INFINITY)


async def test_killed_under_load(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Whenever the server dies, every acked event is there once after the restart, and the file is sound (ACK-5)."""
    seed = request.config.getoption("--seed") or random.randrange(2**32)
    rounds = request.config.getoption("--crashes")
    print(f"pytest tests/test_crash.py --crashes {rounds} --seed {seed}")
    ledger = Ledger(random.Random(seed))
    path = tmp_path / "tracker.db"
    for _ in range(rounds):
        await run_until_killed(path, ledger)
    async with serving("--store", f"sqlite:{path}", "--max-events", "100000000") as process:
        await ledger.check(process.running)
        await ledger.send_again(process.running)
        await ledger.check(process.running)
        assert (await process.stop()).status == 0
    assert problems(path) == []
    print(f"{len(ledger.sent)} events sent, {len(ledger.acked)} acked, {block_count(path)} blocks, ", end="")
    print(f"{ledger.late_acks} connections told of a disk that fails")
    assert len(ledger.acked) > 1000


async def test_disk_fails_and_is_mended(tmp_path: Path) -> None:
    """On a disk that fails, acks come late; once it is back, without a restart, all of it is saved once (ACK-7)."""
    path = tmp_path / "tracker.db"
    ledger = Ledger(random.Random(7))
    async with serving("--store", f"sqlite:{path}") as process:
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ledger.load, process.running)
                for _ in range(2):
                    await ledger.more_acks()
                    told = ledger.late_acks
                    limit_files(process, largest_file(tmp_path))
                    while ledger.late_acks < told + CONNECTIONS:
                        await trio.sleep(0.02)
                    limit_files(process, resource.RLIM_INFINITY)
                    await ledger.more_acks()
                nursery.cancel_scope.cancel()
        ended = await process.stop()
    assert ended.status == 0
    assert ended.errors.count("nothing can be saved") == ended.errors.count("events are saved again") == 2
    assert (await run("store", "verify", "--store", f"sqlite:{path}")).is_clean
    async with serving("--store", f"sqlite:{path}") as process:
        await ledger.check(process.running)


async def test_stopped_under_load(tmp_path: Path) -> None:
    """Stopped as an init system does it, the server acks what it had received, and keeps it (CLOSE-4)."""
    path = tmp_path / "tracker.db"
    ledger = Ledger(random.Random(8))
    async with serving("--store", f"sqlite:{path}") as process, trio.open_nursery() as nursery:
        nursery.start_soon(ledger.load, process.running)
        await trio.sleep(0.5)
        process.signal(signal.SIGTERM)
        assert (await process.end()).is_clean
    assert problems(path) == []
    async with serving("--store", f"sqlite:{path}") as process:
        await ledger.check(process.running)
