"""``wsproto-tracker load``, run as users run it; and what it counts with."""

import json
import random
import signal
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import trio
from websockets.trio.server import ServerConnection

from tests.command import DEADLINE_S, Ended, run, serving, started
from tests.support import Running, running
from tests.test_examples import VALIDATORS
from tests.write_support import backend, command, until_stored
from wsproto_tracker.access import Key, Scope
from wsproto_tracker.cli.latency import Latencies, milliseconds, plotted
from wsproto_tracker.cli.load import _rows
from wsproto_tracker.cli.made_up import TYPES, Traffic
from wsproto_tracker.cli.pounding import Plan, Pounding
from wsproto_tracker.client.options import ClientOptions

FOREVER = ("--seconds", "600")


async def load(url: str, *arguments: str) -> Ended:
    return await run("load", "--url", url, "--json", *arguments)


async def total(server: Running) -> int:
    return int((await server.http("GET", "?limit=0")).json()["total"])


class TestRun:
    async def test_figures(self, server: Running) -> None:
        """What it says was acked is what the server has; nothing of it is rejected."""
        ended = await load(server.ws_url, "--seconds", "1", "--connections", "3", "--batch", "7", "--rate", "210")
        assert (ended.status, ended.errors) == (0, "")
        figures = json.loads(ended.output)
        assert figures["sent"] == figures["acked"] == await total(server) == 7 * figures["batches"] > 0
        assert (figures["rejected"], figures["unanswered"]) == (0, 0)
        assert (figures["refused"], figures["lost_connections"], figures["outages"]) == ({}, {}, 0)
        latency = figures["ack_latency_s"]
        assert 0 < latency["p50"] <= latency["p90"] <= latency["p99"] <= latency["max"]

    async def test_for_people(self, server: Running) -> None:
        """Piped, it is plain text: a table and a plot."""
        ended = await run("load", "--url", server.ws_url, "--seconds", "0.5")
        assert (ended.status, ended.errors) == (0, "")
        assert "\x1b" not in ended.output
        names = [line.split("  ")[0] for line in ended.output.splitlines()[:5]]
        assert names == ["asked for", "sent", "acked", "ack latency", "generator"]
        assert "latency over time: median (solid), 99th percentile (light)\n" in ended.output
        assert "█" in ended.output

    async def test_ascii(self, server: Running) -> None:
        """Where only ASCII can be printed, the plot is of it."""
        variables = {"PYTHONIOENCODING": "ascii"}
        ended = await run("load", "--url", server.ws_url, "--seconds", "0.2", variables=variables)
        assert (ended.status, ended.errors) == (0, "")
        assert ended.output.isascii()
        assert "#" in ended.output

    async def test_interrupted(self, server: Running) -> None:
        """Ctrl-C ends it with what there is so far, and 130."""
        async with command("load", *FOREVER, "--url", server.ws_url, "--json") as it:
            await until_stored(server, 1)
            ended = await it.end(signal.SIGINT)
        assert (ended.status, ended.errors) == (130, "wsproto-tracker: interrupted\n")
        assert json.loads(ended.output)["acked"] == await total(server) > 0

    async def test_interrupted_early(self) -> None:
        """So it ends while it waits for a server; then there is nothing to tell."""
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        async with listener:
            port = listener.socket.getsockname()[1]
            async with command("load", "--url", f"ws://127.0.0.1:{port}/ws") as it:
                with trio.fail_after(DEADLINE_S):
                    stream = await listener.accept()  # which says nothing
                async with stream:
                    assert await it.end(signal.SIGINT) == Ended(130, "", "wsproto-tracker: interrupted\n")

    async def test_key(self, locked: Running) -> None:
        """With a key it shows it; with a wrong one it ends at once, in a line."""
        ended = await load(locked.ws_url, "--seconds", "0.2", "--api-key", "s3cret")
        assert ended.status == 0
        ended = await load(locked.ws_url, "--api-key", "wr0ng")
        assert (ended.status, ended.output, ended.errors.count("\n")) == (1, "", 1)

    async def test_key_for_asking(self) -> None:
        """So it does with a key that is not for sending."""
        async with running(keys=(Key(key="0ffice", name="office", scopes=frozenset({Scope.QUERY})),)) as server:
            ended = await load(server.ws_url, *FOREVER, "--api-key", "0ffice")
        assert (ended.status, ended.output, ended.errors.count("\n")) == (1, "", 1)
        assert "not for sending" in ended.errors


