"""The log: a line for each connection and each problem, in both formats, and nothing in it that a client wrote."""

import io
import json
import logging
import os
import pty
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import trio
from websockets.exceptions import ConnectionClosed

from tests.command import Command, Ended, serving
from tests.raw_websocket import Peer, masked, raw_websocket
from tests.support import Running, event, ingest, query, running
from wsproto_tracker.logs import BoundedHandler, formatter

CONFIGURED = "import logging; from wsproto_tracker.logs import configure; configure('console'); "
KEY = "S3cret-Key"
WRONG_KEY = "Wr0ng-Key"
MARK = "w0nderful"
FORGED = f"\n2026-11-23T21:05:13.536Z [error    ] {MARK}\r\x1b[31m\u2028\u202e"
LINE = re.compile(
    r"\d{4}-\d\d-\d\dT[\d:.]+Z \[(info|warning|error) +\] (\w[^\[\]\n]*?) +\[(wsproto_tracker[\w.]*)\]( .*)?"
)


def lines_of(ended: Ended) -> list[dict[str, Any]]:
    """The lines of a log in JSON; each is one."""
    lines = [json.loads(line) for line in ended.errors.splitlines()]
    assert all({"event", "level", "logger", "timestamp"} <= line.keys() for line in lines)
    return lines


def ends(lines: list[dict[str, Any]], transport: str) -> list[dict[str, Any]]:
    return [line for line in lines if (line["event"], line.get("transport")) == ("connection ended", transport)]


class TestConnections:
    async def test_websocket(self) -> None:
        """The end of a WebSocket is told in one line: who, how long, what came and became of it, how it was closed."""
        async with serving("--log-format", "json") as it:
            async with it.running.client() as client:
                await client.ask(ingest(event(), event(id="a"), event(id="a"), event(meta=1)))
                for message in ("[", "[", "{}", query()):
                    await client.ask(message)
                await client.websocket.aclose(4000, FORGED)
            ended = await it.stop()
        (told,) = lines_of(ended)
        assert told.pop("seconds") > 0
        del told["timestamp"]
        assert told == {
            "event": "connection ended",
            "level": "info",
            "logger": "wsproto_tracker.connections",
            "address": "127.0.0.1",
            "transport": "websocket",
            "frames": 5,
            "saved": 2,
            "rejected": 1,
            "errors": {"bad_json": 2, "bad_frame": 1},
            "close_code": 4000,
        }

    async def test_http(self) -> None:
        """So is that of an HTTP connection, whatever the number of its requests."""
        async with serving("--log-format", "json") as it:
            body = json.dumps({"events": [event(), event(meta=1)]}).encode()
            post = b"POST /_tracker/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body)
            await it.running.raw((post + body) * 3 + b"GET /x HTTP/1.0\r\n\r\n")
            ended = await it.stop()
        (told,) = lines_of(ended)
        assert [told[name] for name in ("transport", "requests", "saved", "rejected")] == ["http", 4, 3, 3]
        assert told["errors"] == {"not_found": 1}
        assert "close_code" not in told

    async def test_console(self) -> None:
        """For people the same stands in a line that begins with when, how bad, and what; without colours in a file."""
        async with serving() as it:
            async with it.running.client() as client:
                await client.ask(ingest(event()))
            ended = await it.stop()
        match = LINE.fullmatch(ended.errors.removesuffix("\n"))
        assert match is not None, ended.errors
        assert match.groups()[:3] == ("info", "connection ended", "wsproto_tracker.connections")
        assert re.fullmatch(
            r" address=127\.0\.0\.1 transport=websocket seconds=[\d.]+ frames=1 saved=1 rejected=0 errors=\{\} "
            "close_code=1000",
            match[4],
        )

    async def test_at_the_stop(self) -> None:
        """Connections that the stop has closed are told as well."""
        async with serving("--log-format", "json") as it, it.running.client() as client:
            await client.ask({"type": "ping"})
            ended = await it.stop()
            with pytest.raises(ConnectionClosed):
                await client.websocket.recv()
        assert [line["close_code"] for line in ends(lines_of(ended), "websocket")] == [1001]

    async def test_sent_and_gone(self) -> None:
        """What is saved after the client has gone is in its line: the line comes when all is done."""
        async with serving("--log-format", "json") as it:
            async with raw_websocket(it.running) as peer:
                await peer.stream.send_all(masked(0x1, ingest(*[event()] * 500).encode()) * 20)
                await peer.stream.send_eof()
                with suppress(trio.BrokenResourceError):
                    while await peer.stream.receive_some():
                        pass
            with trio.fail_after(20):
                while (await it.running.http("GET", "?limit=0")).json()["total"] < 10_000:
                    await trio.sleep(0.01)
            ended = await it.stop()
        assert [(line["frames"], line["saved"]) for line in ends(lines_of(ended), "websocket")] == [(20, 10_000)]


