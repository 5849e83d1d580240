"""A run on a terminal: what goes on while it runs, and at the end what failed, how, and how to try that alone.

Where the output is no terminal, or in CI, these are plain lines.
"""

import os
import sys
from collections.abc import Collection, Mapping
from typing import IO, Self, TextIO, cast

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from tracker_conformance.model import Result, Run, Verdict
from tracker_conformance.outcome import Outcome, is_known
from tracker_conformance.reports.wording import by_section, counted, harmless, labelled, shortened

__all__ = ["Display"]

_STYLES = {
    Verdict.PASS: "green",
    Verdict.FAIL: "bold red",
    Verdict.WARN: "yellow",
    Verdict.SKIP: "dim",
    Verdict.UNTESTABLE: "magenta",
    Verdict.ERROR: "bold red reverse",
}
_EXPLAINED = (Verdict.FAIL, Verdict.WARN, Verdict.ERROR)
_TELLING = (*_EXPLAINED, Verdict.UNTESTABLE)
_MOST_CHARACTERS = 160
_VERDICT_WIDTH = max(map(len, Verdict))
_LABEL_WIDTH = 12


class _Steady:
    """A stream that nobody may be reading any more: that is noted, and no reason to stop.

    :ivar problem: why something could not be printed; empty if all could.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.encoding = stream.encoding
        self.problem = ""

    def write(self, text: str) -> int:
        if not self.problem:
            try:
                self._stream.write(text)
            except OSError as error:  # a broken pipe, a full disk
                self._gone(error)
        return len(text)

    def flush(self) -> None:
        if not self.problem:
            try:
                self._stream.flush()
            except OSError as error:
                self._gone(error)

    def isatty(self) -> bool:
        return self._stream.isatty()

    def _gone(self, error: OSError) -> None:
        self.problem = error.strerror or str(error)
        os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())  # or the interpreter complains at its end


class Display:
    """What a person sees of a run.

    :param known: see ``outcome``.
    :param names: of the checks whose results will come; none where no progress is to be shown.
    """

    def __init__(self, known: Mapping[str, str], names: Collection[str] = ()) -> None:
        self._stream = _Steady(sys.stdout)
        is_live = sys.stdout.isatty() and not os.environ.get("CI") and os.environ.get("TERM") != "dumb"
        self._console = Console(
            file=cast("IO[str]", self._stream),
            force_terminal=is_live,
            color_system="auto" if is_live else None,
            highlight=False,
            markup=False,
            emoji=False,
            soft_wrap=True,
        )
        self._known = known
        self._width = max(map(len, names), default=0)
        self._progress: Progress | None = None
        if is_live and names:
            self._progress = Progress(
                TextColumn("{task.description}"),
                BarColumn(complete_style="green", finished_style="green"),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                console=self._console,
                transient=True,
            )
            self._task = self._progress.add_task("checks", total=len(names))

    @property
    def problem(self) -> str:
        """Why something could not be printed; empty if all could."""
        return self._stream.problem

    def __enter__(self) -> Self:
        if self._progress is not None:
            self._progress.start()
        return self

    def __exit__(self, *_error: object) -> None:
        if self._progress is not None:
            self._progress.stop()

    def result(self, result: Result) -> None:
        """Show that a result has come."""
        verdict = result.judgement.verdict
        if self._progress is not None:
            self._progress.advance(self._task)
        if verdict in _TELLING or (self._progress is None and verdict is not Verdict.SKIP):
            self._console.print(self._line(result))

    def line(self, text: str) -> None:
        """Print a line."""
        self._console.print(harmless(text))

    def end(self, run: Run, outcome: Outcome) -> None:
        """Show what failed, what was skipped and why, and what it comes to."""
        for results in by_section(run).values():
            for result in results:
                if result.judgement.verdict in _EXPLAINED:
                    self._explain(run, result)
        self._console.print()
        for reason, names in _skipped(run).items():
            self._console.print(self._skip(reason, names))
        self._console.print(counted(run))
        for problem in outcome.problems:
            self.line(problem)
        self._console.print(
            Text(harmless(outcome.headline), style="bold green" if outcome.is_conformant else "bold red")
        )
        self._console.file.flush()

    def _line(self, result: Result) -> Text:
        verdict = result.judgement.verdict
        line = Text()
        line.append(f"{verdict:<{_VERDICT_WIDTH}}", _STYLES[verdict])
        line.append(f"  {harmless(result.check):<{self._width}} {result.seconds:6.2f} s")
        if is_known(result, self._known):
            line.append(f"  known: {harmless(self._known[result.check])}", "cyan")
        elif result.judgement.reason:
            line.append(f"  {shortened(harmless(result.judgement.reason), _MOST_CHARACTERS)}", "dim")
        line.rstrip()
        return line

    def _skip(self, reason: str, names: list[str]) -> Text:
        """One line for all that was skipped for a reason."""
        line = Text(f"{Verdict.SKIP:<{_VERDICT_WIDTH}}", _STYLES[Verdict.SKIP])
        count = f"{len(names)} checks: " if len(names) > 1 else ""
        line.append(f"  {shortened(harmless(reason), _MOST_CHARACTERS)}")
        line.append(f"  {count}{shortened(harmless(', '.join(names)), _MOST_CHARACTERS)}", "dim")
        return line

    def _explain(self, run: Run, result: Result) -> None:
        verdict = result.judgement.verdict
        headline = Text(f"\n{verdict}  ", _STYLES[verdict])
        headline.append(harmless(result.check), "bold")
        headline.append(f"  {harmless(result.title).replace('``', '`')}", "not bold")
        if is_known(result, self._known):
            headline.append(f"  (known: {harmless(self._known[result.check])})", "cyan")
        self._console.print(headline)
        for label, text in labelled(run, result):
            line = Text(f"{label:>{_LABEL_WIDTH}}  ", "dim")
            line.append(text, "not dim bold" if label in ("expected", "received", "alone") else "not dim")
            self._console.print(line)


def _skipped(run: Run) -> dict[str, list[str]]:
    """The names of the checks that were skipped, by the reason."""
    found: dict[str, list[str]] = {}
    for result in run.results:
        if result.judgement.verdict is Verdict.SKIP:
            found.setdefault(result.judgement.reason, []).append(result.check)
    return found
