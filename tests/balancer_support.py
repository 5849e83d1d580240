"""Three trackers of one cluster, and HAProxy in front of them with the file that ``deploy/`` has."""

import os
import shutil
import ssl
import subprocess
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest
import trio
import trustme
from tracker_conformance import Target

from tests.cluster_support import TrackerProcess
from tests.nats_support import NatsServers
from tests.proxy_support import free_ports
from tests.support import ROOT

DEADLINE_S = 30
POLL_S = 0.05
PATIENCE = 2  # trackers, the servers of the stream and the suite share the machine
CONFIGURATION = ROOT / "deploy" / "cluster" / "haproxy.cfg"

needs_haproxy = pytest.mark.skipif(shutil.which("haproxy") is None, reason="needs haproxy: apt-get install haproxy")


@asynccontextmanager
async def clustered(servers: NatsServers, stream: str, directory: Path) -> AsyncGenerator[list[TrackerProcess], None]:
    """Three trackers over one stream, which are ready."""
    store = f"{servers.urls}/{stream}?monitor={','.join(servers.monitors)}"
    trackers = [TrackerProcess(name, directory / name, store) for name in ("t1", "t2", "t3")]
    try:
        for tracker in trackers:
            tracker.start()
        for tracker in trackers:
            await tracker.wait_ready()
        yield trackers
    finally:
        for tracker in trackers:
            tracker.kill()


@attrs.frozen
class Balancer:
    """HAProxy on this machine."""

    port: int
    ca: Path
    log: Path

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
async def balanced(ports: Sequence[int], directory: Path) -> AsyncGenerator[Balancer, None]:
    """HAProxy before trackers on these ports, with our file, for a port and with files of this machine."""
    (own,) = free_ports(1)
    authority = trustme.CA()
    ca, certificate, configuration = (directory / name for name in ("ca.pem", "tracker.pem", "haproxy.cfg"))
    authority.cert_pem.write_to_path(ca)
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(certificate)
    text = CONFIGURATION.read_text("utf-8")
    addresses = {f"10.0.0.{number}:4242": f"127.0.0.1:{port}" for number, port in enumerate(ports, 1)}
    for old, new in {
        "    user haproxy\n    group haproxy\n": "",
        "    maxconn 20000\n": "    maxconn 1000\n",  # more would need more open files than may be allowed here
        "log /dev/log local0": "log stdout format raw local0",
        "bind :443 ssl": f"bind 127.0.0.1:{own} ssl",
        "/etc/haproxy/tracker.pem": str(certificate),
        **addresses,
    }.items():
        assert text.count(old) == (2 if old in addresses else 1), old
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
            while not await _is_open(own):
                assert process.poll() is None, (directory / "haproxy.log").read_text()
                await trio.sleep(POLL_S)
        yield Balancer(own, ca, directory / "haproxy.log")
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
