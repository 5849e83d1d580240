"""What commands print: text that is harmless whatever strangers wrote into it, JSON lines, CSV, and notices.

What is piped is written as bytes and never waits in a buffer of the interpreter, which would hold up the end after a
Ctrl-C where nobody reads.
"""

import csv
import errno
import io
import json
import math
import os
import re
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console

from wsproto_tracker.errors import TrackerError

__all__ = ["FileError", "Lines", "csv_line", "harmless", "is_terminal", "json_line", "notice", "terminal"]

_PIECE_BYTES = 64 * 1024  # what is gathered before it is written
_HUGE = 10**309  # more than a double can hold
_UNSEEN = re.compile(
    "[\x7f-\xa0\xad\u061c\u180e\u200b-\u200f\u2028-\u202f\u2060-\u206f\ud800-\udfff\ufeff\ufff9-\ufffb]"
)
_FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠")  # noqa: RUF001 - spreadsheets take the wide ones as well


class FileError(TrackerError):
    """A file cannot be read or written; the message says why, and what would be right."""


def harmless(text: str) -> str:
    r"""The text with everything that is not seen escaped, as in ``\x1b``: it moves no cursor and turns no direction."""
    return text if text.isprintable() else "".join(map(_shown, text))


def _shown(character: str) -> str:
    if character.isprintable():
        return character
    return " " if character == "\xa0" else character.encode("unicode_escape").decode("ascii")


def json_line(value: Any) -> str:
    """The value as JSON on one line, without spaces; what is not seen is escaped, so a terminal takes no harm."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except ValueError:
        text = json.dumps(_within_range(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text if text.isascii() and "\x7f" not in text else _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _within_range(value: Any) -> Any:
    """The value with numbers beyond all doubles, such as 1e400, as whole numbers that are beyond them, too."""
    if isinstance(value, dict):
        return {name: _within_range(member) for name, member in value.items()}
    if isinstance(value, list):
        return [_within_range(member) for member in value]
    if isinstance(value, float) and math.isinf(value):
        return _HUGE if value > 0 else -_HUGE
    if isinstance(value, int) and abs(value) > _HUGE:
        return _HUGE if value > 0 else -_HUGE
    return value


def csv_line(cells: Iterable[str]) -> str:
    """One line of CSV, without its end; a spreadsheet takes no cell of it as a formula."""
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(_plain(harmless(cell)) for cell in cells)
    return line.getvalue()


def _plain(cell: str) -> str:
    return f"'{cell}" if cell.startswith(_FORMULA) else cell


class Lines:
    """Lines for stdout, as bytes.

    :param is_live: whether each line is written at once.
    """

    def __init__(self, *, is_live: bool = False) -> None:
        self._is_live = is_live
        self._waiting = bytearray()

    def write(self, line: str | bytes) -> None:
        """Write a line, given without its end.

        :raises OSError: where that fails; ``BrokenPipeError`` where nobody reads any more.
        """
        self._waiting += line if isinstance(line, bytes) else line.encode("utf-8", "backslashreplace")
        self._waiting += b"\n"
        if self._is_live or len(self._waiting) >= _PIECE_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what waits.

        :raises OSError: where that fails.
        """
        while self._waiting:
            del self._waiting[: os.write(sys.stdout.fileno(), self._waiting)]


def is_terminal() -> bool:
    """Whether a person reads stdout."""
    return sys.stdout.isatty()


def terminal() -> Console:
    """Stdout by ``rich``: nothing in what is printed is taken for markup, or coloured by what it looks like."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    return _Terminal(markup=False, emoji=False, highlight=False)


class _Terminal(Console):
    def on_broken_pipe(self) -> None:
        """Tell the command, which knows better than to end as ``rich`` would."""
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


def notice(text: str | Sequence[str]) -> None:
    """Tell a person something beside the answer, on stderr."""
    for line in [text] if isinstance(text, str) else text:
        print(f"wsproto-tracker: {harmless(line)}", file=sys.stderr, flush=True)
