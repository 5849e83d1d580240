"""What a message means, and what answers it (sections 2, 3, 5 to 8 and 13 of the specification)."""

import hmac
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import attrs
import trio

from tests.conformance.reference.access import OTHER_KEYS, Grant
from tests.conformance.reference.json_text import depth, dump, loads, members
from tests.conformance.reference.store import QueryError, Store, Stored

__all__ = ["Frames", "Goodbye", "Peer"]


@attrs.frozen
class Goodbye:
    """What is sent last."""

    code: int
    reason: str


@attrs.define(eq=False)
class Peer:
    """One connection, as far as frames go.

    :ivar is_trusted: whether it has authenticated, or need not.
    :ivar origin: of the page that it is; ``None`` for what is no page.
    :ivar frames_at_s: when it sent events or queries lately.
    :ivar is_leaving: whether nothing more is read from it.
    """

    is_trusted: bool
    is_subscribed: bool = False
    is_leaving: bool = False
    origin: str | None = None
    grant: Grant = attrs.field(factory=Grant)
    frames_at_s: list[float] = attrs.field(factory=list)
    outbox: list[str | bytes | Goodbye] = attrs.field(factory=list)
    news: trio.Event = attrs.field(factory=trio.Event)

    def put(self, item: str | bytes | Goodbye) -> None:
        """Send this after what is sent already."""
        self.outbox.append(item)
        self.news.set()


