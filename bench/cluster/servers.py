"""Three NATS servers that make a cluster, on this machine, and sync what they store before they ack it."""

import json
import shutil
import socket
import subprocess
import sysconfig
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import attrs
import psutil

from bench.subjects import cpu_s

__all__ = ["NatsServers", "missing", "three_servers"]

_COUNT = 3
_READY_S = 60
_POLL_S = 0.05
_CONFIGURATION = """\
server_name: n{number}
host: 127.0.0.1
port: {port}
http: 127.0.0.1:{monitor}
jetstream {{ store_dir: {store}, sync_interval: always }}
cluster {{ name: bench, listen: 127.0.0.1:{route}, no_advertise: true, routes: [{routes}] }}
"""


@attrs.frozen
class NatsServers:
    """Servers that are ready.

    :ivar url: has all of them, and no stream.
    :ivar monitors: where they tell of their settings.
    """

    url: str
    monitors: tuple[str, ...]
    processes: tuple[psutil.Process, ...]

    def store(self, stream: str) -> str:
        """What ``--store`` takes."""
        return f"{self.url}/{stream}?monitor={','.join(self.monitors)}"

    @property
    def cpu_s(self) -> float:
        """The processor time that all of them have used so far."""
        return sum(map(cpu_s, self.processes))


def _program() -> str | None:
    return shutil.which("nats-server", path=sysconfig.get_path("scripts")) or shutil.which("nats-server")


def missing() -> str:
    """Why there are none here; empty where there are."""
    if find_spec("nats") is None:
        return "run: pip install '.[bench]'"
    return "" if _program() else "nats-server is not installed"


@contextmanager
def three_servers(directory: Path) -> Iterator[NatsServers]:
    """Start them, wait until they agree on a leader, and end them; all that they have is below the directory."""
    program = _program()
    assert program is not None
    ports = _free_ports(3 * _COUNT)
    own, routes, monitors = ports[:_COUNT], ports[_COUNT : 2 * _COUNT], ports[2 * _COUNT :]
    with ExitStack() as stack:
        processes = []
        for number in range(_COUNT):
            file = directory / f"n{number}.conf"
            file.write_text(
                _CONFIGURATION.format(
                    number=number,
                    port=own[number],
                    monitor=monitors[number],
                    store=json.dumps(str(directory / f"n{number}")),
                    route=routes[number],
                    routes=", ".join(f"nats://127.0.0.1:{port}" for port in routes),
                )
            )
            log = stack.enter_context((directory / f"n{number}.log").open("wb"))
            process = stack.enter_context(subprocess.Popen([program, "-c", str(file)], stdout=log, stderr=log))
            stack.callback(process.terminate)
            processes.append(psutil.Process(process.pid))
        found = tuple(f"http://127.0.0.1:{port}" for port in monitors)
        _wait_ready(found)
        yield NatsServers("nats://" + ",".join(f"127.0.0.1:{port}" for port in own), found, tuple(processes))


def _wait_ready(monitors: tuple[str, ...]) -> None:
    deadline = time.monotonic() + _READY_S
    while True:
        leaders = {_asked(f"{monitor}/jsz").get("meta_cluster", {}).get("leader") for monitor in monitors}
        if len(leaders) == 1 and None not in leaders:
            return
        if time.monotonic() > deadline:
            raise RuntimeError(f"the NATS servers are not ready after {_READY_S} s")
        time.sleep(_POLL_S)


def _asked(url: str) -> dict[str, Any]:
    try:
        with urlopen(url, timeout=_READY_S) as response:
            return dict(json.load(response))
    except OSError:
        return {}


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        taken = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [int(one.getsockname()[1]) for one in taken]
