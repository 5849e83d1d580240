"""The command line: ``wsproto-tracker COMMAND``, one module a command."""

import argparse
import sys
from collections.abc import Sequence

from wsproto_tracker.cli import serve
from wsproto_tracker.errors import ConfigurationError, ServeError
from wsproto_tracker.version import __version__

__all__ = ["main"]

_EXAMPLES = """\
examples:
  wsproto-tracker serve                       listen on 127.0.0.1:4242
  wsproto-tracker serve --base-path /tracker  use the paths of the plugin's documentation
  wsproto-tracker serve --help                all options
"""

_FAILED = 1
_USAGE = 2


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
    parsed = parser.parse_args(arguments)
    try:
        return int(parsed.run(parsed))
    except ConfigurationError as error:
        print(f"wsproto-tracker: {error}", file=sys.stderr)
        return _USAGE
    except ServeError as error:
        print(f"wsproto-tracker: {error}", file=sys.stderr)
        return _FAILED
