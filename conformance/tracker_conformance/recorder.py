"""Recording: what happens in a check becomes entries, and who waits for something hears of each."""

from collections.abc import Callable
from typing import Any

import attrs
import trio

from tracker_conformance.model import Entry, Kind
from tracker_conformance.target import Target

__all__ = ["Recorder"]

_MOST_SENT = 64 * 1024
_AFTER_THE_FIRST = 0.1  # of a wait: who was waited for in vain is not waited for as long again in the same check


@attrs.define(eq=False)
class Recorder:
    """The entries of one check, as they come."""

    target: Target
    entries: list[Entry] = attrs.field(factory=list, init=False)
    _begun: float = attrs.field(factory=trio.current_time, init=False)
    _news: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot, init=False)

    def add(self, kind: Kind, connection: int, text: str = "", **data: Any) -> None:
        """Record something; no key gets in."""
        if kind in ("send", "request") and len(text) > _MOST_SENT:
            data["bytes"] = len(text.encode("utf-8", "surrogatepass"))
            text = f"{text[:1000]}…"
        cleaned = {name: self._redacted(value) for name, value in data.items()}
        at_s = round(trio.current_time() - self._begun, 6)
        self.entries.append(Entry(at_s, kind, connection, self.target.redacted(text), cleaned))
        self._news.unpark_all()

    def _redacted(self, value: Any) -> Any:
        """A value of JSON, with no key in its texts."""
        match value:
            case str():
                return self.target.redacted(value)
            case dict():
                return {name: self._redacted(inner) for name, inner in value.items()}
            case list() | tuple():
                return [self._redacted(inner) for inner in value]
            case _:
                return value

    async def until(self, condition: Callable[[], bool], what: str, connection: int, seconds: float) -> None:
        """Wait for a condition on what is recorded; a wait in vain is recorded."""
        if any(entry.kind == "waited" for entry in self.entries):
            seconds *= _AFTER_THE_FIRST
        with trio.move_on_after(seconds):
            while not condition():
                await self._news.park()
            return
        self.add("waited", connection, f"{what}; none came within {seconds:g} s")

    def shorten(self, most: int) -> None:
        """Abbreviate what was received and is longer than so many characters, once a probe has noted what matters."""
        for number, entry in enumerate(self.entries):
            if len(entry.text) > most:
                data = entry.data | {"characters": len(entry.text)}
                self.entries[number] = attrs.evolve(entry, text=f"{entry.text[:1000]}…", data=data)
