"""The frames of the protocol as values, named as in SPEC.md; their members have the names they have on the wire.

A response and a push hold events, which are text already, so they are put together from pieces of text.
"""

import json
from math import ceil
from typing import Literal

import attrs
import msgspec
from msgspec import UNSET, Raw, UnsetType

from wsproto_tracker.errors import ErrorCode, FrameError
from wsproto_tracker.protocol.events import Cause, Rejection
from wsproto_tracker.protocol.query import Query

__all__ = [
    "INCOMING",
    "OUTGOING",
    "Ack",
    "Auth",
    "AuthOk",
    "Error",
    "EventsQuery",
    "Glance",
    "Ingest",
    "IngestBody",
    "Ping",
    "Pong",
    "Subscribe",
    "Subscribed",
    "ack",
    "encode",
    "error",
    "push",
    "read_answer",
    "response",
]

# From clients

_NO_TEXT = Raw()


@attrs.frozen
class Auth:
    """``auth``; a key that is left out counts as a wrong one (AUTH-3)."""

    key: str = ""


@attrs.frozen
class Ingest:
    """``ingest`` on the quick way: each event is still text."""

    type: Literal["ingest"]
    events: list[Raw]


@attrs.frozen
class IngestBody:
    """The body of an HTTP ingest, whose ``type`` does not matter (HTTP-1)."""

    events: list[Raw]


@attrs.frozen
class Glance:
    """What is looked at of any frame before a key was shown, if it is large; the events stay one piece of text."""

    type: str
    events: Raw = _NO_TEXT
    reqId: str | None = None


@attrs.frozen
class EventsQuery:
    """``events:query``."""

    reqId: str
    query: Query


@attrs.frozen
class Ping:
    """``ping`` (X-PING-1)."""


@attrs.frozen
class Subscribe:
    """``subscribe`` (X-SUB-1)."""


INCOMING: dict[str, type[Auth | EventsQuery | Ping | Subscribe]] = {
    "auth": Auth,
    "events:query": EventsQuery,
    "ping": Ping,
    "subscribe": Subscribe,
}
"""The frames from clients by ``type``, but for ``ingest``, whose events are not taken apart here."""


# From the server


@attrs.frozen
class AuthOk:
    """``auth_ok`` (AUTH-1)."""


@attrs.frozen
class Ack:
    """``ack``: ``saved`` counts the duplicates as well (X-DUP-2); the others are left out where they are empty."""

    saved: int
    duplicates: int | UnsetType = UNSET
    rejected: tuple[Rejection, ...] | UnsetType = UNSET


@attrs.frozen
class Error:
    """``error`` (ERR-1, ERR-2, ERR-3, LIMIT-6)."""

    code: ErrorCode
    message: str
    reqId: str | UnsetType = UNSET
    retryAfterMs: int | UnsetType = UNSET


@attrs.frozen
class Pong:
    """``pong`` (X-PING-1)."""


@attrs.frozen
class Subscribed:
    """``subscribed`` (X-SUB-1)."""


Outgoing = AuthOk | Ack | Error | Pong | Subscribed

OUTGOING: dict[type[Outgoing], str] = {
    AuthOk: "auth_ok",
    Ack: "ack",
    Error: "error",
    Pong: "pong",
    Subscribed: "subscribed",
}
"""The ``type`` of each frame from the server, but for responses and pushes."""


def ack(saved: int, duplicates: int, rejected: tuple[Rejection, ...]) -> Ack:
    """The ack of one ``ingest`` frame (ACK-3, X-REJECT-1, X-DUP-2)."""
    return Ack(saved=saved, duplicates=duplicates or UNSET, rejected=rejected or UNSET)


def error(problem: FrameError) -> Error:
    """The ``error`` frame that tells the peer of its problem (ERR-1, ERR-2, ERR-3)."""
    req_id = UNSET if problem.req_id is None else problem.req_id
    wait_ms = UNSET if problem.retry_after_s is None else ceil(problem.retry_after_s * 1000)
    return Error(code=problem.code, message=problem.message, reqId=req_id, retryAfterMs=wait_ms)


def encode(frame: Outgoing) -> bytes:
    """The frame as JSON text in UTF-8 (FRAME-1)."""
    there = {"type": OUTGOING[type(frame)]}
    there |= attrs.asdict(frame, filter=lambda _member, value: value is not UNSET and not isinstance(value, Cause))
    try:
        return msgspec.json.encode(there)
    except UnicodeEncodeError:  # a reqId with a lone surrogate, which has to come back as it came (FRAME-8)
        return json.dumps(there).encode()


def response(req_id: str) -> tuple[bytes, bytes]:
    """What stands before and after the answer in an ``events:response`` (QUERY-1)."""
    return b'{"type":"events:response","reqId":%s,"response":' % json.dumps(req_id).encode(), b"}"


def read_answer(
    total: int, page: int, limit: int, next_cursor: str | None, *, is_behind: bool = False
) -> tuple[bytes, bytes]:
    """What stands before and after the events in an answer, over WebSocket and HTTP (RESP-1 to RESP-4, X-BEHIND-1)."""
    cursor = "" if next_cursor is None else f',"nextCursor":"{next_cursor}"'
    behind = ',"behind":true' if is_behind else ""
    return b'{"events":[', f'],"total":{total},"page":{page},"limit":{limit}{cursor}{behind}}}'.encode()


def push(events: bytes, dropped: int = 0) -> bytes:
    """A ``push`` of events' texts, joined by commas (PUSH-2); ``dropped`` tells of events lost before it (X-SUB-2)."""
    told = b',"dropped":%d' % dropped if dropped else b""
    return b'{"type":"push"%s,"events":[%s]}' % (told, events)
