"""``wsproto-tracker tail``, run as users run it."""

import json
import random
import re
import signal
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.client_support import Peer, scripted
from tests.command import Command, run, serving
from tests.reading_support import HOSTILE, Bare, ago, asked, at, begun, ids, save, told
from tests.support import Running, running
from wsproto_tracker.cli.seen import LATE_US, Seen

NOW = 1_800_000_000_000_000


async def shown(command: Command, *expected: str) -> None:
    """Wait until the last of these ids is shown, and see that they are all, in this order, each once."""
    await command.until(f'"{expected[-1]}"')
    assert ids(command.output) == list(expected)


class TestPush:
    async def test_last_ones_and_then_what_comes(self, server: Running) -> None:
        """The last events come first, oldest first; then each event as it is saved."""
        await save(server, *(at(second) for second in range(20)))
        async with begun(server.ws_url, "tail", "--json", "--last", "3") as command:
            await shown(command, "e17", "e18", "e19")
            for second in (30, 25, 40):
                await save(server, at(second))
                await command.until(f'"e{second}"')
            await shown(command, "e17", "e18", "e19", "e30", "e25", "e40")
            assert [json.loads(line) for line in command.output.splitlines()][-1] == at(40)
            command.signal(signal.SIGINT)
            assert await command.process.wait() == 130
            assert command.errors() == "wsproto-tracker: interrupted\n"

    async def test_without_last_ones(self, server: Running) -> None:
        """With ``--last 0`` nothing that was there is shown, however new it is; 10 are by default."""
        await save(server, *(ago(20 - n, id=f"e{n}") for n in range(20)))
        async with (
            begun(server.ws_url, "tail", "--json", "--last", "0") as command,
            begun(server.ws_url, "tail", "--json") as other,
        ):
            await shown(other, *(f"e{n}" for n in range(10, 20)))
            await save_until(server, command)
            assert not set(ids(command.output)) & {f"e{n}" for n in range(20)}

    async def test_filters(self, server: Running) -> None:
        """Pushed events are filtered here."""
        options = ("--level", "error", "--app", "blog", "--search", "BOOM")
        match: dict[str, Any] = {"level": "error", "appId": "blog", "payload": {"name": "boom"}}
        await save(server, at(1, **match), at(2))
        async with begun(server.ws_url, "tail", "--json", *options) as command:
            await command.until('"e1"')
            changes: list[dict[str, Any]] = [{"level": "warn"}, {"appId": "x"}, {"payload": {}}]
            wrong = [at(10 + number, **(match | change)) for number, change in enumerate(changes)]
            await save(server, *wrong, at(3, **match))
            await shown(command, "e1", "e3")

    async def test_rows(self, server: Running) -> None:
        """Without ``--json`` there are rows; what strangers wrote is harmless in them."""
        await save(server, at(1, type="error", level="error", payload={"message": HOSTILE}))
        async with begun(server.ws_url, "tail") as command:
            await command.until(":boom:\n")
        assert all(character.isprintable() or character == "\n" for character in command.output)
        assert "2026-11-23 00:00:01.000 error error" in command.output

    async def test_too_much_at_once(self) -> None:
        """What the server had to drop from a push is asked for."""
        events = [at(n) for n in range(4)]

        async def converse(peer: Peer) -> None:
            answers = [[], [], events]  # at the beginning, after the subscription, after the push
            while True:
                frame = await peer.receive()
                if frame["type"] == "ingest":
                    await peer.ack(frame)
                elif frame["type"] == "subscribe":
                    await peer.send({"type": "subscribed"})
                    await asked_twice.wait()
                    await peer.send({"type": "push", "events": [events[0]], "dropped": 3})
                else:
                    found = answers[len(asked_for)][::-1]
                    asked_for.append(frame)
                    response = {"events": found, "total": len(found)}
                    await peer.send({"type": "events:response", "reqId": frame["reqId"], "response": response})
                    if len(asked_for) == 2:
                        asked_twice.set()

        asked_for: list[dict[str, Any]] = []
        asked_twice = trio.Event()
        async with scripted(converse) as url, begun(url, "tail", "--json") as command:
            await shown(command, "e0", "e1", "e2", "e3")
            await told(command, "it was too much at once; asking for what was missed")


