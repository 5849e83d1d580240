"""Events: what ingest judges of them (SPEC.md section 4), and how their ids are filled in.

An event is kept as the very text that came (X-BYTES-1). Beside it stands its *envelope*: the members that are judged
and filtered by.
"""

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from functools import lru_cache
from itertools import islice, repeat
from typing import Any, Literal, get_args

import attrs
import msgspec
from msgspec import UNSET, UnsetType

from wsproto_tracker.protocol import json_text
from wsproto_tracker.protocol.ids import fill_id
from wsproto_tracker.protocol.timestamps import parse_timestamp

__all__ = [
    "MAX_LISTED_REJECTIONS",
    "Batch",
    "Cause",
    "Envelope",
    "Event",
    "Level",
    "Rejection",
    "Rules",
    "read_batch",
    "read_event",
]

Level = Literal["debug", "info", "warn", "error"]

MAX_LISTED_REJECTIONS = 1_000
"""How many rejections of one frame are told (X-REJECT-2)."""

_LEVELS = get_args(Level)
_PLUGIN_TYPES = frozenset(("click", "http", "navigation", "console", "custom", "session"))
_EVENT_TYPE = re.compile(r"[A-Za-z][A-Za-z0-9_.:-]{0,63}")
_MAX_NAMES_CHARS = 200  # of apps, in the reason of a rejection
_MAX_EVENT_DEPTH = json_text.MAX_DEPTH - 2  # an event stands in the array of a frame


@attrs.frozen
class Members:
    """An object whose members nobody looks at here."""


@attrs.frozen
class Payload:
    """The one member of a payload that is judged (EVENT-6)."""

    message: Any = None


@attrs.frozen
class Envelope:
    """The members of an event that are judged or filtered by, under their names in the protocol."""

    timestamp: str
    level: Level
    type: str
    appId: str
    sessionId: str
    userId: str
    payload: Payload
    meta: Members
    id: str = ""
    groupId: str | UnsetType = UNSET
    context: Members | UnsetType = UNSET


class Event(msgspec.Struct, frozen=True, gc=False):
    """A valid event. It holds no more than it has to, for many may wait to be saved.

    :ivar app: its ``appId``, within which a given id counts.
    :ivar id: never empty; filled in where the client gave none (ID-1, ID-2).
    :ivar has_given_id: whether the client gave it, so that sending it again is noticed (X-DUP-1).
    :ivar instant: its timestamp, in microseconds since 1970 (UTC).
    :ivar text: its JSON text in UTF-8, as it came but for the id.
    """

    app: str
    id: str
    has_given_id: bool
    instant: int
    text: bytes


class Cause(StrEnum):
    """What an event is rejected for, to be counted by: the first of its members that is wrong, or all of it."""

    EVENT = "event"  # it is no object, say, or nested too deep
    ID = "id"
    TIMESTAMP = "timestamp"
    LEVEL = "level"
    TYPE = "type"
    APP_ID = "appId"
    SESSION_ID = "sessionId"
    USER_ID = "userId"
    GROUP_ID = "groupId"
    PAYLOAD = "payload"
    META = "meta"
    CONTEXT = "context"
    LIMIT = "limit"  # it is too large, or one too many (LIMIT-5)
    DROPPED = "dropped"  # a hook of the program that embeds the server does not want it
    FAILED = "failed"  # a hook failed on it


@attrs.frozen
class Rejection:
    """Why one event of a frame was not saved (X-REJECT-1).

    :ivar cause: is not told to the sender, who has the reason in words.
    """

    index: int
    reason: str
    cause: Cause = Cause.EVENT


@attrs.frozen
class Batch:
    """The valid events of one ``ingest`` frame, and the first of the others (INGEST-2, INGEST-3, X-REJECT-2).

    :ivar causes: all of the others, counted by what they were rejected for.
    """

    events: tuple[Event, ...]
    rejected: tuple[Rejection, ...]
    causes: Mapping[Cause, int] = attrs.field(factory=dict)


# The same members as Envelope, made in a third of the time.
_Quick = msgspec.defstruct(
    "_Quick",
    [
        (field.name, field.type) if field.default is attrs.NOTHING else (field.name, field.type, field.default)
        for field in attrs.fields(attrs.resolve_types(Envelope))
    ],
    gc=False,
)
_QUICK_ENVELOPES: msgspec.json.Decoder[list[Envelope]] = msgspec.json.Decoder(list[_Quick])  # type: ignore[valid-type]
_BEFORE_ID = b'{"id":"'
_EMPTY_ID = b'{"id":"",'  # how the plugin begins an event
_LEAST_OPENERS = 3  # the brackets that an event has at least: its own, and those of payload and meta


