"""What was sent, and what was acked. An event is told by its mark, a number in its payload."""

import json
import random
import time
from array import array
from collections.abc import Iterator
from typing import Any

import attrs

from bench.events import made_up
from wsproto_tracker.protocol.timestamps import format_instant

__all__ = ["Batch", "Ledger", "Window"]

_TEMPLATES = 2000
_LATE_S = 5.0
_WINDOW_S = 10.0


@attrs.frozen
class Batch:
    """Events that are sent together.

    :ivar events: their text, as it stands between the brackets of a JSON array.
    """

    marks: range
    events: str


@attrs.frozen
class Window:
    """A stretch of time for a query, both ends in it."""

    since: str
    until: str


class Ledger:
    """Makes events, and keeps account of them: each can be made again from its mark."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(f"{seed}-events")
        self._templates: list[dict[str, Any]] = [json.loads(text) for text in made_up(_TEMPLATES)]
        self._instants = array("q")  # of each mark, in microseconds since 1970
        self._has_id = bytearray()
        self._acked = bytearray()
        self.acked_count = 0

    @property
    def sent_count(self) -> int:
        """How many events there are."""
        return len(self._instants)

    def batch(self, *, has_ids: bool) -> Batch:
        """A batch of new events: most of now, some late."""
        count = self._chance.randint(1, 60)
        marks = range(self.sent_count, self.sent_count + count)
        now_ms = time.time_ns() // 1_000_000
        for _ in marks:
            late_s = self._chance.uniform(0, _LATE_S) if self._chance.random() < 0.1 else 0
            self._instants.append((now_ms - int(late_s * 1000)) * 1000)
        self._has_id.extend([has_ids] * count)
        self._acked.extend([False] * count)
        return Batch(marks, ",".join(json.dumps(self.event(mark), ensure_ascii=False) for mark in marks))

    def event(self, mark: int) -> dict[str, Any]:
        """The event as it is sent."""
        template = self._templates[mark % _TEMPLATES]
        return template | {
            "id": f"m{mark}" if self._has_id[mark] else "",
            "timestamp": format_instant(self._instants[mark]),
            "payload": template["payload"] | {"mark": mark},
        }

    def ack(self, batch: Batch) -> None:
        """Note that a batch was acked."""
        self.acked_count += len(batch.marks)
        for mark in batch.marks:
            self._acked[mark] = True

    def is_acked(self, mark: int) -> bool:
        """Whether the event was acked."""
        return bool(self._acked[mark])

    def is_as_sent(self, mark: int, found: dict[str, Any]) -> bool:
        """Whether what the store holds for a mark is JSON-equal to what was sent, with an id filled in."""
        sent = self.event(mark)
        return bool(found["id"]) and found == sent | {"id": sent["id"] or found["id"]}

    def recent(self, seconds: float) -> tuple[Window, set[int]]:
        """The last seconds, and the marks that a query for them has to bring: those that are acked by now."""
        until = time.time_ns() // 1000
        since = until - int(seconds * 1e6)
        marks: set[int] = set()
        mark = self.sent_count - 1
        while mark >= 0 and self._instants[mark] > since - int(_LATE_S * 1e6):  # what was made before is older still
            if self._acked[mark] and since <= self._instants[mark] <= until:
                marks.add(mark)
            mark -= 1
        return Window(format_instant(since), format_instant(until)), marks

    def windows(self) -> Iterator[Window]:
        """Windows that show every event, each of them in one."""
        first, last = min(self._instants), max(self._instants)
        step = int(_WINDOW_S * 1e6)
        for since in range(first, last + 1, step):
            yield Window(format_instant(since), format_instant(since + step - 1))
