"""Mutants of section 2."""

import json
from typing import Any

from tests.conformance.mutants.registry import mutant
from tests.conformance.reference import Reference
from tests.conformance.reference.frames import Peer
from tests.conformance.reference.json_text import depth
from tests.conformance.reference.wire import BINARY, encoded

_NO_FRAMES = ("no-JSON", "empty", "a-number", "an-array", "no-type", "a-type-that-is-a-number", "an-unknown-type")
_WRONG_MESSAGES = (  # they send many of them on one connection
    "errors.errors-have-messages",
    "errors.errors-have-codes",
    "errors.no-1008-without-a-wrong-key",
)
_WRONG_FRAMES = (*_WRONG_MESSAGES, "errors.errors-have-req-ids")
_WRONG_MEMBERS = ("events-that-are-a-number", "a-reqId-that-is-a-number", "a-query-that-is-an-array")


@mutant("FRAME-1")
class GreetsInPlainText(Reference):
    """Greets each client with a text that is no JSON."""

    def opened(self, peer: Peer) -> None:
        peer.put("welcome")


@mutant("FRAME-1")
class GreetsInBinary(Reference):
    """Greets each client with a binary message."""

    def opened(self, peer: Peer) -> None:
        peer.put(encoded(BINARY, b'{"type":"hello"}'))


@mutant("FRAME-2")
class StrictQueries(Reference):
    """Refuses a query with a member that it does not know."""

    def answer_query(self, peer: Peer, frame: dict[str, Any]) -> None:
        unknown = set(frame["query"]) - {"since", "until", *self.filters}
        if unknown:
            self.on_bad_query(peer, frame, "query: an unknown member")
        else:
            super().answer_query(peer, frame)


@mutant("FRAME-2")
class StrictFrames(Reference):
    """Refuses an ingest frame with a member that it does not know."""

    def on_ingest(self, peer: Peer, frame: dict[str, Any], text: str) -> None:
        if set(frame) - {"type", "events", "reqId"}:
            self.error(peer, frame, "bad_frame", "an unknown member")
        else:
            super().on_ingest(peer, frame, text)


@mutant("FRAME-3", fails=("frames.survives-a-number", "frames.survives-an-array"), untestable=_WRONG_MESSAGES)
class FallsOverArrays(Reference):
    """Fails at JSON that is no object, and closes the connection."""

    def on_bad_frame(self, peer: Peer, frame: Any) -> None:
        super().on_bad_frame(peer, frame)
        if not isinstance(frame, dict):
            self.end(peer, 1011, "")


@mutant(
    "FRAME-3",
    fails=("frames.survives-no-JSON", "frames.survives-empty"),
    also=("frames.saves-nothing-of-no-json",),
    untestable=(*_WRONG_MESSAGES, "frames.sends-frames"),
)
class ClosesOnNoJson(Reference):
    """Closes the connection after a message that is not JSON."""

    def on_bad_json(self, peer: Peer, text: str) -> None:
        super().on_bad_json(peer, text)
        if depth(text) <= self.max_depth:
            self.end(peer, 1003, "")


@mutant(
    "FRAME-3",
    fails=("frames.survives-no-type", "frames.survives-a-type-that-is-a-number", "frames.survives-an-unknown-type"),
    untestable=(*_WRONG_FRAMES, "frames.sends-frames"),
)
class ClosesOnUnknownTypes(Reference):
    """Closes the connection after an object whose type it does not know."""

    def on_bad_frame(self, peer: Peer, frame: Any) -> None:
        super().on_bad_frame(peer, frame)
        if isinstance(frame, dict):
            self.end(peer, 1002, "")

    def on_unknown(self, peer: Peer, frame: dict[str, Any], text: str) -> None:
        super().on_unknown(peer, frame, text)
        self.end(peer, 1002, "")


@mutant("FRAME-3", fails=(f"frames.survives-{name}" for name in _WRONG_MEMBERS), untestable=_WRONG_FRAMES)
class ClosesOnWrongMembers(Reference):
    """Closes the connection after a frame with a member of a wrong JSON type."""

    def on_no_events(self, peer: Peer, frame: dict[str, Any]) -> None:
        super().on_no_events(peer, frame)
        if isinstance(frame.get("events"), int):
            self.end(peer, 1011, "")

    def on_query(self, peer: Peer, frame: dict[str, Any], text: str) -> None:
        super().on_query(peer, frame, text)
        if not isinstance(frame.get("reqId"), str) or not isinstance(frame.get("query"), dict):
            self.end(peer, 1011, "")