class Frames(Store):
    """Answers to frames. All of it happens at once, so the order of answers is that of frames."""

    has_push = True
    max_depth = 128
    most_frames = 120
    frames_within_s = 5.0

    def __init__(self, key: str = "") -> None:
        super().__init__()
        self.key = key
        self.peers: list[Peer] = []

    def handlers(self) -> dict[str, Callable[[Peer, dict[str, Any], str], None]]:
        """What handles a frame, by its type."""
        return {
            "auth": self.on_auth,
            "ingest": self.on_ingest,
            "events:query": self.on_query,
            "ping": self.on_ping,
            "subscribe": self.on_subscribe,
        }

    # Messages

    def on_text(self, peer: Peer, text: str) -> None:
        """A text message."""
        try:
            frame = self.parse(text)
        except ValueError:
            self.on_bad_json(peer, text)
            return
        if not isinstance(frame, dict) or not isinstance(frame.get("type"), str):
            self.on_bad_frame(peer, frame)
            return
        handler = self.handlers().get(frame["type"], self.on_unknown)
        handler(peer, frame, text)

    def parse(self, text: str) -> Any:
        """The value of a message.

        :raises ValueError: if it is not JSON, or nested too deep.
        """
        if text.count("[") + text.count("{") > self.max_depth and depth(text) > self.max_depth:
            raise ValueError("nested too deep")
        return loads(text)

    def on_binary(self, peer: Peer, data: bytes) -> None:  # noqa: ARG002 - for subclasses
        """FRAME-6."""
        self.error(peer, None, "unsupported", "binary messages are not read")

    def on_bad_json(self, peer: Peer, text: str) -> None:  # noqa: ARG002 - for subclasses
        """FRAME-3 to FRAME-5, FRAME-10."""
        self.error(peer, None, "bad_json", "no JSON, or nested too deep")

    def on_bad_frame(self, peer: Peer, frame: Any) -> None:
        """FRAME-3, FRAME-4."""
        self.error(peer, frame, "bad_frame", "a frame is an object with a string type")

    def on_unknown(self, peer: Peer, frame: dict[str, Any], text: str) -> None:  # noqa: ARG002 - for subclasses
        """FRAME-3, FRAME-4."""
        self.error(peer, frame, "unknown_type", "no frame of clients has this type")

    # Authentication

    def on_auth(self, peer: Peer, frame: dict[str, Any], text: str) -> None:  # noqa: ARG002 - for subclasses
        """AUTH-1 to AUTH-3, AUTH-8, X-SCOPE-6."""
        if "key" in frame and not isinstance(frame["key"], str):
            self.error(peer, frame, "bad_frame", "key: no string")
            return
        grant = self.grant(frame.get("key", ""))
        if grant is None:
            self.refuse(peer, frame)
        elif not self.is_for_origin(grant, peer.origin):
            self.on_other_origin(peer, frame)
        else:
            self.trust(peer, grant)
            self.say(peer, {"type": "auth_ok"})

    def trust(self, peer: Peer, grant: Grant) -> None:
        """From now on a connection may do what a key is for."""
        peer.is_trusted, peer.grant = True, grant

    def grant(self, given: str) -> Grant | None:
        """What a key is for; ``None`` where it is wrong."""
        return Grant() if not self.key or self.is_key(given) else OTHER_KEYS.get(given)

    def is_for_origin(self, grant: Grant, origin: str | None) -> bool:
        """X-SCOPE-6."""
        return grant.origins is None or origin is None or origin in grant.origins

    def on_other_origin(self, peer: Peer, frame: dict[str, Any]) -> None:
        """X-SCOPE-6."""
        self.trust(peer, Grant(may_send=False, may_ask=False))
        self.forbid(peer, frame)

    def forbid(self, peer: Peer, frame: dict[str, Any]) -> None:
        """X-SCOPE-1, X-SCOPE-2, X-SCOPE-6."""
        self.error(peer, frame, "forbidden", "the key is not for this")

    @contextmanager
    def serving(self, grant: Grant) -> Iterator[None]:
        """Meanwhile, only the events of a key's apps are taken and shown."""
        self.apps = grant.apps
        try:
            yield
        finally:
            self.apps = None

    def is_too_much(self, peer: Peer) -> bool:
        """LIMIT-6: whether so many frames came over the connection lately; this one is counted."""
        now = trio.current_time()
        peer.frames_at_s = [at_s for at_s in peer.frames_at_s if at_s > now - self.frames_within_s]
        if len(peer.frames_at_s) < self.most_frames:
            peer.frames_at_s.append(now)
            return False
        return True

    def on_too_much(self, peer: Peer, frame: dict[str, Any]) -> None:
        """LIMIT-6."""
        self.error(peer, frame, "rate_limited", "too many frames", retryAfterMs=round(1000 * self.frames_within_s))

    def is_key(self, given: str) -> bool:
        """Whether this is the key, in constant time."""
        return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), self.key.encode())

    def refuse(self, peer: Peer, frame: dict[str, Any]) -> None:
        """AUTH-3."""
        self.error(peer, frame, "unauthorized", "Unauthorized")
        self.end(peer, 1008, "Unauthorized")

    # Ingest, queries

    def on_ingest(self, peer: Peer, frame: dict[str, Any], text: str) -> None:
        """INGEST-1 to INGEST-4."""
        if not isinstance(frame.get("events"), list):
            self.on_no_events(peer, frame)
        elif not peer.is_trusted:
            self.refuse(peer, frame)
        elif not self.may_send(peer.grant):
            self.forbid(peer, frame)
        elif self.is_too_much(peer):
            self.on_too_much(peer, frame)
        else:
            with self.serving(peer.grant):
                ack, saved = self.ingest(array_of_events(text))
            self.say(peer, ack)
            self.push(saved)

    def may_send(self, grant: Grant) -> bool:
        """X-SCOPE-2."""
        return grant.may_send

    def may_ask(self, grant: Grant) -> bool:
        """X-SCOPE-1."""
        return grant.may_ask

    def on_no_events(self, peer: Peer, frame: dict[str, Any]) -> None:
        """INGEST-4."""
        self.error(peer, frame, "bad_frame", "events: no array")

    def on_query(self, peer: Peer, frame: dict[str, Any], text: str) -> None:  # noqa: ARG002 - for subclasses
        """QUERY-1, QUERY-9."""
        if not isinstance(frame.get("reqId"), str) or not isinstance(frame.get("query"), dict):
            self.error(peer, frame, "bad_frame", "a query has a string reqId and an object query")
        elif not peer.is_trusted:
            self.refuse(peer, frame)
        elif not self.may_ask(peer.grant):
            self.forbid(peer, frame)
        elif self.is_too_much(peer):
            self.on_too_much(peer, frame)
        else:
            with self.serving(peer.grant):
                self.answer_query(peer, frame)

    def answer_query(self, peer: Peer, frame: dict[str, Any]) -> None:
        """QUERY-1, QUERY-9."""
        try:
            response = self.response(frame["query"])
        except QueryError as error:
            self.on_bad_query(peer, frame, str(error))
        else:
            self.say(peer, {"type": "events:response", "reqId": frame["reqId"], "response": response})

    def on_bad_query(self, peer: Peer, frame: dict[str, Any], problem: str) -> None:
        """QUERY-9, FILTER-8."""
        self.error(peer, frame, "bad_query", problem)

    # Extensions

    def on_ping(self, peer: Peer, frame: dict[str, Any], text: str) -> None:  # noqa: ARG002 - for subclasses
        """X-PING-1."""
        self.say(peer, {"type": "pong"})

    def on_subscribe(self, peer: Peer, frame: dict[str, Any], text: str) -> None:  # noqa: ARG002 - for subclasses
        """X-SUB-1, X-SUB-3, X-SUB-4."""
        if not peer.is_trusted:
            self.refuse(peer, frame)
        elif not self.may_ask(peer.grant):
            self.forbid(peer, frame)
        elif not self.has_push:
            self.error(peer, frame, "unsupported", "there are no pushes here")
        else:
            peer.is_subscribed = True
            self.say(peer, {"type": "subscribed"})

    def push(self, saved: list[Stored]) -> None:
        """X-SUB-1, PUSH-2, X-SCOPE-5."""
        for peer in self.peers:
            shown = [stored for stored in saved if self.is_of(stored, peer.grant.apps)]
            if shown and self.is_pushed_to(peer):
                self.say(peer, {"type": "push", "events": [self.pushed(stored) for stored in shown]})

    def is_pushed_to(self, peer: Peer) -> bool:
        """PUSH-3, X-SCOPE-3."""
        return peer.is_subscribed and not peer.is_leaving and self.may_ask(peer.grant)

    def pushed(self, stored: Stored) -> Any:
        """PUSH-2."""
        return self.shown(stored)

    # Sending

    def say(self, peer: Peer, frame: dict[str, Any]) -> None:
        """Send a frame."""
        peer.put(self.frame_text(frame))

    def frame_text(self, frame: dict[str, Any]) -> str | bytes:
        """FRAME-1. Bytes are sent as they are: frames of RFC 6455."""
        return dump(frame)

    def error(self, peer: Peer, frame: Any, code: str, message: str, **members: Any) -> None:
        """Answer with an error."""
        found = self.error_frame(code, message) | members
        req_id = frame.get("reqId") if isinstance(frame, dict) else None
        if isinstance(req_id, str):
            found |= self.named(req_id)
        self.say(peer, found)

    def named(self, req_id: str) -> dict[str, Any]:
        """ERR-3."""
        return {"reqId": req_id}

    def error_frame(self, code: str, message: str) -> dict[str, Any]:
        """ERR-1, ERR-2."""
        return {"type": "error", "code": code, "message": message}

    def end(self, peer: Peer, code: int, reason: str) -> None:
        """Close, after what is sent already."""
        peer.is_leaving = True
        peer.put(Goodbye(code, reason))

    # HTTP reads

    def read(self, parameters: Mapping[str, str]) -> dict[str, Any]:
        """The response to a query whose members are texts.

        :raises QueryError: if it cannot be read.
        """
        numbers = {name: _number(parameters[name]) for name in ("limit", "page") if name in parameters}
        return self.response({**parameters, **numbers})


def array_of_events(text: str) -> str:
    """The text of the last member ``events`` of a frame."""
    places = {name: (begin, end) for name, begin, end in members(text)}
    begin, end = places["events"]
    return text[begin:end]


def _number(text: str) -> float:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else math.nan
