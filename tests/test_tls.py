"""TLS: wss and https on the same port, with a certificate that can be replaced while the server runs."""

import json
import random
import shutil
import signal
import ssl
import struct
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
import trio_websocket
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from tracker_conformance import Target, run_suite
from websockets.exceptions import ConnectionClosed
from websockets.trio.client import connect

from tests.command import run, serving
from tests.raw_websocket import masked
from tests.support import Client, Running, event, ingest, parse_response, query, running
from tests.test_conformance_servers import BAD, told
from wsproto_tracker import ServeError, Settings, Tracker, serve
from wsproto_tracker.server import tls

MIB = 1024 * 1024
TEXTS = [random.Random(number).randbytes(MIB // 2).hex() for number in range(15)]
ALERT = b"\x15"
LAST = b"Host: localhost\r\nConnection: close\r\n"


@attrs.frozen
class Files:
    """A certificate for this machine, and the authority that made it."""

    authority: trustme.CA
    cert: Path
    key: Path

    @property
    def options(self) -> dict[str, Any]:
        return {"tls_cert": self.cert, "tls_key": self.key}

    @property
    def flags(self) -> tuple[str, ...]:
        return ("--tls-cert", str(self.cert), "--tls-key", str(self.key))

    def renew(self) -> None:
        """Write another certificate and key in their places."""
        issued = self.authority.issue_cert("127.0.0.1", "localhost")
        self.key.write_bytes(issued.private_key_pem.bytes())
        self.cert.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))

    def client(self) -> ssl.SSLContext:
        """What a client trusts."""
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        return context


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """A certificate that is good."""
    made = Files(trustme.CA(), tmp_path / "cert.pem", tmp_path / "key.pem")
    made.renew()
    return made


@asynccontextmanager
async def client_of(server: Running, files: Files) -> AsyncGenerator[Client, None]:
    """A WebSocket client over TLS."""
    url = server.ws_url.replace("ws://", "wss://")
    async with connect(url, ssl=files.client(), max_size=None) as websocket:
        yield Client(websocket)


@asynccontextmanager
async def stream_of(server: Running, files: Files) -> AsyncGenerator[trio.SSLStream[trio.SocketStream], None]:
    """A connection over TLS, to which an end without ``close_notify`` is none."""
    stream = trio.SSLStream(await server.connect(), files.client(), server_hostname="127.0.0.1")
    try:
        await stream.do_handshake()
        yield stream
    finally:
        await trio.aclose_forcefully(stream)


async def everything(stream: trio.abc.ReceiveStream) -> bytes:
    """All that comes until the end."""
    with trio.fail_after(20):
        return b"".join([bytes(data) async for data in stream])


async def serial(server: Running, files: Files) -> int:
    """The number of the certificate that is shown now."""
    async with stream_of(server, files) as stream:
        return int(stream.getpeercert()["serialNumber"], 16)


async def is_alive(server: Running, files: Files) -> bool:
    """Whether others are served."""
    async with client_of(server, files) as client:
        return bool(await client.ask({"type": "ping"}) == {"type": "pong"})


