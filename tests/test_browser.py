"""The server and a real browser: what a page does with WebSocket, fetch and beacons, from another origin."""

import json
import math
import os
import re
import shutil
import signal
import zlib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from functools import partial
from itertools import cycle
from pathlib import Path
from subprocess import DEVNULL
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlencode

import attrs
import h11
import pytest
import trio

from tests.support import Client, Running, event, ingest
from wsproto_tracker import Address

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next(filter(None, map(shutil.which, BROWSERS)), None)
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--host-resolver-rules=MAP evil.example 127.0.0.1",
)
PAGE = Path(__file__).parent / "page"
FILES = {
    "/": ("text/html", (PAGE / "index.html").read_bytes()),
    "/page.js": ("text/javascript", (PAGE / "page.js").read_bytes()),
}
KEY = "s3cret"
FIN_RSV1_TEXT = 0xC1

pytestmark = pytest.mark.skipif(BROWSER is None, reason="needs Chromium: apt-get install chromium")


class TestWebSocket:
    async def test_conversation(self, locked: Running) -> None:
        """A query right behind auth is answered, and what is then ingested is found by it again, whatever its text
        (AUTH-1, AUTH-4, CONN-2, CONN-3, CONN-4, FRAME-8, EVENT-8, ID-1, ID-3, ACK-1, ACK-4, QUERY-1, QUERY-5)."""
        async with visiting("conversation", tracker=url(locked), key=KEY) as page, locked.client(key=KEY) as client:
            seen = await page.report()
            stored = await client.events()
        assert seen["extensions"].startswith("permessage-deflate")
        nothing = {"events": [], "total": 0, "page": 1, "limit": 0}
        assert seen["first"] == [
            {"type": "auth_ok"},
            {"type": "events:response", "reqId": "first", "response": nothing},
        ]
        assert seen["sent"][2]["payload"]["text"] == "cut \ud83d"
        assert seen["ack"] == {"type": "ack", "saved": 25}
        assert (seen["answer"]["reqId"], seen["answer"]["response"]["total"]) == ("second", 25)
        found = seen["answer"]["response"]["events"]
        assert_stored(found, seen["sent"])
        assert found == stored

    async def test_compression(self, locked: Running) -> None:
        """What the page sends really is compressed on the wire, every frame of it (CONN-3, CONN-4)."""
        async with (
            relaying(locked) as relay,
            visiting("conversation", tracker=url(locked, relay.address), key=KEY) as page,
        ):
            seen = await page.report()
        [connection] = relay.connections
        handshake, _, sent = bytes(connection).partition(b"\r\n\r\n")
        assert handshake.startswith(b"GET /_tracker/ws HTTP/1.1")
        frames = parse_frames(sent)
        assert [first_byte for first_byte, _ in frames] == [FIN_RSV1_TEXT] * 4
        inflate = zlib.decompressobj(wbits=-15).decompress  # the window is carried over from frame to frame
        messages = [json.loads(inflate(payload + b"\x00\x00\xff\xff")) for _, payload in frames]
        assert [message["type"] for message in messages] == ["auth", "events:query", "ingest", "events:query"]
        assert messages[2]["events"] == seen["sent"]

    async def test_burst(self, locked: Running) -> None:
        """What a page buffered through an outage is acked as one frame of 4 MiB, and comes back as one (LIMIT-1)."""
        async with visiting("burst", tracker=url(locked), key=KEY) as page:
            seen = await page.report()
        assert seen["bytes"] == 4 * 1024 * 1024
        assert seen["answers"] == [{"type": "auth_ok"}, {"type": "ack", "saved": 5000}]
        assert seen["total"] == len(seen["timestamps"]) == len(set(seen["ids"])) == 5000
        assert seen["timestamps"] == sorted(seen["timestamps"], reverse=True)

    async def test_wrong_key(self, locked: Running) -> None:
        """A page with a wrong key reads why, sees 1008, and has stored nothing (AUTH-3, AUTH-7)."""
        async with visiting("keys", tracker=url(locked), key="wrong") as page, locked.client(key=KEY) as client:
            error, closed = await page.report()
            assert await client.events() == []
        assert (error["type"], error["message"]) == ("error", "Unauthorized")
        assert closed == {"closed": 1008, "wasClean": True}

    async def test_no_key(self, server: Running) -> None:
        """A page with a key is not left waiting by a server without one (AUTH-2)."""
        async with visiting("keys", tracker=url(server), key="any") as page, server.client() as client:
            assert await page.report() == [{"type": "auth_ok"}, {"type": "ack", "saved": 1}]
            assert len(await client.events()) == 1

    async def test_push(self, locked: Running) -> None:
        """What another client saves reaches a page that has subscribed (X-SUB-1, PUSH-1, PUSH-2)."""
        async with visiting("subscription", tracker=url(locked), key=KEY) as page, locked.client(key=KEY) as client:
            assert [await page.report(), await page.report()] == [{"type": "auth_ok"}, {"type": "subscribed"}]
            await client.ask(ingest(event(userId="Zoë"), event(userId="🙂")))
            pushed = await page.report()
            assert pushed == {"type": "push", "events": (await client.events())[::-1]}

    async def test_stop(self, locked: Running) -> None:
        """A page sees 1001 when the server stops, on which it comes back later (CLOSE-4)."""
        async with visiting("subscription", tracker=url(locked), key=KEY) as page:
            assert [await page.report(), await page.report()] == [{"type": "auth_ok"}, {"type": "subscribed"}]
            locked.server.stop()
            assert await page.report() == {"closed": 1001, "wasClean": True}


