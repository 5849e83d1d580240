"""``wsproto-tracker send`` and ``import``, run as users run them."""

import gzip
import json
import os
import re
import signal
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import trio
from websockets.trio.server import ServerConnection

from tests.command import DEADLINE_S, MODULE, Ended, environment, run, serving, started
from tests.support import ROOT, Running, event, running
from tests.write_support import backend, command, lines, numbered, numbers, stored, until_stored
from wsproto_tracker.cli import source
from wsproto_tracker.cli.feeding import Ids, NoEvent, event_of
from wsproto_tracker.cli.source import Gunzip, Line, Splitter, Unreadable

EVENTS = 2_000
SUMMARY = "{} events sent, {} of them duplicates; {} rejected\n"


async def send(server: Running, *arguments: str, name: str = "send", key: str | None = None) -> Ended:
    variables = {"TRACKER_URL": server.ws_url} | ({} if key is None else {"TRACKER_API_KEY": key})
    return await run(name, *arguments, variables=variables)


def written(path: Path, events: Sequence[Any], *, as_gzip: bool = False) -> str:
    data = lines(events)
    path.write_bytes(gzip.compress(data) if as_gzip else data)
    return str(path)


class TestSend:
    async def test_file(self, server: Running, tmp_path: Path) -> None:
        """Every line of a file is sent, as it is and in its order; lines without an id get one."""
        events = [*numbered(5), event(id="mine", type="click", context={"é": "\ud83d"}, payload={"n": 1e300})]
        ended = await send(server, written(tmp_path / "e.jsonl", events))
        assert ended == Ended(0, SUMMARY.format(6, 0, 0), "")
        found = await stored(server)
        assert [each | {"id": ""} for each in found] == [each | {"id": ""} for each in events]
        assert found[-1]["id"] == "mine"
        assert len({each["id"] for each in found}) == 6

    @pytest.mark.parametrize("name", ["e.jsonl.gz", "no-suffix"])
    async def test_gzip(self, server: Running, tmp_path: Path, name: str) -> None:
        """A file may be gzip, by its name or by its first bytes."""
        ended = await send(server, written(tmp_path / name, numbered(3), as_gzip=True))
        assert ended == Ended(0, SUMMARY.format(3, 0, 0), "")

    @pytest.mark.parametrize("arguments", [(), ("-",)])
    @pytest.mark.parametrize("as_gzip", [False, True])
    async def test_stdin(self, server: Running, arguments: tuple[str, ...], as_gzip: bool) -> None:
        """Without a file, or with -, events come from stdin; the last line needs no end."""
        data = lines(numbered(3)).rstrip(b"\n")
        async with command("send", *arguments, "--url", server.ws_url) as it:
            await it.write(gzip.compress(data) if as_gzip else data)
            assert await it.end() == Ended(0, SUMMARY.format(3, 0, 0), "")
        assert await numbers(server) == [0, 1, 2]

    async def test_slow_pipe(self, server: Running) -> None:
        """What comes slowly is sent as it comes, not at the end."""
        async with command("send", "--url", server.ws_url) as it:
            await it.write(lines(numbered(2)) + b'{"half')
            await until_stored(server, 2)
            await it.write(b'": 1}\n')
            ended = await it.end()
        assert (ended.status, ended.output) == (1, SUMMARY.format(2, 0, 1))

    async def test_shared_pipe(self, server: Running) -> None:
        """It reads from a pipe that another program has made non-blocking, as terminals are shared."""
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        process = await trio.lowlevel.open_process(
            [*MODULE, "send", "--url", server.ws_url],
            stdin=reader,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env=environment(None),
        )
        os.close(reader)
        os.write(writer, lines(numbered(1)))
        await until_stored(server, 1)
        os.close(writer)
        assert process.stdout is not None
        output = b"".join([received async for received in process.stdout]).decode()
        assert (await process.wait(), output) == (0, SUMMARY.format(1, 0, 0))

    async def test_nothing(self, server: Running, tmp_path: Path) -> None:
        """An empty file is no mistake, and neither are blank lines, CRLF and a byte order mark."""
        (tmp_path / "empty").touch()
        assert await send(server, str(tmp_path / "empty")) == Ended(0, SUMMARY.format(0, 0, 0), "")
        windows = b"\xef\xbb\xbf" + lines(numbered(2)).replace(b"\n", b"\r\n\r\n")
        (tmp_path / "windows").write_bytes(windows)
        assert await send(server, str(tmp_path / "windows")) == Ended(0, SUMMARY.format(2, 0, 0), "")

    async def test_closed_output(self, server: Running, tmp_path: Path) -> None:
        """Where nobody takes the summary, that is told in a line."""
        full = os.open("/dev/full", os.O_WRONLY)
        file = written(tmp_path / "e.jsonl", numbered(1))
        try:
            process = await trio.lowlevel.open_process(
                [*MODULE, "send", file, "--url", server.ws_url],
                stdout=full,
                stderr=subprocess.PIPE,
                cwd=ROOT,
                env=environment(None),
            )
            assert process.stderr is not None
            told = b"".join([received async for received in process.stderr])
            assert (await process.wait(), told) == (1, b"wsproto-tracker: cannot print: No space left on device\n")
        finally:
            os.close(full)