class TestBoth:
    async def test_websocket(self, files: Files) -> None:
        """A WebSocket client sends a large frame and asks for it again; at the end both say goodbye."""
        async with running(**files.options) as server, client_of(server, files) as client:
            large = event(payload={"text": "x" * 3 * MIB})
            assert await client.ask(ingest(large, *[event()] * 5_000)) == {"type": "ack", "saved": 5_001}
            assert len(await client.events()) == 5_001
            with trio.fail_after(5):
                await client.websocket.aclose()
            assert client.websocket.close_code == 1000

    async def test_frame_of_16_mib(self, files: Files) -> None:
        """A frame as large as may be is taken over TLS too (LIMIT-2)."""
        async with running(**files.options) as server, client_of(server, files) as client:
            frame = ingest(*[event(payload={"text": text}) for text in TEXTS])
            frame += " " * (16 * MIB - len(frame))
            assert await client.ask(frame) == {"type": "ack", "saved": 15}

    async def test_another_client(self, files: Files) -> None:
        """trio-websocket gets along with it as well, with a large frame too, and the close is a clean one."""
        async with running(**files.options) as server:
            url = server.ws_url.replace("ws://", "wss://")
            with trio.fail_after(60):
                async with trio_websocket.open_websocket_url(url, ssl_context=files.client()) as websocket:
                    frame = ingest(*[event(payload={"text": text}) for text in TEXTS])
                    await websocket.send_message(frame + " " * (16 * MIB - len(frame)))
                    assert json.loads(await websocket.get_message()) == {"type": "ack", "saved": 15}
            assert websocket.closed is not None
            assert websocket.closed.code == 1000

    async def test_both_ways_at_once(self, files: Files) -> None:
        """Large answers go out while large frames come in."""
        batch = ingest(event(payload={"text": TEXTS[0]}))
        received = []
        async with running(**files.options) as server:
            url = server.ws_url.replace("ws://", "wss://")
            with trio.fail_after(60):
                async with (
                    trio_websocket.open_websocket_url(
                        url, ssl_context=files.client(), max_message_size=1 << 30, message_queue_size=100
                    ) as websocket,
                    trio.open_nursery() as nursery,
                ):

                    async def send() -> None:
                        for number in range(10):
                            await websocket.send_message(batch)
                            await websocket.send_message(query(f"r{number}"))

                    nursery.start_soon(send)
                    received = [json.loads(await websocket.get_message()) for _ in range(20)]
        assert [answer["saved"] for answer in received[::2]] == [1] * 10
        assert [answer["reqId"] for answer in received[1::2]] == [f"r{number}" for number in range(10)]

    async def test_http(self, files: Files) -> None:
        """Requests come one after the other on a connection, and the last answer arrives whole."""
        async with running(**files.options) as server, stream_of(server, files) as stream:
            body = json.dumps({"events": [event()]}).encode()
            await stream.send_all(
                b"POST /_tracker/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
                + b"GET /_tracker HTTP/1.1\r\n%b\r\n" % LAST
            )
            first, _, rest = (await everything(stream)).partition(b'{"type":"ack","saved":1}')
            assert first.startswith(b"HTTP/1.1 200")
            assert parse_response(rest).json()["total"] == 1

    @pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl: apt-get install curl")
    async def test_curl(self, files: Files, tmp_path: Path) -> None:
        """curl, with its own TLS, sends a large body."""
        authority, body = tmp_path / "ca.pem", tmp_path / "body.json"
        files.authority.cert_pem.write_to_path(authority)
        body.write_text(json.dumps({"events": [event(payload={"text": text}) for text in TEXTS]}))
        async with running(**files.options) as server:
            url = f"https://localhost:{server.address.port}/_tracker/events"
            with trio.fail_after(60):
                command = ["curl", "-sSf", "--cacert", str(authority), "--json", f"@{body}", url]
                ended = await trio.run_process(command, capture_stdout=True, capture_stderr=True)
        assert (json.loads(ended.stdout), ended.stderr) == ({"type": "ack", "saved": 15}, b"")

    @pytest.mark.parametrize("deflate", [False, True], ids=["plain", "deflate"])
    async def test_conformance(self, files: Files, deflate: bool) -> None:
        """The server conforms over TLS, to both of the libraries that the suite has."""
        authority = files.cert.with_name("ca.pem")
        files.authority.cert_pem.write_to_path(authority)
        async with running(api_key="s3cret", max_auth_failures=1000, **files.options) as server:
            base = f"https://{server.address}/_tracker"
            target = Target(
                f"wss://{server.address}/_tracker/ws",
                f"{base}/events",
                base,
                f"{base}/ping",
                "s3cret",
                deflate=deflate,
                ca=str(authority),
                timeout_scale=2,
            )
            run = await run_suite(target)
        assert told(run, *BAD) == []

    @pytest.mark.parametrize("offered", [["h2", "http/1.1"], ["h2"]])
    async def test_protocol(self, files: Files, offered: list[str]) -> None:
        """Of the protocols that a client offers it takes HTTP/1.1, and no other."""
        context = files.client()
        context.set_alpn_protocols(offered)
        async with running(**files.options) as server:
            async with trio.SSLStream(await server.connect(), context, server_hostname="localhost") as stream:
                await stream.do_handshake()
                assert stream.selected_alpn_protocol() in ("http/1.1", None)
                assert stream.version() in ("TLSv1.2", "TLSv1.3")