@mutant("FRAME-4", fails=(f"frames.answers-{name}" for name in _NO_FRAMES))
class SilentOnNoFrames(Reference):
    """Ignores what is no frame."""

    def on_bad_json(self, peer: Peer, text: str) -> None:
        if depth(text) > self.max_depth:
            super().on_bad_json(peer, text)

    def on_bad_frame(self, peer: Peer, frame: Any) -> None:
        """Nothing happens."""

    def on_unknown(self, peer: Peer, frame: dict[str, Any], text: str) -> None:
        """Nothing happens."""


@mutant("FRAME-4", fails=(f"frames.answers-{name}" for name in _WRONG_MEMBERS))
class SilentOnWrongMembers(Reference):
    """Ignores frames with members of a wrong JSON type."""

    def on_no_events(self, peer: Peer, frame: dict[str, Any]) -> None:
        if not isinstance(frame.get("events"), int):
            super().on_no_events(peer, frame)

    def on_query(self, peer: Peer, frame: dict[str, Any], text: str) -> None:
        if isinstance(frame.get("reqId"), str) and isinstance(frame.get("query"), dict):
            super().on_query(peer, frame, text)


@mutant("FRAME-5")
class ReadsAsMuchAsItCan(Reference):
    """Takes a message for JSON that begins like it."""

    def on_bad_json(self, peer: Peer, text: str) -> None:
        try:
            end = json.JSONDecoder().raw_decode(text)[1]
        except (ValueError, RecursionError):
            super().on_bad_json(peer, text)
        else:
            self.on_text(peer, text[:end])


@mutant("FRAME-6", fails=("frames.answers-binary",))
class ReadsBinary(Reference):
    """Takes a binary message for a frame."""

    def on_binary(self, peer: Peer, data: bytes) -> None:
        self.on_text(peer, data.decode("utf-8", "replace"))


@mutant(
    "FRAME-6",
    fails=("frames.survives-binary",),
)
class ClosesOnBinary(Reference):
    """Closes the connection after a binary message."""

    def on_binary(self, peer: Peer, data: bytes) -> None:
        super().on_binary(peer, data)
        self.end(peer, 1003, "text only")


@mutant("FRAME-7")
class ClosesOtherwiseOnBadUtf8(Reference):
    """Closes with 1002 where it should with 1007."""

    def on_bad_utf8(self, peer: Peer, data: bytes) -> None:  # noqa: ARG002
        self.end(peer, 1002, "not UTF-8")


@mutant("FRAME-12", also=("frames.closes-on-bad-utf8",))
class RepairsUtf8(Reference):
    """Replaces what is not UTF-8, and goes on."""

    def on_bad_utf8(self, peer: Peer, data: bytes) -> None:
        self.on_text(peer, data.decode("utf-8", "replace"))


@mutant("FRAME-8")
class NoLoneSurrogates(Reference):
    """Fails at escaped lone surrogates, for it has to encode them."""

    def parse(self, text: str) -> Any:
        value = super().parse(text)
        json.dumps(value, ensure_ascii=False).encode()
        return value


@mutant("FRAME-9")
class Shallow(Reference):
    """Accepts JSON only up to 64 levels."""

    max_depth = 64


@mutant("FRAME-10")
class FallsIntoTheDeep(Reference):
    """Fails at JSON that is nested deep, and closes the connection."""

    def on_bad_json(self, peer: Peer, text: str) -> None:
        if depth(text) > self.max_depth:
            self.end(peer, 1011, "")
        else:
            super().on_bad_json(peer, text)


@mutant("FRAME-11")
class TakesFirstMember(Reference):
    """Takes the first of several members with the same name."""

    def read_event(self, text: str) -> Any:
        return json.loads(text, object_pairs_hook=_first)


def _first(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for name, value in pairs:
        members.setdefault(name, value)
    return members