class TestAgain:
    async def test_same_file(self, server: Running, tmp_path: Path) -> None:
        """A second run stores nothing again; equal lines are different events all the same."""
        file = written(tmp_path / "e.jsonl", [*numbered(3), *numbered(3)])
        assert (await send(server, file)).output == SUMMARY.format(6, 0, 0)
        assert (await send(server, file)).output == SUMMARY.format(6, 6, 0)
        assert await numbers(server) == [0, 1, 2, 0, 1, 2]

    async def test_edited_file(self, server: Running, tmp_path: Path) -> None:
        """Nor where lines were repaired, removed, added or spelled in another way in between."""
        file = tmp_path / "e.jsonl"
        file.write_bytes(b"{no\n" + lines(numbered(4)) + b"{no\n")
        assert (await send(server, str(file))).output == SUMMARY.format(4, 0, 2)
        spelled = [dict(reversed(list(each.items()))) | {"id": ""} for each in numbered(5)]
        file.write_text("\n\n".join(json.dumps(each, indent=None, separators=(" , ", " : ")) for each in spelled))
        assert (await send(server, str(file))).output == SUMMARY.format(5, 4, 0)

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=lambda number: number.name)
    async def test_interrupted(self, server: Running, tmp_path: Path, number: signal.Signals) -> None:
        """Interrupted in the middle, and run again: each event is there once, in the order of the file."""
        everything = numbered(EVENTS)
        async with command("send", "--url", server.ws_url) as it:
            await it.write(lines(everything[: EVENTS // 2]))
            await until_stored(server, 1)
            ended = await it.end(number)
        there = await numbers(server)
        assert there == list(range(len(there)))
        if number is signal.SIGINT:
            assert (ended.status, ended.output) == (130, "")
            told = r"wsproto-tracker: interrupted; [\d,]+ events are acked; run it again: what has arrived is not .*\n"
            assert re.fullmatch(told, ended.errors)
        again = await send(server, written(tmp_path / "e.jsonl", everything))
        assert again.output == SUMMARY.format(f"{EVENTS:,}", f"{len(there):,}", 0)
        assert await numbers(server) == list(range(EVENTS))

    async def test_interrupted_file(self, tmp_path: Path) -> None:
        """The same for a file, of which a server takes a batch, and lets the next one wait for a minute."""
        file = written(tmp_path / "e.jsonl", numbered(EVENTS))
        async with running(max_event_rate=1.0, max_rate_delay_s=60.0) as slow:
            async with command("send", file, "--url", slow.ws_url) as it:
                await until_stored(slow, 1)
                ended = await it.end(signal.SIGINT)
            assert ended.status == 130
            assert await numbers(slow) == list(range(500))

    async def test_connecting(self) -> None:
        """It can be interrupted while it waits for a server."""
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        async with listener:
            port = listener.socket.getsockname()[1]
            async with command("send", "--url", f"ws://127.0.0.1:{port}/ws") as it:
                with trio.fail_after(DEADLINE_S):
                    stream = await listener.accept()  # which says nothing
                async with stream:
                    ended = await it.end(signal.SIGINT)
        told = "wsproto-tracker: interrupted; 0 events are acked; run it again: what has arrived is not stored twice\n"
        assert ended == Ended(130, "", told)

    async def test_killed_server(self, tmp_path: Path) -> None:
        """Where the server is killed and comes back, it goes on, and each event is there once, in order."""
        store = {"TRACKER_STORE": f"sqlite:{tmp_path / 'tracker.db'}"}
        async with serving(variables=store) as first:
            url, port = first.endpoint, str(first.running.address.port)
            async with command("send", "--url", url) as it:
                await it.write(lines(numbered(EVENTS)))
                await until_stored(first.running, 1)
                first.signal(signal.SIGKILL)
                await it.until_told("not connected to ws://")
                await it.write(lines(numbered(EVENTS, EVENTS)))
                async with started("--port", port, variables=store) as second:
                    await second.until("Ctrl-C stops it.\n")
                    ended = await it.end()
                    assert (ended.status, ended.output[:12]) == (0, "4,000 events")
                    assert await numbers(second.running) == list(range(2 * EVENTS))

    async def test_rate_limited(self, tmp_path: Path) -> None:
        """Where the server refuses a batch for now, it goes again, and nothing overtakes it."""
        taken: list[int] = []

        async def answer(websocket: ServerConnection, number: int, events: list[Any]) -> None:
            if number == 2:
                await websocket.send('{"type":"error","code":"rate_limited","message":"later","retryAfterMs":10}')
                return
            taken.extend(each["payload"]["data"]["n"] for each in events)
            await websocket.send(json.dumps({"type": "ack", "saved": len(events)}))

        async with backend(answer) as url:
            ended = await run("send", written(tmp_path / "e.jsonl", numbered(EVENTS)), "--url", url)
        assert ended == Ended(0, SUMMARY.format(f"{EVENTS:,}", 0, 0), "")
        assert taken == list(range(EVENTS))

    async def test_gone_server(self) -> None:
        """Where the server does not come back, it gives up, and says how far it was."""
        async with serving() as server:
            async with command("send", "--url", server.endpoint, "--give-up-after-s", "0.5") as it:
                await it.write(lines(numbered(100)))
                await until_stored(server.running, 100)
                server.signal(signal.SIGKILL)
                await it.until_told("not connected to ws://")
                await it.write(lines(numbered(10, 100)))
                ended = await it.end()
        assert (ended.status, ended.output) == (1, "")
        told = ended.errors.splitlines()[-1]
        assert "10 events are not acked after 0.5 s" in told
        assert told.endswith("100 events are acked; run it again: what has arrived is not stored twice")


class TestWrongLines:
    async def test_told(self, server: Running, tmp_path: Path) -> None:
        """A line that is no event is told with its number and what is wrong; the others are sent."""
        good = lines(numbered(1))
        file = tmp_path / "e.jsonl"
        wrong = (b"{no", b'{"a":1}', b"[1]", b'{"id":5}', b"\xff", b'{"n":NaN}', b"[" * 100_000, b"null", b'"\x1b[2J"')
        file.write_bytes(good + b"\n" + b"\n".join(wrong) + b"\n" + lines(numbered(1, 1)))
        ended = await send(server, str(file))
        assert (ended.status, ended.output) == (1, SUMMARY.format(2, 0, len(wrong)))
        told = [line.removeprefix(f"wsproto-tracker: {file}: line ") for line in ended.errors.splitlines()]
        assert told[:6] == [
            "3: not JSON: expecting property name enclosed in double quotes, column 2",
            "4: timestamp: missing; level: missing; type: missing; appId: missing; sessionId: missing; "
            "userId: missing; payload: missing; meta: missing",
            "5: expected an event, which is a JSON object, not an array",
            "6: id: expected a string",
            "7: not UTF-8",
            "8: not JSON: NaN is not JSON",
        ]
        assert [line.partition(":")[0] for line in told[6:]] == ["9", "10", "11"]
        assert "\x1b" not in ended.errors
        assert await numbers(server) == [0, 1]

    async def test_strict(self, server: Running, tmp_path: Path) -> None:
        """With --strict it stops at the first; what stands before it is sent."""
        file = tmp_path / "e.jsonl"
        file.write_bytes(lines(numbered(2)) + b"{no\n" + lines(numbered(2, 2)) + b"{no\n")
        ended = await send(server, "--strict", str(file))
        assert (ended.status, ended.output) == (1, SUMMARY.format(2, 0, 1))
        assert ended.errors.splitlines()[1] == (
            "wsproto-tracker: stopped there, for --strict; what comes after it was not sent"
        )
        assert await numbers(server) == [0, 1]

    async def test_rejected(self, tmp_path: Path) -> None:
        """What the server rejects is told with its line and the server's reason."""
        file = written(tmp_path / "e.jsonl", with_long(3, 650))
        async with running(max_event_bytes=1024) as server:
            ended = await send(server, file)
        assert (ended.status, ended.output) == (1, SUMMARY.format(698, 0, 2))
        told = re.findall(r"line (\d+): rejected: (.*)", ended.errors)
        assert told == [(str(n), "larger than the 1024 bytes that an event may have") for n in (4, 651)]

    async def test_rejected_strict(self) -> None:
        """With --strict it ends when the server has rejected one; what is on its way by then arrives."""
        async with running(max_event_bytes=1024) as server:
            async with command("send", "--strict", "--url", server.ws_url) as it:
                await it.write(lines(with_long(3)[:10]))
                await it.until("rejected\n")  # though there may be more to read
                ended = await it.end()
            assert (ended.status, ended.output) == (1, SUMMARY.format(9, 0, 1))
            assert "line 4: rejected: " in ended.errors
            assert await numbers(server) == [0, 1, 2, *range(4, 10)]


def with_long(*places: int) -> list[dict[str, Any]]:
    """700 events, some of them larger than a server with a low limit takes."""
    events = numbered(700)
    for place in places:
        events[place]["payload"]["data"]["long"] = "x" * 2000
    return events


class TestWrongInput:
    @pytest.mark.parametrize("name", ["send", "import"])
    async def test_no_file(self, server: Running, tmp_path: Path, name: str) -> None:
        """A file that is not there, or a directory, is used wrongly; it is told in a line."""
        for file, reason in ((tmp_path / "nix", "no such file or directory"), (tmp_path, "is a directory")):
            ended = await send(server, str(file), name=name)
            told = f"wsproto-tracker: FILE: {file}: {reason}; expected a file of JSON lines, or - for stdin\n"
            assert ended == Ended(2, "", told)

    async def test_no_gzip(self, server: Running, tmp_path: Path) -> None:
        """A file that is called .gz and is none."""
        file = written(tmp_path / "e.gz", numbered(1))
        told = f"wsproto-tracker: {file}: is no gzip; if it is plain JSON lines, name it without .gz\n"
        assert await send(server, file) == Ended(1, SUMMARY.format(0, 0, 0), told)

    async def test_truncated_gzip(self, server: Running, tmp_path: Path) -> None:
        """What there is of a file that was cut off is sent, but for the line that was cut."""
        file = tmp_path / "e.gz"
        chance = os.urandom(3000).hex()
        file.write_bytes(gzip.compress(lines(numbered(2)) + lines([chance]))[:-1500])
        ended = await send(server, str(file))
        assert (ended.status, ended.output) == (1, SUMMARY.format(2, 0, 0))
        assert ended.errors == (
            f"wsproto-tracker: {file}: the gzip in it ends too early: it was cut off; what there is was read\n"
        )

    async def test_damaged_gzip(self, server: Running, tmp_path: Path) -> None:
        """Likewise for one that is damaged."""
        file = tmp_path / "e.gz"
        file.write_bytes(gzip.compress(lines(numbered(2))) + b"garbage")
        ended = await send(server, str(file))
        assert (ended.status, ended.output) == (1, SUMMARY.format(2, 0, 0))
        assert "the gzip in it is damaged" in ended.errors

    @pytest.mark.parametrize(
        ("arguments", "told"),
        [
            (("send", "a", "b"), "expected one FILE, not 2; for several: cat FILE ... | wsproto-tracker send"),
            (("import",), "expected a FILE, or - for stdin"),
            (("send", "--strikt"), "--strikt: no such option; did you mean --strict?"),
        ],
    )
    async def test_usage(self, arguments: tuple[str, ...], told: str) -> None:
        ended = await run(*arguments)
        assert (ended.status, ended.output) == (2, "")
        assert ended.errors.splitlines()[-1].endswith(told)

    @pytest.mark.parametrize("given", ["x", "0", "-1", "nan", "inf", ""])
    async def test_number(self, given: str) -> None:
        ended = await run("send", "-", f"--give-up-after-s={given}")
        told = "wsproto-tracker: --give-up-after-s: expected a number of seconds, more than 0\n"
        assert ended == Ended(2, "", told)

    async def test_closed_stdin(self) -> None:
        ended = await run("-c", f"{' '.join(MODULE)} send <&-", command=("sh",))
        assert (ended.status, ended.output) == (2, "")
        assert "stdin is closed; expected a file" in ended.errors

    async def test_no_server(self, tmp_path: Path) -> None:
        """No server there: one line, whatever was tried meanwhile."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        ended = await run("send", written(tmp_path / "e", numbered(1)), "--url", f"ws://127.0.0.1:{port}/ws")
        assert (ended.status, ended.output, ended.errors.count("\n")) == (1, "", 1)
        assert "is the server running, and the address right?" in ended.errors

    async def test_no_tracker(self, server: Running, tmp_path: Path) -> None:
        ended = await run("send", written(tmp_path / "e", numbered(1)), "--url", f"{server.ws_url}/nix")
        assert (ended.status, ended.output, ended.errors.count("\n")) == (1, "", 1)
        assert "the endpoint ends in /ws" in ended.errors

    @pytest.mark.parametrize(("key", "told"), [(None, "it needs a key"), ("wr0ng", "it does not know this ")])
    async def test_key(self, locked: Running, tmp_path: Path, key: str | None, told: str) -> None:
        file = written(tmp_path / "e", numbered(1))
        ended = await send(locked, file, key=key)
        assert (ended.status, ended.output, ended.errors.count("\n")) == (1, "", 1)
        assert told in ended.errors
        assert "wr0ng" not in ended.errors
        assert (await send(locked, file, key="s3cret")).is_clean


class TestImport:
    async def test_round_trip(self, server: Running, tmp_path: Path) -> None:
        """What one server has comes into another as it is: ids, contents, and the order of equal moments."""
        await send(server, written(tmp_path / "e.jsonl", numbered(1_200)))
        exported = await stored(server)
        file = written(tmp_path / "all.jsonl.gz", exported, as_gzip=True)
        async with running() as other:
            for duplicates in ("0", "1,200"):
                ended = await send(other, file, name="import")
                assert ended == Ended(0, f"1,200 events imported, {duplicates} of them duplicates; 0 rejected\n", "")
            assert await stored(other) == exported

    async def test_stdin(self, server: Running) -> None:
        async with command("import", "-", "--url", server.ws_url) as it:
            await it.write(lines([event(id="a"), event(id="b")]))
            ended = await it.end()
        assert ended == Ended(0, "2 events imported, 0 of them duplicates; 0 rejected\n", "")

    async def test_no_id(self, server: Running, tmp_path: Path) -> None:
        """A line without an id is told, and then the count is not right."""
        file = written(tmp_path / "e", [event(id="a"), *numbered(1), event(id=""), event(id="b")])
        ended = await send(server, file, name="import")
        assert (ended.status, ended.output) == (1, "2 events imported, 0 of them duplicates; 2 rejected\n")
        missing = "id: missing; export writes one into each line, and send takes events without"
        assert ended.errors.splitlines() == [
            f"wsproto-tracker: {file}: line 2: {missing}",
            f"wsproto-tracker: {file}: line 3: {missing}",
            f"wsproto-tracker: {file}: 4 lines, and 2 acked: something is missing",
        ]

    async def test_truncated(self, server: Running, tmp_path: Path) -> None:
        """A file that was cut off is no success, though all that is in it has arrived."""
        file = tmp_path / "e.gz"
        file.write_bytes(gzip.compress(lines([event(id="a")]))[:-4])
        ended = await send(server, str(file), name="import")
        assert (ended.status, ended.output) == (1, "1 events imported, 0 of them duplicates; 0 rejected\n")


class TestTerminal:
    @pytest.mark.parametrize("no_color", [False, True])
    async def test_bar(self, server: Running, tmp_path: Path, no_color: bool) -> None:
        """On a terminal there is a bar on stderr; nothing of it is on stdout, and no colour where none is wanted."""
        reader, terminal = os.openpty()
        file = written(tmp_path / "e.jsonl", numbered(EVENTS))
        process = await trio.lowlevel.open_process(
            [*MODULE, "send", file, "--url", server.ws_url],
            stdout=subprocess.PIPE,
            stderr=terminal,
            cwd=ROOT,
            env=environment({"TERM": "xterm-256color"} | ({"NO_COLOR": "1"} if no_color else {})),
        )
        os.close(terminal)
        assert process.stdout is not None
        seen = b""
        with trio.fail_after(DEADLINE_S):
            while True:
                try:
                    seen += await trio.to_thread.run_sync(os.read, reader, 65536)
                except OSError:  # EIO: the other end is closed
                    break
            output = b"".join([received async for received in process.stdout]).decode()
            assert await process.wait() == 0
        await process.stdout.aclose()
        os.close(reader)
        assert output == SUMMARY.format(f"{EVENTS:,}", 0, 0)
        assert b"e.jsonl" in seen
        assert b"2,000 events" in seen
        assert (re.search(rb"\x1b\[[\d;]*3\d", seen) is None) == no_color

    @pytest.mark.parametrize("name", ["send", "import", "load", "demo"])
    async def test_help(self, name: str) -> None:
        """The help has an example."""
        ended = await run(name, "--help")
        assert ended.is_clean
        assert f"examples:\n  wsproto-tracker {name}" in ended.output


class TestReading:
    """Without a server."""

    def test_lines(self) -> None:
        """Lines are the same wherever the pieces are cut."""
        data = b"\xef\xbb\xbfone\n\ntwo\r\nthree"
        expected = [Line(1, b"one"), Line(2, b""), Line(3, b"two\r"), Line(4, b"three")]
        for size in range(1, len(data) + 1):
            splitter = Splitter()
            pieces = [data[start : start + size] for start in range(0, len(data), size)]
            assert [*(line for piece in pieces for line in splitter.feed(piece)), *splitter.end()] == expected

    def test_long_line(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Of a line that is too long nothing is kept, and what follows is read."""
        monkeypatch.setattr(source, "MAX_LINE_BYTES", 10)
        splitter = Splitter()
        found = [*splitter.feed(b"x" * 8), *splitter.feed(b"y" * 8), *splitter.feed(b"\nshort\n"), *splitter.end()]
        assert found == [Line(1, None), Line(2, b"short")]
        with pytest.raises(NoEvent, match="longer than"):
            event_of(found[0])

    @pytest.mark.parametrize("size", [1, 7, 10_000])
    def test_members_of_gzip(self, size: int) -> None:
        """Several members, and padding, are read as one (RFC 1952)."""
        data = gzip.compress(b"one") + gzip.compress(b"") + bytes(5) + gzip.compress(b"two") + bytes(3)
        gunzip = Gunzip()
        pieces = [data[start : start + size] for start in range(0, len(data), size)]
        assert b"".join(text for piece in pieces for text in gunzip.feed(piece)) == b"onetwo"
        gunzip.end()

    def test_bomb(self) -> None:
        """What a small file inflates to comes in pieces."""
        gunzip = Gunzip()
        assert max(map(len, gunzip.feed(gzip.compress(bytes(50_000_000))))) <= 1024 * 1024

    def test_cut_gzip(self) -> None:
        data = gzip.compress(b"one")
        for size in range(len(data)):
            gunzip = Gunzip()
            list(gunzip.feed(data[:size]))
            with pytest.raises(Unreadable):
                gunzip.end()

    def test_ids(self) -> None:
        """Ids come from the contents, whatever the order of members, and no two are the same."""
        first, second = Ids(), Ids()
        events = [{"n": n % 5, "text": "é\ud800"} for n in range(20)]
        made = [first(each) for each in events]
        assert len(set(made)) == 20
        assert [second({"id": "", **dict(reversed(each.items()))}) for each in events] == made
        assert made[0] == "91af000f-77fc-546c-9991-78d4379e0bc2", (
            "another one would store files twice that are sent again"
        )
