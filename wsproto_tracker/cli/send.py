"""``wsproto-tracker send``: events from a file or stdin, to a server."""

import argparse
import sys
from typing import TYPE_CHECKING

import trio

from wsproto_tracker.cli.feeding import Demands, Feeding
from wsproto_tracker.cli.interrupting import until_interrupted
from wsproto_tracker.cli.numbers import number_of
from wsproto_tracker.cli.reporting import Reporter, tell_of_trouble
from wsproto_tracker.cli.source import Source, open_source
from wsproto_tracker.cli.target import add_target, connected
from wsproto_tracker.tasks import beside

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

__all__ = ["add_patience", "add_to", "feed", "one_file"]

_EPILOG = """\
Run again after an interruption, it stores nothing twice: a line without an id gets one that is made of the event itself
(a UUID of version 5 of its JSON, and of how many equal ones came before), and servers with the extension X-DUP know
an id again. Lines that are no events are told on stderr with their numbers; the others are sent, and the exit
status is 1.

examples:
  wsproto-tracker send events.jsonl
  wsproto-tracker send events.jsonl.gz --url wss://tracker.example/_tracker/ws
  tail -f events.jsonl | wsproto-tracker send
"""

_DONE = 0
_FAILED = 1
_INTERRUPTED = 130


def add_to(commands: "Commands") -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "send",
        usage="wsproto-tracker send [FILE] [OPTION ...]",
        help="send events from a file to a server",
        description="Send events to a server: a JSON object on each line of a file, or of stdin.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("file", nargs="*", metavar="FILE", help="JSON lines, plain or gzip (default: -, stdin)")
    parser.add_argument("--strict", action="store_true", help="stop at the first line that is not taken")
    add_patience(parser)
    add_target(parser, "strict", "give_up_after_s")
    parser.set_defaults(run=run)


def add_patience(parser: argparse.ArgumentParser) -> None:
    """Add the option that says how long a server may be away."""
    parser.add_argument(
        "--give-up-after-s",
        default="60",
        metavar="SECONDS",
        help="how long the server may be away, or save nothing, before it fails (default: 60)",
    )


def run(parsed: argparse.Namespace) -> int:
    """Run the command; returns its exit status.

    :raises ConfigurationError: for a wrong option, or a file that is not there.
    :raises ClientError: where the server does not take the events.
    """
    source = open_source(one_file(parsed))
    reporter = Reporter()
    feeding = feed(parsed, source, reporter, needs_ids=False, is_strict=parsed.strict)
    if feeding is None:
        return _INTERRUPTED
    told = f"{feeding.acked:,} events sent, {feeding.duplicates:,} of them duplicates; {feeding.rejected:,} rejected"
    print(told)
    if feeding.problem:
        reporter.tell(feeding.problem)
    if feeding.is_stopped:
        reporter.tell("stopped there, for --strict; what comes after it was not sent")
    return _FAILED if feeding.rejected or feeding.problem else _DONE


def one_file(parsed: argparse.Namespace) -> str | None:
    """The file that was named, where one was."""
    if len(parsed.file) > 1:
        parsed.parser.error(
            f"expected one FILE, not {len(parsed.file)}; for several: cat FILE ... | {parsed.parser.prog}"
        )
    return parsed.file[0] if parsed.file else None


def feed(
    parsed: argparse.Namespace, source: Source, reporter: Reporter, *, needs_ids: bool, is_strict: bool
) -> Feeding | None:
    """Send what is in the source; ``None`` where that was interrupted, which is told.

    :raises ConfigurationError: for a wrong option.
    :raises ClientError: where the server does not take the events.
    """
    patience_s = number_of(parsed, "give_up_after_s", "seconds")
    feeding = Feeding(source, Demands(needs_ids, is_strict, patience_s), reporter)

    tell_of_trouble(reporter, lambda: feeding.is_connected)

    async def work() -> None:
        async with beside(until_interrupted), connected(parsed, **feeding.options) as client:
            await feeding.feed(client)

    try:
        trio.run(work)
    except KeyboardInterrupt:
        sys.stdout.flush()
        reporter.tell(f"interrupted; {feeding.acked:,} events are acked; {feeding.again}")
        return None
    return feeding
