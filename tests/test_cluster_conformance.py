"""Trackers of a cluster conform, each of them and through HAProxy, where one is killed and comes back as well."""

from collections import Counter
from collections.abc import Generator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import attrs
import pytest
import trio
from tracker_conformance import Result, Run, all_checks, run_suite, select

from tests.balancer_support import DEADLINE_S, PATIENCE, Balancer, balanced, clustered, needs_haproxy
from tests.cluster_support import TrackerProcess
from tests.command import serving
from tests.nats_support import NatsServers, kept_servers, needs_nats
from tests.support import parse_response, query
from tests.test_conformance_servers import BAD, target_of, told
from wsproto_tracker.client import open_client

KEY = "sesame-1234"
SUITE_S = 120
GONE = (None, 502, 503, 504)  # what HAProxy answers for a tracker that is gone; None where the connection is cut


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Generator[NatsServers, None, None]:
    with kept_servers(tmp_path_factory.mktemp("nats")) as it:
        yield it


def was_cut(result: Result) -> bool:
    """Whether the tracker went away in the midst of a check: what HAProxy says of that, or a close without a code."""
    for entry in result.entries:
        match entry.kind:
            case "close" if not entry.data.get("own") and entry.data.get("code") in (None, 1006):
                return True
            case "refused" if entry.data.get("status") in GONE:
                return True
            case "response" if entry.data["status"] == 0 or (entry.data["status"] in GONE and "<h1>" in entry.text):
                return True
    return False


def ports(trackers: Sequence[TrackerProcess]) -> list[int]:
    return [tracker.port for tracker in trackers]


async def run_while_killed(trackers: list[TrackerProcess], balancer: Balancer) -> tuple[Run, int]:
    """Run the suite while one tracker after the other is killed and started again; the run, and how many were killed.

    What other checks need comes before.
    """
    needed = {name for check in all_checks() for name in check.needs}
    kills = 0
    begun, ended = trio.Event(), trio.Event()

    async def kill() -> None:
        nonlocal kills
        await begun.wait()
        while not ended.is_set():
            tracker = trackers[kills % len(trackers)]
            kills += 1
            tracker.kill()
            tracker.start()
            await tracker.wait_ready()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(kill)
        run = await run_suite(
            balancer.target(), on_result=lambda result: None if result.check in needed else begun.set()
        )
        ended.set()
    return run, kills


@needs_nats
class TestConformance:
    async def test_each_tracker(self, servers: NatsServers, tmp_path: Path) -> None:
        """Each of three trackers passes, while the others take in what their suites send."""
        runs: list[Run] = []

        async def judge(tracker: TrackerProcess) -> None:
            runs.append(await run_suite(attrs.evolve(target_of(tracker.running), timeout_scale=PATIENCE)))

        async with clustered(servers, "EACH", tmp_path) as trackers:
            with trio.fail_after(SUITE_S):
                async with trio.open_nursery() as nursery:
                    for tracker in trackers:
                        nursery.start_soon(judge, tracker)
        assert [told(run, *BAD) for run in runs] == [[], [], []]

    @needs_haproxy
    async def test_through_a_balancer(self, servers: NatsServers, tmp_path: Path) -> None:
        """So do all together, where each connection of a client leads to another one."""
        async with (
            clustered(servers, "BALANCED", tmp_path) as trackers,
            balanced(ports(trackers), tmp_path) as balancer,
        ):
            with trio.fail_after(SUITE_S):
                run = await run_suite(balancer.target())
            logs = [tracker.said for tracker in trackers]
        assert told(run, *BAD) == []
        assert [log.count("transport=websocket") > 10 for log in logs] == [True] * 3

    @needs_haproxy
    async def test_while_one_is_killed(self, servers: NatsServers, tmp_path: Path) -> None:
        """A tracker that is killed takes its connections with it, and nothing else.

        A check that fails has to show in its transcript that its tracker went away, and to pass when it is tried again.
        """
        async with clustered(servers, "KILLED", tmp_path) as trackers, balanced(ports(trackers), tmp_path) as balancer:
            with trio.fail_after(SUITE_S):
                run, kills = await run_while_killed(trackers, balancer)
            assert kills > 0
            cut = [found for found in run.results if found.judgement.verdict in BAD and was_cut(found)]
            others = [found for found in run.results if found not in cut]
            assert told(attrs.evolve(run, results=tuple(others)), *BAD) == []
            if cut:
                with trio.fail_after(SUITE_S):
                    again = await run_suite(balancer.target(), select(all_checks(), [found.check for found in cut]))
                assert told(again, *BAD) == []

    @needs_haproxy
    async def test_client(self, servers: NatsServers, tmp_path: Path) -> None:
        """What the client sends while trackers are killed one after the other is there once, at every tracker."""
        tracked: list[str] = []
        ended = trio.Event()

        async def kill_all() -> None:
            for tracker in trackers:
                tracker.kill()
                tracker.start()
                await tracker.wait_ready()
            ended.set()

        async with clustered(servers, "CLIENT", tmp_path) as trackers, balanced(ports(trackers), tmp_path) as balancer:
            async with (
                open_client(
                    balancer.url,
                    app_id="demo",
                    ssl_context=balancer.context,
                    flush_interval_s=0.01,
                    backoff_min_s=0.01,
                    backoff_max_s=0.1,
                    close_timeout_s=DEADLINE_S,
                ) as client,
                trio.open_nursery() as nursery,
            ):
                nursery.start_soon(kill_all)
                while not ended.is_set():
                    tracked.append(client.track("counted", {"n": len(tracked)}))
                    await trio.sleep(0.002)
            for tracker in trackers:
                async with tracker.running.client() as reader:
                    answer = await reader.ask(query(appId="demo"))
                assert Counter(event["id"] for event in answer["response"]["events"]) == Counter(tracked)


@needs_haproxy
async def test_clients_are_told_apart(tmp_path: Path) -> None:
    """Each tracker limits a client by its own address, whatever it says that its address is."""
    options = ("--api-key", KEY, "--max-auth-failures", "1", "--trusted-proxy", "127.0.0.1")
    async with AsyncExitStack() as stack:
        commands = [await stack.enter_async_context(serving(*options)) for _ in range(3)]
        addresses = [command.running.address for command in commands]
        balancer = await stack.enter_async_context(balanced([address.port for address in addresses], tmp_path))

        async def guess(address: str, number: int) -> int:
            tcp = await trio.open_tcp_stream("127.0.0.1", balancer.port, local_address=address)
            stream = trio.SSLStream(tcp, balancer.context, server_hostname="localhost", https_compatible=True)
            async with stream:
                lines = ["GET /_tracker HTTP/1.1", "Host: localhost", "X-Tracker-Key: guess", "Connection: close"]
                lines += [f"X-Forwarded-For: 198.51.100.{number}", "", ""]
                await stream.send_all("\r\n".join(lines).encode())
                return parse_response(b"".join([bytes(data) async for data in stream]), "GET").status

        assert [await guess("127.0.0.2", number) for number in range(6)] == [401] * 3 + [429] * 3
        assert [await guess("127.0.0.3", number) for number in range(3)] == [401] * 3
    assert "guess" not in balancer.log.read_text()