@attrs.frozen
class Rules:
    """What is judged of events beside section 4.

    :ivar max_events: how many are taken of one frame (LIMIT-5).
    :ivar max_bytes: how large the text of one may be (LIMIT-5).
    :ivar apps: the ``appId`` that they may have; ``None`` for any (X-SCOPE-4).
    """

    max_events: int = sys.maxsize
    max_bytes: int = sys.maxsize
    apps: frozenset[str] | None = None


def read_batch(texts: Sequence[bytes], new_id: Callable[[], str], rules: Rules = Rules()) -> Batch:
    """Judge the elements of a frame's ``events``.

    :param texts: each known to be JSON in UTF-8.
    """
    taken = texts[: rules.max_events]
    has_large = max(map(len, taken), default=0) > rules.max_bytes
    quick: Iterable[Event | None] = repeat(None, len(taken)) if has_large else _quick_events(taken, new_id)
    accepted: list[Event] = []
    rejected: list[Rejection] = []
    causes: dict[Cause, int] = {}
    for index, (text, event) in enumerate(zip(taken, quick, strict=True)):
        is_told = len(rejected) < MAX_LISTED_REJECTIONS
        found = event or read_event(text, index, new_id, rules, is_told=is_told)
        if isinstance(found, Event):
            if rules.apps is None or found.app in rules.apps:
                accepted.append(found)
                continue
            found = Rejection(index, f"events[{index}].{_other_app(rules.apps)}", Cause.APP_ID)  # X-SCOPE-4
        causes[found.cause] = causes.get(found.cause, 0) + 1
        if is_told:
            rejected.append(found)
    if beyond := min(len(texts) - len(taken), MAX_LISTED_REJECTIONS):
        causes[Cause.LIMIT] = causes.get(Cause.LIMIT, 0) + beyond
        listed = min(beyond, MAX_LISTED_REJECTIONS - len(rejected))
        rejected += (_too_many(len(taken) + number, rules) for number in range(listed))
    return Batch(tuple(accepted), tuple(rejected), causes)


def _too_large(index: int, rules: Rules) -> Rejection:
    return Rejection(
        index, f"events[{index}]: larger than the {rules.max_bytes} bytes that an event may have", Cause.LIMIT
    )


def _too_many(index: int, rules: Rules) -> Rejection:
    return Rejection(index, f"events[{index}]: beyond the {rules.max_events} events that a frame may have", Cause.LIMIT)


def _quick_events(texts: Sequence[bytes], new_id: Callable[[], str]) -> Iterable[Event | None]:
    """Take the events that are as the plugin sends them; ``None`` stands for each of the others.

    Their ids are filled in first: where an id is then read that is not the new one, there is more than one, and the
    thorough way sees to it. So it does where anything is odd.
    """
    ids = [new_id() if text.startswith(_EMPTY_ID) else None for text in texts]
    filled = [
        text if id_ is None else b"".join((_BEFORE_ID, id_.encode(), text[len(_BEFORE_ID) :]))
        for text, id_ in zip(texts, ids, strict=True)
    ]
    array = b"[%b]" % b",".join(filled)
    try:
        envelopes = _QUICK_ENVELOPES.decode(array)
    except (msgspec.DecodeError, RecursionError):
        return repeat(None, len(texts))
    others = 1 + _LEAST_OPENERS * (len(texts) - 1)
    if json_text.openers(array) - others > _MAX_EVENT_DEPTH:
        is_deep = [json_text.openers(text) > _MAX_EVENT_DEPTH for text in filled]
    else:
        is_deep = [False] * len(filled)
    return map(_quick_event, filled, ids, envelopes, is_deep)


def _quick_event(text: bytes, id_: str | None, envelope: Envelope, is_deep: bool) -> Event | None:
    """The event, if it is one that needs no further look.

    :param id_: the one that was filled in, ``None`` where the client may have given one.
    """
    if is_deep or (envelope.id != id_ if id_ is not None else not envelope.id) or not _is_harmless(envelope):
        return None
    try:
        instant = parse_timestamp(envelope.timestamp)
    except ValueError:
        return None
    return Event(envelope.appId, envelope.id, id_ is None, instant, text)


