"""``wsproto-tracker load``: how much a backend takes, and how soon it acks."""

import argparse
import json
import shutil
import signal
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import trio
from rich.console import Console
from rich.table import Table

from wsproto_tracker.access import is_loopback_host
from wsproto_tracker.cli.latency import milliseconds, plotted
from wsproto_tracker.cli.numbers import number_of, whole_number_of
from wsproto_tracker.cli.pounding import Plan, Pounding
from wsproto_tracker.cli.reporting import Reporter, tell_of_trouble
from wsproto_tracker.cli.serve import raise_file_limit
from wsproto_tracker.cli.target import add_target, connected, options_of
from wsproto_tracker.errors import ConfigurationError
from wsproto_tracker.tasks import beside

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

__all__ = ["add_to"]

_EPILOG = """\
Latency counts from when a batch was due to its ack: with --rate, waiting for a slow server counts as well. What is sent
is stored, as events of the app demo-shop.

examples:
  wsproto-tracker load                                         as fast as it acks, for 10 seconds
  wsproto-tracker load --connections 50 --rate 2000 --batch 25 --seconds 60
  wsproto-tracker load --url wss://tracker.example/_tracker/ws --this-server-is-mine
"""

_FAILED = 1
_INTERRUPTED = 130
_MOST_CONNECTIONS = 10_000
_MOST_BATCH = 100_000
_COLUMNS = 60  # of the plot, at most
_LEAST_COLUMNS = 10
_MARGIN = 14  # columns beside the plot
_BUSY = 0.9  # of a core
_LOOK_S = 0.2
_PERCENTS = (50, 90, 99)


def add_to(commands: "Commands") -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "load",
        usage="wsproto-tracker load [OPTION ...]",
        help="try how much a server takes",
        description="Send made-up events over many connections, and tell how many a server takes and how soon it "
        "acks them.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--connections", default="10", metavar="N", help="at the same time (default: 10)")
    parser.add_argument("--rate", default="0", metavar="N", help="events per second in all; 0: as acked (default: 0)")
    parser.add_argument("--batch", default="25", metavar="N", help="events in a batch (default: 25, as the plugin)")
    parser.add_argument("--seconds", default="10", metavar="N", help="how long (default: 10)")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument(
        "--this-server-is-mine", action="store_true", help="needed where the server is not on this machine"
    )
    add_target(parser, "connections", "rate", "batch", "seconds", "json", "this_server_is_mine")
    parser.set_defaults(run=run)


def run(parsed: argparse.Namespace) -> int:
    """Run the command; returns its exit status.

    :raises ConfigurationError: for a wrong option, or a server that may be somebody else's.
    :raises ClientError: where there is no connection, or the key is refused.
    """
    plan = Plan(
        connections=whole_number_of(parsed, "connections", 1, _MOST_CONNECTIONS),
        rate=number_of(parsed, "rate", "events per second", may_be_zero=True),
        batch_events=whole_number_of(parsed, "batch", 1, _MOST_BATCH),
        duration_s=number_of(parsed, "seconds", "seconds"),
        slices=max(min(shutil.get_terminal_size().columns - _MARGIN, _COLUMNS), _LEAST_COLUMNS),
    )
    options = options_of(parsed)
    if not parsed.this_server_is_mine and not is_loopback_host(urlsplit(options.url).hostname or ""):
        raise ConfigurationError(
            f"--url: {options.address} is not on this machine; a load can take a server down: "
            "give --this-server-is-mine if it is yours, and may be"
        )
    tell_of_trouble(Reporter(), lambda: False)
    list(raise_file_limit(plan.connections))
    pounding = Pounding(plan, options)
    is_interrupted = trio.run(_pound, parsed, pounding)
    if pounding.took_s:
        _print(pounding, as_json=parsed.json)
    if is_interrupted:
        Reporter().tell("interrupted")
        return _INTERRUPTED
    return 0 if pounding.latencies.count else _FAILED


