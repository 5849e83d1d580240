"""A transcript as judges look at it: what was sent and received in one check. Nothing here changes anything."""

import json
import re
from collections.abc import Sequence
from typing import Any

import attrs

from tracker_conformance.model import Entry, Facts, FailedError

__all__ = ["RateLimit", "Response", "Transcript", "short"]

_SHORT = 300
_FROM_SERVERS = ("auth_ok", "ack", "events:response", "error", "pong", "subscribed")


@attrs.frozen(repr=False)
class Response:
    """An HTTP response; header names in lower case.

    :ivar before_body: the status that came before the body of the request was sent, where that waited for one.
    """

    status: int
    headers: dict[str, str]
    body: str
    before_body: int = 0

    @property
    def is_success(self) -> bool:
        """Whether the status is a 2xx."""
        return 200 <= self.status < 300

    def json(self) -> Any:
        """The body as JSON.

        :raises FailedError: if it is not JSON.
        """
        try:
            return json.loads(self.body)
        except ValueError:
            raise FailedError("a body that is JSON", f"{self.status} with {short(self.body)}") from None

    def __repr__(self) -> str:
        return f"{self.status} with {short(self.body)}" if self.status else "no response"


@attrs.frozen
class RateLimit:
    """A server says that something is too much (LIMIT-6).

    :ivar told: in its words.
    :ivar retry_after_s: when to come back; ``None`` where it does not say, or in another form.
    """

    told: str
    retry_after_s: float | None


