"""``wsproto-tracker serve``: run the server until SIGTERM or Ctrl-C."""

import argparse
import gc
import logging
import os
import signal
import sys
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from wsproto_tracker.server import Address, Server, serve
from wsproto_tracker.settings import (
    ENVIRONMENT_PREFIX,
    Settings,
    flag,
    load_settings,
    mistyped_variables,
    options,
    store_path,
)
from wsproto_tracker.version import __version__

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

__all__ = ["add_to"]

_GC_THRESHOLD = (50_000, 20, 100)  # events are no garbage in cycles, and looking through them took a fifth of the time

_EPILOG = f"""\
Every option can also be set in the environment ({ENVIRONMENT_PREFIX}MAX_EVENTS=1000)
or in a TOML file (max_events = 1000); a flag beats the environment, which beats the file.

examples:
  wsproto-tracker serve
  wsproto-tracker serve --base-path /tracker --max-events 100000
  TRACKER_API_KEY=s3cret wsproto-tracker serve --host 0.0.0.0
  wsproto-tracker serve --config tracker.toml --port 0
"""


def add_to(commands: "Commands") -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "serve",
        usage="wsproto-tracker serve [OPTION ...]",
        help="run the server",
        description="Run the server: one port for WebSocket and HTTP.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    for option in options():
        default = "" if option.default is None else f" (default: {option.default})"
        parser.add_argument(
            flag(option.name),
            dest=option.name,
            metavar=option.metadata["metavar"],
            help=option.metadata["help"] + default,
        )
    parser.add_argument("--config", type=Path, metavar="FILE", help="TOML file with these options")
    parser.set_defaults(run=run, parser=parser, options=[*(option.name for option in options()), "config"])


def run(parsed: argparse.Namespace) -> int:
    """Run the command; returns its exit status.

    :raises ConfigurationError: for a wrong option.
    :raises ServeError: if the server cannot start.
    """
    given = {option.name: getattr(parsed, option.name) for option in options()}
    settings = load_settings({name: value for name, value in given.items() if value is not None}, file=parsed.config)
    for sentence in mistyped_variables(os.environ):
        print(f"wsproto-tracker: {sentence}", file=sys.stderr)
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLD)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        return trio.run(_run, settings)
    except ExceptionGroup as group:
        raise _only(group) from None


async def _run(settings: Settings) -> int:
    was_cut_short = False
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:

            async def serve_to_the_end(*, task_status: trio.TaskStatus[Server]) -> None:
                await serve(settings, task_status=task_status)
                nursery.cancel_scope.cancel()

            server: Server = await nursery.start(serve_to_the_end)
            _say(greeting(settings, server.addresses))
            await anext(signals)
            _say("stopping: finishing what is in hand; once more stops at once")
            server.stop()
            await anext(signals)
            was_cut_short = True
            nursery.cancel_scope.cancel()
    return int(was_cut_short)


def _only(group: ExceptionGroup[Exception]) -> Exception:
    """The error that a nursery has wrapped, where it is the only one."""
    error: Exception = group
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def _say(text: str) -> None:
    """Print; where nobody reads it, that is no reason to stop serving."""
    try:
        print(text, flush=True)
    except OSError:  # a broken pipe, a full disk
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter complains at its end


def greeting(settings: Settings, addresses: tuple[Address, ...]) -> str:
    """What a user sees at the start: where it listens, and what to paste into ``vite.config.ts``."""
    base = settings.base_path
    here = [_reachable(address) for address in addresses]
    key = "\n      apiKey: process.env.TRACKER_API_KEY," if settings.api_key is not None else ""
    listening = "\n".join(f"  ws://{address}{base}/ws    http://{address}{base}" for address in addresses)
    return f"""\
wsproto-tracker {__version__} listens on
{listening}
It keeps {_capacity(settings)} {_where(settings)}.

For vite.config.ts:

  trackerPlugin({{
    appId: 'my-app',
    storage: {{
      mode: 'websocket',
      wsEndpoint: 'ws://{here[0]}{base}/ws',
      pingEndpoint: 'http://{here[0]}{base}/ping',{key}
    }},
    dashboard: {{ enabled: true }},
  }})

Ctrl-C stops it."""


def _where(settings: Settings) -> str:
    if settings.store == "memory:":
        return "in memory; they are gone when it stops"
    return f"in {store_path(settings.store).absolute()}"


def _capacity(settings: Settings) -> str:
    age = "" if settings.max_age is None else f" of the last {settings.max_age}"
    size = "" if settings.max_bytes is None else f", as far as they take {settings.max_bytes} bytes,"
    return f"the last {settings.max_events} events{age}{size}"


def _reachable(address: Address) -> Address:
    """The address as a browser on this machine reaches it: a server that listens everywhere is here as well."""
    ip = ip_address(address.host)
    if not ip.is_unspecified:
        return address
    return Address("127.0.0.1" if ip.version == 4 else "::1", address.port)
