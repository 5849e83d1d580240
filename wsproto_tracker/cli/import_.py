"""``wsproto-tracker import``: what ``export`` wrote, into a server."""

import argparse
from typing import TYPE_CHECKING

from wsproto_tracker.cli.reporting import Reporter
from wsproto_tracker.cli.send import add_patience, feed, one_file
from wsproto_tracker.cli.source import open_source
from wsproto_tracker.cli.target import add_target

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

__all__ = ["add_to"]

_EPILOG = """\
It is send for whole events: every line must have its id, the order of the file is kept, and at the end the server must
have acked as many events as there are lines. Run again after an interruption, it stores nothing twice. It is for
another server than the export came from: that would not know the ids again that it made itself.

examples:
  wsproto-tracker import events.jsonl.gz
  wsproto-tracker export --url ws://old:4242/_tracker/ws | wsproto-tracker import - --url ws://new:4242/_tracker/ws
"""

_DONE = 0
_FAILED = 1
_INTERRUPTED = 130


def add_to(commands: "Commands") -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "import",
        usage="wsproto-tracker import FILE [OPTION ...]",
        help="bring what export wrote into a server",
        description="Bring the events that export wrote into a server, with their ids and in their order.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("file", nargs="*", metavar="FILE", help="JSON lines, plain or gzip; - for stdin")
    add_patience(parser)
    add_target(parser, "give_up_after_s")
    parser.set_defaults(run=run)


def run(parsed: argparse.Namespace) -> int:
    """Run the command; returns its exit status.

    :raises ConfigurationError: for a wrong option, or a file that is not there.
    :raises ClientError: where the server does not take the events.
    """
    if (file := one_file(parsed)) is None:
        parsed.parser.error("expected a FILE, or - for stdin")
    source = open_source(file)
    reporter = Reporter()
    feeding = feed(parsed, source, reporter, needs_ids=True, is_strict=False)
    if feeding is None:
        return _INTERRUPTED
    already = f"{feeding.duplicates:,} of them duplicates"
    print(f"{feeding.acked:,} events imported, {already}; {feeding.rejected:,} rejected")
    if feeding.problem:
        reporter.tell(feeding.problem)
    if feeding.acked != feeding.lines:
        reporter.tell(f"{source.name}: {feeding.lines:,} lines, and {feeding.acked:,} acked: something is missing")
    return _FAILED if feeding.problem or feeding.acked != feeding.lines else _DONE