@attrs.frozen
class Transcript:
    """The entries of a check, with what a judge asks of them."""

    entries: Sequence[Entry]
    facts: Facts

    def frames(self, connection: int = 1, *, pushes: bool = False) -> list[dict[str, Any]]:
        """The frames that were received, in their order, as far as they are JSON objects; pushes where asked for."""
        found = [_object(entry.text) for entry in self._of("receive", connection) if not entry.data.get("binary")]
        return [frame for frame in found if frame is not None and _is_known(frame, pushes=pushes)]

    def of_type(self, name: str, connection: int = 1) -> list[dict[str, Any]]:
        """The frames of a type."""
        return [frame for frame in self.frames(connection, pushes=True) if frame.get("type") == name]

    def saved(self, connection: int = 1) -> list[Any]:
        """What each ack says was saved."""
        return [ack.get("saved") for ack in self.of_type("ack", connection)]

    def rejected(self, connection: int = 1) -> list[Any]:
        """The places that the first ack names as rejected; none where it names none (X-REJECT-1).

        :raises FailedError: where ``rejected`` is no array.
        """
        acks = self.of_type("ack", connection)
        found = acks[0].get("rejected", []) if acks else []
        if not isinstance(found, list):
            raise FailedError("an array rejected", short(json.dumps(acks[0])))
        return [item.get("index") if isinstance(item, dict) else item for item in found]

    def answer(self, req_id: str, connection: int = 1) -> dict[str, Any]:
        """The ``response`` to a query.

        :raises FailedError: where none came, or it has no array ``events``.
        """
        expected = f'{{"type":"events:response","reqId":{json.dumps(req_id)},"response":{{"events":[…],"total":n}}}}'
        for frame in self.of_type("events:response", connection):
            if frame.get("reqId") == req_id:
                response = frame.get("response")
                if isinstance(response, dict) and isinstance(response.get("events"), list):
                    return response
                raise FailedError(expected, short(json.dumps(frame)))
        raise FailedError(expected, self.told(connection))

    def error(self, req_id: str, connection: int = 1) -> dict[str, Any] | None:
        """The ``error`` that carries a ``reqId``."""
        errors = self.of_type("error", connection)
        return next((error for error in errors if error.get("reqId") == req_id), None)

    def mine(self, events: Sequence[Any]) -> list[dict[str, Any]]:
        """The events of this check, of those that a server holds."""
        return [event for event in events if self._label(event) is not None]

    def events(self, req_id: str, connection: int = 1) -> list[dict[str, Any]]:
        """The events of this check in an answer, in its order."""
        return self.mine(self.answer(req_id, connection)["events"])

    def labels(self, req_id: str, connection: int = 1) -> list[str]:
        """The labels of the events of this check in an answer, in its order."""
        return self.labels_of(self.answer(req_id, connection)["events"])

    def labels_if_any(self, req_id: str, connection: int = 1) -> list[str]:
        """As ``labels``; none where there is no answer."""
        try:
            return self.labels(req_id, connection)
        except FailedError:
            return []

    def labels_of(self, events: Sequence[Any]) -> list[str]:
        """The labels of those events that are of this check."""
        return [label for event in events if (label := self._label(event)) is not None]

    def closed(self, connection: int = 1) -> Entry | None:
        """How the server closed a connection, if it did before the suite did."""
        first = next(iter(self._of("close", connection)), None)
        return None if first is None or first.data.get("own") else first

    def is_open(self, connection: int = 1) -> bool:
        """Whether a connection was opened, and left open by the server."""
        return bool(self._of("open", connection)) and self.closed(connection) is None

    def responses(self) -> list[Response]:
        """The HTTP responses, in their order; status 0 where the server sent none."""
        found = [(entry.data, entry.text) for entry in self.entries if entry.kind == "response"]
        return [Response(data["status"], data["headers"], text, data.get("before_body", 0)) for data, text in found]

    def response(self, number: int = 0) -> Response:
        """One of the HTTP responses, counted from 0.

        :raises FailedError: if there are not so many.
        """
        found = self.responses()
        if number >= len(found):
            raise FailedError(f"{number + 1} HTTP responses", str(len(found)))
        return found[number]

    def note(self, name: str) -> Any:
        """What the probe noted.

        :raises FailedError: if it did not come to it.
        """
        for entry in self.entries:
            if entry.kind == "note" and entry.text == name:
                return entry.data["value"]
        raise FailedError("the check to come to its end", self.told())

    def rate_limits(self) -> list[RateLimit]:
        """What was said to be too much, on any connection and over HTTP."""
        found = []
        for entry in self.entries:
            if entry.kind == "receive" and "rate_limited" in entry.text:
                frame = _object(entry.text) or {}
                if (frame.get("type"), frame.get("code")) == ("error", "rate_limited"):
                    found.append(RateLimit(entry.text, _seconds(frame.get("retryAfterMs"), 1000)))
            elif entry.kind == "response" and entry.data["status"] == 429:
                after = entry.data["headers"].get("retry-after", "")
                seconds = _seconds(int(after), 1) if after.isascii() and after.isdigit() else None
                found.append(RateLimit(f"429 with Retry-After: {after or 'none'}", seconds))
        return found

    def hint(self) -> str:
        """What may be behind a failure, where it is something that a person forgets."""
        refused = any(
            error.get("message") == "Unauthorized" for number in range(1, 5) for error in self.of_type("error", number)
        )
        if refused and not self.facts.has_key:
            return "; it answers Unauthorized: if a key is configured in it, give --api-key-env"
        return ""

    def told(self, connection: int = 1) -> str:
        """In words, all that was received on a connection."""
        parts, closed = [], self.closed(connection)
        for entry in self.entries:
            if entry.connection != connection:
                continue
            match entry.kind:
                case "receive":
                    parts.append("a binary message" if entry.data.get("binary") else short(entry.text))
                case "close" if entry is closed:
                    parts.append(f"close {entry.data.get('code')} {entry.data.get('reason', '')!r}")
                case "refused":
                    parts.append(
                        f"a handshake refused with {entry.data.get('status') or 'no answer, or one without an end'}"
                    )
        return ", ".join(parts) or "nothing"

    def _of(self, kind: str, connection: int) -> list[Entry]:
        return [entry for entry in self.entries if entry.kind == kind and entry.connection == connection]

    def _label(self, event: Any) -> str | None:
        if not isinstance(event, dict):
            return None
        found = re.search(re.escape(self.facts.prefix) + r"([\w.-]+)", json.dumps(event))
        return found[1] if found else None


def _seconds(number: Any, per_second: int) -> float | None:
    is_whole = isinstance(number, int) and not isinstance(number, bool) and number >= 0
    return number / per_second if is_whole else None


def _is_known(frame: dict[str, Any], *, pushes: bool) -> bool:
    """Whether a frame is one that the specification knows; a later one may bring others, which say nothing here."""
    name = frame.get("type")
    return name in _FROM_SERVERS or (pushes and name == "push")


def short(text: str) -> str:
    """A text that is not too long to be read."""
    return text if len(text) <= _SHORT else f"{text[:_SHORT]}… ({len(text)} characters)"


def _object(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
