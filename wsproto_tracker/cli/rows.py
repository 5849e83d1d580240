"""An event as one row of a table, for a terminal of any width: it is cropped, and never runs into a second line."""

import re
import unicodedata
from collections.abc import Callable
from datetime import datetime, tzinfo
from itertools import accumulate
from typing import Any

import attrs
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from wsproto_tracker.cli.moments import moment_of
from wsproto_tracker.cli.output import Lines, harmless, json_line
from wsproto_tracker.protocol.timestamps import parse_timestamp

__all__ = ["LEVEL_STYLES", "Rows", "cells_of", "cropped", "route_of", "summary", "text_of"]

LEVEL_STYLES = {"debug": "dim", "info": "green", "warn": "yellow", "error": "bold red"}

_ELLIPSIS = "…"
_GAP = " "
_MIN_CELLS = 20  # of the last column, however narrow the terminal
_FLAG_PARTS = "\U0001f1e6", "\U0001f1ff"  # two of them are a flag
_SPACE = re.compile(r"\s+")


@attrs.frozen
class _Column:
    """A column.

    :ivar wide_cells: in a terminal of 140 cells or more, and where nothing is cropped.
    :ivar cells: from 90 on.
    :ivar narrow_cells: below; 0 where it is left out.
    """

    title: str
    style: str
    wide_cells: int
    cells: int
    narrow_cells: int


_COLUMNS = (
    _Column("time", "cyan", 23, 14, 8),
    _Column("level", "", 5, 5, 5),
    _Column("type", "magenta", 10, 10, 10),
    _Column("app", "", 12, 8, 0),
    _Column("user", "dim", 18, 10, 0),
    _Column("route", "blue", 20, 12, 0),
)
_WIDE = 140
_MIDDLE = 90
_FORMATS = {23: "%Y-%m-%d %H:%M:%S.", 14: "%m-%d %H:%M:%S", 8: "%H:%M:%S"}


class Rows:
    """Prints events as rows, below a line of titles.

    :param out: a terminal, at whose edge rows end; or a file or pipe, which has none.
    :param zone: of the times; without it, this machine's.
    """

    def __init__(self, out: Console | Lines, zone: tzinfo | None = None) -> None:
        self._out = out
        self._zone = zone
        self._has_titles = False
        self._day = ""

    def print(self, event: dict[str, Any]) -> None:
        """Print an event; before the first, the titles; where a time has no date, a line for each new day."""
        moment = moment_of(parse_timestamp(event["timestamp"]), self._zone)  # the client has seen that it is one
        has_date = self._cells()[0] > _COLUMNS[0].narrow_cells
        if not self._has_titles:
            self._has_titles = True
            titles = [column.title.upper() for column in _COLUMNS]
            titles[0] += f" ({moment:%Z})" if has_date else ""
            self._line(titles, "EVENT", ["dim"] * (len(_COLUMNS) + 1))
        if not has_date and self._day != (day := f"{moment:%Y-%m-%d (%Z)}"):
            self._day = day
            self._print(Text(f"── {day}", style="dim"))
        cells = [
            self._time(moment),
            *(text_of(event.get(name)) for name in ("level", "type", "appId", "userId")),
            route_of(event),
        ]
        level_style = LEVEL_STYLES.get(cells[1], "")
        styles = [level_style if column.title == "level" else column.style for column in _COLUMNS]
        self._line(cells, summary(event), [*styles, level_style if cells[1] in ("warn", "error") else ""])

    def _cells(self) -> list[int]:
        width = self._out.width if isinstance(self._out, Console) else _WIDE
        if width >= _WIDE:
            return [column.wide_cells for column in _COLUMNS]
        return [column.cells if width >= _MIDDLE else column.narrow_cells for column in _COLUMNS]

    def _line(self, texts: list[str], last: str, styles: list[str]) -> None:
        line, used = Text(), 0
        width = self._out.width if isinstance(self._out, Console) else None
        for text, cells, style in zip(texts, self._cells(), styles, strict=False):
            if cells:
                shown = harmless(text) if width is None else cropped(text, cells)
                line.append(shown, style or None).append(" " * (cells - cells_of(shown)) + _GAP)
                used += cells + len(_GAP)
        shown = harmless(last) if width is None else cropped(last, max(width - used, _MIN_CELLS))
        self._print(line.append(shown, styles[-1] or None))

    def _print(self, line: Text) -> None:
        line.rstrip()
        if isinstance(self._out, Console):
            self._out.print(line, soft_wrap=True)
        else:
            self._out.write(line.plain)

    def _time(self, moment: datetime) -> str:
        cells = self._cells()[0]
        millisecond = f"{moment.microsecond // 1000:03}" if cells == _COLUMNS[0].wide_cells else ""
        return moment.strftime(_FORMATS[cells]) + millisecond