class TestProblems:
    async def test_refused(self) -> None:
        """What is refused before it is a request is a warning, with the address."""
        async with serving("--log-format", "json") as it:
            await it.running.raw(b"\x16\x03\x01" + FORGED.encode())
            ended = await it.stop()
        (warning,) = [line for line in lines_of(ended) if line["level"] == "warning"]
        assert warning["event"].startswith("refused a request: this port does not speak TLS")
        assert warning["address"] == "127.0.0.1"

    @pytest.mark.parametrize("log_format", ["console", "json"])
    async def test_of_the_store(self, tmp_path: Path, log_format: str) -> None:
        """Lines of the store look like all others."""
        store = f"sqlite:{tmp_path / 'tracker.db'}"
        async with serving("--store", store) as it, it.running.client() as client:
            for _ in range(3):
                await client.ask(ingest(event()))
        async with serving("--store", store, "--max-events", "1", "--log-format", log_format) as it:
            ended = await it.stop()
        message = "2 events are gone, those that came first: 1 may be kept"
        if log_format == "json":
            (told,) = lines_of(ended)
            assert (told["event"], told["level"], told["logger"]) == (message, "warning", "wsproto_tracker.store")
        else:
            match = LINE.fullmatch(ended.errors.removesuffix("\n"))
            assert match is not None
            assert match.groups()[:3] == ("warning", message, "wsproto_tracker.store")

    async def test_reset_at_once(self, server: Running, caplog: pytest.LogCaptureFixture) -> None:
        """A connection that is reset before it is looked at is no problem."""
        caplog.set_level(logging.INFO)
        async with raw_websocket(server) as peer:
            for _ in range(50):
                await Peer(await server.connect(), b"").reset()
            await peer.send_frame(0x1, b'{"type":"ping"}')
            await peer.receive_frame()
        assert not [record for record in caplog.records if record.levelno > logging.INFO]

    async def test_fault_of_ours(
        self, server: Running, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A fault of the server is an error with a traceback and the address, on either transport."""

        def fails(*_: object) -> None:
            raise RuntimeError("a bug")

        monkeypatch.setattr("wsproto_tracker.server.core.Core.answer", fails)
        await server.http("GET", "//health")
        assert await server.raw(b"GET /_tracker HTTP/1.1\r\nHost: localhost\r\n\r\n") == b""
        async with raw_websocket(server) as peer:
            await peer.send_frame(0x1, query().encode())
            await peer.receive_frame()
        with trio.fail_after(20):
            while len(errors := [record for record in caplog.records if record.levelno == logging.ERROR]) < 2:
                await trio.sleep(0.01)
        assert [record.getMessage() for record in errors] == ["a request failed", "connection handler failed"]
        for record in errors:
            assert record.exc_info is not None
            assert record.__dict__["address"] == "127.0.0.1"
            assert "websocket" not in record.__dict__


async def mischief(server: Running, key: str = "") -> None:
    """Send text in every place where a server might repeat it."""
    text = FORGED.encode()
    bare = MARK.encode()
    for head in (
        b"GET /%b?a=%b HTTP/1.1\r\nHost: localhost\r\nOrigin: http://%b\r\n\r\n" % (bare, bare, bare * 20),
        b"GET /_tracker?search=%b&limit=%b HTTP/1.1\r\nHost: %b\r\nX-%b: %b\r\n\r\n"
        % (bare, bare, bare * 20, bare, bare),
        b"%b / HTTP/1.1\r\nHost: localhost\r\n\r\n" % bare,
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX-%b: %b\r\n\r\n" % (text, text),
        b"GET /_tracker/ws?key=%b HTTP/1.1\r\nUpgrade: %b\r\nHost: localhost\r\n\r\n" % (bare, bare),
        b"GET /_tracker/ws?%b HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade, %b\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Extensions: %b\r\nSec-WebSocket-Protocol: %b\r\n"
        b"Sec-WebSocket-Key: %b\r\n\r\n" % ((bare,) * 5),
        text,
    ):
        await server.raw(head, then_eof=True)
    async with server.client(key=key or None) as client:
        for message in (
            FORGED,
            text,
            {"type": FORGED, "reqId": FORGED},
            query(FORGED, since=FORGED, type=FORGED, search=FORGED),
            ingest(event(type=FORGED, level=FORGED), event(userId=FORGED, payload={FORGED: FORGED}, appId=FORGED)),
        ):
            await client.ask(message)
        await client.websocket.aclose(4321, FORGED)
    async with raw_websocket(server) as peer:
        await peer.stream.send_all(masked(0x3, text))
    async with raw_websocket(server) as peer:
        await peer.send_frame(0x1, b'{"type":"ping"}')
        await peer.receive_frame()
        await peer.stream.send_all(masked(0x8, b"\x10\xe1\xff" + bare))
        await peer.receive_frame()


class TestForgery:
    @pytest.mark.parametrize("log_format", ["console", "json"])
    async def test_by_clients(self, log_format: str) -> None:
        """Whatever a client sends, each line is one of ours, and nothing of what it sent is in it."""
        async with serving("--log-format", log_format) as it:
            await mischief(it.running)
            ended = await it.stop()
        assert ended.status == 0
        assert MARK not in ended.errors
        if log_format == "json":
            lines = lines_of(ended)
            assert len(ends(lines, "websocket")) == 4
            assert len(ends(lines, "http")) == 6
        else:
            texts = ended.errors.split("\n")[:-1]
            assert all(LINE.fullmatch(text) for text in texts)
            assert sum("connection ended" in text for text in texts) == 10
            assert ended.errors.replace("\n", "").isprintable()

    def test_in_values(self) -> None:
        """Text with control characters, should it get there, is escaped on its line."""
        (line,) = written("console", "a message: %s", FORGED, extra={"address": FORGED, "errors": {FORGED: 1}})
        assert line.count("\\n2026-11-23") == 3
        (text,) = written("json", "a message: %s", FORGED, extra={"address": FORGED})
        assert json.loads(text)["address"] == FORGED

    def test_in_tracebacks(self) -> None:
        """The lines of a traceback are indented, so that none looks like a line of the log."""
        try:
            raise ExceptionGroup("several", [ValueError(FORGED)])
        except ExceptionGroup:
            first, *others = written("console", "it failed", exc_info=True)
            (text,) = written("json", "it failed", exc_info=True)
        assert LINE.fullmatch(first)
        assert any(MARK in line for line in others)
        assert all(line.startswith("    ") and line.isprintable() for line in others)
        assert MARK in json.loads(text)["exception"]


def written(log_format: str, message: str, *arguments: object, **options: Any) -> list[str]:
    """What a line looks like in the log."""
    stream = io.StringIO()
    handler = BoundedHandler(stream)
    handler.setFormatter(formatter(log_format, colors=False))
    logger = logging.Logger("wsproto_tracker.test")
    logger.addHandler(handler)
    logger.error(message, *arguments, **options)
    return stream.getvalue().removesuffix("\n").split("\n")


class TestSecrets:
    @pytest.mark.parametrize("log_format", ["console", "json"])
    @pytest.mark.parametrize("source", ["flag", "variable", "file"])
    async def test_keys(self, tmp_path: Path, log_format: str, source: str) -> None:
        """No key is in any output, right or wrong, in whatever way it was configured and shown (SEC-1)."""
        file = tmp_path / "tracker.toml"
        file.write_text(f'[[keys]]\nname = "shop"\nkey = "{KEY}"\n', "utf-8")
        arguments = {"flag": ["--api-key", KEY], "variable": [], "file": ["--config", str(file)]}[source]
        variables = {"TRACKER_API_KEY": KEY} if source == "variable" else {}
        async with serving("--log-format", log_format, *arguments, variables=variables) as it:
            await show_keys(it)
            ended = await it.stop()
        assert ended.status == 0
        assert ended.errors
        for key in (KEY, WRONG_KEY):
            assert key.casefold() not in (ended.output + ended.errors).casefold()


async def show_keys(it: Command) -> None:
    """Show the key and a wrong one in every way that there is, and in some that there are not."""
    server = it.running
    async with server.client(key=KEY) as client:
        await client.ask(ingest(event()))
    places = ("", "/events", "//metrics", "//ready", "//health", "/nowhere")
    for key in (KEY, WRONG_KEY):
        for method, path in [*(("GET", place) for place in places), ("POST", "/events"), ("GET", f"/{key}")]:
            await server.http(method, path, headers={"X-Tracker-Key": key})
            await server.http(method, f"{path}?key={key}", headers={"Cookie": key, "Authorization": f"Bearer {key}"})
        await server.raw(f"GET / HTTP/1.1\r\nX-Tracker-Key : {key}\r\n\r\n".encode())
        await server.raw(
            f"GET /_tracker?key={key}&{'a&' * 200} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode(), then_eof=True
        )
        auth = f'{{"type":"auth","key":"{key}"'
        for text in (f"{auth}}}", auth, f'{{"type":"auth","key":["{key}"]}}', f'{{"key":"{key}"}}'):
            async with raw_websocket(server) as peer:
                await peer.send_frame(0x1, text.encode())
                await peer.receive_frame()
        handshake = (
            f"GET /_tracker/ws?key={key} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
        )
        await server.raw(handshake.encode(), then_eof=True)


class TestFloods:
    def test_bound(self) -> None:
        """Of each kind there are ten lines a second, then the number of those that were left out."""
        now = 100.0
        stream = io.StringIO()
        handler = BoundedHandler(stream, clock=lambda: now)
        handler.setFormatter(logging.Formatter("%(name)s %(levelname)s %(message)s"))
        logger = logging.Logger("noise")
        logger.addHandler(handler)
        for number in range(1000):
            logger.warning("refused %d", number)
        logger.warning("another kind")
        logger.error("refused %d", 7)
        lines = stream.getvalue().splitlines()
        assert lines == [*(f"noise WARNING refused {number}" for number in range(10)), *lines[10:]]
        assert lines[10:] == ["noise WARNING another kind", "noise ERROR refused 7"]
        now += 1.0
        logger.warning("refused %d", 1000)
        logger.warning("refused %d", 1001)
        assert stream.getvalue().splitlines()[12:] == [
            "noise WARNING left out 990 more lines: refused %d",
            "noise WARNING refused 1000",
            "noise WARNING refused 1001",
        ]

    def test_at_the_end(self) -> None:
        """What was left out last is told when the log is closed."""
        stream = io.StringIO()
        handler = BoundedHandler(stream)
        for _ in range(15):
            handler.handle(logging.makeLogRecord({"msg": "again"}))
        handler.close()
        told = stream.getvalue().splitlines()
        left_out = [int(line.split()[2]) for line in told if line.startswith("left out")]
        assert len(told) - len(left_out) + sum(left_out) == 15

    async def test_of_clients(self) -> None:
        """Clients that send nothing but nonsense do not fill the log; every connection is accounted for."""
        async with serving("--log-format", "json") as it:
            for _ in range(60):
                await it.running.raw(b"\x00\r\n\r\n")
            ended = await it.stop()
        counts = {"refused a request": 0, "connection ended": 0}
        for line in lines_of(ended):
            left_out = re.match("left out ([0-9]+) more lines: (.*)", line["event"])
            count, text = (int(left_out[1]), left_out[2]) if left_out else (1, line["event"])
            counts[text.partition(":")[0]] += count
        assert counts == {"refused a request": 60, "connection ended": 60}


class TestConfiguration:
    def test_colors_on_a_terminal(self) -> None:
        """Lines are coloured where a person looks, and nowhere else."""
        program = f"{CONFIGURED}logging.getLogger('wsproto_tracker').warning('hello')"
        ours, theirs = pty.openpty()
        with subprocess.Popen([sys.executable, "-c", program], stderr=theirs) as process:
            process.wait(60)
        os.close(theirs)
        assert b"\x1b[" in os.read(ours, 10_000)
        os.close(ours)
        to_a_file = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=60, check=True)
        assert b"hello" in to_a_file.stderr
        assert b"\x1b" not in to_a_file.stderr

    def test_bounded(self) -> None:
        """The log of the command is bounded, and what was left out last is told when it ends."""
        program = f"{CONFIGURED}[logging.getLogger('wsproto_tracker').warning('%d', number) for number in range(5000)]"
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=60, check=True, text=True)
        left_out = [int(line.split()[5]) for line in done.stderr.splitlines() if "left out" in line]
        assert len(done.stderr.splitlines()) - len(left_out) + sum(left_out) == 5000
        assert left_out

    async def test_embedded(self, caplog: pytest.LogCaptureFixture) -> None:
        """A program that embeds the server has its own logging: nothing is configured, and records have the members."""
        caplog.set_level(logging.INFO)
        before = [list(logging.getLogger(name).handlers) for name in ("", "wsproto_tracker", "websockets")]
        async with running() as server:
            async with server.client() as client:
                await client.ask(ingest(event()))
            with trio.fail_after(20):
                while not (found := [record for record in caplog.records if record.name.endswith(".connections")]):
                    await trio.sleep(0.01)
        assert before == [list(logging.getLogger(name).handlers) for name in ("", "wsproto_tracker", "websockets")]
        assert (found[0].getMessage(), found[0].__dict__["saved"]) == ("connection ended", 1)