class TestStrangers:
    async def test_website(self, server: Running) -> None:
        """A website that is open on the same machine reads nothing of a server without a key, and writes nothing.

        SEC-4, SEC-5.
        """
        async with visiting("stranger", host="evil.example", tracker=url(server)) as page:
            assert await page.report() == {
                "read": "TypeError",
                "pinged": "TypeError",
                "written": "TypeError",
                "writtenBlindly": [0, "opaque"],
                "connected": "the connection failed",
            }
        async with server.client() as client:
            assert await client.events() == []

    async def test_website_that_has_its_name_lead_here(self, server: Running) -> None:
        """Nor does one whose own name leads to the server, so that the browser takes that for its own (SEC-4)."""
        async with visiting("stranger", host="evil.example", in_front_of=server) as page:
            refused = [403, "basic"]
            assert await page.report() == {
                "read": refused,
                "pinged": refused,
                "written": refused,
                "writtenBlindly": refused,
                "connected": "the connection failed",
            }
            assert page.forwarded == ["GET", "GET", "POST", "POST", "GET"]
        async with server.client() as client:
            assert await client.events() == []


class TestHttp:
    async def test_fetch(self, locked: Running) -> None:
        """Preflighted requests get through, and the page can read every answer, 401 and those with credentials included
        (CORS-1, CORS-2, CORS-3, HTTP-1, HTTP-6, HTTP-8, HTTP-10, HTTP-16, PING-1)."""
        async with (
            relaying(locked) as relay,
            visiting("fetches", tracker=url(locked, relay.address), key=KEY) as page,
            locked.client(key=KEY) as client,
        ):
            seen = await page.report()
            stored = await client.events()
        outcomes = {name: (seen[name]["status"], seen[name]["type"]) for name in seen if name != "sent"}
        assert outcomes.pop("refused") == (401, "cors")
        assert outcomes == dict.fromkeys(("written", "kept", "read", "readWithCredentials", "pinged"), (200, "cors"))
        assert seen["written"]["body"] == {"type": "ack", "saved": 25}
        assert seen["kept"]["body"] == {"type": "ack", "saved": 1}
        assert (seen["refused"]["body"]["type"], seen["refused"]["body"]["code"]) == ("error", "unauthorized")
        assert seen["read"]["body"]["total"] == seen["readWithCredentials"]["body"]["total"] == 26
        assert_stored(stored, seen["sent"])
        assert seen["read"]["body"]["events"] == stored
        preflighted = {target.partition("?")[0] for method, target in relay.requests() if method == "OPTIONS"}
        assert preflighted == {"/_tracker", "/_tracker/events", "/_tracker/ping"}

    async def test_beacons(self, locked: Running, server: Running) -> None:
        """The beacons of hidden tabs arrive: 2.x with a key in the URL, 2.x without one where none is needed, and 1.x,
        which sends text; the preflight of 2.x allows credentials (CORS-1, CORS-2, HTTP-1, HTTP-2, HTTP-9)."""
        async with (
            relaying(locked) as relay,
            relaying(server) as keyless,
            visiting(
                "beacons", tracker=url(locked, relay.address), keyless=url(server, keyless.address), key=KEY
            ) as page,
            locked.client(key=KEY) as client,
            server.client() as keyless_client,
        ):
            assert await page.report() == {"accepted": [True, True, True]}
            assert await arrived(client, 2) == {"2.x with a key", "1.x with a key"}
            assert await arrived(keyless_client, 1) == {"2.x without a key"}
        preflight, post = ("OPTIONS", f"/_tracker/events?key={KEY}"), ("POST", f"/_tracker/events?key={KEY}")
        assert sorted(relay.requests()) == [preflight, post, post]
        assert sorted(keyless.requests()) == [("OPTIONS", "/_tracker/events"), ("POST", "/_tracker/events")]
        sent = relay.sent() + keyless.sent()
        assert sent.count(b"Cookie: visitor=known") == 3, "the beacons did not include credentials"
        assert sent.count(b"Content-Type: application/json") == 2
        assert sent.count(b"Content-Type: text/plain;charset=UTF-8") == 1


