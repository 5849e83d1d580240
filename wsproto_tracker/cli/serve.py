"""``wsproto-tracker serve``: run the server until SIGTERM or Ctrl-C; SIGHUP has the certificate read again."""

import argparse
import gc
import os
import signal
import sys
from collections.abc import Iterator
from ipaddress import ip_address
from typing import TYPE_CHECKING

import trio

from wsproto_tracker import logs
from wsproto_tracker.access import is_loopback_host
from wsproto_tracker.cli.options import add_settings, settings_of
from wsproto_tracker.errors import ServeError
from wsproto_tracker.server import Address, Tracker, serve
from wsproto_tracker.settings import (
    ENVIRONMENT_PREFIX,
    Settings,
    mistyped_variables,
)
from wsproto_tracker.version import __version__

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

__all__ = ["add_to"]

_RELOAD = getattr(signal, "SIGHUP", None)
_RELOADS = () if _RELOAD is None else (_RELOAD,)
_OTHER_FILES = 128  # beside connections: the store, listeners, refused connections
_GC_THRESHOLD = (50_000, 20, 100)  # events are no garbage in cycles, and looking through them took a fifth of the time

_EPILOG = f"""\
Every option can also be set in the environment ({ENVIRONMENT_PREFIX}MAX_EVENTS=1000)
or in a TOML file (max_events = 1000); a flag beats the environment, which beats the file.

examples:
  wsproto-tracker serve
  wsproto-tracker serve --base-path /tracker --max-events 100000
  TRACKER_API_KEY=s3cret wsproto-tracker serve --host 0.0.0.0
  wsproto-tracker serve --config tracker.toml --port 0
  wsproto-tracker serve --host 0.0.0.0 --tls-cert fullchain.pem --tls-key privkey.pem
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
    add_settings(parser)
    parser.set_defaults(run=run)


def run(parsed: argparse.Namespace) -> int:
    """Run the command; returns its exit status.

    :raises ConfigurationError: for a wrong option.
    :raises ServeError: if the server cannot start.
    """
    settings = settings_of(parsed)
    for sentence in mistyped_variables(os.environ):
        print(f"wsproto-tracker: {sentence}", file=sys.stderr)
    for sentence in raise_file_limit(settings.max_connections):
        print(f"wsproto-tracker: {sentence}", file=sys.stderr)
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLD)
    logs.configure(settings.log_format)
    try:
        return trio.run(_run, settings)
    except ExceptionGroup as group:
        raise _only(group) from None


def raise_file_limit(connections: int) -> Iterator[str]:
    """Let the process have as many files open as connections may need, as far as that is allowed.

    Yields a sentence where it is not.
    """
    if sys.platform == "win32":
        return
    import resource  # which that platform does not have

    wanted = connections + _OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
        except (OSError, ValueError):  # a service manager may forbid it
            allowed = soft
    if allowed < wanted:
        yield (
            f"--max-connections: only {max(allowed - _OTHER_FILES, 0)} are possible, for this process may have "
            f"{allowed} files open; raise the limit (ulimit -Hn {wanted}), or set --max-connections lower"
        )


async def _run(settings: Settings) -> int:
    was_cut_short = False
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, *_RELOADS) as signals:
        async with trio.open_nursery() as nursery:

            async def serve_to_the_end(*, task_status: trio.TaskStatus[Tracker]) -> None:
                await serve(settings, task_status=task_status)
                nursery.cancel_scope.cancel()

            server: Tracker = await nursery.start(serve_to_the_end)
            if (told := warning(settings, server.addresses)) is not None:
                print(f"wsproto-tracker: {told}", file=sys.stderr)
            _say(greeting(settings, server.addresses, server.metrics_addresses))
            while await anext(signals) == _RELOAD:
                _say(_reloaded(server))
            _say("stopping: finishing what is in hand; once more stops at once")
            server.stop()
            while await anext(signals) == _RELOAD:
                pass  # what goes on needs no other certificate
            was_cut_short = True
            nursery.cancel_scope.cancel()
    return int(was_cut_short)


def _reloaded(server: Tracker) -> str:
    """Read the certificate again; what to say of it."""
    try:
        is_new = server.reload()
    except ServeError as error:
        return f"the old certificate stays: {error}"
    return "the certificate was read again" if is_new else "there is nothing to reload without --tls-cert"


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


def warning(settings: Settings, addresses: tuple[Address, ...]) -> str | None:
    """What an operator has to know before strangers do: that they can do everything."""
    reachable = [str(address) for address in addresses if not is_loopback_host(address.host)]
    if settings.access.needs_key or settings.unix is not None or not reachable:
        return None
    return (
        f"no key is set, and {', '.join(reachable)} is not for this machine only: whoever reaches it can read and send "
        "events; set TRACKER_API_KEY, or add a key to the file of --config (wsproto-tracker keys new prints one), or "
        "listen on --host 127.0.0.1"
    )


def greeting(settings: Settings, addresses: tuple[Address, ...], metrics_addresses: tuple[Address, ...] = ()) -> str:
    """What a user sees at the start: where it listens, and what to paste into ``vite.config.ts``."""
    base = settings.base_path
    ws, http = ("ws", "http") if settings.tls_cert is None else ("wss", "https")
    here = [str(_reachable(address)) for address in addresses] or ["127.0.0.1"]
    key = "\n      apiKey: process.env.TRACKER_API_KEY," if settings.access.needs_key else ""
    lines = [f"  {ws}://{address}{base}/ws    {http}://{address}{base}" for address in addresses]
    if settings.unix is not None:
        lines = [f"  {settings.unix}, for a proxy; what follows is for one that listens on this machine"]
    listening = "\n".join([*lines, *(f"  http://{address}/metrics" for address in metrics_addresses)])
    return f"""\
wsproto-tracker {__version__} listens on
{listening}
It keeps {_capacity(settings)} {_where(settings)}.

For vite.config.ts:

  trackerPlugin({{
    appId: 'my-app',
    storage: {{
      mode: 'websocket',
      wsEndpoint: '{ws}://{here[0]}{base}/ws',
      pingEndpoint: '{http}://{here[0]}{base}/ping',{key}
    }},
    dashboard: {{ enabled: true }},
  }})
{_keys(settings)}
Ctrl-C stops it."""


def _keys(settings: Settings) -> str:
    """What to do with several keys: the plugin has one of them a build."""
    if not settings.keys:
        return ""
    known = ", ".join(f"{key.name} ({' and '.join(sorted(key.scopes))})" for key in settings.access.keys)
    return f"""
The keys are {known}.
A build has one apiKey, and whoever opens the page can read it: build the page with a key that is for ingest only, and
the dashboard, in a build of its own, with a key that is for query.
"""


def _where(settings: Settings) -> str:
    if settings.path is None:
        return "in memory; they are gone when it stops"
    if settings.cluster is not None:
        return f"in {settings.path.absolute()}, as every node of {settings.cluster} does"
    return f"in {settings.path.absolute()}"


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