async def _pound(parsed: argparse.Namespace, pounding: Pounding) -> bool:
    """Run it; whether it was interrupted."""
    is_interrupted = False
    reporter, scope = Reporter(), trio.CancelScope()
    with trio.open_signal_receiver(signal.SIGINT) as signals:

        async def stop_early() -> None:
            nonlocal is_interrupted
            await anext(signals)
            is_interrupted = True
            pounding.stop()
            scope.cancel()

        async with beside(stop_early, lambda: _show(pounding, reporter)):
            with scope:  # what comes before the load may be cancelled; its end takes a moment
                async with connected(parsed, connect_timeout_s=5.0):
                    pass  # it is a tracker, and takes the key
            if not is_interrupted:
                with reporter.progress("load", pounding.plan.duration_s):
                    await pounding.run()
    return is_interrupted


async def _show(pounding: Pounding, reporter: Reporter) -> None:
    await pounding.began.wait()
    while True:
        passed_s = trio.current_time() - pounding.began_s
        acked = pounding.counts.acked
        reporter.advance(passed_s, f"{acked / max(passed_s, _LOOK_S):,.0f} events/s", f"{acked:,} acked")
        await trio.sleep(_LOOK_S)


def _print(pounding: Pounding, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(_figures(pounding)))
        return
    console = Console(highlight=False, markup=False, emoji=False)
    if console.is_terminal:
        table = Table.grid(padding=(0, 2))
        table.add_column(style="bold", no_wrap=True)
        table.add_column(overflow="fold")
        for row in _rows(pounding):
            table.add_row(*row)
        console.print(table)
    else:
        for name, value in _rows(pounding):
            print(f"{name:12} {value}")
    encoding = (sys.stdout.encoding or "").lower()
    lines = plotted(pounding.slices, pounding.took_s, is_ascii="utf" not in encoding)
    if lines:
        print("\nlatency over time: median (solid), 99th percentile (light)")
        print("\n".join(lines))


def _rows(pounding: Pounding) -> Iterator[tuple[str, str]]:
    """The result for people."""
    plan, counts, latencies = pounding.plan, pounding.counts, pounding.latencies
    asked = f"{plan.rate:,g} events/s" if plan.rate else "as fast as acked"
    yield "asked for", f"{asked}, {plan.batch_events:,} in a batch, {plan.connections:,} connections"
    yield "sent", f"{counts.sent:,} events in {counts.batches:,} batches, in {pounding.took_s:.1f} s"
    yield "acked", f"{counts.acked:,} events, {counts.acked / pounding.took_s:,.0f}/s"
    for name, number in (("rejected", counts.rejected), ("unanswered", counts.unanswered)):
        if number:
            yield name, f"{number:,} events"
    for code, number in counts.refused.most_common():
        yield "refused", f"{number:,} events: {code}"
    for reason, number in counts.lost.most_common():
        yield "lost", f"{number:,} connections: {reason}"
    if counts.outages:
        yield "outages", f"the server said {counts.outages:,} times that acks would be late"
    percentiles = (f"p{percent} {milliseconds(latencies.percentile_s(percent))}" for percent in _PERCENTS)
    yield "ack latency", "  ".join((*percentiles, f"max {milliseconds(latencies.max_s)} ms"))
    share = f"{pounding.processor_share:.0%} of a core"
    if pounding.processor_share > _BUSY:
        share += ": this program was the bottleneck, and the server can do more; try a larger --batch"
    yield "generator", share


def _figures(pounding: Pounding) -> dict[str, object]:
    """The result for programs; times are in seconds."""
    plan, counts, latencies = pounding.plan, pounding.counts, pounding.latencies
    return {
        "connections": plan.connections,
        "rate": plan.rate,
        "batch": plan.batch_events,
        "seconds": round(pounding.took_s, 3),
        "batches": counts.batches,
        "sent": counts.sent,
        "acked": counts.acked,
        "acked_per_second": round(counts.acked / pounding.took_s, 1),
        "rejected": counts.rejected,
        "unanswered": counts.unanswered,
        "refused": dict(counts.refused),
        "lost_connections": dict(counts.lost),
        "outages": counts.outages,
        "ack_latency_s": {f"p{percent}": round(latencies.percentile_s(percent), 6) for percent in _PERCENTS}
        | {"max": round(latencies.max_s, 6)},
        "generator_processor_share": round(pounding.processor_share, 3),
        "is_generator_the_bottleneck": pounding.processor_share > _BUSY,
    }
