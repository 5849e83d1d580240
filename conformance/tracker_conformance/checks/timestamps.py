"""Section 4, timestamps: which are read, as which instants, and how they are compared."""

from datetime import datetime, timedelta
from typing import Any

from tracker_conformance.checks.events import all_are_kept, none_is_acked, one_frame
from tracker_conformance.model import demand
from tracker_conformance.probe import Probe
from tracker_conformance.registry import check
from tracker_conformance.transcript import Transcript


def _written(p: Probe, seconds: float, *, offset_minutes: int = 0, end: str = "Z", separator: str = "T") -> str:
    """An instant of the window as a clock in another zone shows it."""
    moment = datetime.fromisoformat(p.at(seconds)).replace(tzinfo=None) + timedelta(minutes=offset_minutes)
    return moment.isoformat(timespec="seconds").replace("T", separator) + end


def _forms(p: Probe) -> list[Any]:
    forms = {
        "seconds": _written(p, 10),
        "one-digit": _written(p, 20, end=".5Z"),
        "many-digits": _written(p, 30, end=".123456789012345Z"),
        "plus": _written(p, 40, offset_minutes=330, end="+05:30"),
        "minus": _written(p, 50, offset_minutes=-210, end="-03:30"),
        "far": _written(p, 60, offset_minutes=23 * 60 + 59, end=".25+23:59"),
        "zero": _written(p, 70, end="-00:00"),
        "small-z": _written(p, 80, end="z"),
        "small-t": _written(p, 90, separator="t"),
    }
    return [p.event(name, timestamp=text) for name, text in forms.items()]


check("TIME-1", judge=all_are_kept)(
    one_frame("accepts_forms", "Accepts date-times with any offset and fraction, t and z in either case.", _forms)
)


def _no_timestamps(p: Probe) -> list[Any]:
    day = p.at(5)[:10]
    wrong = (
        *("", "now", day, f"{day}T10:00Z", f"{day} 10:00:00Z", f"{day}T10:00:00", f"{day}T10:00:00+0100", "1764000000"),
        *(f"{day}T25:00:00Z", f"{day}T10:60:00Z", f"{day}T10:00:61Z", f"{day}T10:00:00.Z", f"{day}T10:00:00,5Z"),
        *(f"{day}T10:00:00Z ", f"{day}T10:00:00Z\n", f"{day}T10:00:00.123 Z", f"{day}T10:00:00\uff10Z"),
        *(f"{day[:5]}13-01T10:00:00Z", f"{day[:4]}-02-30T10:00:00Z", f"{day}T10:00:00+24:00", f"-{day}T10:00:00Z"),
        *("0000-01-01T00:00:00Z", "0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00", f"+00{day}T10:00:00Z"),
    )
    return [p.event(f"wrong-{number}", timestamp=text) for number, text in enumerate(wrong)]


check("TIME-2", judge=none_is_acked)(
    one_frame("rejects_what_is_none", "Rejects an event whose ``timestamp`` is no RFC 3339 date-time.", _no_timestamps)
)


def _years(t: Transcript) -> None:
    demand(t.saved() == [4], "an ack with saved 4", t.told())
    for number in range(4):
        demand(t.labels(f"r{number}") == [f"year-{number}"], f"the event in the window around it ({number})", t.told())


@check("TIME-1", judge=_years)
async def accepts_all_years(p: Probe) -> None:
    """Accepts events of the years 0001 to 9999, and finds them there."""
    stamps = ("0001-01-01T00:00:00Z", "1969-12-31T23:59:59.999Z", "2100-02-28T12:00:00Z", "9999-12-31T23:59:59.999Z")
    async with p.connect() as ws:
        await ws.ingest(*(p.event(f"year-{number}", timestamp=text) for number, text in enumerate(stamps)))
        for number, text in enumerate(stamps):
            await ws.query(f"r{number}", since=text, until=text)


def _as_instants(t: Transcript) -> None:
    expected = ["d", "c", "b", "a"]
    demand(
        t.labels("r") == expected, f"the events in the order of their instants, newest first: {expected}", t.labels("r")
    )
    demand(t.labels("cut") == ["c", "b"], "the two events of the window, that is given with an offset", t.labels("cut"))


@check("TIME-3", judge=_as_instants)
async def compares_instants(p: Probe) -> None:
    """Compares timestamps as instants, not as text: with offsets and with other numbers of digits."""
    async with p.connect() as ws:
        await ws.ingest(
            p.event("d", timestamp=_written(p, 24, offset_minutes=-600, end="-10:00")),
            p.event("a", timestamp=_written(p, 21, offset_minutes=600, end="+10:00")),
            p.event("c", timestamp=_written(p, 23, end=".5Z")),
            p.event("b", timestamp=_written(p, 23, end=".49Z")),
        )
        await ws.query("r", **p.window)
        since, until = (
            _written(p, 22, offset_minutes=90, end="+01:30"),
            _written(p, 23, offset_minutes=-90, end=".9-01:30"),
        )
        await ws.query("cut", since=since, until=until)


def _to_microseconds(t: Transcript) -> None:
    demand(t.labels("r") == ["c", "b", "a"], "the events in the order of their microseconds", t.labels("r"))
    demand(t.labels("cut") == ["b"], "one event in a window of one microsecond", t.labels("cut"))


@check("TIME-4", judge=_to_microseconds)
async def compares_microseconds(p: Probe) -> None:
    """Compares timestamps to the microsecond."""
    async with p.connect() as ws:
        digits = (("b", ".0000029Z"), ("c", ".000003Z"), ("a", ".000001Z"))
        await ws.ingest(*(p.event(label, timestamp=_written(p, 30, end=end)) for label, end in digits))
        await ws.query("r", **p.window)
        at = _written(p, 30, end=".000002Z")
        await ws.query("cut", since=at, until=at)


def _leap_second(t: Transcript) -> None:
    demand(t.labels("r") == ["leap"], "the event in the window of the second after second 59", t.told())


@check("TIME-5", judge=_leap_second)
async def reads_leap_seconds(p: Probe) -> None:
    """Reads second 60 as the second after second 59."""
    minute = p.begin.replace(second=0)  # its end is in the check's window
    next_one = minute + timedelta(minutes=1)
    async with p.connect() as ws:
        await ws.ingest(p.event("leap", timestamp=f"{minute:%Y-%m-%dT%H:%M}:60.25Z"))
        at = f"{next_one:%Y-%m-%dT%H:%M}:00.25Z"
        await ws.query("r", since=at, until=at)
