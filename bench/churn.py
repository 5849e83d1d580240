"""``python -m bench churn``: connections that come, are used and go, and what of them stays in the server.

At each look all connections have been ended, and the server has come to rest: what is left is the server alone.
"""

import argparse
import json
import random
import socket
import struct
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import attrs

from bench.client import Connection, frames_of
from bench.events import made_up
from bench.subjects import WATCHED, Started

__all__ = ["Growth", "Look", "command_line", "growths", "main"]

_RATE = 100.0  # connections per second, at most
_OPEN = 100  # connections at the same time
_LOOKS = 30
_REST_S = 30.0
_EVENTS = 200
_WINDOW_BITS = 12  # what the server shrinks a browser's window to
_ALLOWED = {"resident_mb": 2.0, "objects": 500, "blocks": 1000}  # what caches and threads still come to, and go by
_RESET = struct.pack("ii", 1, 0)
_CLOSE = b"\x88\x82" + bytes(4) + struct.pack("!H", 1000)


@attrs.frozen
class Look:
    """What is alive in the server.

    :ivar seconds: since the beginning.
    :ivar connections: how many there have been.
    :ivar objects: what the garbage collector knows of: all that holds something else.
    :ivar blocks: pieces of memory that Python has given out, one or more to each object.
    """

    seconds: float
    connections: int
    resident_mb: float
    objects: int
    blocks: int
    tasks: int


@attrs.frozen
class Growth:
    """A figure in the middle third of the time, and in the last: medians, and how large the latter may be."""

    name: str
    middle: float
    last: float
    allowed: float

    @property
    def is_allowed(self) -> bool:
        """Whether it has not grown."""
        return self.last <= self.allowed