class TestClosing:
    async def test_answer_to_who_still_sends(self, files: Files) -> None:
        """A client that is refused while it sends can take the answer (HTTP-13)."""
        async with running(max_frame_bytes=MIB, **files.options) as server, stream_of(server, files) as stream:
            head = b"POST /_tracker/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % (20 * MIB)
            with trio.fail_after(20):
                await stream.send_all(head + b" " * (20 * MIB))
            assert parse_response(await everything(stream), "POST").status == 413

    async def test_close_to_who_still_sends(self, files: Files) -> None:
        """A WebSocket client that sends too large a message learns it, though it has not sent all of it (CLOSE-3)."""
        async with running(max_frame_bytes=MIB, **files.options) as server, client_of(server, files) as client:
            with pytest.raises(ConnectionClosed), trio.fail_after(20):
                await client.send("x" * 20 * MIB)
                await client.receive()
            assert client.websocket.close_code == 1009

    async def test_closes_with_1001(self, files: Files) -> None:
        """A server that shuts down acks what came, says so over TLS as well, and ends in time (CLOSE-4)."""
        async with running(**files.options) as server, client_of(server, files) as client:
            await client.ask({"type": "ping"})
            await client.send(*[ingest(event())] * 20)
            server.server.stop()
            assert [await client.receive() for _ in range(20)] == [{"type": "ack", "saved": 1}] * 20
            with trio.fail_after(20):
                await client.websocket.wait_closed()
            assert client.websocket.close_code == 1001

    async def test_idle_connections(self, files: Files) -> None:
        """Connections that have not begun, are within their handshake, or idle, do not hold up the end (CLOSE-4)."""
        settings = Settings(port=0, store="memory:", drain_timeout_s=60, head_timeout_s=60, **files.options)
        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                started: Tracker = await nursery.start(serve, settings)
                server = Running(started, settings)
                async with await server.connect() as silent, await server.connect() as slow:
                    await slow.send_all(b"\x16\x03\x01")
                    async with stream_of(server, files) as idle:
                        await idle.send_all(b"GET /_tracker/ping HTTP/1.1\r\nHost: localhost\r\n\r\n")
                        answer = bytearray()
                        while not answer.endswith(b"}"):
                            answer += await idle.receive_some()
                        started.stop()
                        assert [await everything(stream) for stream in (silent, slow, idle)] == [b"", b"", b""]

    async def test_vanished(self, files: Files, caplog: pytest.LogCaptureFixture) -> None:
        """A client that vanishes, without ``close_notify``, is no news; what it had sent is kept."""
        async with running(**files.options) as server:
            async with stream_of(server, files) as stream:
                await stream.send_all(
                    b"GET /_tracker/ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
                    + masked(0x1, ingest(event()).encode())
                )
                await stream.receive_some()
            async with client_of(server, files) as client:
                with trio.fail_after(20):
                    while not await client.events():
                        await trio.sleep(0.01)
        assert not caplog.records

    async def test_reader_that_stops(self, files: Files) -> None:
        """Who stops reading an answer is let go of in time."""
        async with running(send_timeout_s=0.3, **files.options) as server:
            async with client_of(server, files) as client:
                for _ in range(4):
                    await client.ask(ingest(*[event(payload={"text": text}) for text in TEXTS]))
            async with stream_of(server, files) as stream:
                await stream.send_all(b"GET /_tracker HTTP/1.1\r\n%b\r\n" % LAST)
                await trio.sleep(0.6)
                received = 0
                with trio.fail_after(20), pytest.raises(trio.BrokenResourceError):
                    while data := await stream.receive_some():
                        received += len(data)
                assert received < 30 * MIB
            assert await is_alive(server, files)


