"""What goes wrong, at moments and in ways that come from the seed: with the process, its disk and the network."""

import random

import attrs
import trio

from bench.soak.ledger import Ledger
from bench.soak.proxy import Proxy
from bench.soak.serving import Serving
from bench.soak.tally import Tally

__all__ = ["Troubles", "restart"]

_SPREAD = 0.7  # pauses are up to so much shorter or longer
_DISK_S = (0.5, 4.0)
_NETWORK_S = (0.5, 4.0)


@attrs.define
class Troubles:
    """Three sorts of trouble, each with pauses of its own, so that they meet.

    :ivar pause_s: seconds from one to the next of a sort, on average.
    """

    seed: int
    pause_s: float
    serving: Serving
    proxy: Proxy
    ledger: Ledger
    tally: Tally

    async def run(self) -> None:
        """Make trouble until it is cancelled; then all is well again."""
        try:
            async with trio.open_nursery() as nursery:
                for make in (self._with_process, self._with_disk, self._with_network):
                    nursery.start_soon(make, random.Random(f"{self.seed}-{make.__name__}"))
        finally:
            self.serving.free_disk()
            self.proxy.refuses = False
            self.proxy.go_on()

    async def _with_process(self, chance: random.Random) -> None:
        while True:
            for end in chance.sample(["SIGKILL", "SIGKILL", "SIGTERM"], 3):
                await self._pause(chance)
                self._note(end)
                with trio.CancelScope(shield=True):  # whoever it is that ends this finds a server that runs
                    await restart(self.serving, self.proxy, self.ledger, gently=end == "SIGTERM")
                self.tally.tell(f"the server is back after {self.serving.lives[-1].ready_s:.2f} s")

    async def _with_disk(self, chance: random.Random) -> None:
        while True:
            await self._pause(chance)
            seconds = chance.uniform(*_DISK_S)
            self._note("full disk", f"for {seconds:.1f} s")
            self.serving.fill_disk()
            await trio.sleep(seconds)
            self.serving.free_disk()

    async def _with_network(self, chance: random.Random) -> None:
        while True:
            for trouble in chance.sample(["cut", "torn", "stalled", "refused"], 4):
                await self._pause(chance)
                await self._disturb(trouble, chance.uniform(*_NETWORK_S))

    async def _disturb(self, trouble: str, seconds: float) -> None:
        match trouble:
            case "cut":
                self._note("connections cut")
                self.proxy.cut()
            case "torn":
                self._note("connections cut in the middle of a frame")
                self.proxy.tear()
            case "stalled":
                self._note("network stalled", f"for {seconds:.1f} s")
                self.proxy.stall()
                await trio.sleep(seconds)
                self.proxy.go_on()
            case _:
                self._note("connections refused", f"for {seconds:.1f} s, and cut before")
                self.proxy.refuses = True
                self.proxy.cut()
                await trio.sleep(seconds)
                self.proxy.refuses = False

    def _note(self, trouble: str, more: str = "") -> None:
        self.tally.counts[trouble] += 1
        self.tally.tell(f"{trouble} {more}".rstrip())

    async def _pause(self, chance: random.Random) -> None:
        await trio.sleep(self.pause_s * chance.uniform(1 - _SPREAD, 1 + _SPREAD))


async def restart(serving: Serving, proxy: Proxy, ledger: Ledger, *, gently: bool) -> None:
    """End the server, by SIGTERM or SIGKILL, and start it again."""
    await (serving.stop() if gently else serving.kill())
    proxy.target = None
    await serving.start(ledger.acked_count)
    proxy.target = serving.port