class _Clients:
    """Opens connections of all sorts, uses them, and ends them as it happens.

    All send the same few events, with ids, so that it is not the store that grows.
    """

    def __init__(self, port: int, chance: random.Random) -> None:
        self._port = port
        self._chance = chance
        events = [event.replace(b'"id":""', b'"id":"%d"' % number) for number, event in enumerate(made_up(_EVENTS))]
        self._frames = frames_of(events, 1, deflate=True, window_bits=_WINDOW_BITS)
        self._requests = [_post(event) for event in events]
        self._uses = (self._ingest, self._ingest, self._do_nothing, self._send_half, self._keep_alive)
        self._open: list[tuple[socket.socket, Sequence[Callable[[socket.socket], None]]]] = []
        self.count = 0

    def open(self) -> None:
        """Open a connection and use it; where there are many, one of them ends."""
        self._open.append(self._chance.choice(self._uses)())
        self.count += 1
        if len(self._open) > _OPEN:
            self._end(self._chance.randrange(len(self._open)))

    def end_all(self) -> None:
        """End every connection."""
        while self._open:
            self._end(-1)

    def _end(self, number: int) -> None:
        connection, ends = self._open.pop(number)
        self._chance.choice(ends)(connection)

    def _ingest(self) -> tuple[socket.socket, Sequence[Callable[[socket.socket], None]]]:
        connection = Connection(self._port, as_plugin=True)
        connection.exchange(self._chance.choice(self._frames))
        return connection.socket, (_close, _let_go, _reset)

    def _do_nothing(self) -> tuple[socket.socket, Sequence[Callable[[socket.socket], None]]]:
        return Connection(self._port, as_plugin=True).socket, (_close, _let_go, _reset)

    def _send_half(self) -> tuple[socket.socket, Sequence[Callable[[socket.socket], None]]]:
        connection = Connection(self._port, as_plugin=True)
        frame = self._chance.choice(self._frames)
        connection.socket.sendall(frame[: len(frame) // 2])
        return connection.socket, (_let_go, _reset)

    def _keep_alive(self) -> tuple[socket.socket, Sequence[Callable[[socket.socket], None]]]:
        """HTTP, some requests over one connection."""
        connection = socket.create_connection(("127.0.0.1", self._port))
        for _ in range(3):
            connection.sendall(self._chance.choice(self._requests))
            answer = b""
            while not answer.endswith(b"}"):
                answer += _received(connection)
            if b" 200 " not in answer.partition(b"\r\n")[0]:
                raise RuntimeError(f"not taken: {answer!r}")
        return connection, (_let_go, _reset)


def _post(event: bytes) -> bytes:
    body = b'{"events":[%b]}' % event
    return b"POST /_tracker/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


def _received(connection: socket.socket) -> bytes:
    if not (data := connection.recv(65536)):
        raise RuntimeError("the server has closed the connection")
    return data


def _close(connection: socket.socket) -> None:
    """End a WebSocket connection by its protocol."""
    connection.sendall(_CLOSE)
    while connection.recv(65536):
        pass
    connection.close()


def _let_go(connection: socket.socket) -> None:
    connection.close()


def _reset(connection: socket.socket) -> None:
    """Vanish: the server's kernel learns by a reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    connection.close()


def command_line() -> argparse.ArgumentParser:
    """The parser of the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench churn", description=__doc__, allow_abbrev=False)
    parser.add_argument("--seconds", type=float, default=600, help="how long connections come and go (default: 600)")
    parser.add_argument("--seed", type=int, help="the choices, as a run before printed them")
    return parser


def main(arguments: Sequence[str]) -> int:
    """Run it; the exit status."""
    asked = command_line().parse_args(arguments)
    seed = asked.seed or random.randrange(2**32)
    print(f"python -m bench churn --seconds {asked.seconds:g} --seed {seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="bench-") as name, WATCHED.started(Path(name) / "store.db") as started:
        looks = _churn(started, asked.seconds, random.Random(seed))
    found = growths(looks)
    print("\n| | middle third | last third | allowed | |\n|---|---|---|---|---|")
    for growth in found:
        told = "no growth" if growth.is_allowed else "GROWS"
        print(f"| {growth.name} | {growth.middle:,.1f} | {growth.last:,.1f} | {growth.allowed:,.1f} | {told} |")
    return 0 if all(growth.is_allowed for growth in found) else 1


def _churn(started: Started, seconds: float, chance: random.Random) -> list[Look]:
    clients = _Clients(started.port, chance)
    tasks = _look(started, 0, 0).tasks
    looks: list[Look] = []
    print("\n| seconds | connections | resident MB | objects | blocks | tasks |\n|---|---|---|---|---|---|")
    begin = time.monotonic()
    for number in range(_LOOKS):
        until = begin + seconds * (number + 1) / _LOOKS
        while (now := time.monotonic()) < until:
            clients.open()
            time.sleep(max(now + 1 / _RATE - time.monotonic(), 0))
        clients.end_all()
        looks.append(_at_rest(started, begin, clients.count, tasks))
        cells = [f"{value:,.1f}" if isinstance(value, float) else f"{value:,}" for value in attrs.astuple(looks[-1])]
        print(f"| {' | '.join(cells)} |", flush=True)
    return looks


def _at_rest(started: Started, begin: float, connections: int, tasks: int) -> Look:
    """Look when as few tasks are left as there were before the first connection."""
    deadline = time.monotonic() + _REST_S
    while (look := _look(started, time.monotonic() - begin, connections)).tasks > tasks:
        if time.monotonic() > deadline:
            raise RuntimeError(f"{look.tasks - tasks} tasks are left {_REST_S:g} s after all connections have ended")
        time.sleep(0.1)
    return look


def _look(started: Started, seconds: float, connections: int) -> Look:
    assert started.pipes.stdin is not None
    assert started.pipes.stdout is not None
    started.pipes.stdin.write("\n")
    started.pipes.stdin.flush()
    counts = json.loads(started.pipes.stdout.readline())
    return Look(seconds, connections, started.resident_mb, **counts)


def growths(looks: Sequence[Look]) -> list[Growth]:
    """Each figure in the last third of the looks beside the third before it."""
    third = len(looks) // 3
    found = []
    for name, allowed in _ALLOWED.items():
        middle, last = (
            median(getattr(look, name) for look in some) for some in (looks[-2 * third : -third], looks[-third:])
        )
        found.append(Growth(name, middle, last, middle + allowed))
    return found
