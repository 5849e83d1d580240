"""The command line: ``wsproto-tracker COMMAND``, one module a command."""

import argparse
import os
import sys
from collections.abc import Sequence

from wsproto_tracker.cli import serve, store
from wsproto_tracker.errors import ConfigurationError, ServeError, StoreError
from wsproto_tracker.settings import flag, suggestion
from wsproto_tracker.version import __version__

__all__ = ["main"]

_EXAMPLES = """\
examples:
  wsproto-tracker serve                       listen on 127.0.0.1:4242
  wsproto-tracker serve --base-path /tracker  use the paths of the plugin's documentation
  wsproto-tracker serve --help                all options
  wsproto-tracker store info                  what is in tracker.db
"""

_FAILED = 1
_USAGE = 2
_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the exit status: 0 done, 1 failed, 2 used wrongly."""
    parser = argparse.ArgumentParser(
        prog="wsproto-tracker",
        description="A backend for the browser plugin @ndriadev/vite-plugin-monitor.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"wsproto-tracker {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    serve.add_to(commands)
    store.add_to(commands)
    parsed, rest = parser.parse_known_args(arguments)
    if rest:
        parsed.parser.error(_unknown(rest, parsed.options))
    try:
        status = int(parsed.run(parsed))
        sys.stdout.flush()
        return status
    except (ConfigurationError, ServeError, StoreError) as error:
        for line in str(error).splitlines():
            print(f"wsproto-tracker: {line}", file=sys.stderr)
        return _USAGE if isinstance(error, ConfigurationError) else _FAILED
    except OSError as error:  # of printing: a broken pipe, a full disk
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter complains at its end
        print(f"wsproto-tracker: cannot print: {error.strerror}", file=sys.stderr)
        return _FAILED
    except BaseException as error:
        if not _is_interrupt(error):
            raise
        print("wsproto-tracker: interrupted; what is in the store is whole", file=sys.stderr)
        return _INTERRUPTED


def _is_interrupt(error: BaseException) -> bool:
    """Whether it is a Ctrl-C, by itself or in a group that a nursery made."""
    if isinstance(error, BaseExceptionGroup):
        return all(map(_is_interrupt, error.exceptions))
    return isinstance(error, KeyboardInterrupt)


def _unknown(rest: Sequence[str], options: Sequence[str]) -> str:
    """What to say of arguments that a command does not take; their values may be secrets, and are not repeated (SEC-1).

    :param options: the names of those that it takes.
    """
    flags = [argument.partition("=")[0] for argument in rest if argument.startswith("-")]
    if not flags:
        return f"expected options only, such as {flag(options[0])}"
    return "\n".join(f"{name}: no such option{suggestion(name.lstrip('-'), flag, options)}" for name in flags)
