"""The command, run as users run it: as a process of its own."""

import json
import os
import re
import signal
import socket
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from websockets.exceptions import ConnectionClosed

from tests.command import DEADLINE_S, MODULE, Ended, run, serving, started
from tests.support import Running, event, ingest
from wsproto_tracker import Address, Settings, __version__
from wsproto_tracker.access import Key
from wsproto_tracker.cli.serve import warning
from wsproto_tracker.settings import flag, options

SCRIPT = (str(Path(sys.executable).with_name("wsproto-tracker")),)
STOPPING = "stopping: finishing what is in hand; once more stops at once\n"
UNFINISHED = b"POST /_tracker/events HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 26\r\n\r\n"
REST = b'{"type":"ingest","events":'  # the 26 bytes; no JSON, which an answer tells as well
SHUTDOWN = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)


@pytest.fixture(params=[MODULE, SCRIPT], ids=["module", "script"])
def command(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """The command in each way to call it."""
    words: tuple[str, ...] = request.param
    if not Path(words[0]).exists():
        pytest.skip("the script is not installed next to this Python")
    return words


async def healthy(running: Running) -> bool:
    """Whether the server answers."""
    return (await running.http("GET", "//health")).status == 200


@asynccontextmanager
async def in_hand(running: Running) -> AsyncGenerator[trio.SocketStream, None]:
    """A request that the server has begun to handle, and whose body does not come."""
    async with await running.connect() as stream:
        await stream.send_all(UNFINISHED)
        assert (await stream.receive_some()).startswith(b"HTTP/1.1 100 ")
        yield stream


class TestUsage:
    async def test_version(self, command: tuple[str, ...]) -> None:
        """The version is that of the package."""
        assert await run("--version", command=command) == Ended(0, f"wsproto-tracker {__version__}\n", "")

    async def test_help(self) -> None:
        """The help tells what it is for, its commands, and examples."""
        told = await run("--help")
        assert told.is_clean
        assert told.output.startswith("usage: wsproto-tracker ")
        assert re.search(r"^ +serve +run the server$", told.output, re.MULTILINE)
        assert "examples:\n  wsproto-tracker serve " in told.output

    async def test_help_of_serve(self, command: tuple[str, ...]) -> None:
        """The help of serve has every option with what it is for and its default, and examples."""
        told = await run("serve", "--help", command=command)
        assert told.is_clean
        for option in options():
            default = "" if option.default in (None, ()) else f" (default: {option.default})"
            line = f"{flag(option.name)} {option.metadata['metavar']} {option.metadata['help']}{default}"
            assert line in re.sub(r"\s+", " ", told.output)
        assert "--config FILE" in told.output
        assert "TRACKER_" in told.output
        assert "examples:\n  wsproto-tracker serve\n" in told.output

    @pytest.mark.parametrize(
        ("arguments", "named"),
        [
            ((), "COMMAND"),
            (("srve",), "srve"),
            (("--prot", "serve"), "--prot"),
            (("serve", "--drain-timeout", "5"), "did you mean --drain-timeout-s?"),
            (("serve", "--apikey", "s3cret"), "--apikey: no such option; did you mean --api-key?"),
            (("serve", "--apikey=s3cret"), "--apikey: no such option; did you mean --api-key?"),
            (("serve", "s3cret"), "expected options only"),
        ],
    )
    async def test_wrong_usage(self, arguments: tuple[str, ...], named: str) -> None:
        """What is no usage ends with 2, the usage, and what is wrong with it."""
        refused = await run(*arguments)
        assert (refused.status, refused.output) == (2, "")
        assert refused.errors.startswith("usage: wsproto-tracker ")
        assert named in refused.errors.splitlines()[-1]
        assert "s3cret" not in refused.errors, "it may be a key (SEC-1)"


class TestWrongOptions:
    @pytest.mark.parametrize(
        ("arguments", "told"),
        [
            (("--port", "-1"), "--port: expected a whole number from 0 to 65535"),
            (("--api-key", ""), "--api-key: expected a key that is not empty; leave "),
            (("--config", "missing.toml"), "missing.toml: cannot be read: "),
        ],
        ids=["port", "key", "file"],
    )
    async def test_refused(self, arguments: tuple[str, ...], told: str) -> None:
        """A wrong option ends with 2 and one line that names it."""
        refused = await run("serve", *arguments)
        assert (refused.status, refused.output) == (2, "")
        assert refused.errors.startswith(f"wsproto-tracker: {told}")
        assert refused.errors.count("\n") == 1

    async def test_all_of_them(self, tmp_path: Path) -> None:
        """Several wrong options are all told, each in the spelling of its source; the key is in none of it."""
        file = tmp_path / "tracker.toml"
        file.write_text('port = true\napi_key = "s3cret"', "utf-8")
        refused = await run("serve", "--host", "a b", "--config", str(file), variables={"TRACKER_PUSH": "everyone"})
        assert (refused.status, refused.output) == (2, "")
        for spelling in ("--host", "TRACKER_PUSH", f"{file}: port"):
            assert f"{spelling}: expected " in refused.errors
        assert "s3cret" not in refused.errors
        assert refused.errors.count("\n") == 3

    async def test_mistyped_variable(self) -> None:
        """A variable that looks like an option is pointed out; others may use the prefix for themselves."""
        refused = await run("serve", "--port", "x", variables={"TRACKER_API_KY": "s3cret", "TRACKER_HOME": "/"})
        assert refused.errors.splitlines() == ["wsproto-tracker: --port: expected a whole number from 0 to 65535"]
        async with serving(variables={"TRACKER_API_KY": "s3cret", "TRACKER_HOME": "/"}) as it:
            ended = await it.stop()
        assert ended.errors == "wsproto-tracker: TRACKER_API_KY is no option; did you mean TRACKER_API_KEY?\n"


class TestCannotListen:
    async def test_port_in_use(self) -> None:
        """A port that is in use ends with 1, and a line that says so and what to do."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            refused = await run("serve", "--port", str(port))
        where = f"127.0.0.1 port {port}"
        told = f"wsproto-tracker: --port: {where} is in use; stop what listens there, or take another port\n"
        assert refused == Ended(1, "", told)

    @pytest.mark.parametrize("host", ["nowhere.invalid", "a..b"])
    async def test_unknown_host(self, host: str) -> None:
        """A host that cannot be found ends with 1, and a line that says so."""
        refused = await run("serve", "--host", host, "--port", "0")
        told = f"wsproto-tracker: --host: {host} is no address, and no name that can be found\n"
        assert refused == Ended(1, "", told)

    async def test_address_of_another_machine(self) -> None:
        """An address that this machine does not have ends with 1, and a line that says so."""
        refused = await run("serve", "--host", "192.0.2.1", "--port", "0")
        assert refused == Ended(1, "", "wsproto-tracker: --host: 192.0.2.1 is no address of this machine\n")


class TestGreeting:
    async def test_port(self, command: tuple[str, ...]) -> None:
        """The port that was picked is printed, answers, and is in the snippet for the plugin's configuration."""
        async with serving(command=command) as it:
            address = it.running.address
            assert address.port > 0
            assert await healthy(it.running)
            assert it.output.startswith(f"wsproto-tracker {__version__} listens on\n  ws://{address}/_tracker/ws ")
            assert "storage: {" in it.output
            assert it.snippet == {
                "appId": "my-app",
                "mode": "websocket",
                "wsEndpoint": f"ws://{address}/_tracker/ws",
                "pingEndpoint": f"http://{address}/_tracker/ping",
            }
            assert (await it.running.http("GET", "/ping")).status == 200
            async with it.running.client() as client:
                assert await client.ask({"type": "ping"}) == {"type": "pong"}
            assert "apiKey" not in it.output
            assert (await it.stop()).is_clean

    async def test_sources(self, tmp_path: Path) -> None:
        """Flags, the environment and the file all reach the server, in their order."""
        file = tmp_path / "tracker.toml"
        file.write_text('base_path = "/"\nmax_events = 5\nport = 70000', "utf-8")
        async with serving("--config", str(file), variables={"TRACKER_MAX_EVENTS": "2"}) as it:
            address = it.running.address
            assert it.endpoint == f"ws://{address}/ws"
            assert it.snippet["pingEndpoint"] == f"http://{address}/ping"
            assert "the last 2 events" in it.output
            async with it.running.client() as client:
                for _ in range(3):
                    assert await client.ask(ingest(event())) == {"type": "ack", "saved": 1}
                assert len(await client.events()) == 2

    @pytest.mark.parametrize(
        ("arguments", "variables"),
        [(("--api-key", "s3cret"), {}), ((), {"TRACKER_API_KEY": "s3cret"})],
        ids=["flag", "variable"],
    )
    async def test_key(self, arguments: tuple[str, ...], variables: dict[str, str]) -> None:
        """With a key the snippet has a line for it; the key itself is in no output, whatever clients do with it."""
        async with serving(*arguments, variables=variables) as it:
            assert "\n      apiKey: process.env.TRACKER_API_KEY,\n" in it.output
            async with it.running.client(key="s3cret") as client:
                assert await client.ask({"type": "ping"}) == {"type": "pong"}
            assert (await it.running.http("GET", "", headers={"X-Tracker-Key": "s3cret"})).status == 200
            assert (await it.running.http("GET", "", headers={"X-Tracker-Key": "s3cret2"})).status == 401
            ended = await it.stop()
        assert ended.status == 0
        assert "s3cret" not in ended.output + ended.errors

    async def test_keys(self, tmp_path: Path) -> None:
        """With keys in a file the snippet has the line too, and it is said which key goes where; no key is printed."""
        file = tmp_path / "tracker.toml"
        file.write_text(
            '[[keys]]\nkey = "p4ge"\nname = "shop"\nscopes = ["ingest"]\n'
            '[[keys]]\nkey_env = "OFFICE"\nname = "office"\nscopes = ["query", "ingest"]\n',
            "utf-8",
        )
        async with serving("--config", str(file), variables={"OFFICE": "0ffice"}) as it:
            assert "\n      apiKey: process.env.TRACKER_API_KEY,\n" in it.output
            assert "\nThe keys are shop (ingest), office (ingest and query).\n" in it.output
            assert (
                "build the page with a key that is for ingest only, and\nthe dashboard, in a build of its" in it.output
            )
            async with it.running.client(key="0ffice") as client:
                assert await client.ask({"type": "ping"}) == {"type": "pong"}
            ended = await it.stop()
        assert ended.is_clean, ended.errors
        assert "p4ge" not in ended.output
        assert "0ffice" not in ended.output

    async def test_ipv6(self) -> None:
        """An IPv6 address is printed in brackets."""
        try:
            socket.create_server(("::1", 0), family=socket.AF_INET6).close()
        except OSError:
            pytest.skip("this machine has no IPv6")
        async with serving("--host", "::1") as it:
            port = it.running.address.port
            assert it.endpoint == f"ws://[::1]:{port}/_tracker/ws"
            assert f"  http://[::1]:{port}/_tracker\n" in it.output
            assert await healthy(it.running)

    async def test_everywhere(self) -> None:
        """A server that listens on every address is in the snippet with the one that a browser here reaches."""
        async with serving("--host", "0.0.0.0") as it:
            port = it.running.address.port
            assert f"  ws://0.0.0.0:{port}/_tracker/ws " in it.output
            assert it.endpoint == f"ws://127.0.0.1:{port}/_tracker/ws"
            assert await healthy(it.running)


class TestOpenServer:
    async def test_everywhere_without_a_key(self) -> None:
        """Without a key on an address that others reach, it is said what that means, and what to do (SEC-4)."""
        async with serving("--host", "0.0.0.0") as it:
            where = it.output.splitlines()[1].split()[0].removeprefix("ws://").partition("/")[0]
            ended = await it.stop()
        assert ended.status == 0
        (line,) = ended.errors.splitlines()
        assert line.startswith(f"wsproto-tracker: no key is set, and {where} is not for this machine only: ")
        for way_out in ("TRACKER_API_KEY", "wsproto-tracker keys new", "--host 127.0.0.1"):
            assert way_out in line

    @pytest.mark.parametrize(
        ("settings", "addresses", "told"),
        [
            (Settings(), ["127.0.0.1", "::1"], None),
            (Settings(), ["127.0.0.1", "10.0.0.9"], "10.0.0.9:4242 is not"),
            (Settings(), ["0.0.0.0", "::"], "0.0.0.0:4242, [::]:4242 is not"),
            (Settings(api_key="s3cret"), ["0.0.0.0"], None),
            (Settings(keys=(Key(key="s3cret", name="x"),)), ["0.0.0.0"], None),
            (Settings(unix=Path("/run/tracker.sock")), ["0.0.0.0"], None),
        ],
    )
    def test_when_it_is_said(self, settings: Settings, addresses: list[str], told: str | None) -> None:
        """It is said where there is no key, and somebody else can come."""
        said = warning(settings, tuple(Address(host, 4242) for host in addresses))
        assert said == told or (told is not None and said is not None and told in said)

    async def test_origins(self) -> None:
        """``--origins`` says which pages are let in (SEC-4, SEC-5)."""
        async with serving("--origins", "https://shop.example,http://localhost:5173") as it:
            for origin, status in (("https://shop.example", 200), ("https://evil.example", 403)):
                assert (await it.running.http("GET", "/ping", headers={"Origin": origin})).status == status
            ended = await it.stop()
        told = "pages of https://evil.example are not let in; for them add https://evil.example to --origins"
        assert told in ended.errors


class TestStop:
    @SHUTDOWN
    async def test_client(self, number: signal.Signals) -> None:
        """A signal ends it with 0; what a client had sent before is acked, then it sees 1001 (CLOSE-4)."""
        async with serving() as it, it.running.client() as client:
            assert await client.ask({"type": "ping"}) == {"type": "pong"}
            await client.send(*[ingest(event())] * 50)
            it.signal(number)
            acks = [await client.receive() for _ in range(50)]
            assert acks == [{"type": "ack", "saved": 1}] * 50
            with pytest.raises(ConnectionClosed), trio.fail_after(DEADLINE_S):
                await client.websocket.recv()
            assert client.websocket.close_code == 1001
            ended = await it.end()
        assert ended.is_clean, ended
        assert ended.output.endswith(STOPPING)

    async def test_request_in_hand(self) -> None:
        """A request that is in hand is finished and answered before the end (CLOSE-4)."""
        async with serving() as it, in_hand(it.running) as stream:
            it.signal(signal.SIGTERM)
            await it.until(STOPPING)
            await stream.send_all(REST)
            with trio.fail_after(DEADLINE_S):
                answer = b"".join([received async for received in stream])
            assert answer.startswith(b"HTTP/1.1 400 ")
            assert json.loads(answer.partition(b"\r\n\r\n")[2])["code"] == "bad_json"
            await stream.aclose()
            assert (await it.end()).is_clean

    async def test_drain_timeout(self) -> None:
        """What is in hand for longer than the drain timeout does not hold up the end."""
        async with serving("--receive-timeout-s", "60", "--drain-timeout-s", "0.1") as it, in_hand(it.running):
            assert (await it.stop()).is_clean

    @SHUTDOWN
    async def test_second_signal(self, number: signal.Signals) -> None:
        """A second signal ends it at once, with 1."""
        async with serving("--receive-timeout-s", "60", "--drain-timeout-s", "60") as it, in_hand(it.running):
            it.signal(number)
            await it.until(STOPPING)
            it.signal(number)
            ended = await it.end()
        assert (ended.status, ended.problems) == (1, [])


class TestClosedOutput:
    async def test_after_the_greeting(self) -> None:
        """When the reader of the output has gone, it goes on serving, and stops as it would."""
        async with serving() as it:
            assert it.process.stdout is not None
            await it.process.stdout.aclose()
            assert await healthy(it.running)
            ended = await it.stop()
        assert ended.is_clean, ended.errors

    async def test_before_the_greeting(self) -> None:
        """When there is no reader from the start, it serves and stops as it would."""
        reader, writer = os.pipe()
        os.close(reader)
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        try:
            async with started("--port", str(port), stdout=writer) as it:
                await connected(port, it.process)
                ended = await it.stop()
        finally:
            os.close(writer)
        assert ended.is_clean, ended.errors


async def connected(port: int, process: trio.Process) -> None:
    """Wait until the server accepts connections, where no output tells; or until it has ended."""
    with trio.fail_after(DEADLINE_S):
        while process.poll() is None:
            try:
                await (await trio.open_tcp_stream("127.0.0.1", port)).aclose()
            except OSError:
                await trio.sleep(0.02)
            else:
                return