async def save_until(server: Running, command: Command) -> None:
    """Save events until the command, which may not follow yet, shows one of them."""
    async with trio.open_nursery() as nursery:

        async def go_on() -> None:
            while True:
                await save(server, ago(0, id=f"new-{random.random()}"))
                await trio.sleep(0.05)

        nursery.start_soon(go_on)
        await command.until('"new-')
        nursery.cancel_scope.cancel()


class TestRestart:
    @asynccontextmanager
    async def serving(self, port: int, path: Path) -> AsyncGenerator[Command, None]:
        variables = {"TRACKER_STORE": f"sqlite:{path}"}
        async with serving("--port", str(port), variables=variables) as it:
            yield it

    async def test_nothing_is_missed_and_nothing_comes_twice(self, tmp_path: Path) -> None:
        """The server is stopped and comes back: it is said, and what was saved in between is shown, each event once."""
        port, path = free_port(), tmp_path / "tracker.db"
        async with self.serving(port, path) as it:
            await save(it.running, *(ago(60 - n, id=f"old-{n}") for n in range(20)))
            url = it.running.ws_url
            async with begun(url, "tail", "--json", "--last", "1") as command:
                await shown(command, "old-19")
                await save(it.running, ago(30, id="live"))
                await shown(command, "old-19", "live")
                assert (await it.stop()).is_clean
                await told(command, "not connected to")
                async with self.serving(0, path) as elsewhere:
                    await save(elsewhere.running, ago(5, id="gap-1"), ago(200, id="late"), ago(4, id="gap-2"))
                    assert (await elsewhere.stop()).is_clean
                async with self.serving(port, path) as again:
                    await command.until('"gap-2"')
                    await told(command, "the connection was lost and is back; asking for what was missed")
                    await save(again.running, ago(0, id="after"))
                    await shown(command, "old-19", "live", "late", "gap-1", "gap-2", "after")

    async def test_while_it_is_away(self, tmp_path: Path) -> None:
        """Ctrl-C ends it while the server is away, too."""
        port = free_port()
        async with self.serving(port, tmp_path / "tracker.db") as it:
            await save(it.running, ago(1, id="e"))
            url = it.running.ws_url
            async with begun(url, "tail", "--json") as command:
                await command.until('"e"')
                await it.stop()
                await told(command, "not connected to")
                command.signal(signal.SIGINT)
                assert await command.process.wait() == 130


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


class TestPoll:
    async def test_server_without_push(self) -> None:
        """A server that does not push is asked again and again, which is said; late events are found, too."""
        bare = Bare(ago(9, id="old"), ago(8, id="e1"))
        async with bare.served() as url, begun(url, "tail", "--json", "--poll", "0.02", "--last", "1") as command:
            await told(command, "the server does not push (unknown_type: no such type); asking every 0.02 s")
            bare.events.append(ago(1, id="e2"))
            await command.until('"e2"')
            bare.events += [ago(200, id="late"), ago(0, id="e3")]
            await shown(command, "e1", "e2", "late", "e3")
            asked_for = len(bare.queries)
            with trio.fail_after(20):
                while len(bare.queries) < asked_for + 3:
                    await trio.sleep(0.01)
            assert ids(command.output) == ["e1", "e2", "late", "e3"]

    async def test_answers_that_fail_for_a_while(self) -> None:
        """A server that cannot answer for a while is asked again; that is said once."""
        bare = Bare(ago(9, id="e1"))
        async with bare.served() as url, begun(url, "tail", "--json", "--poll", "0.02") as command:
            await command.until('"e1"')
            await told(command, "does not push")
            bare.is_away = True
            await trio.sleep(0.1)
            bare.events.append(ago(0, id="e2"))
            bare.is_away = False
            await shown(command, "e1", "e2")

    async def test_push_switched_off(self) -> None:
        """This server with ``--push off`` is polled."""
        async with running(push="off") as server:
            await save(server, at(1))
            async with begun(server.ws_url, "tail", "--json", "--poll", "0.02") as command:
                await told(command, "the server does not push")
                await save(server, at(2))
                await shown(command, "e1", "e2")


