"""The command: it puts the parts together, and prints what came of it."""

import argparse
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import trio

from bench.soak.clients import Client, HttpDashboard, HttpSender, WebSocketDashboard, WebSocketSender
from bench.soak.judging import Memory, check_store, judge_memory
from bench.soak.ledger import Ledger
from bench.soak.proxy import Proxy
from bench.soak.serving import Life, Serving
from bench.soak.tally import Tally
from bench.soak.troubles import Troubles, restart

__all__ = ["command_line", "main"]

_LOOK_S = 0.5
_TROUBLES = 40  # of each sort, about, in a long soak
_LEAST_PAUSE_S = 4.0
_FINISH_S = 120.0


def command_line() -> argparse.ArgumentParser:
    """The parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m bench soak",
        description="Mixed load through a bad network, on a server that is killed and whose disk fails.",
        allow_abbrev=False,
    )
    parser.add_argument("--minutes", type=float, default=30, help="how long there is trouble (default: 30)")
    parser.add_argument("--seed", type=int, help="the choices, as a run before printed them")
    return parser


def main(arguments: Sequence[str]) -> int:
    """Run it; the exit status, which is 1 where a promise was broken."""
    asked = command_line().parse_args(arguments)
    seed = random.randrange(2**32) if asked.seed is None else asked.seed
    print(f"python -m bench soak --minutes {asked.minutes:g} --seed {seed}\n", flush=True)
    directory = Path(tempfile.mkdtemp(prefix="soak-"))
    tally = Tally()
    memory, lives = trio.run(_soak, asked.minutes * 60, seed, directory, tally)
    _print_lives(lives)
    _print_results(tally, memory)
    if tally.violations:
        print(f"\nWhat is left of it is in {directory}.")
        return 1
    shutil.rmtree(directory)
    return 0


async def _soak(seconds: float, seed: int, directory: Path, tally: Tally) -> tuple[Memory | None, list[Life]]:
    serving, ledger = Serving(directory, tally), Ledger(seed)
    proxy = Proxy(random.Random(f"{seed}-proxy"))
    troubles = Troubles(seed, max(seconds / _TROUBLES, _LEAST_PAUSE_S), serving, proxy, ledger, tally)
    ending = trio.Event()
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(proxy.run)
            await serving.start(0)
            proxy.target = serving.port
            nursery.start_soon(_look, serving)
            async with trio.open_nursery() as clients:
                for client in _clients(seed, proxy.port, ledger, tally, ending):
                    clients.start_soon(client.run)
                with trio.move_on_after(seconds):
                    await troubles.run()
                tally.tell("no more trouble: all that is in hand is finished")
                ending.set()
                clients.cancel_scope.deadline = trio.current_time() + _FINISH_S
            if clients.cancel_scope.cancelled_caught:
                tally.violated(f"without trouble, all is acked within {_FINISH_S:g} s")
            await restart(serving, proxy, ledger, gently=True)
            assert serving.port is not None
            tally.tell("all that is stored is read")
            await check_store(serving.port, ledger, tally)
            await serving.stop()
            nursery.cancel_scope.cancel()
    finally:
        with trio.CancelScope(shield=True):
            await serving.kill()
    _check_file(serving, tally)
    return judge_memory(serving.lives[:-1], tally), serving.lives


def _clients(seed: int, port: int, ledger: Ledger, tally: Tally, ending: trio.Event) -> list[Client]:
    def chance(number: int) -> random.Random:
        return random.Random(f"{seed}-client-{number}")

    return [
        WebSocketSender(port, chance(0), ledger, tally, ending),
        WebSocketSender(port, chance(1), ledger, tally, ending),
        WebSocketSender(port, chance(2), ledger, tally, ending, compression="deflate"),
        WebSocketSender(port, chance(3), ledger, tally, ending, compression="deflate"),
        HttpSender(port, chance(4), ledger, tally, ending),
        HttpSender(port, chance(5), ledger, tally, ending),
        WebSocketDashboard(port, chance(6), ledger, tally, ending),
        WebSocketDashboard(port, chance(7), ledger, tally, ending, compression="deflate"),
        HttpDashboard(port, chance(8), ledger, tally, ending),
    ]


async def _look(serving: Serving) -> None:
    while True:
        serving.look()
        await trio.sleep(_LOOK_S)


def _check_file(serving: Serving, tally: Tally) -> None:
    command = [sys.executable, "-m", "wsproto_tracker", "store", "verify", "--store", f"sqlite:{serving.file}"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode != 0:
        tally.violated("the file is sound", ended.stdout + ended.stderr)
    if "Traceback" in serving.log:
        tally.violated("the server has no faults", serving.log)


def _print_lives(lives: Sequence[Life]) -> None:
    print(
        "\n| process | began at, s | acked before | ready after, s | MB when ready | MB at most | lived, s | ended by |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for number, life in enumerate(lives, 1):
        memory = f"{life.ready_s:.2f} | {life.ready_mb:.1f} | {life.most_mb:.1f}"
        print(f"| {number} | {life.began_s:.1f} | {life.acked_before:,} | {memory} | {life.seconds:.1f} | {life.end} |")


def _print_results(tally: Tally, memory: Memory | None) -> None:
    print("\n| | |\n|---|---|")
    for what, count in sorted(tally.counts.items()):
        print(f"| {what} | {count:,} |")
    if memory is not None:
        told = f"{memory.middle:.1f}, {memory.last:.1f} (allowed: {memory.allowed:.1f})"
        print(f"| MB at most, medians of the middle and the last third of the processes | {told} |")
    print(f"| promises broken | {tally.violations.total():,} |")
    for promise, count in tally.violations.items():
        print(f"| - {promise} | not so {count:,} times |")