def url(running_server: Running, address: Address | None = None) -> str:
    """What a user would configure, at the server's own address or a relay's."""
    return f"http://{address or running_server.address}{running_server.settings.base_path}"


def assert_stored(found: list[dict[str, Any]], sent: list[dict[str, Any]]) -> None:
    """All that was sent is found, newest first, the same but for ids that are strings, unique and not empty."""
    ids = [found_event["id"] for found_event in found]
    assert all(isinstance(id_, str) and id_ for id_ in ids)
    assert len(set(ids)) == len(ids)
    assert [found_event | {"id": ""} for found_event in found] == sent[::-1]


async def arrived(client: Client, count: int) -> set[str]:
    """The users of so many events; a beacon has no answer, so they are asked for until they are there."""
    users: set[str] = set()
    with trio.fail_after(20):
        while len(users) < count:
            await trio.sleep(0.02)
            users = {arrived_event["userId"] for arrived_event in await client.events()}
    return users


class Page:
    """The page's server: it serves the page and takes its reports.

    :param in_front_of: gets what is for a tracker, as if the page's name were its own.
    :ivar forwarded: the methods of what it got.
    """

    def __init__(self, in_front_of: Running | None) -> None:
        self._in_front_of = in_front_of
        self.forwarded: list[str] = []
        self._send_report, self._receive_report = trio.open_memory_channel[Any](math.inf)

    async def report(self) -> Any:
        """The page's next report."""
        with trio.fail_after(20):
            seen = await self._receive_report.receive()
        assert not isinstance(seen, dict) or "failed" not in seen, seen["failed"]
        return seen

    async def serve(self, stream: trio.SocketStream) -> None:
        """Answer one request."""
        connection = h11.Connection(h11.SERVER)
        target, body, head = "", b"", b""
        with suppress(trio.BrokenResourceError):
            while not isinstance(happened := connection.next_event(), h11.EndOfMessage):
                if happened is h11.NEED_DATA:
                    connection.receive_data(await stream.receive_some())
                elif isinstance(happened, h11.Request):
                    target = happened.target.decode().partition("?")[0]
                    head = b"%s %s HTTP/1.1\r\n" % (happened.method, happened.target)
                    kept = [field for field in happened.headers.raw_items() if field[0].lower() != b"connection"]
                    head += b"".join(b"%s: %s\r\n" % field for field in kept)
                elif isinstance(happened, h11.Data):
                    body += happened.data
                else:
                    return  # opened for later use, and never used
            if self._in_front_of is not None and target.startswith(self._in_front_of.settings.base_path):
                self.forwarded.append(head.partition(b" ")[0].decode())
                await stream.send_all(await self._in_front_of.raw(head + b"Connection: close\r\n\r\n" + body))
                return
            if target == "/result":
                self._send_report.send_nowait(json.loads(body))
            content_type, content = FILES.get(target, ("text/plain", b""))
            headers = [("Content-Type", content_type), ("Content-Length", str(len(content))), ("Connection", "close")]
            status = 404 if target not in {*FILES, "/result"} else 200
            answer = [h11.Response(status_code=status, headers=headers), h11.Data(data=content), h11.EndOfMessage()]
            await stream.send_all(b"".join(connection.send(part) or b"" for part in answer))


