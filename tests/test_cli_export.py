"""``wsproto-tracker export``, run as users run it."""

import gzip
import json
import os
import random
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from tests.command import DEADLINE_S, run
from tests.reading_support import HOSTILE, Bare, asked, at, begun, ids, save
from tests.support import Running, query, running
from wsproto_tracker.cli.reversal import Reversal

PAST_MILLISECONDS = "2026-11-23T00:00:05.0000004Z"


def shuffled(count: int = 60) -> list[dict[str, Any]]:
    """Events in no order, many at the same instant, with all that makes them hard to keep."""
    chance = random.Random(7)
    events = [at(chance.randrange(6), id=f"e{number}", payload={"n": number}) for number in range(count)]
    events[3] |= {"payload": {"name": HOSTILE, "n": [1e300, 0.1, 12345678901234567890, None]}, "own": {"x": 1}}
    events[4] |= {"timestamp": PAST_MILLISECONDS, "groupId": "g", "context": {}}
    events[5] |= {"timestamp": "2026-11-23T01:00:03+01:00"}
    return events


async def everything(server: Running) -> list[dict[str, Any]]:
    async with server.client() as client:
        return await client.events()


def lines_of(file: Path) -> list[dict[str, Any]]:
    content = file.read_bytes()
    text = (gzip.decompress(content) if file.suffix == ".gz" else content).decode()
    assert text.endswith("\n")
    return [json.loads(line) for line in text.removesuffix("\n").split("\n")]


class TestFile:
    @pytest.mark.parametrize("name", ["events.jsonl", "events.jsonl.gz"])
    async def test_the_same_answers_come_from_it(self, server: Running, tmp_path: Path, name: str) -> None:
        """Sent in the order of its lines, an export makes a tracker with the same answers: ties, too."""
        await save(server, *shuffled())
        ended = await asked(server.ws_url, "export", str(tmp_path / name), "--page-size", "4")
        assert ended.is_clean
        assert ended.output.startswith(f"{tmp_path / name}: 60 events, oldest first, ")
        async with running() as other:
            await save(other, *lines_of(tmp_path / name))
            assert await everything(other) == await everything(server)
        assert os.listdir(tmp_path) == [name]

    async def test_stdout(self, server: Running) -> None:
        """``-`` is stdout, and then nothing else is printed there; nothing in it harms a terminal."""
        await save(server, *shuffled())
        ended = await asked(server.ws_url, "export", "-")
        assert ended.is_clean
        assert [json.loads(line) for line in ended.output.splitlines()] == (await everything(server))[::-1]
        assert all(character.isprintable() or character == "\n" for character in ended.output)

    @pytest.mark.parametrize("is_bare", [False, True])
    async def test_filters_and_window(self, server: Running, tmp_path: Path, is_bare: bool) -> None:
        """What matches is exported, whatever the server offers."""
        match: dict[str, Any] = {"level": "warn", "appId": "blog", "payload": {"name": "Thing"}}
        bare = Bare(at(1, **match), at(2, **match), at(3, **match), at(4), at(5, **(match | {"level": "info"})))
        await save(server, *bare.events)
        file = tmp_path / "events.jsonl"
        options = ("--level", "warn", "--app", "blog", "--search", "thing", "--since", "2026-11-23T00:00:02Z")
        async with bare.served() as url:
            ended = await asked(url if is_bare else server.ws_url, "export", str(file), *options)
        assert ended.is_clean
        assert [event["id"] for event in lines_of(file)] == ["e2", "e3"]

    async def test_nothing(self, server: Running, tmp_path: Path) -> None:
        """An export of nothing is an empty file, whatever it is called."""
        file = tmp_path / "\x1b[2Jevents.jsonl"
        ended = await asked(server.ws_url, "export", str(file))
        told = f"{tmp_path}/\\x1b[2Jevents.jsonl: 0 events, oldest first, 0 bytes\n"
        assert (ended.is_clean, ended.output) == (True, told)
        assert file.read_bytes() == b""

    async def test_under_load(self, server: Running, tmp_path: Path) -> None:
        """While more comes in, an export has what was there when it began, and all of it once."""
        before = [at(number, id=f"b{number}") for number in range(500)]
        await save(server, *before)
        async with trio.open_nursery() as nursery:

            async def load() -> None:
                for number in range(10**6):
                    await save(server, at(500 + number), at(number % 500, id=f"late{number}"))

            nursery.start_soon(load)
            file = tmp_path / "events.jsonl"
            ended = await asked(server.ws_url, "export", str(file), "--page-size", "7")
            nursery.cancel_scope.cancel()
        assert ended.is_clean
        found = [event["id"] for event in lines_of(file)]
        assert len(found) == len(set(found))
        assert {event["id"] for event in before} <= set(found)

    async def test_sqlite_and_others_can_read_it(self, server: Running, tmp_path: Path) -> None:
        """Each line is one JSON object in UTF-8 that ends with a newline."""
        await save(server, at(1, payload={"text": "\ud83d ünï \u2028 \x00"}))
        file = tmp_path / "events.jsonl"
        assert (await asked(server.ws_url, "export", str(file))).is_clean
        (line,) = file.read_bytes().splitlines()
        assert "ünï".encode() in line
        assert json.loads(line)["payload"]["text"] == "\ud83d ünï \u2028 \x00"


