"""Trackers of one cluster as processes, and HAProxy in front of them with the file that ``deploy/`` has."""

import os
import shutil
import ssl
import subprocess
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import attrs
import pytest
import trio
import trustme
from tracker_conformance import Target

from tests.command import Command, started
from tests.nats_support import NatsServers
from tests.proxy_support import free_ports
from tests.support import ROOT, Running

DEADLINE_S = 30
POLL_S = 0.05
PATIENCE = 2  # trackers, the servers of the stream and the suite share the machine
CONFIGURATION = ROOT / "deploy" / "haproxy.cfg"

needs_haproxy = pytest.mark.skipif(shutil.which("haproxy") is None, reason="needs haproxy: apt-get install haproxy")


@attrs.define(eq=False)
class Node:
    """A tracker as a process: its port and its file stay the same, its process comes and goes."""

    port: int
    arguments: Sequence[str]
    process: Command | None = None
    logs: str = ""
    _stack: AsyncExitStack = attrs.field(factory=AsyncExitStack)

    @property
    def running(self) -> Running:
        """The tracker, for clients."""
        assert self.process is not None
        return self.process.running

    @property
    def log(self) -> str:
        """What all its processes have written."""
        return self.logs + (self.process.errors() if self.process is not None else "")

    async def start(self) -> None:
        """Start it, and wait until events may go to it."""
        self.process = await self._stack.enter_async_context(started("--port", str(self.port), *self.arguments))
        await self.process.until("Ctrl-C stops it.\n")
        with trio.fail_after(DEADLINE_S):
            while (await self.running.http("GET", "//ready")).status != 200:
                await trio.sleep(POLL_S)

    async def kill(self) -> None:
        """As ``kill -9``; returns when it is gone."""
        self.logs, self.process = self.log, None
        await self._stack.aclose()


@asynccontextmanager
async def running_nodes(directory: Path, *arguments: str, count: int = 3) -> AsyncGenerator[list[Node], None]:
    """Trackers that are ready.

    :param arguments: of all of them; ``{number}`` stands for the number of one.
    """
    ports = free_ports(count)
    nodes = [
        Node(port, [argument.format(number=number) for argument in arguments]) for number, port in enumerate(ports)
    ]
    directory.mkdir(exist_ok=True)
    try:
        async with trio.open_nursery() as nursery:
            for node in nodes:
                nursery.start_soon(node.start)
        yield nodes
    finally:
        with trio.CancelScope(shield=True):
            for node in nodes:
                await node.kill()


@asynccontextmanager
async def clustered(
    servers: NatsServers, stream: str, directory: Path, *arguments: str
) -> AsyncGenerator[list[Node], None]:
    """Three trackers over one stream."""
    store = f"{servers.urls}/{stream}?monitor={','.join(servers.monitors)}"
    local = str(directory / f"{stream}-{{number}}.db")
    async with running_nodes(directory, "--store", store, "--local", local, *arguments) as nodes:
        yield nodes


@attrs.frozen
class Balancer:
    """HAProxy on this machine."""

    port: int
    ca: Path

    @property
    def url(self) -> str:
        return f"wss://localhost:{self.port}/_tracker/ws"

    @property
    def context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.ca)

    def target(self) -> Target:
        """What the conformance suite is pointed at."""
        base = f"https://localhost:{self.port}/_tracker"
        return Target(self.url, f"{base}/events", base, f"{base}/ping", ca=str(self.ca), timeout_scale=PATIENCE)


@asynccontextmanager
async def balanced(nodes: Sequence[Node], directory: Path) -> AsyncGenerator[Balancer, None]:
    """HAProxy before trackers, with our file, for other ports and with files of this machine."""
    (port,) = free_ports(1)
    authority = trustme.CA()
    ca, certificate, configuration = (directory / name for name in ("ca.pem", "tracker.pem", "haproxy.cfg"))
    authority.cert_pem.write_to_path(ca)
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(certificate)
    text = CONFIGURATION.read_text("utf-8")
    for old, new in {
        "    user haproxy\n    group haproxy\n": "",
        "log /dev/log local0": "log stdout format raw local0",
        "bind :443 ssl": f"bind 127.0.0.1:{port} ssl",
        "/etc/haproxy/tracker.pem": str(certificate),
        **{f"10.0.0.{number}:4242": f"127.0.0.1:{node.port}" for number, node in enumerate(nodes, 1)},
    }.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    configuration.write_text(text, "utf-8")
    with (directory / "haproxy.log").open("wb") as log:
        process = await trio.lowlevel.open_process(
            ["haproxy", "-db", "-f", str(configuration)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={"PATH": os.environ["PATH"]},
        )
    try:
        with trio.fail_after(DEADLINE_S):
            while not await _is_open(port):
                assert process.poll() is None, (directory / "haproxy.log").read_text()
                await trio.sleep(POLL_S)
        yield Balancer(port, ca)
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()


async def _is_open(port: int) -> bool:
    try:
        await (await trio.open_tcp_stream("127.0.0.1", port)).aclose()
    except OSError:
        return False
    return True
