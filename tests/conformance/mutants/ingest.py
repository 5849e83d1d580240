"""Mutants of section 5."""

from collections.abc import Iterable
from typing import Any

import trio

from tests.conformance.mutants.registry import later, mutant
from tests.conformance.reference import Reference
from tests.conformance.reference.frames import Peer, array_of_events
from tests.conformance.reference.json_text import dump, items, loads
from tests.conformance.reference.store import Stored
from tests.conformance.reference.websocket import Connection


@mutant(
    "INGEST-1",
    fails=("ingest.accepts-no-events",),
    also=("ingest.acks-each-frame-once", "ingest.acks-in-order"),
)
class WantsEvents(Reference):
    """Refuses an ingest without events."""

    def on_ingest(self, peer: Peer, frame: dict[str, Any], text: str) -> None:
        if frame.get("events") == []:
            self.error(peer, frame, "bad_frame", "events: empty")
        else:
            super().on_ingest(peer, frame, text)


@mutant("INGEST-1", fails=("ingest.accepts-5000-events",), also=("limits.rejects-events-beyond",))
class FourThousandAtMost(Reference):
    """Refuses an ingest of more than 4,000 events."""

    def on_ingest(self, peer: Peer, frame: dict[str, Any], text: str) -> None:
        if isinstance(frame.get("events"), list) and len(frame["events"]) > 4000:
            self.error(peer, frame, "too_large", "too many events")
        else:
            super().on_ingest(peer, frame, text)


@mutant("INGEST-2", fails=("ingest.saves-valid-neighbours",), also=("events.rejects-no-objects",))
class FallsOverNull(Reference):
    """Saves nothing of a frame that has a null among its events."""

    def event_texts(self, text: str) -> Iterable[str]:
        texts = list(items(text))
        return ["null" for _ in texts] if "null" in texts else texts


@mutant("INGEST-3", fails=("ingest.saves-no-invalid",))
class SavesBadBatches(Reference):
    """Saves a batch as it is where no event of it is valid."""

    def ingest(self, text: str) -> tuple[dict[str, Any], list[Stored]]:
        ack, saved = super().ingest(text)
        if not saved and self.is_of_pages(loads(text)):
            saved = [self.save(loads(item), item) for item in items(text)]
            ack = self.ack(len(saved), [], 0)
        return ack, saved

    def is_of_pages(self, events: list[Any]) -> bool:
        """Whether all have a member that every page sends."""
        return all(isinstance(event, dict) and isinstance(event.get("timestamp"), str) for event in events)


@mutant("INGEST-4", fails=("ingest.answers-without-events",))
class MissingIsEmpty(Reference):
    """Takes an ingest without ``events`` for an empty one."""

    def on_ingest(self, peer: Peer, frame: dict[str, Any], text: str) -> None:
        if "events" in frame or not peer.is_trusted:
            super().on_ingest(peer, frame, text)
        else:
            self.say(peer, self.ack(0, [], 0))


@mutant("INGEST-4")
class OneIsEnough(Reference):
    """Takes an object ``events`` for an array of one event."""

    def on_no_events(self, peer: Peer, frame: dict[str, Any]) -> None:
        if isinstance(frame.get("events"), dict):
            ack, saved = self.ingest(dump([frame["events"]]))
            self.say(peer, ack)
            self.push(saved)
        else:
            super().on_no_events(peer, frame)


@mutant("ACK-1", fails=("ingest.acks-each-frame-once",), also=("limits.refuses-what-is-too-much",))
class AcksTwice(Reference):
    """Acks a frame with a ``reqId`` once more."""

    def on_ingest(self, peer: Peer, frame: dict[str, Any], text: str) -> None:
        super().on_ingest(peer, frame, text)
        if isinstance(frame.get("events"), list) and "reqId" in frame:
            self.say(peer, {"type": "ack", "saved": len(frame["events"]), "reqId": frame["reqId"]})


@mutant("ACK-2")
class SmallFirst(Reference):
    """Acks large frames later."""

    def on_ingest(self, peer: Peer, frame: dict[str, Any], text: str) -> None:
        events = frame.get("events")
        if peer.is_trusted and isinstance(events, list) and 100 <= len(events) < 1000:
            ack, saved = self.ingest(array_of_events(text))
            later(0.02, lambda: self.say(peer, ack))
            self.push(saved)
        else:
            super().on_ingest(peer, frame, text)


@mutant("ACK-3", also=("events.rejects-no-objects",))
class CountsNulls(Reference):
    """Counts in ``saved`` what is no object."""

    def ack(self, saved: int, rejected: list[dict[str, Any]], duplicates: int) -> dict[str, Any]:
        others = [item for item in rejected if not item["reason"].endswith("no object")]
        return super().ack(saved + len(rejected) - len(others), others, duplicates)


@mutant("ACK-4", fails=("ingest.shows-what-it-acked",), also=("http.shows-what-it-took",))
class CachesAnswers(Reference):
    """Repeats an answer to the same query for 50 ms, unless the connection itself saved something."""

    def __init__(self, key: str = "") -> None:
        super().__init__(key)
        self.cached: dict[tuple[Peer, str], tuple[float, dict[str, Any]]] = {}

    def on_ingest(self, peer: Peer, frame: dict[str, Any], text: str) -> None:
        super().on_ingest(peer, frame, text)
        self.cached = {asked: answer for asked, answer in self.cached.items() if asked[0] is not peer}

    def answer_query(self, peer: Peer, frame: dict[str, Any]) -> None:
        asked = (peer, dump(frame["query"]))
        at, answer = self.cached.get(asked, (-1.0, {}))
        if trio.current_time() - at < 0.05:
            self.say(peer, answer | {"reqId": frame["reqId"]})
        else:
            self.asked = asked
            super().answer_query(peer, frame)

    def say(self, peer: Peer, frame: dict[str, Any]) -> None:
        if frame["type"] == "events:response":
            self.cached[self.asked] = (trio.current_time(), frame)
        super().say(peer, frame)


@mutant("ACK-6")
class RollsBack(Reference):
    """Saves what came when 100 ms are over or something else is asked, and forgets it when the client closes."""

    def __init__(self, key: str = "") -> None:
        super().__init__(key)
        self.waiting: dict[Peer, list[tuple[dict[str, Any], str]]] = {}

    def on_ingest(self, peer: Peer, frame: dict[str, Any], text: str) -> None:
        if peer.is_trusted and isinstance(frame.get("events"), list):
            self.waiting.setdefault(peer, []).append((frame, text))
            later(0.1, lambda: self.commit(peer))
        else:
            super().on_ingest(peer, frame, text)

    def commit(self, peer: Peer) -> None:
        """Save what waits."""
        for frame, text in self.waiting.pop(peer, []):
            super().on_ingest(peer, frame, text)

    def on_text(self, peer: Peer, text: str) -> None:
        if not text.startswith('{"type": "ingest"'):
            self.commit(peer)
        super().on_text(peer, text)

    def on_close(self, connection: Connection, payload: bytes) -> None:
        self.waiting.pop(connection.peer, None)
        super().on_close(connection, payload)
