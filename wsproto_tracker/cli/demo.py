"""``wsproto-tracker demo``: a server with made-up visitors, to look at what there is without a page of one's own."""

import argparse
import random
import shutil
import signal
import tempfile
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from wsproto_tracker.cli.made_up import APP, Traffic
from wsproto_tracker.cli.numbers import number_of, whole_number_of
from wsproto_tracker.cli.output import is_terminal, terminal
from wsproto_tracker.cli.reporting import Reporter
from wsproto_tracker.cli.rows import Rows
from wsproto_tracker.server import Address, Tracker, open_tracker
from wsproto_tracker.settings import Settings
from wsproto_tracker.tasks import beside

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

__all__ = ["add_to"]

_EPILOG = """\
examples:
  wsproto-tracker demo
  wsproto-tracker demo --port 4242 --rate 50
"""

_TICK_S = 0.25
_BURST_EVERY_S = 20.0
_BURST_S = 3.0
_BURST_TIMES = 5.0
_TROUBLE_CHANCE = 0.02  # in each tick
_PAST_EVENTS = 600
_PAST = timedelta(hours=1)
_MOST_RATE = 2_000.0
_ENDS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


def add_to(commands: "Commands") -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "demo",
        usage="wsproto-tracker demo [OPTION ...]",
        help="run a server with made-up visitors, to look at",
        description="Run a server on a store that is gone at the end, with made-up visitors of a shop: an hour of "
        "their events, and more as time goes by.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--port", default="0", metavar="PORT", help="where it listens (default: 0, any that is free)")
    parser.add_argument("--rate", default="8", metavar="N", help="events per second, about (default: 8)")
    parser.add_argument("--seconds", metavar="N", help="when it ends by itself (default: with Ctrl-C)")
    parser.set_defaults(run=run, parser=parser, options=["port", "rate", "seconds"])


def run(parsed: argparse.Namespace) -> int:
    """Run the command; returns its exit status.

    :raises ConfigurationError: for a wrong option.
    :raises ServeError: if the server cannot start.
    """
    port = whole_number_of(parsed, "port", 0, 65535)
    rate = number_of(parsed, "rate", "events per second", most=_MOST_RATE)
    seconds = float("inf") if parsed.seconds is None else number_of(parsed, "seconds", "seconds")
    with tempfile.TemporaryDirectory(prefix="wsproto-tracker-demo-") as directory:
        settings = Settings(port=port, store=f"sqlite:{Path(directory) / 'demo.db'}")
        trio.run(_demo, settings, rate, seconds)
    return 0


async def _demo(settings: Settings, rate: float, seconds: float) -> None:
    with trio.open_signal_receiver(*_ENDS) as signals:
        async with open_tracker(settings) as tracker:
            traffic = Traffic()
            await tracker.append(_past(traffic, datetime.now(UTC)))
            columns = shutil.get_terminal_size().columns
            print(_greeting(settings, tracker.addresses[0], rate, columns), flush=True)
            with trio.move_on_after(seconds):
                async with beside(lambda: _feed(tracker, traffic, rate)):
                    await anext(signals)


def _past(traffic: Traffic, now: datetime) -> list[dict[str, object]]:
    """What has happened in the last hour."""
    return [traffic.event(now - _PAST * (1 - number / _PAST_EVENTS)) for number in range(_PAST_EVENTS)]


async def _feed(tracker: Tracker, traffic: Traffic, rate: float) -> None:
    """Let the visitors go on, and show on a terminal what they do, as ``tail`` would."""
    show = Rows(terminal()).print if is_terminal() else None
    chance = random.Random()  # noqa: S311 - it makes things up
    reporter, began_s, count = Reporter(), trio.current_time(), _PAST_EVENTS
    with nullcontext() if show is not None else reporter.progress("demo", None):
        while True:
            await trio.sleep(_TICK_S)
            passed_s = trio.current_time() - began_s
            is_burst = passed_s % _BURST_EVERY_S > _BURST_EVERY_S - _BURST_S
            wanted = rate * _TICK_S * (_BURST_TIMES if is_burst else 1)
            number = int(wanted + chance.random())
            now = datetime.now(UTC)
            step = timedelta(seconds=_TICK_S) / max(number, 1)
            events = [traffic.event(now - step * (number - place)) for place in range(number)]
            if chance.random() < _TROUBLE_CHANCE:
                events += traffic.trouble(now)
            if events:
                count += (await tracker.append(events)).saved
            if show is None:
                reporter.advance(0, f"{count:,} events", "burst" if is_burst else "")
                continue
            for event in events:
                show(event)


def _greeting(settings: Settings, address: Address, rate: float, columns: int) -> str:
    ws, http = f"ws://{address}{settings.base_path}/ws", f"http://{address}{settings.base_path}"
    commands = "\n".join(
        _fitting(f"wsproto-tracker {name}", " \\", f"--url {ws}", columns) for name in ("tail", "query", "stats")
    )
    endpoints = "\n".join(
        _fitting(f"{name}:", "", f"'{url}',", columns)
        for name, url in (("wsEndpoint", ws), ("pingEndpoint", f"{http}/ping"))
    )
    return f"""\
A server with made-up visitors of {APP}
listens on
  {ws}
  {http}
It has an hour of their events, and gets about
{rate:g} more each second.
Its store is gone at the end.

Type in another terminal:
{commands}
  curl '{http}?limit=3'
  curl 'http://{address}/metrics'

For vite.config.ts, to have a page of your own
beside them:
{endpoints}

Ctrl-C stops it."""


def _fitting(first: str, joint: str, second: str, columns: int) -> str:
    """Both on one line, or, joined by that, on two where a terminal would break it: so it can be copied as it is."""
    line = f"  {first} {second}"
    return line if len(line) <= columns else f"  {first}{joint}\n    {second}"
