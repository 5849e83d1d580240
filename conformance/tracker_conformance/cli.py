"""The command line: ``tracker-conformance URL``, and ``tracker-conformance rejudge FILE``."""

import argparse
import os
import re
import sys
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from io import TextIOWrapper
from pathlib import Path

from tracker_conformance.judging import INTERRUPTED, UNREACHABLE, Judging
from tracker_conformance.model import Run
from tracker_conformance.options import APP_ID, KEYS, LEVELS, ORIGIN, OptionError, command, keys, selection, target
from tracker_conformance.outcome import SUITE_FAILED, known_failures, outcome
from tracker_conformance.registry import Check
from tracker_conformance.reports import saved
from tracker_conformance.reports.files import KINDS, write
from tracker_conformance.reports.terminal import Display
from tracker_conformance.suite import judge_again, suite_version

__all__ = ["main"]

_USAGE = 2
_BEFORE_KIND = re.compile(r",(?=[a-z]*=)")

_EPILOG = """\
PATTERNS are names, sections or ids, parted by commas, with * and ?: queries.newest-first, frames, AUTH-*.
FILES are kinds of reports and where they go: junit=report.xml,json=run.json,html=report.html.
A baseline is a TOML file of what is known to fail:

  [known]
  "queries.newest-first" = "issue 12"

exit status:
  0 the server conforms   1 it does not        2 used wrongly, or no check selected
  3 nobody listens there  4 the suite failed   130 interrupted

examples:
  tracker-conformance ws://127.0.0.1:4242/_tracker/ws
  tracker-conformance wss://example.org/ws --api-key-env TRACKER_KEY --read-only
  tracker-conformance ws://127.0.0.1:4242/_tracker/ws --write-url http://127.0.0.1:4242/_tracker/events \\
      --read-url http://127.0.0.1:4242/_tracker --ping-url http://127.0.0.1:4242/_tracker/ping
  tracker-conformance ws://127.0.0.1:4242/_tracker/ws --select frames,AUTH-3 --report html=report.html
  tracker-conformance --list --level must
  tracker-conformance rejudge run.json --report html=report.html
"""

