"""The log of the command: lines on stderr, for people or as JSON, from this package and from the libraries alike.

The package itself only has loggers, below ``wsproto_tracker``, with what is to be told as ``extra``; a program that
embeds it configures them as it likes. Clients can make the server log, so no kind of line may come too often, and no
text of theirs can look like a line.
"""

import logging
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import TextIO

import structlog
from structlog.stdlib import ProcessorFormatter
from structlog.typing import EventDict, Processor, WrappedLogger

__all__ = ["BoundedHandler", "configure", "formatter"]

_MAX_LINES_PER_S = 10  # of one kind
_INDENT = "    "

_ExceptionInfo = tuple[type[BaseException], BaseException, TracebackType | None]


def configure(log_format: str) -> None:
    """Write what is logged, from ``info`` up, to stderr.

    :param log_format: ``console`` or ``json``.
    """
    handler = BoundedHandler(sys.stderr)
    handler.setFormatter(formatter(log_format, colors=sys.stderr.isatty()))
    logging.basicConfig(level=logging.INFO, handlers=[handler])


def formatter(log_format: str, *, colors: bool) -> logging.Formatter:
    """How lines look.

    :param log_format: ``console`` or ``json``.
    :param colors: whether those for people are coloured.
    """
    collect: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if log_format == "json":
        render: list[Processor] = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    else:
        console = structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=_write_exception, sort_keys=False)
        render = [_on_one_line, console]
    return ProcessorFormatter(
        foreign_pre_chain=collect, processors=[ProcessorFormatter.remove_processors_meta, *render]
    )


def _on_one_line(_logger: WrappedLogger, _method: str, line: EventDict) -> EventDict:
    """Escape what would begin another line, or change how this one looks."""
    return {name: _printable(value) if isinstance(value, str) else value for name, value in line.items()}


def _printable(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)


def _write_exception(sio: TextIO, exc_info: _ExceptionInfo) -> None:
    """A traceback below its line, indented, so that nothing in it looks like a line of the log."""
    for line in "".join(traceback.format_exception(*exc_info)).splitlines():
        sio.write(f"\n{_INDENT}{_printable(line)}")


class BoundedHandler(logging.StreamHandler[TextIO]):
    """Writes at most some lines a second of each kind; with the next line, of any kind, it says what it left out.

    :param clock: gives seconds.
    """

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(stream)
        self._clock = clock
        self._until = clock()
        self._counts: Counter[tuple[str, int, str]] = Counter()  # by logger, level, and the message's template

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line, or leave it out."""
        if self._clock() >= self._until:
            self._begin_second()
        kind = record.name, record.levelno, str(record.msg)
        self._counts[kind] += 1
        if self._counts[kind] <= _MAX_LINES_PER_S:
            super().emit(record)

    def close(self) -> None:
        """Say what was left out, and end; ``logging`` calls it when the process ends."""
        self.acquire()
        try:
            self._begin_second()
        finally:
            self.release()
        super().close()

    def _begin_second(self) -> None:
        for (name, level, template), count in self._counts.items():
            if count > _MAX_LINES_PER_S:
                told = {"name": name, "levelno": level, "levelname": logging.getLevelName(level)}
                left_out = {"msg": "left out %d more lines: %s", "args": (count - _MAX_LINES_PER_S, template)}
                super().emit(logging.makeLogRecord(told | left_out))
        self._counts.clear()
        self._until = self._clock() + 1.0
