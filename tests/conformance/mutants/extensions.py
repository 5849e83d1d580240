"""Mutants of section 13."""

from typing import Any

from tests.conformance.mutants.registry import later, mutant
from tests.conformance.reference import Reference
from tests.conformance.reference.frames import Peer
from tests.conformance.reference.http import Request
from tests.conformance.reference.store import Stored


@mutant("X-BYTES-1")
class WithoutEscapes(Reference):
    """Spells strings anew, but leaves numbers alone."""

    def text_of(self, event: dict[str, Any], text: str) -> str:
        return super().text_of(event, text).replace("\\/", "/")


@mutant("X-REJECT-1")
class FirstFaultOnly(Reference):
    """Tells only the first fault of an event."""

    def judge_event(self, event: Any) -> list[str]:
        return super().judge_event(event)[:1]


@mutant("X-DUP-1")
class StoresDuplicates(Reference):
    """Stores what it tells to be a duplicate."""

    def on_duplicate(self, event: dict[str, Any], text: str) -> None:
        self.save(event, text)


@mutant("X-DUP-2")
class CountsNewOnly(Reference):
    """Counts in ``saved`` only what was not there."""

    def ack(self, saved: int, rejected: list[dict[str, Any]], duplicates: int) -> dict[str, Any]:
        return super().ack(saved - duplicates, rejected, duplicates)


@mutant("X-PING-1")
class LatePongs(Reference):
    """Sends pongs a little later, in whatever order."""

    def on_ping(self, peer: Peer, frame: dict[str, Any], text: str) -> None:
        pong = super().on_ping
        later(0.01, lambda: pong(peer, frame, text))


@mutant("X-SUB-1")
class PushesBackwards(Reference):
    """Pushes the events of a batch the last first."""

    def push(self, saved: list[Stored]) -> None:
        super().push(saved[::-1])


@mutant("X-SUB-4")
class SubscribesStrangers(Reference):
    """Answers ``subscribe`` before ``auth`` with ``subscribed``."""

    def on_subscribe(self, peer: Peer, frame: dict[str, Any], text: str) -> None:
        if peer.is_trusted:
            super().on_subscribe(peer, frame, text)
        else:
            self.say(peer, {"type": "subscribed"})


@mutant("X-READ-1", fails=("http-read.takes-filters",))
class ReadsWithoutLevel(Reference):
    """Ignores ``level`` in a read."""

    def read(self, parameters: Any) -> dict[str, Any]:
        return super().read({name: value for name, value in parameters.items() if name != "level"})


@mutant("X-READ-1", fails=("http-read.tells-page-and-cursor",))
class ReadsWithoutCursor(Reference):
    """Leaves ``nextCursor`` out of the answer to a read."""

    def read(self, parameters: Any) -> dict[str, Any]:
        return {name: value for name, value in super().read(parameters).items() if name != "nextCursor"}


@mutant("X-HEAD-1")
class HeadWithoutType(Reference):
    """Answers ``HEAD`` with another content type."""

    def answer(self, request: Request) -> Any:
        answer = super().answer(request)
        if request.method == "HEAD":
            answer.headers["Content-Type"] = "text/plain"
        return answer