@asynccontextmanager
async def visiting(
    scenario: str, *, host: str = "127.0.0.1", in_front_of: Running | None = None, **parameters: str
) -> AsyncGenerator[Page, None]:
    """A browser of its own, with an empty profile, on the page.

    :param host: what the page's server is called in the browser.
    :param in_front_of: the tracker, where it is to be called the same.
    """
    page = Page(in_front_of)
    with TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        async with trio.open_nursery() as nursery:
            listeners = await nursery.start(partial(trio.serve_tcp, page.serve, 0, host="127.0.0.1"))
            port = listeners[0].socket.getsockname()[1]
            if in_front_of is not None:
                parameters["tracker"] = url(in_front_of, Address(host, port))
            address = f"http://{host}:{port}/?{urlencode({'scenario': scenario, **parameters})}"
            nursery.start_soon(browse, address, profile)
            yield page
            nursery.cancel_scope.cancel()


async def browse(address: str, profile: str) -> None:
    """Run the browser until cancelled."""
    assert BROWSER is not None
    ended = await trio.run_process(
        [BROWSER, *FLAGS, f"--user-data-dir={profile}", address],
        env=os.environ | {"HOME": profile, "TMPDIR": profile},
        stdout=DEVNULL,
        capture_stderr=True,
        check=False,
        start_new_session=True,
        deliver_cancel=kill_with_children,
    )
    said = ended.stderr[-2000:].decode(errors="replace")
    raise AssertionError(f"the browser ended by itself, with {ended.returncode}: {said}")


async def kill_with_children(process: trio.Process) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


@attrs.frozen
class Relay:
    """A TCP relay in front of a server; it keeps what clients send, by connection."""

    address: Address
    connections: list[bytearray]

    def sent(self) -> bytes:
        return b"".join(self.connections)

    def requests(self) -> list[tuple[str, str]]:
        """Method and target of every HTTP request."""
        found = re.findall(rb"(OPTIONS|GET|POST|HEAD|PUT) (/\S*) HTTP/1\.1\r\n", self.sent())
        return [(method.decode(), target.decode()) for method, target in found]


@asynccontextmanager
async def relaying(running_server: Running) -> AsyncGenerator[Relay, None]:
    """A relay in front of a server."""
    target = running_server.address
    connections: list[bytearray] = []

    async def relay(client: trio.SocketStream) -> None:
        connections.append(sent := bytearray())
        async with await trio.open_tcp_stream(target.host, target.port) as upstream, trio.open_nursery() as nursery:
            nursery.start_soon(pass_on, upstream, client, bytearray())
            nursery.start_soon(pass_on, client, upstream, sent)

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, relay, 0, host="127.0.0.1"))
        yield Relay(Address(*listeners[0].socket.getsockname()), connections)
        nursery.cancel_scope.cancel()


async def pass_on(source: trio.SocketStream, target: trio.SocketStream, record: bytearray) -> None:
    with suppress(trio.BrokenResourceError):
        async for data in source:
            record += data
            await target.send_all(data)
        await target.send_eof()


def parse_frames(data: bytes) -> list[tuple[int, bytes]]:
    """The first byte and the unmasked payload of every frame that a client sent after its handshake."""
    frames = []
    while data:
        length, start = data[1] & 0x7F, 2
        if length >= 126:
            start += 2 if length == 126 else 8
            length = int.from_bytes(data[2:start])
        mask, start = data[start : start + 4], start + 4
        masked, rest = data[start : start + length], data[start + length :]
        frames.append((data[0], bytes(byte ^ key for byte, key in zip(masked, cycle(mask), strict=False))))
        data = rest
    return frames
