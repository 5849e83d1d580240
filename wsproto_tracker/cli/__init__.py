"""The command line: ``wsproto-tracker COMMAND``, one module a command."""

import argparse
import os
import sys
from collections.abc import Sequence

from wsproto_tracker.cli import demo, export, import_, keys, limits, load, query, send, serve, stats, store, tail
from wsproto_tracker.cli.interrupting import Endings
from wsproto_tracker.cli.output import notice
from wsproto_tracker.errors import ConfigurationError, TrackerError
from wsproto_tracker.settings import flag, suggestion
from wsproto_tracker.version import __version__

__all__ = ["command_line", "main"]

_EXAMPLES = """\
examples:
  wsproto-tracker serve                       listen on 127.0.0.1:4242
  wsproto-tracker serve --base-path /tracker  use the paths of the plugin's documentation
  wsproto-tracker serve --help                all options
  wsproto-tracker limits                      what is allowed, and the memory that it takes
  wsproto-tracker store info                  what is in tracker.db
  wsproto-tracker query --since 1h            what happened in the last hour
  wsproto-tracker tail --level error          errors, as they come
  wsproto-tracker stats                       the last day in figures
  wsproto-tracker export events.jsonl.gz      everything, into a file
  wsproto-tracker keys new                    a key for pages, to be added to a TOML file
  wsproto-tracker demo                        a server with made-up visitors, to look at
"""

_DONE = 0
_FAILED = 1
_USAGE = 2
_INTERRUPTED = 130
_INTERRUPTION = "interrupted; what is in the store is whole"


def command_line() -> argparse.ArgumentParser:
    """The parser of the command line, with every command."""
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
    limits.add_to(commands)
    keys.add_to(commands)
    for command in (query, tail, stats, export, send, import_, load, demo):
        command.add_to(commands)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the exit status: 0 done, 1 failed, 2 used wrongly, 128 and its number for a signal."""
    parsed, rest = command_line().parse_known_args(arguments)
    if rest:
        parsed.parser.error(_unknown(rest, parsed.options))
    endings = Endings()
    status = _run(parsed, endings)
    return endings.status if status == _INTERRUPTED else status


def _run(parsed: argparse.Namespace, endings: Endings) -> int:
    """Run a command, and say in a line what went wrong."""
    try:
        with endings:
            status = int(parsed.run(parsed))
            sys.stdout.flush()
        return status
    except TrackerError as error:
        notice(str(error).splitlines())  # a server may have written it
        return _USAGE if isinstance(error, ConfigurationError) else _FAILED
    except BrokenPipeError:  # the reader, such as head, has all that it wanted
        _print_no_more()
        return _DONE
    except OSError as error:  # of printing: a full disk
        _print_no_more()
        print(f"wsproto-tracker: cannot print: {error.strerror}", file=sys.stderr)
        return _FAILED
    except BaseException as error:
        if not _is_interrupt(error):
            raise
        print(f"wsproto-tracker: {getattr(parsed, 'interrupted', _INTERRUPTION)}", file=sys.stderr)
        return _INTERRUPTED


def _print_no_more() -> None:
    """Keep the interpreter from complaining, at its end, of what it cannot print."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


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
