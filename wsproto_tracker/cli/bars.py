"""The counts of ``stats``, drawn: bars on a terminal, names and numbers elsewhere."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from wsproto_tracker.cli.moments import moment_of
from wsproto_tracker.cli.output import Lines, harmless
from wsproto_tracker.cli.rows import LEVEL_STYLES, cells_of, cropped

if TYPE_CHECKING:
    from wsproto_tracker.cli.stats import Stats

__all__ = ["draw", "over_time"]

_TOP = 10
_MAX_BARS = 48  # over time
_BAR_CELLS = 40
_MIN_BAR_CELLS = 8
_NUMBER_CELLS = 12
_MARGIN_CELLS = 2  # between name, number and bar
_EIGHTHS = " ▏▎▍▌▋▊▉"
_STYLES = {"types": "magenta", "levels": "green", "apps": "cyan", "routes": "blue", "errors": "red", "time": "cyan"}
_STEPS = (
    ("hour", "%Y-%m-%d %H:00", timedelta(hours=1)),
    ("day", "%Y-%m-%d", timedelta(days=1)),
    ("month", "%Y-%m", timedelta(days=30)),
    ("year", "%Y", timedelta(days=365)),
)


def draw(stats: "Stats", out: Console | Lines) -> None:
    """Print the counts."""
    if stats.first is None or stats.last is None:
        _say(out, "no event matches")
        return
    first, last = moment_of(stats.first), moment_of(stats.last)
    _say(out, f"{stats.total:,} events, {first:%Y-%m-%d %H:%M:%S} to {last:%Y-%m-%d %H:%M:%S %Z}")
    if not stats.is_exact:
        _say(out, "there were very many different values; counts may be a little too low")
    step, times = over_time([(moment_of(hour), count) for hour, count in stats.hours.top()])
    sections = (
        ("types", "by type", stats.types.top(_TOP)),
        ("levels", "by level", stats.levels.top(_TOP)),
        ("apps", "by app", stats.apps.top(_TOP)),
        ("time", f"by {step}", times),
        ("routes", "top routes", stats.routes.top(_TOP)),
        ("errors", "top errors", stats.errors.top(_TOP)),
    )
    for name, title, counts in sections:
        if counts:
            _section(out, title, counts, _STYLES[name], LEVEL_STYLES if name == "levels" else {})


def over_time(hours: Sequence[tuple[datetime, int]]) -> tuple[str, list[tuple[str, int]]]:
    """Counts by hour, or by day, month or year where there would be too many bars; and which of these it is.

    Hours and days without events are there, so that gaps are seen.
    """
    first, last = min(hours)[0], max(hours)[0]
    step, format_, width = next(
        (name, format_, width) for name, format_, width in _STEPS if last - first < _MAX_BARS * width or name == "year"
    )
    counts = Counter[str]()
    if step in ("hour", "day"):
        for number in range((last - first) // width + 1):
            counts[(first + number * width).strftime(format_)] = 0
    for moment, count in hours:
        counts[moment.strftime(format_)] += count
    return step, sorted(counts.items())[-_MAX_BARS:]


def _section(
    out: Console | Lines, title: str, counts: Sequence[tuple[str, int]], style: str, styles: dict[str, str]
) -> None:
    """Print one list of counts, below its title."""
    _say(out, "")
    _say(out, title, "bold")
    most = max(count for _, count in counts) or 1
    if isinstance(out, Lines):
        for name, count in counts:
            out.write(f"{count:>{_NUMBER_CELLS},}  {harmless(name)}")
        return
    number_cells = len(f"{most:,}")
    room = out.width - number_cells - _MARGIN_CELLS
    name_cells = min(max(cells_of(harmless(name)) for name, _ in counts), room - _MIN_BAR_CELLS)
    bar_cells = min(_BAR_CELLS, room - name_cells)
    for name, count in counts:
        line = Text(shown := cropped(name, name_cells)).append(" " * (name_cells - cells_of(shown)))
        line.append(f" {count:>{number_cells},} ")
        line.append(_bar(count / most * bar_cells), styles.get(name, style).split()[-1].replace("dim", "white"))
        out.print(line, soft_wrap=True)


def _bar(cells: float) -> str:
    """A bar of so many cells, to an eighth of one."""
    whole, eighths = divmod(round(cells * len(_EIGHTHS)), len(_EIGHTHS))
    return "█" * whole + _EIGHTHS[eighths].rstrip()


def _say(out: Console | Lines, text: str, style: str | None = None) -> None:
    if isinstance(out, Lines):
        out.write(text)
    else:
        out.print(Text(text, style=style or ""))
