"""Mutants of sections 7, 8, 10 and 11."""

from typing import Any

from tests.conformance.mutants.registry import later, mutant
from tests.conformance.reference import Reference
from tests.conformance.reference.frames import Peer
from tests.conformance.reference.json_text import Raw, dump
from tests.conformance.reference.store import Stored
from tests.conformance.reference.wire import WireError

_MIB = 1024 * 1024


@mutant("PUSH-1")
class PushesNothing(Reference):
    """Sends a push without events."""

    def on_subscribe(self, peer: Peer, frame: dict[str, Any], text: str) -> None:
        super().on_subscribe(peer, frame, text)
        if peer.is_subscribed:
            self.say(peer, {"type": "push", "events": []})


@mutant("PUSH-2")
class PushesWithoutIds(Reference):
    """Pushes events with an empty id."""

    def pushed(self, stored: Stored) -> Any:
        return Raw(stored.text.replace(dump(stored.event["id"]), '""', 1))


@mutant("PUSH-3")
class PushesToAll(Reference):
    """Pushes to connections that have not authenticated."""

    def is_pushed_to(self, peer: Peer) -> bool:
        return super().is_pushed_to(peer) or not peer.is_trusted


@mutant("ERR-1")
class NoMessage(Reference):
    """Sends an error without a message for a type that it does not know."""

    def on_unknown(self, peer: Peer, frame: dict[str, Any], text: str) -> None:
        del text
        named = {"reqId": frame["reqId"]} if isinstance(frame.get("reqId"), str) else {}
        self.say(peer, {"type": "error", "code": "unknown_type"} | named)


@mutant("ERR-2", fails=("errors.errors-have-codes",))
class OwnCode(Reference):
    """Sends a code of its own for a type that it does not know."""

    def on_unknown(self, peer: Peer, frame: dict[str, Any], text: str) -> None:
        del text
        self.error(peer, frame, "E_UNKNOWN_TYPE", "no frame of clients has this type")


@mutant("ERR-2", fails=("http-errors.sends-codes",))
class StatusAsCode(Reference):
    """Sends the HTTP status as the code over HTTP."""

    def failed(self, status: int, message: str, headers: Any = None, code: str = "") -> Any:
        return super().failed(status, message, headers, code if code and status != 404 else str(status))


@mutant("ERR-3")
class ForgetsReqId(Reference):
    """Leaves the ``reqId`` out of the error for a type that it does not know."""

    def on_unknown(self, peer: Peer, frame: dict[str, Any], text: str) -> None:
        super().on_unknown(peer, {"type": frame["type"]}, text)


@mutant("CLOSE-1")
class LosesPatience(Reference):
    """Closes with 1008 at the query of a client that was wrong ten times."""

    def __init__(self, key: str = "") -> None:
        super().__init__(key)
        self.errors: dict[Peer, int] = {}

    def error(self, peer: Peer, frame: Any, code: str, message: str, **members: Any) -> None:
        super().error(peer, frame, code, message, **members)
        self.errors[peer] = self.errors.get(peer, 0) + 1

    def answer_query(self, peer: Peer, frame: dict[str, Any]) -> None:
        super().answer_query(peer, frame)
        if self.errors.get(peer, 0) >= 10:
            self.end(peer, 1008, "too many errors")


@mutant("CLOSE-2", also=("errors.leaves-the-silent-with-1000",))
class WaitsForAuth(Reference):
    """Closes with 1008 where no ``auth`` comes for a while."""

    def opened(self, peer: Peer) -> None:
        later(0.3, lambda: None if peer.is_trusted else self.end(peer, 1008, "no auth"))


@mutant("CLOSE-3")
class ClosesWith1002(Reference):
    """Closes with 1002 on a message beyond its limit."""

    def judge_size(self, size: int) -> None:
        if size > self.max_message:
            raise WireError(1002, "too large")


@mutant("SEC-1", fails=("errors.tells-no-key",))
class ShowsWrongKeys(Reference):
    """Repeats a key that is no string in the error."""

    def on_auth(self, peer: Peer, frame: dict[str, Any], text: str) -> None:
        key = frame.get("key", "")
        if isinstance(key, str):
            super().on_auth(peer, frame, text)
        else:
            self.error(peer, frame, "bad_frame", f"key: {key!r} is no string")


@mutant("SEC-1", fails=("http.repeats-no-key",))
class ShowsKeysOverHttp(Reference):
    """Repeats a wrong key in the answer to a request."""

    def answer(self, request: Any) -> Any:
        self.shown_key = self.key_of(request)
        return super().answer(request)

    def unauthorized(self) -> Any:
        return self.failed(401, f"Unauthorized: {self.shown_key}")


@mutant("SEC-3")
class ShowsLevels(Reference):
    """Repeats the level in the reason for a rejection."""

    def judge_level(self, event: dict[str, Any]) -> Any:
        return (f"{fault}: {event['level']}" for fault in super().judge_level(event))


@mutant(
    "LIMIT-1",
    fails=("errors.message-of-4-mib",),
    also=("errors.message-of-16-mib", "limits.rejects-large-events"),
)
class ThreeMib(Reference):
    """Accepts messages of 3 MiB at most."""

    max_message = 3 * _MIB


@mutant("LIMIT-1", fails=("errors.http-of-4-mib",), also=("errors.http-of-16-mib",))
class BodiesOfThreeMib(Reference):
    """Accepts bodies of 3 MiB at most."""

    max_body = 3 * _MIB


@mutant("LIMIT-2", fails=("errors.message-of-16-mib",))
class EightMib(Reference):
    """Accepts messages of 8 MiB at most."""

    max_message = 8 * _MIB


@mutant("LIMIT-2", fails=("errors.http-of-16-mib",))
class BodiesOfEightMib(Reference):
    """Accepts bodies of 8 MiB at most."""

    max_body = 8 * _MIB