class TestWrongClients:
    @pytest.mark.parametrize("sent", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"hello", b"\x00"])
    async def test_no_tls(self, files: Files, sent: bytes) -> None:
        """Who speaks plain HTTP is answered in plain HTTP, with what would be right."""
        async with running(**files.options) as server:
            response = parse_response(await server.raw(sent))
            assert response.status == 400
            assert response.json()["message"] == "this port speaks TLS: use wss:// or https://"

    @pytest.mark.parametrize("sent", [b"\x16", b"\x16\x03\x01\x00\x05hello", b"\x16" * 3000, b""], ids=ascii)
    async def test_broken_handshakes(self, files: Files, sent: bytes) -> None:
        """A handshake that is none, or stops, ends the connection in time, and no other."""
        async with running(head_timeout_s=0.3, **files.options) as server:
            with trio.fail_after(20):
                assert (await server.raw(sent))[:1] in (b"", ALERT)
            assert await is_alive(server, files)

    async def test_reset(self, files: Files, caplog: pytest.LogCaptureFixture) -> None:
        """A client that resets its connection before it says anything is no fault of ours."""
        async with running(**files.options) as server:
            for _ in range(20):
                stream = await server.connect()
                stream.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, struct.pack("ii", 1, 0))
                await trio.sleep(0.01)
                await stream.aclose()
            assert await is_alive(server, files)
        assert "failed" not in caplog.text

    async def test_log(self, files: Files, caplog: pytest.LogCaptureFixture) -> None:
        """Why a handshake came to nothing is in the log."""
        context = files.client()
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers("AES128-SHA256")
        async with running(**files.options) as server:
            async with await server.connect() as stream:
                with pytest.raises(trio.BrokenResourceError):
                    await trio.SSLStream(stream, context, server_hostname="localhost").do_handshake()
            assert await is_alive(server, files)
        assert [record.getMessage() for record in caplog.records] == ["refused a TLS handshake: NO_SHARED_CIPHER"]

    async def test_slow_ones_do_no_harm(self, files: Files) -> None:
        """Clients that begin with TLS and stop do not keep others waiting, and are let go of in time."""
        async with running(head_timeout_s=0.5, **files.options) as server, trio.open_nursery() as nursery:

            async def attack() -> None:
                with trio.fail_after(20):
                    assert await server.raw(b"\x16\x03\x01\x02\x00") == b""

            for _ in range(30):
                nursery.start_soon(attack)
            for _ in range(5):
                assert await is_alive(server, files)

    async def test_too_many(self, files: Files) -> None:
        """A connection too many is told so over TLS (CLOSE-5)."""
        async with running(max_connections=1, **files.options) as server, client_of(server, files):
            async with stream_of(server, files) as stream:
                assert parse_response(await everything(stream)).status == 503


class TestWrongFiles:
    @pytest.mark.parametrize(
        ("file", "content", "told"),
        [
            ("cert", None, "--tls-cert: {cert} cannot be read: No such file or directory"),
            ("key", None, "--tls-key: {key} cannot be read: No such file or directory"),
            ("cert", "hello", "--tls-cert: {cert} holds no certificate in PEM: expected -----BEGIN CERTIFICATE-----"),
            ("key", "hello", "--tls-key: {key} holds no private key in PEM: expected -----BEGIN PRIVATE KEY-----"),
            ("cert", "the key", "--tls-cert: {cert} holds no certificate in PEM"),
            ("key", "the cert", "--tls-key: {key} holds no private key in PEM"),
            ("cert", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "--tls-cert: {cert} is damaged"),
            ("key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "--tls-key: {key} is damaged"),
        ],
    )
    async def test_told(self, files: Files, file: str, content: str | None, told: str) -> None:
        """Files that cannot be used are refused at the start, each by its option and with what is wrong with it."""
        contents = {None: None, "the key": files.key.read_bytes(), "the cert": files.cert.read_bytes()}
        path: Path = getattr(files, file)
        path.unlink()
        if content is not None:
            path.write_bytes(contents.get(content) or content.encode())
        with pytest.raises(ServeError) as refused:
            await serve(Settings(port=0, store="memory:", **files.options))
        assert str(refused.value).startswith(told.format(cert=files.cert, key=files.key))

    async def test_another_key(self, files: Files, tmp_path: Path) -> None:
        """A key that belongs to another certificate is named as that."""
        other = Files(files.authority, tmp_path / "other.pem", tmp_path / "other-key.pem")
        other.renew()
        ended = await run("serve", "--port", "0", "--tls-cert", str(files.cert), "--tls-key", str(other.key))
        told = f"wsproto-tracker: --tls-key: {other.key} is not the key of the certificate in {files.cert}\n"
        assert (ended.status, ended.output, ended.errors) == (1, "", told)

    async def test_encrypted_key(self, files: Files) -> None:
        """A key with a passphrase is refused; nobody is asked for it."""
        key = serialization.load_pem_private_key(files.key.read_bytes(), None)
        encryption = serialization.BestAvailableEncryption(b"secret")
        files.key.write_bytes(
            key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
        )
        ended = await run("serve", "--port", "0", *files.flags)
        told = f"wsproto-tracker: --tls-key: {files.key} is encrypted: expected a key without a passphrase\n"
        assert (ended.status, ended.output, ended.errors) == (1, "", told)

    async def test_weak_key(self, files: Files) -> None:
        """A key that OpenSSL thinks too weak is refused with what it says."""
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
        key = rsa.generate_private_key(65537, 1024)
        now = datetime.now(UTC)
        builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
        encoding = serialization.Encoding.PEM
        files.cert.write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(encoding))
        files.key.write_bytes(
            key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        )
        with pytest.raises(ServeError) as refused:
            await serve(Settings(port=0, store="memory:", **files.options))
        assert str(refused.value) == f"--tls-cert: {files.cert} cannot be used: EE_KEY_TOO_SMALL"


