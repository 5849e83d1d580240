"""What a person sees on stderr while a command works: lines, and below them, on a terminal, a bar."""

import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.text import Text

from wsproto_tracker.cli.output import harmless

__all__ = ["Reporter", "tell_of_trouble"]

_NARROW = 80  # columns, below which the bar has to do with less
_BAR_CHARS = {True: 12, False: 30}  # where it is narrow, and where not: never a whole line, or "^C" would begin another
_NAME_CHARS = {True: 16, False: 24}
_LOOKS_PER_S = 5


class Reporter:
    """Tells on stderr what goes on."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False, markup=False, emoji=False)
        self._progress: Progress | None = None
        self._task = TaskID(0)

    @property
    def is_live(self) -> bool:
        """Whether somebody may be looking."""
        return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"

    def tell(self, text: str) -> None:
        """Write a line, above the bar where there is one."""
        line = f"wsproto-tracker: {harmless(text)}"
        if self._progress is None:
            print(line, file=sys.stderr, flush=True)
        else:
            self._console.print(Text(line), soft_wrap=True)

    @contextmanager
    def progress(self, what: str, total: float | None, *, is_wanted: bool = True) -> Iterator[None]:
        """Show a bar, which is gone at the end; nothing where nobody looks.

        :param what: what is worked on.
        :param total: what ``advance`` will come to; ``None`` where that is not known.
        """
        if not self.is_live or not is_wanted:
            yield
            return
        is_narrow = self._console.width < _NARROW
        name, most = harmless(what), _NAME_CHARS[is_narrow]
        name = name if len(name) <= most else f"…{name[1 - most :]}"
        columns = [TextColumn("{task.description}", markup=False), BarColumn(_BAR_CHARS[is_narrow])]
        if total is not None:
            columns.append(TextColumn("{task.percentage:>3.0f}%"))
        columns.append(TextColumn("{task.fields[figures]}", markup=False))
        self._progress = Progress(*columns, console=self._console, transient=True, refresh_per_second=_LOOKS_PER_S)
        self._task = self._progress.add_task(name, total=total, figures="")
        try:
            with self._progress:
                yield
        finally:
            self._progress = None

    def advance(self, completed: float, *figures: str) -> None:
        """Say how far it is.

        :param figures: the most important one first; where there is little room, there is only that one.
        """
        if self._progress is not None:
            shown = figures[:1] if self._console.width < _NARROW else figures
            self._progress.update(self._task, completed=completed, figures="  ".join(shown))


class _Trouble(logging.Handler):
    """Tells of the client's connection; what else it logs, such as rejected events, a command tells better itself."""

    def __init__(self, reporter: Reporter, is_wanted: Callable[[], bool]) -> None:
        super().__init__(logging.WARNING)
        self._reporter = reporter
        self._is_wanted = is_wanted

    def emit(self, record: logging.LogRecord) -> None:
        if record.module == "delivery" and self._is_wanted():
            self._reporter.tell(record.getMessage())


def tell_of_trouble(reporter: Reporter, is_wanted: Callable[[], bool]) -> None:
    """Tell when a client loses its connection.

    :param is_wanted: whether it is to be told now: where there was no connection yet, the error at the end tells it.
    """
    log = logging.getLogger("wsproto_tracker.client")
    log.handlers = [_Trouble(reporter, is_wanted)]
    log.propagate = False