_REJUDGE_EPILOG = """\
The transcripts that --report json=FILE saved are judged again, by the judges of this release; no server is asked.

examples:
  tracker-conformance rejudge run.json
  tracker-conformance rejudge run.json --report junit=report.xml,html=report.html
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit status, as its help tells."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # not every terminal has every character
    try:
        if given[:1] == ["rejudge"]:
            return _rejudge(_parse(_rejudge_parser(), given[1:]))
        parsed = _parse(_parser(), given)
        return _list(_selected(parsed)) if parsed.list else _judge(parsed)
    except OptionError as error:
        _complain(str(error))
        return _USAGE
    except KeyboardInterrupt:
        _complain("interrupted")
        return INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = _new_parser(
        "tracker-conformance",
        "tracker-conformance URL [OPTION ...]\n       tracker-conformance rejudge FILE [OPTION ...]",
        "Judge a server by the specification of the tracker protocol.",
        _EPILOG,
    )
    add = parser.add_argument
    add("url", nargs="?", metavar="URL", help="the server's wsEndpoint: ws://… or wss://…")
    add("--write-url", metavar="URL", help="where batches are posted to, if the server offers that")
    add("--read-url", metavar="URL", help="where events are read from, likewise")
    add("--ping-url", metavar="URL", help="the server's pingEndpoint, likewise")
    add("--api-key-env", metavar="NAME", help="the environment variable with the key, if the server has one configured")
    add("--ingest-key-env", metavar="NAME", help="likewise, with a key that is only for sending, if there are such")
    add("--query-key-env", metavar="NAME", help="likewise, with a key that is only for asking")
    add("--app-key-env", metavar="NAME", help="likewise, with a key that is for the app of --app-id only")
    add("--app-id", default=APP_ID, metavar="ID", help="the appId of the suite's events (default: %(default)s)")
    add("--origin", default=ORIGIN, help="of a page that the server lets in (default: %(default)s)")
    add("--ca", metavar="FILE", help="certificates, in PEM, to check wss: and https: by (default: the system's)")
    add("--deflate", action="store_true", help="offer permessage-deflate on every connection, as browsers do")
    add("--read-only", action="store_true", help="leave out what saves events")
    add("--select", metavar="PATTERNS", help="only these checks")
    add("--exclude", metavar="PATTERNS", help="all but these checks")
    add("--level", choices=LEVELS, default="may", help="only checks of this level or above (default: all)")
    add("--timeout-scale", default="1", metavar="N", help="wait N times as long; above 1 for a slow server")
    add("--seed", type=int, metavar="N", help="makes the suite's events the same in each run; the server must be empty")
    add("--list", action="store_true", help="list the checks that are selected, and run none")
    add("--version", action="version", version=f"tracker-conformance {suite_version()}")
    _add_outcome_options(parser)
    return parser


def _rejudge_parser() -> argparse.ArgumentParser:
    parser = _new_parser("tracker-conformance rejudge", None, "Judge a saved run again.", _REJUDGE_EPILOG)
    parser.add_argument("file", type=Path, metavar="FILE", help="the run, as JSON")
    _add_outcome_options(parser)
    return parser


def _new_parser(name: str, usage: str | None, description: str, epilog: str) -> argparse.ArgumentParser:
    return argparse.ArgumentParser(
        prog=name,
        usage=usage,
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def _add_outcome_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--baseline", type=Path, metavar="FILE", help="TOML file of what is known to fail")
    parser.add_argument("--report", action="append", default=[], metavar="FILES", help="write reports")


def _parse(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> argparse.Namespace:
    """Parse arguments; one that does not exist may have a secret behind it, and no value is repeated."""
    parsed, rest = parser.parse_known_args(arguments)
    unknown = [argument.partition("=")[0] for argument in rest if argument.startswith("-")]
    if unknown:
        flags = [flag for action in parser._actions for flag in action.option_strings]
        near = get_close_matches(unknown[0], flags, 1)
        parser.error(f"{unknown[0]}: no such option" + (f"; did you mean {near[0]}?" if near else ""))
    if rest:
        parser.error("expected one URL or file only; each option begins with --")
    return parsed


def _selected(parsed: argparse.Namespace) -> list[Check]:
    return selection(parsed.select, parsed.exclude, parsed.level)


def _list(checks: Sequence[Check]) -> int:
    names = max(len(check.name) for check in checks)
    ids = max(len(" ".join(check.ids)) for check in checks)
    try:
        for check in checks:
            print(f"{check.name:<{names}}  {check.level:<6}  {' '.join(check.ids):<{ids}}  {check.title}")
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter complains at its end
    return 0


def _judge(parsed: argparse.Namespace) -> int:
    if parsed.url is None:
        raise OptionError("URL: expected the server's wsEndpoint, such as ws://127.0.0.1:4242/_tracker/ws")
    variables = {name: getattr(parsed, f"{name}_env") for name in KEYS}
    judged = target(
        parsed.url,
        urls={name: getattr(parsed, name) for name in ("write_url", "read_url", "ping_url")},
        keys=keys(variables, os.environ),
        app_id=parsed.app_id,
        origin=parsed.origin,
        ca=parsed.ca,
        deflate=parsed.deflate,
        read_only=parsed.read_only,
        timeout_scale=parsed.timeout_scale,
    )
    checks, known, files = _selected(parsed), _known(parsed), _files(parsed)
    display = Display(known, [check.name for check in checks])
    judging = Judging(
        judged,
        checks,
        command=command(judged, variables),
        seed=parsed.seed,
        on_result=display.result,
    )
    with display:
        run = judging.run()
    status = _report(run, known, files, display, in_full=judging.status not in (UNREACHABLE, INTERRUPTED))
    if run.problem:
        _complain(run.problem)
    return judging.status or status


def _rejudge(parsed: argparse.Namespace) -> int:
    try:
        before = saved.loads(parsed.file.read_text("utf-8"))
    except OSError as error:
        raise OptionError(f"FILE: {parsed.file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise OptionError(f"FILE: {parsed.file} is no saved run: it is not text in UTF-8") from None
    except saved.SavedError as error:
        raise OptionError(f"FILE: {parsed.file} is {error}") from None
    known, files = _known(parsed), _files(parsed)
    run, display = judge_again(before), Display(known)
    for old, new in zip(before.results, run.results, strict=True):
        if new.judgement.verdict is not old.judgement.verdict:
            display.line(f"{new.check} was {old.judgement.verdict}, and is {new.judgement.verdict} now")
    return _report(run, known, files, display)


def _report(
    run: Run, known: Mapping[str, str], files: Mapping[str, Path], display: Display, *, in_full: bool = True
) -> int:
    """Write what a run comes to, and show it; the exit status."""
    problems = write(run, known, files)
    came_to = outcome(run, known)
    if in_full:
        display.end(run, came_to)
    for problem in problems:
        _complain(problem)
    if display.problem:
        _complain(f"cannot print: {display.problem}")
    return came_to.status or (SUITE_FAILED if problems else 0)


def _known(parsed: argparse.Namespace) -> dict[str, str]:
    return {} if parsed.baseline is None else known_failures(parsed.baseline)


def _files(parsed: argparse.Namespace) -> dict[str, Path]:
    """The files of the reports, by kind.

    :raises OptionError: for a kind that there is not, and for a file that cannot be written.
    """
    files: dict[str, Path] = {}
    for part in (part for given in parsed.report for part in _BEFORE_KIND.split(given)):
        kind, _, name = part.partition("=")
        if kind not in KINDS or not name:
            raise OptionError(f"--report: {part}: expected KIND=FILE with one of the kinds {', '.join(KINDS)}")
        file = Path(name).expanduser()
        if kind in files or file in files.values():
            raise OptionError(f"--report: {part}: expected each kind and each file once")
        if not file.parent.is_dir():
            raise OptionError(f"--report: {file}: there is no directory {file.parent}")
        if file.is_dir() or not os.access(file if file.exists() else file.parent, os.W_OK):
            raise OptionError(f"--report: {file}: expected a file that can be written")
        files[kind] = file
    return files


def _complain(text: str) -> None:
    for line in text.splitlines():
        print(f"tracker-conformance: {line}", file=sys.stderr)