QUESTIONS: tuple[dict[str, Any], ...] = (
    {},
    {"type": "error"},
    {"level": "warn", "userId": "ann"},
    {"search": "ünï"},
    {"appId": "shop", "sessionId": "s2"},
    {"since": "2026-11-23T00:00:02Z", "limit": 20, "offset": 7},
)


def varied(count: int) -> list[dict[str, Any]]:
    """Events that different questions tell apart, ten a second, in no order."""
    chance = random.Random(3)
    events = [
        at(
            number // 10,
            id=f"v{number}",
            type=("click", "error", "custom")[number % 3],
            level=("info", "warn")[number % 2],
            appId=("shop", "blog")[number // 2 % 2],
            userId=chance.choice(("ann", "ben")),
            sessionId=f"s{number % 5}",
            payload={"message": f"{chance.choice(('Ünï', HOSTILE))} {number}", "n": number / 3},
        )
        for number in range(count)
    ]
    chance.shuffle(events)
    return events


class Growing(Bare):
    """A tracker that has one more event, newer than all others, after each question."""

    def _answer(self, query: dict[str, Any]) -> dict[str, Any]:
        answer = super()._answer(query)
        self.events.append(at(100 + len(self.queries)))
        return answer


class TestIntoAnother:
    @pytest.mark.parametrize(
        ("window", "expected"), [((), ["e1", "e2", "e3"]), (("--until", "2026-11-23T00:00:02Z"), ["e1", "e2"])]
    )
    async def test_window_is_fixed(self, window: tuple[str, ...], expected: list[str]) -> None:
        """It ends with the newest event that is there when the first question is answered, or at ``--until``."""
        growing = Growing(at(1), at(2), at(3))
        async with growing.served() as url:
            ended = await asked(url, "export", "-", *window)
        assert ended.is_clean
        assert ids(ended.output) == expected
        assert len(growing.queries) > 2
        assert len({query["until"] for query in growing.queries[1:]}) == 1

    @pytest.mark.parametrize("until", [None, "2026-11-23T00:00:15Z"])
    async def test_same_answers(self, server: Running, tmp_path: Path, until: str | None) -> None:
        """An export of a store under load, imported into an empty one, gives the same answers to the same queries.

        Event for event, as of the end of its window: where it began, or ``--until``, which is inclusive.
        """
        await save(server, *varied(300))
        saved, file = 0, str(tmp_path / "events.jsonl.gz")
        async with trio.open_nursery() as nursery:

            async def load() -> None:
                nonlocal saved
                while True:  # each is newer than all before
                    await save(server, at(100 + saved, id=f"w{saved}"))
                    saved += 1

            nursery.start_soon(load)
            window = () if until is None else ("--until", until)
            async with begun(server.ws_url, "export", file, "--page-size", "20", *window) as export:
                before = saved
                ended = await export.end()
            assert ended.is_clean
            assert saved > before
            nursery.cancel_scope.cancel()
        exported = lines_of(Path(file))
        end = until or exported[-1]["timestamp"]
        async with running() as other:
            ended = await asked(other.ws_url, "import", file)
            assert ended.is_clean
            assert ended.output.startswith(f"{len(exported)} events imported, 0 of them duplicates; 0 rejected")
            async with server.client() as theirs, other.client() as ours:
                for question in QUESTIONS:
                    asking = query(**{"until": end, **question})
                    answer = await theirs.ask(asking)
                    assert answer["response"]["events"]
                    assert await ours.ask(asking) == answer
                assert len(await ours.events()) == len(exported) == len(await theirs.events(until=end))
        assert (len(exported) == 160) == (until is not None)


class TestTrouble:
    async def test_file_that_is_there(self, server: Running, tmp_path: Path) -> None:
        """A file that is there is not overwritten, unless that is asked for."""
        await save(server, at(1))
        file = tmp_path / "events.jsonl"
        file.write_text("mine")
        ended = await asked(server.ws_url, "export", str(file))
        assert (ended.status, ended.output) == (1, "")
        assert (
            ended.errors
            == f"wsproto-tracker: {file}: exists already; name another file, or add --force to replace it\n"
        )
        assert file.read_text() == "mine"
        assert (await asked(server.ws_url, "export", str(file), "--force")).is_clean
        assert [event["id"] for event in lines_of(file)] == ["e1"]

    @pytest.mark.parametrize(
        ("name", "status", "told"),
        [
            ("nowhere/events.jsonl", 1, "there is no directory "),
            (".", 1, "is a directory; name a file in it"),
            ("/dev/null", 1, "is no regular file"),
            ("", 2, "FILE: expected a file, such as events.jsonl.gz, or - for stdout"),
        ],
    )
    async def test_file_that_cannot_be(self, tmp_path: Path, name: str, status: int, told: str) -> None:
        """A file that cannot be written is told before anything is asked."""
        ended = await run("export", str(tmp_path / name) if name else "", "--force")
        assert (ended.status, ended.output) == (status, "")
        assert told in ended.errors
        assert not list(tmp_path.iterdir())

    async def test_no_file(self) -> None:
        """Without a file, the usage is told: 2."""
        ended = await run("export")
        assert (ended.status, ended.output) == (2, "")
        assert "FILE" in ended.errors

    @pytest.mark.parametrize("name", ["events.jsonl", "events.jsonl.gz"])
    async def test_full_disk(self, server: Running, tmp_path: Path, name: str) -> None:
        """Where the disk is full, that is said, and nothing half done is left."""
        chance = random.Random(1)
        await save(server, *(at(second, payload={"x": chance.randbytes(400).hex()}) for second in range(3000)))
        (tmp_path / name).write_text("mine")
        export = f"{sys.executable} -m wsproto_tracker export {tmp_path / name} --url {server.ws_url} --force"
        ended = await run("-c", f"ulimit -f 500; {export}", command=("bash",))  # a limit stands for the disk
        assert (ended.status, ended.output) == (1, "")
        assert (
            ended.errors == f"wsproto-tracker: {tmp_path / name}: cannot write: File too large; nothing was exported\n"
        )
        assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(name, "mine")]

    async def test_count_that_is_wrong(self, tmp_path: Path) -> None:
        """Where less came than the server counts, nothing is exported."""
        bare = Bare(at(1), at(2))
        bare.miscounted = 1
        async with bare.served() as url:
            ended = await asked(url, "export", str(tmp_path / "events.jsonl"))
        assert (ended.status, ended.output) == (1, "")
        assert "the server counts 3 events, and sent 2; nothing was exported; try again" in ended.errors
        assert not list(tmp_path.iterdir())

    async def test_interrupted(self, tmp_path: Path) -> None:
        """Ctrl-C in the middle leaves nothing behind: 130."""
        bare = Bare(at(1))
        bare.is_away = True
        async with bare.served() as url, begun(url, "export", str(tmp_path / "events.jsonl")) as command:
            with trio.fail_after(DEADLINE_S):
                while not bare.queries:
                    await trio.sleep(0.01)
            command.signal(signal.SIGINT)
            ended = await command.end()
        assert (ended.status, ended.output) == (130, "")
        assert ended.errors == "wsproto-tracker: interrupted; nothing was exported\n"
        assert not list(tmp_path.iterdir())

    async def test_reader_that_goes(self, server: Running) -> None:
        """``export - | head`` is quiet."""
        await save(server, *(at(second, payload={"text": "x" * 500}) for second in range(2000)))
        export = f"{sys.executable} -m wsproto_tracker export - --url {server.ws_url}"
        ended = await run("-c", f"{export} | head -n 1; echo ${{PIPESTATUS[0]}}", command=("bash",))
        line, status = ended.output.splitlines()
        assert (ids(line), status, ended.errors) == (["e0"], "0", "")

    async def test_wrong_key(self, tmp_path: Path) -> None:
        """A wrong key is told, and no file made."""
        async with running(api_key="k3y") as server:
            ended = await asked(server.ws_url, "export", str(tmp_path / "events.jsonl"), TRACKER_API_KEY="x")
        assert (ended.status, ended.output) == (1, "")
        assert "it does not know this key" in ended.errors
        assert not list(tmp_path.iterdir())

    async def test_help(self) -> None:
        """The help shows how it is used, and says the order."""
        ended = await run("export", "--help")
        assert ended.is_clean
        assert "  wsproto-tracker export events.jsonl.gz\n" in ended.output
        assert "the oldest first" in ended.output


class TestReversal:
    @given(st.lists(st.binary(max_size=20).map(lambda line: line.replace(b"\n", b"")), max_size=40), st.integers(1, 60))
    def test_any_lines(self, lines: list[bytes], piece_bytes: int) -> None:
        """Whatever the lines are, and however they fall into pieces, they come back last first."""
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr("wsproto_tracker.cli.reversal._PIECE_BYTES", piece_bytes)
            with Reversal() as reversal:
                for line in lines:
                    reversal.add(line)
                assert reversal.count == len(lines)
                assert list(reversal.lines()) == lines[::-1]
