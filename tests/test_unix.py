"""A unix socket, for a server that stands behind a proxy."""

import socket
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked
from websockets.trio.client import connect

from tests.command import run, started
from tests.support import Client, event, ingest, parse_response, running
from wsproto_tracker import ServeError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tracker.sock"


async def test_both(path: Path) -> None:
    """WebSocket and HTTP work through it, other users may connect, and it is removed at the end."""
    async with running(unix=path) as server:
        assert server.server.addresses == ()
        assert path.stat().st_mode & 0o777 == 0o666
        async with connect("ws://tracker/_tracker/ws", stream=await trio.open_unix_socket(path)) as websocket:
            assert (await Client(websocket).ask(ingest(event())))["saved"] == 1
        async with await trio.open_unix_socket(path) as stream:
            await stream.send_all(b"GET /_tracker HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            received = b"".join([bytes(data) async for data in stream])
        assert parse_response(received).json()["total"] == 1
    assert not path.exists()


async def test_what_a_killed_server_left(path: Path) -> None:
    """The socket of a server that was killed is no obstacle."""
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    async with running(unix=path), await trio.open_unix_socket(path):
        pass


async def test_only_its_own_is_removed(path: Path) -> None:
    """A server that still finishes what is in hand leaves, at its end, the socket of the one that took its place."""
    async with running(unix=path, receive_timeout_s=60, drain_timeout_s=60) as first:
        async with await trio.open_unix_socket(path) as stream:
            await stream.send_all(
                b"POST /_tracker/events HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n"
            )
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 100 ")
            first.server.stop()
            await wait_all_tasks_blocked()
            async with running(unix=path):
                await stream.send_all(b"{")
                assert b'"bad_json"' in b"".join([bytes(data) async for data in stream])
                await wait_all_tasks_blocked()
                async with await trio.open_unix_socket(path):
                    pass


async def test_full(path: Path) -> None:
    """Where so many wait to be let in that there is no room for another, the socket is in use."""
    with socket.socket(socket.AF_UNIX) as busy, ExitStack() as waiting:
        busy.bind(str(path))
        busy.listen(0)
        with suppress(BlockingIOError):
            while True:
                client = waiting.enter_context(socket.socket(socket.AF_UNIX))
                client.setblocking(False)
                client.connect(str(path))
        with trio.fail_after(20), pytest.RaisesGroup(pytest.RaisesExc(ServeError, match="is in use")):
            async with running(unix=path):
                pass


async def test_peer(path: Path) -> None:
    """Who comes through it is one client, but for those that a proxy tells of, where it is trusted."""

    async def guess(client: str) -> int:
        async with await trio.open_unix_socket(path) as stream:
            await stream.send_all(
                b"GET /_tracker HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Tracker-Key: guess\r\n"
                b"X-Forwarded-For: %b\r\n\r\n" % client.encode()
            )
            return parse_response(b"".join([bytes(data) async for data in stream])).status

    async with running(unix=path, api_key="s3cret", max_auth_failures=1):
        assert [await guess("198.51.100.7"), await guess("198.51.100.8")] == [401, 429]
    async with running(unix=path, api_key="s3cret", max_auth_failures=1, trusted_proxy=("unix",)):
        assert [await guess("198.51.100.7"), await guess("198.51.100.8"), await guess("198.51.100.7")] == [
            401,
            401,
            429,
        ]


async def test_in_use(path: Path) -> None:
    """The socket of a server that runs is not taken from it."""
    async with running(unix=path):
        with pytest.RaisesGroup(pytest.RaisesExc(ServeError, match="is in use")):
            async with running(unix=path):
                pass
        async with await trio.open_unix_socket(path):
            pass


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("file", "is there and is no socket"),
        ("missing/tracker.sock", "No such file or directory"),
        ("x" * 200, "too long"),
    ],
)
async def test_wrong_paths(tmp_path: Path, name: str, told: str) -> None:
    """Another file is not removed, and what is no path for a socket is told as that."""
    (tmp_path / "file").write_text("mine")
    ended = await run("serve", "--unix", str(tmp_path / name))
    assert (ended.status, ended.output) == (1, "")
    assert ended.errors.startswith("wsproto-tracker: --unix: ")
    assert told in ended.errors
    assert (tmp_path / "file").read_text() == "mine"


async def test_greeting(path: Path) -> None:
    """The path is said in place of an address."""
    async with started("--unix", str(path)) as command:
        await command.until("Ctrl-C stops it.")
        assert f"  {path}, for a proxy" in command.output
        assert (await command.stop()).is_clean
