"""Trackers as processes of their own, which tests kill, pause, part from the stream, and whose files they spoil."""

import random
import resource
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlencode

import attrs
import h11
import trio

from tests.command import MODULE, environment
from tests.nats_support import end_with_parent
from tests.proxy_support import Wire, free_ports
from tests.support import ROOT, Response, Running, elsewhere
from wsproto_tracker import Address, Settings

READY_S = 60  # an election, and maybe a second one, and then what was missed
STOP_S = 30
ANSWER_S = 5
POLL_S = 0.05
HEAD_BYTES = 100  # without them it is no file of ours, and is refused
FULL_BYTES = 32 * 1024


@attrs.define(eq=False)
class TrackerProcess:
    """One tracker: its port, its folder and the wires to its servers stay, its process comes and goes.

    :ivar wires: to the NATS servers, where it can be parted from them.
    :ivar ends: what it said where it ended though nobody had asked for that.
    """

    name: str
    folder: Path
    store: str
    options: tuple[str, ...] = ()
    wires: list[Wire] = attrs.field(factory=list)
    port: int = attrs.field(factory=lambda: free_ports(1)[0])
    process: subprocess.Popen[bytes] | None = None  # none while it is meant to be down
    ends: list[str] = attrs.field(factory=list)
    _starts: int = 0

    @property
    def local(self) -> Path:
        """Its own file."""
        return self.folder / "tracker.db"

    @property
    def log(self) -> Path:
        """What the process says that was started last."""
        return self.folder / f"log-{self._starts}"

    @property
    def said(self) -> str:
        return self.log.read_text("utf-8", "replace") if self.log.exists() else ""

    @property
    def has_died(self) -> bool:
        return self.process is not None and self.process.poll() is not None

    @property
    def running(self) -> Running:
        """The server, for clients."""
        return Running(elsewhere(Address("127.0.0.1", self.port)), Settings(port=self.port))

    # --- the process

    def start(self) -> None:
        """Start it; it need not listen yet."""
        assert self.process is None, f"{self.name} runs"
        self.folder.mkdir(parents=True, exist_ok=True)
        self._starts += 1
        arguments = ["--port", str(self.port), "--store", self.store, "--local", str(self.local)]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*MODULE, "serve", *arguments, "--max-events", "100000000", *self.options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=ROOT,
                env=environment(None),
                preexec_fn=end_with_parent,
            )

    def kill(self) -> None:
        """As ``kill -9``; returns when it is gone."""
        if self.process is not None:
            self._note_death()
            self.process.kill()
            self.process.wait(STOP_S)
        self.process = None

    async def stop(self) -> int:
        """Stop it as an init system does; returns its status."""
        assert self.process is not None
        self.process.terminate()
        status = await self.ended()
        self.process = None
        return status

    async def ended(self) -> int:
        """Wait until it has ended by itself; returns its status."""
        assert self.process is not None
        with trio.fail_after(STOP_S):
            while (status := self.process.poll()) is None:
                await trio.sleep(POLL_S)
        return status

    def pause(self) -> None:
        """Stop it where it is: connections stay, and nothing is answered."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self.process is not None:
            self.process.send_signal(number)

    def start_if_dead(self) -> None:
        """Start it again where it has ended, as an init system does."""
        if self.has_died:
            self._note_death()
            self.process = None
        if self.process is None:
            self.start()

    def _note_death(self) -> None:
        if self.has_died:
            self.ends.append(self.said)

    # --- what it needs

    def part(self) -> None:
        """Part it from all servers; it does not hear that."""
        for wire in self.wires:
            wire.cut()

    def join(self) -> None:
        """Connect it again."""
        for wire in self.wires:
            wire.mend()

    def lose_file(self) -> None:
        """Lose its file, which nobody has open."""
        for path in self.folder.glob("tracker.db*"):
            path.unlink()

    def damage_file(self, chance: random.Random) -> None:
        """Overwrite some of its file, which nobody has open; the log beside it is lost."""
        for path in self.folder.glob("tracker.db-*"):
            path.unlink()
        size = self.local.stat().st_size
        with self.local.open("r+b") as file:
            for _ in range(chance.randint(1, 4)):
                file.seek(chance.randrange(HEAD_BYTES, size))
                file.write(chance.randbytes(chance.choice([16, 512, 4096])))

    def fill_disk(self) -> None:
        """Let nothing be written beyond the first pages of a file; what it says is less."""
        self._limit_files(FULL_BYTES)

    def free_disk(self) -> None:
        """Let files grow again."""
        self._limit_files(resource.RLIM_INFINITY)

    def _limit_files(self, size: int) -> None:
        if self.process is not None and self.process.poll() is None:
            resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    # --- what it answers

    async def ask(
        self, path: str, query: Mapping[str, object] | None = None, *, body: bytes = b"", within_s: float = ANSWER_S
    ) -> Response | None:
        """Ask over HTTP; ``None`` where no whole answer comes, or none in time."""
        target = path if query is None else f"{path}?{urlencode(query)}"
        try:
            with trio.fail_after(within_s):
                return await self.running.http("POST" if body else "GET", target, body)
        except (OSError, trio.TooSlowError, trio.BrokenResourceError, h11.RemoteProtocolError):
            return None

    async def is_ready(self) -> bool:
        answer = await self.ask("//ready")
        return answer is not None and answer.status == 200

    async def wait_ready(self, within_s: float = READY_S) -> None:
        """Wait until it can save, and has what the others have.

        :raises AssertionError: where it has ended, or this does not come; with what it says.
        """
        with trio.move_on_after(within_s):
            while not self.has_died:
                if await self.is_ready():
                    return
                await trio.sleep(POLL_S)
        answer = await self.ask("//ready")
        raise AssertionError(f"{self.name} is not ready: {answer}\n{self.said}")