class TestTrouble:
    @pytest.mark.parametrize(
        ("arguments", "told"),
        [
            (("--last", "-1"), "--last: expected a whole number from 0"),
            (("--poll", "0"), "--poll: expected a number of seconds, more than 0"),
            (("--poll", "soon"), "--poll: expected a number of seconds, more than 0"),
            (("--level", "warning"), "--level: expected debug, info, warn or error"),
            (("--since", "1h"), "--since: no such option"),
        ],
    )
    async def test_wrong_options(self, arguments: tuple[str, ...], told: str) -> None:
        """A wrong option is told, with what would be right: 2."""
        ended = await run("tail", *arguments)
        assert (ended.status, ended.output) == (2, "")
        assert told in ended.errors

    async def test_no_server(self) -> None:
        """Where nothing listens at the beginning, it ends: 1."""
        ended = await asked("ws://127.0.0.1:1/", "tail")
        assert (ended.status, ended.output) == (1, "")
        assert re.search(r"wsproto-tracker: ws://127.0.0.1:1/: no connection .*refused", ended.errors)

    async def test_wrong_key(self) -> None:
        """A wrong key ends it: 1."""
        async with running(api_key="k3y") as server:
            ended = await asked(server.ws_url, "tail")
        assert (ended.status, ended.output) == (1, "")
        assert "it needs a key; set TRACKER_API_KEY, or --api-key" in ended.errors

    async def test_push_of_what_is_no_event(self) -> None:
        """What is pushed and is no event ends no tail: the server is asked instead."""

        async def converse(peer: Peer) -> None:
            while True:
                frame = await peer.receive()
                if frame["type"] == "ingest":
                    await peer.ack(frame)
                elif frame["type"] == "subscribe":
                    await peer.send({"type": "subscribed"})
                    await peer.send({"type": "push", "events": [{"id": "x"}]})
                else:
                    response = {"events": [at(1)], "total": 1}
                    await peer.send({"type": "events:response", "reqId": frame["reqId"], "response": response})

        async with scripted(converse) as url, begun(url, "tail", "--json") as command:
            await shown(command, "e1")
            await told(command, "the server sent an event without id or timestamp")

    async def test_help(self) -> None:
        """The help shows how it is used."""
        ended = await run("tail", "--help")
        assert ended.is_clean
        assert "  wsproto-tracker tail --level error --last 50\n" in ended.output


class TestSeen:
    def test_nothing_was_there(self) -> None:
        """Where nothing was there, all is new, whatever its timestamp says."""
        seen = Seen()
        assert seen.add("a", NOW, NOW)
        assert not seen.add("a", NOW, NOW)
        assert "a" in seen
        assert seen.since is None

    def test_since(self) -> None:
        """What to ask for begins minutes before the newest, and never before what was looked at."""
        seen = Seen()
        seen.add("a", NOW, NOW + 10**12)  # whatever the clock here says
        seen.ends_at(NOW - 2 * LATE_US)
        assert seen.since == NOW - LATE_US
        seen.ends_at(NOW - 1)
        assert seen.since == NOW
        seen.ends_at(NOW + 1)
        assert seen.since == NOW + 1000  # whole milliseconds

    def test_events_from_the_future(self) -> None:
        """An event of next year does not make those of now old."""
        seen = Seen()
        seen.ends_at(0)
        seen.add("future", NOW + 10**14, NOW)
        assert seen.since == NOW - LATE_US
        assert not seen.reaches(NOW - LATE_US)
        assert seen.reaches(NOW - LATE_US - 1)

    def test_everything_since_is_remembered(self) -> None:
        """However many come, what could be asked for is remembered, and the memory is bounded."""
        chance = random.Random(1)
        seen, instants, now = Seen(capacity=50), dict[str, int](), NOW
        for number in range(5000):
            now += chance.choice([0, 1, 1000, 10_000_000])
            instants[str(number)] = now - chance.choice([0, 0, 0, LATE_US // 2, 2 * LATE_US])
            seen.add(str(number), instants[str(number)], now)
            assert len(seen) <= 100
            since = seen.since
            assert since is None or all(id_ in seen for id_, instant in instants.items() if instant >= since)

    def test_a_flood_from_the_future(self) -> None:
        """Very many events that are dated in the future take no more memory than others."""
        seen = Seen(capacity=50)
        for number in range(1000):
            seen.add(str(number), NOW + 10**14 + number, NOW)
        assert len(seen) <= 100