class TestTrouble:
    async def test_rate_limited(self) -> None:
        """A batch that is refused counts as that; it waits as long as the server says, and goes on."""
        async with running(max_event_rate=5.0, max_rate_delay_s=0.01) as server:
            ended = await load(server.ws_url, "--seconds", "1.5", "--connections", "4")
            figures = json.loads(ended.output)
            assert figures["refused"]["rate_limited"] > 0
            assert figures["acked"] + figures["refused"]["rate_limited"] + figures["unanswered"] == figures["sent"]
            assert figures["acked"] == await total(server)

    async def test_lost_server(self) -> None:
        """Where the server is killed, it comes back when that does, and tells what it lost."""
        async with serving() as first:
            port = str(first.running.address.port)
            async with command("load", *FOREVER, "--url", first.endpoint, "--json") as it:
                await until_stored(first.running, 1)
                first.signal(signal.SIGKILL)
                await first.process.wait()
                async with started("--port", port) as second:
                    await second.until("Ctrl-C stops it.\n")
                    await until_stored(second.running, 1)
                    ended = await it.end(signal.SIGINT)
        figures = json.loads(ended.output)
        assert figures["acked"] > 0
        assert sum(figures["lost_connections"].values()) >= 10
        assert figures["acked"] + figures["unanswered"] == figures["sent"]

    async def test_answers(self) -> None:
        """Rejections, errors in place of acks, late acks and closed connections are counted apart."""
        is_through = trio.Event()

        async def answer(websocket: ServerConnection, number: int, events: list[Any]) -> None:
            match number:
                case 1:
                    await websocket.send(json.dumps({"type": "ack", "saved": len(events) - 2}))
                case 2:
                    await websocket.send('{"type":"error","code":"internal","message":"oh"}')
                case 3:
                    await websocket.send('{"type":"error","code":"unavailable","message":"late"}')
                    await websocket.send('{"type":"push","events":[]}')
                    await websocket.send(json.dumps({"type": "ack", "saved": len(events)}))
                case 4:
                    await websocket.aclose(1011)
                case _:
                    await websocket.send(json.dumps({"type": "ack", "saved": len(events)}))
                    is_through.set()

        async with backend(answer) as url:
            arguments = ("--connections", "1", "--batch", "10", "--rate", "100", "--json")
            async with command("load", *FOREVER, "--url", url, *arguments) as it:
                with trio.fail_after(DEADLINE_S):
                    await is_through.wait()
                ended = await it.end(signal.SIGINT)
        figures = json.loads(ended.output)
        assert (figures["rejected"], figures["refused"], figures["outages"]) == (2, {"internal": 10}, 1)
        assert figures["lost_connections"] == {"the server closed the connection with 1011": 1}
        assert figures["acked"] + figures["unanswered"] + 2 + 10 == figures["sent"]
        assert figures["unanswered"] >= 10

    async def test_no_ack(self) -> None:
        """Where no batch is acked, it has failed; it does not send without end."""

        async def answer(_websocket: ServerConnection, _number: int, _events: list[Any]) -> None:
            pass

        async with backend(answer) as url:
            ended = await load(url, "--seconds", "0.5", "--connections", "2")
        figures = json.loads(ended.output)
        assert (ended.status, figures["acked"], figures["unanswered"]) == (1, 0, figures["sent"])
        assert figures["batches"] == 2 * 4

    async def test_nonsense(self) -> None:
        """An ack for nothing is no tracker's; it ends with a line."""

        async def answer(websocket: ServerConnection, _number: int, _events: list[Any]) -> None:
            for _ in range(9):
                await websocket.send('{"type":"ack","saved":25}')

        async with backend(answer) as url:
            ended = await load(url, *FOREVER, "--connections", "1", "--rate", "1")
        assert (ended.status, ended.output, ended.errors.count("\n")) == (1, "", 1)
        assert "it sent an ack, and no batch was waiting for one" in ended.errors


class TestWrongUse:
    @pytest.mark.parametrize("url", ["ws://tracker.example/ws", "wss://192.0.2.1/ws", "ws://127.0.0.1.example/ws"])
    async def test_other_machines(self, url: str) -> None:
        """A server elsewhere is left alone, unless one says that it is one's own."""
        ended = await load(url)
        assert (ended.status, ended.output) == (2, "")
        assert ended.errors == (
            f"wsproto-tracker: --url: {url} is not on this machine; a load can take a server down: "
            "give --this-server-is-mine if it is yours, and may be\n"
        )

    async def test_mine(self) -> None:
        """Then it is tried."""
        ended = await load("ws://tracker.invalid/ws", "--this-server-is-mine")
        assert (ended.status, ended.output) == (1, "")
        assert ended.errors.splitlines()[-1].startswith("wsproto-tracker: ws://tracker.invalid/ws: no connection")

    @pytest.mark.parametrize(
        ("name", "given", "expected"),
        [
            ("connections", "0", "a whole number from 1 to 10000"),
            ("batch", "x", "a whole number from 1 to 100000"),
            ("rate", "-1", "a number of events per second, 0 or more"),
            ("rate", "nan", "a number of events per second, 0 or more"),
            ("seconds", "0", "a number of seconds, more than 0"),
            ("seconds", "inf", "a number of seconds, more than 0"),
        ],
    )
    async def test_numbers(self, name: str, given: str, expected: str) -> None:
        ended = await run("load", f"--{name}={given}")
        assert ended == Ended(2, "", f"wsproto-tracker: --{name}: expected {expected}\n")


