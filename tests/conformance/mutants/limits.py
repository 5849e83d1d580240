"""Mutants of section 11: what is too much."""

from collections.abc import Iterable
from typing import Any

from tests.conformance.mutants.registry import mutant
from tests.conformance.reference import Reference
from tests.conformance.reference.frames import Peer, array_of_events
from tests.conformance.reference.json_text import items


@mutant("LIMIT-5", fails=("limits.rejects-events-beyond",))
class RefusesLongFrames(Reference):
    """Answers a frame with too many events with an error, and saves none."""

    def on_ingest(self, peer: Peer, frame: dict[str, Any], text: str) -> None:
        if isinstance(frame.get("events"), list) and len(frame["events"]) > self.max_events_per_frame:
            self.error(peer, frame, "too_large", "too many events")
        else:
            super().on_ingest(peer, frame, text)


@mutant("LIMIT-5", fails=("limits.rejects-events-beyond",))
class CutsSilently(Reference):
    """Counts in ``saved`` the events of a frame that are beyond its bound, and drops them."""

    def event_texts(self, text: str) -> Iterable[str]:
        texts = list(items(text))
        self.dropped = max(0, len(texts) - self.max_events_per_frame)
        return texts[: self.max_events_per_frame]

    def ack(self, saved: int, rejected: list[dict[str, Any]], duplicates: int) -> dict[str, Any]:
        return super().ack(saved + self.dropped, rejected, duplicates)


@mutant("LIMIT-5", fails=("limits.rejects-events-beyond",))
class KeepsTheLast(Reference):
    """Saves, of too many events, the last."""

    def event_texts(self, text: str) -> Iterable[str]:
        texts = list(items(text))
        beyond = max(0, len(texts) - self.max_events_per_frame)
        return texts[beyond:] + texts[:beyond]


@mutant("LIMIT-5", fails=("limits.rejects-large-events",))
class RefusesFramesWithLargeEvents(Reference):
    """Rejects every event of a frame with one that is too large."""

    def event_texts(self, text: str) -> Iterable[str]:
        texts = list(items(text))
        is_large = any(len(item) > self.max_event_chars for item in texts)
        return ["null" for _ in texts] if is_large else texts


@mutant("LIMIT-6")
class TellsNoTime(Reference):
    """Says ``rate_limited`` without when to come back."""

    def on_too_much(self, peer: Peer, frame: dict[str, Any]) -> None:
        self.error(peer, frame, "rate_limited", "too many frames")


@mutant("LIMIT-6")
class SavesWhatIsTooMuch(Reference):
    """Saves what it refuses as ``rate_limited``."""

    def on_ingest(self, peer: Peer, frame: dict[str, Any], text: str) -> None:
        self.text = text
        super().on_ingest(peer, frame, text)

    def on_too_much(self, peer: Peer, frame: dict[str, Any]) -> None:
        if frame["type"] == "ingest":
            self.ingest(array_of_events(self.text))
        super().on_too_much(peer, frame)


@mutant("LIMIT-6")
class ClosesWhenItIsTooMuch(Reference):
    """Closes with 1013 after ``rate_limited``."""

    def on_too_much(self, peer: Peer, frame: dict[str, Any]) -> None:
        super().on_too_much(peer, frame)
        self.end(peer, 1013, "too much")