class TestReload:
    async def test_connections_stay(self, files: Files) -> None:
        """New connections get the new certificate, and those that are open go on, with a frame on its way too."""
        async with running(**files.options) as server, client_of(server, files) as client:
            before = await serial(server, files)
            files.renew()
            assert await serial(server, files) == before
            async with trio.open_nursery() as nursery:
                nursery.start_soon(client.send, ingest(event(payload={"text": TEXTS[0]})))
                assert server.server.reload()
            assert await serial(server, files) != before
            assert (await client.receive())["saved"] == 1

    @pytest.mark.parametrize("which", ["cert", "key", "both"])
    async def test_what_cannot_be_used_changes_nothing(self, files: Files, tmp_path: Path, which: str) -> None:
        """Where the new files cannot be used, or do not belong together, the old certificate stays."""
        async with running(**files.options) as server:
            before = await serial(server, files)
            other = Files(files.authority, tmp_path / "other.pem", tmp_path / "other-key.pem")
            other.renew()
            if which in ("cert", "both"):
                files.cert.write_bytes(other.cert.read_bytes() if which == "cert" else b"hello")
            if which in ("key", "both"):
                files.key.write_bytes(other.key.read_bytes())
            with pytest.raises(ServeError):
                server.server.reload()
            assert await serial(server, files) == before

    async def test_signal(self, files: Files) -> None:
        """SIGHUP reads the files again, and what became of it is said."""
        async with serving(*files.flags) as command:
            assert "wss://127.0.0.1:" in command.output
            assert command.snippet["pingEndpoint"].startswith("https://")
            command.signal(signal.SIGHUP)
            await command.until("the certificate was read again\n")
            files.key.write_text("hello")
            command.signal(signal.SIGHUP)
            await command.until(f"the old certificate stays: --tls-key: {files.key} holds no private key")
            assert (await command.stop()).is_clean

    async def test_files_that_go_while_they_are_read(self, files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
        """Files that are replaced just then are no reason to end: the old certificate stays."""
        async with running(**files.options) as server:
            check = tls._check

            def check_and_lose(option: str, file: Path, label: str) -> None:
                check(option, file, label)
                if option == "--tls-key":
                    file.unlink()

            monkeypatch.setattr(tls, "_check", check_and_lose)
            before = await serial(server, files)
            with pytest.raises(ServeError, match="cannot be read"):
                server.server.reload()
            assert await serial(server, files) == before

    async def test_nothing_to_reload(self) -> None:
        """Without a certificate SIGHUP changes nothing, and says so."""
        async with serving() as command:
            command.signal(signal.SIGHUP)
            await command.until("there is nothing to reload without --tls-cert\n")
            assert (await command.running.http("GET", "/ping")).status == 200
            assert (await command.stop()).is_clean

    async def test_signal_while_it_stops(self) -> None:
        """SIGHUP does not cut short what is being finished."""
        async with serving("--receive-timeout-s", "60", "--drain-timeout-s", "60") as command:
            async with await command.running.connect() as stream:
                await stream.send_all(
                    b"POST /_tracker/events HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 13\r\n%b\r\n" % LAST
                )
                assert (await stream.receive_some()).startswith(b"HTTP/1.1 100 ")
                command.signal(signal.SIGTERM)
                await command.until("stopping")
                command.signal(signal.SIGHUP)
                await stream.send_all(b'{"events":[]}')
                assert parse_response(await everything(stream), "POST").json() == {"type": "ack", "saved": 0}
            assert (await command.end()).is_clean