def read_event(
    text: bytes, index: int, new_id: Callable[[], str], rules: Rules = Rules(), *, is_told: bool = True
) -> Event | Rejection:
    """Judge one element of a frame's ``events``, in any form.

    :param text: known to be JSON in UTF-8.
    :param index: its place in the frame, for the reason of a rejection.
    :param rules: of another app than these, it is told so beside its other faults; alone that is the caller's to tell.
    :param is_told: whether a reason is to name every fault; otherwise a rejection is only counted.
    """
    if len(text) > rules.max_bytes:
        return _too_large(index, rules)
    if json_text.openers(text) > _MAX_EVENT_DEPTH and json_text.depth(text.decode()) > _MAX_EVENT_DEPTH:
        return Rejection(index, f"events[{index}]: nested deeper than {_MAX_EVENT_DEPTH} levels")  # FRAME-10
    try:
        envelope = _ENVELOPE.decode(text)
        instant = parse_timestamp(envelope.timestamp)
    except (msgspec.DecodeError, ValueError):  # the latter for a timestamp that is none
        return _explain(text, index, new_id, rules.apps, is_told=is_told)
    if not _is_harmless(envelope):
        return _explain(text, index, new_id, rules.apps, is_told=is_told)
    return _event(envelope.appId, envelope.id, instant, text, new_id)


_ENVELOPE = msgspec.json.Decoder(Envelope)


def _is_harmless(envelope: Envelope) -> bool:
    """The rules that the types do not express (EVENT-4, EVENT-6)."""
    if envelope.type == "error":
        return isinstance(envelope.payload.message, str)
    return envelope.type in _PLUGIN_TYPES or _EVENT_TYPE.fullmatch(envelope.type) is not None


def _event(app: str, given_id: str, instant: int, text: bytes, new_id: Callable[[], str]) -> Event:
    if given_id:
        return Event(app, given_id, True, instant, text)  # ID-2
    event_id = new_id()
    return Event(app, event_id, False, instant, fill_id(text, event_id))


def _explain(
    text: bytes,
    index: int,
    new_id: Callable[[], str],
    apps: frozenset[str] | None = None,
    *,
    is_told: bool = True,
) -> Event | Rejection:
    """Judge an event that the quick way did not take, and name every fault; it may be valid all the same (FRAME-8).

    Where nobody is told, it ends at the first fault, which is the cause: a frame may have very many faulty events.
    """
    data = json_text.loads(text.decode())
    if not isinstance(data, dict):
        return Rejection(index, f"events[{index}]: {_object_fault(data)}")
    found = list(islice(_faults(data), None if is_told else 1))
    if not found:
        return _event(data["appId"], data.get("id", ""), parse_timestamp(data["timestamp"]), text, new_id)
    cause = _cause(found[0])
    if apps is not None and isinstance(data.get("appId"), str) and data["appId"] not in apps:
        found.append(_other_app(apps))
    return Rejection(index, "; ".join(f"events[{index}].{fault}" for fault in found), cause)


def _faults(data: dict[str, Any]) -> Iterator[str]:
    """What is wrong with the members of an event, in the order of the envelope, each with its path."""
    for name, is_needed, fault_of in _MEMBERS:
        if name in data:
            if fault := fault_of(data[name]):
                yield f"{name}: {fault}"
        elif is_needed:
            yield f"{name}: missing"
    payload = data.get("payload")
    if data.get("type") == "error" and isinstance(payload, dict) and not isinstance(payload.get("message"), str):
        yield "payload.message: an event of type error needs a string here"  # EVENT-6


@lru_cache(maxsize=64)
def _other_app(apps: frozenset[str]) -> str:
    """The fault of an event whose app is none of these; a thousand events may have it."""
    names = ", ".join(sorted(apps))
    return f"appId: the key is not for this app; it is for {names if len(names) <= _MAX_NAMES_CHARS else 'others'}"


def _cause(fault: str) -> Cause:
    """The member that a fault is about; its path stands before the colon."""
    return Cause(fault.partition(":")[0].partition(".")[0])


def _string_fault(value: object) -> str | None:
    return None if isinstance(value, str) else "expected a string"


def _object_fault(value: object) -> str | None:
    return None if isinstance(value, dict) else "expected an object"


def _level_fault(value: object) -> str | None:
    return None if value in _LEVELS else f"expected one of {', '.join(_LEVELS)}"


def _type_fault(value: object) -> str | None:
    if isinstance(value, str) and _EVENT_TYPE.fullmatch(value):
        return None
    return f"expected a string that matches {_EVENT_TYPE.pattern}"  # EVENT-4


def _timestamp_fault(value: object) -> str | None:
    if not isinstance(value, str):
        return "expected a string"
    try:
        parse_timestamp(value)
    except ValueError as error:
        return str(error)  # TIME-2
    return None


_SPECIAL = {"timestamp": _timestamp_fault, "level": _level_fault, "type": _type_fault}
_OBJECTS = ("payload", "meta", "context")

# Written out, for a converter takes ten times as long to say that all of them are missing.
_MEMBERS: tuple[tuple[str, bool, Callable[[object], str | None]], ...] = tuple(
    (
        field.name,
        field.default is attrs.NOTHING,
        _SPECIAL.get(field.name, _object_fault if field.name in _OBJECTS else _string_fault),
    )
    for field in attrs.fields(Envelope)
)