def cropped(text: str, cells: int) -> str:
    """The text, harmless, in no more than so many cells of a terminal."""
    shown = harmless(text[: 4 * cells])  # some take no cell at all, and strangers could send a million of them
    if cells_of(shown) <= cells and len(text) <= 4 * cells:
        return shown
    ends = accumulate(map(cells_of, shown))
    return "".join(each for each, end in zip(shown, ends, strict=True) if end < cells).rstrip() + _ELLIPSIS


def cells_of(text: str) -> int:
    """The cells of a terminal that harmless text takes at the most: some show each part of an emoji by itself."""
    if text.isascii():
        return len(text)
    return sum(2 if _is_wide(character) else cell_len(character) for character in text)


def _is_wide(character: str) -> bool:
    return unicodedata.east_asian_width(character) in "WF" or _FLAG_PARTS[0] <= character <= _FLAG_PARTS[1]


def text_of(value: Any) -> str:
    """A member as text: strings as they are, anything else as JSON, nothing where it is missing."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json_line(value)


def route_of(event: dict[str, Any]) -> str:
    """The route on which an event was captured."""
    meta = event.get("meta")
    return text_of(meta.get("route")) if isinstance(meta, dict) else ""


def summary(event: dict[str, Any]) -> str:
    """The payload in one line, by type; of a type that is not known, as JSON."""
    payload = event.get("payload")
    if not isinstance(payload, dict):
        return text_of(payload)
    made = _SUMMARIES.get(text_of(event.get("type")))
    return _SPACE.sub(" ", (made(payload) if made is not None else "") or json_line(payload)).strip()


def _joined(*parts: str) -> str:
    return " ".join(part for part in parts if part)


def _click(payload: dict[str, Any]) -> str:
    text, id_ = text_of(payload.get("text")), text_of(payload.get("id"))
    return _joined(text_of(payload.get("tag")), f'"{text}"' if text else f"#{id_}" if id_ else "")


def _http(payload: dict[str, Any]) -> str:
    duration = text_of(payload.get("duration"))
    return _joined(
        text_of(payload.get("method")),
        text_of(payload.get("url")),
        text_of(payload.get("status")),
        text_of(payload.get("error")),
        f"{duration} ms" if duration else "",
    )


def _custom(payload: dict[str, Any]) -> str:
    data, duration = payload.get("data"), text_of(payload.get("duration"))
    shown = "" if data in (None, {}) else json_line(data)
    return _joined(text_of(payload.get("name")), shown, f"{duration} ms" if duration else "")


def _members(*names: str, between: str = " ") -> Callable[[dict[str, Any]], str]:
    return lambda payload: between.join(filter(None, (text_of(payload.get(name)) for name in names)))


_SUMMARIES: dict[str, Callable[[dict[str, Any]], str]] = {
    "click": _click,
    "http": _http,
    "error": _members("message"),
    "navigation": _members("from", "to", between=" → "),
    "console": _members("message"),
    "custom": _custom,
    "session": _members("action", "trigger"),
}