class TestLatencies:
    def test_percentiles(self) -> None:
        """Percentiles are right to 2 %, in little memory."""
        chance = random.Random(1)
        latencies, given = Latencies(), sorted(chance.lognormvariate(-5, 2) for _ in range(20_000))
        for each in given:
            latencies.add(each)
        for percent in (50, 90, 99, 100):
            exact = given[len(given) * percent // 100 - 1]
            assert exact * 0.999 <= latencies.percentile_s(percent) <= exact * 1.021
        assert latencies.max_s == given[-1]
        assert len(latencies._counts) < 1_500

    def test_none(self) -> None:
        assert Latencies().percentile_s(99) == 0.0
        assert plotted([Latencies()], 1.0) == []

    @pytest.mark.parametrize(
        ("seconds", "told"),
        [
            (0.0, "0.0000"),
            (0.00123, "1.23"),
            (0.0099999, "10.0"),
            (0.0456, "45.6"),
            (0.789, "789"),
            (12.3456, "12,346"),
        ],
    )
    def test_milliseconds(self, seconds: float, told: str) -> None:
        assert milliseconds(seconds) == told

    def test_plot(self) -> None:
        """Each column is as high as its median, and lighter up to its 99th percentile."""
        slices = [Latencies() for _ in range(3)]
        for each, (low, high) in zip(slices, ((0.010, 0.010), (0.040, 0.080), (0.080, 0.080)), strict=True):
            for latency in [low] * 90 + [high] * 10:
                each.add(latency)
        lines = plotted(slices, 3.0)
        columns = ["".join(line.ljust(15)[12 + column] for line in lines[:8]) for column in range(3)]
        assert columns == ["       █", "░░░▁████", "████████"]
        assert lines[0].startswith("   80.")
        assert [line.rstrip() for line in lines[8:]] == ["         0 +---", "            0 3 s"]

    def test_bottleneck(self) -> None:
        """Where the generator could not do more, it says that the figures are its own."""
        plan = Plan(connections=1, rate=0, batch_events=25, duration_s=1.0, slices=10)
        pounding = Pounding(plan, ClientOptions(url="ws://127.0.0.1/ws", app_id="x"))
        pounding.took_s = 1.0
        for share, is_told in ((0.5, False), (0.95, True)):
            pounding.processor_share = share
            assert ("was the bottleneck" in dict(_rows(pounding))["generator"]) == is_told


class TestMadeUp:
    def test_events(self) -> None:
        """Events are of all seven types, fit their schemas, are the same for a seed, and sessions begin and end."""
        moment = datetime(2026, 11, 1, tzinfo=UTC)
        traffic, same = Traffic(seed=1), Traffic(seed=1)
        events = [traffic.event(moment + timedelta(seconds=n)) for n in range(3_000)]
        assert events == [same.event(moment + timedelta(seconds=n)) for n in range(3_000)]
        assert {each["type"] for each in events} == {*TYPES, "session"}
        for each in events:
            VALIDATORS["event"].validate(each)
            VALIDATORS[f"payload-{each['type']}"].validate(each["payload"])
        sessions: dict[str, list[Any]] = {}
        for each in events:
            sessions.setdefault(each["sessionId"], []).append(each)
        assert all(session[0]["payload"]["action"] == "start" for session in sessions.values())
        ended = [session for session in sessions.values() if session[-1]["payload"].get("action") == "end"]
        assert len(ended) >= len(sessions) - 8
        assert len({each["userId"] for each in events}) > 5

    def test_trouble(self) -> None:
        moment = datetime(2026, 11, 1, tzinfo=UTC)
        failed, error = Traffic(seed=1).trouble(moment)
        assert (failed["payload"]["status"], error["type"], error["level"]) == (503, "error", "error")
        for each in (failed, error):
            VALIDATORS[f"payload-{each['type']}"].validate(each["payload"])
