"""Events: what ingest judges of them (SPEC.md section 4), and how their ids are filled in.

An event is kept as the very text that came (X-BYTES-1). Beside it stands its *envelope*: the members that are judged
and filtered by.
"""

import re
import secrets
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, NewType

import attrs
import msgspec
from cattrs import ClassValidationError
from msgspec import UNSET, UnsetType

from wsproto_tracker.protocol import json_text
from wsproto_tracker.protocol.timestamps import parse_timestamp
from wsproto_tracker.structuring import Fault, faults, strict_converter

__all__ = [
    "MAX_LISTED_REJECTIONS",
    "Batch",
    "Envelope",
    "Event",
    "Level",
    "Rejection",
    "new_id",
    "read_batch",
    "read_event",
]

Level = Literal["debug", "info", "warn", "error"]
EventType = NewType("EventType", str)
Timestamp = NewType("Timestamp", str)

MAX_LISTED_REJECTIONS = 1_000
"""How many rejections of one frame are told (X-REJECT-2)."""

_ID_BYTES, _ID_CHARS = 12, 16  # no padding in Base64
_IDS = 256
_PLUGIN_TYPES = frozenset(("click", "http", "navigation", "console", "custom", "session"))
_EVENT_TYPE = re.compile(r"[A-Za-z][A-Za-z0-9_.:-]{0,63}")
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

    timestamp: Timestamp
    level: Level
    type: EventType
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


@attrs.frozen
class Rejection:
    """Why one event of a frame was not saved (X-REJECT-1)."""

    index: int
    reason: str


@attrs.frozen
class Batch:
    """The valid events of one ``ingest`` frame, and the first of the others (INGEST-2, INGEST-3, X-REJECT-2)."""

    events: tuple[Event, ...]
    rejected: tuple[Rejection, ...]


_ids: list[str] = []  # random ones, for asking the system for each would take longer than all else


def new_id() -> str:
    """An id that no other event has, and that nobody can take in advance: 96 random bits, 16 characters (ID-1)."""
    while True:
        try:
            return _ids.pop()
        except IndexError:  # also where another thread was faster
            text = secrets.token_urlsafe(_ID_BYTES * _IDS)
            _ids.extend(text[start : start + _ID_CHARS] for start in range(0, len(text), _ID_CHARS))


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


def read_batch(texts: Sequence[bytes], new_id: Callable[[], str]) -> Batch:
    """Judge the elements of a frame's ``events``.

    The quick way takes those that are as the plugin sends them. It fills in their ids first: where an id is then read
    that is not the new one, there is more than one, and the thorough way sees to it. So it does where anything is odd.

    :param texts: each known to be JSON in UTF-8.
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
        return _batch(read_event(text, index, new_id) for index, text in enumerate(texts))
    others = 1 + _LEAST_OPENERS * (len(texts) - 1)
    if json_text.openers(array) - others > _MAX_EVENT_DEPTH:
        is_deep = [json_text.openers(text) > _MAX_EVENT_DEPTH for text in filled]
    else:
        is_deep = [False] * len(filled)
    return _batch(
        _quick_event(text, id_, envelope, deep) or read_event(texts[index], index, new_id)
        for index, (text, id_, envelope, deep) in enumerate(zip(filled, ids, envelopes, is_deep, strict=True))
    )


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


def _batch(judged: Iterable[Event | Rejection]) -> Batch:
    accepted: list[Event] = []
    rejected: list[Rejection] = []
    for found in judged:
        if isinstance(found, Event):
            accepted.append(found)
        elif len(rejected) < MAX_LISTED_REJECTIONS:
            rejected.append(found)
    return Batch(tuple(accepted), tuple(rejected))


def read_event(text: bytes, index: int, new_id: Callable[[], str]) -> Event | Rejection:
    """Judge one element of a frame's ``events``, in any form.

    :param text: known to be JSON in UTF-8.
    :param index: its place in the frame, for the reason of a rejection.
    """
    if json_text.openers(text) > _MAX_EVENT_DEPTH and json_text.depth(text.decode()) > _MAX_EVENT_DEPTH:
        return Rejection(index, f"events[{index}]: nested deeper than {_MAX_EVENT_DEPTH} levels")  # FRAME-10
    try:
        envelope = _ENVELOPE.decode(text)
        instant = parse_timestamp(envelope.timestamp)
    except (msgspec.DecodeError, ValueError):  # the latter for a timestamp that is none
        return _explain(text, index, new_id)
    if not _is_harmless(envelope):
        return _explain(text, index, new_id)
    return _event(envelope, instant, text, new_id)


_ENVELOPE = msgspec.json.Decoder(Envelope)


def _is_harmless(envelope: Envelope) -> bool:
    """The rules that the types do not express (EVENT-4, EVENT-6)."""
    if envelope.type == "error":
        return isinstance(envelope.payload.message, str)
    return envelope.type in _PLUGIN_TYPES or _EVENT_TYPE.fullmatch(envelope.type) is not None


def _event(envelope: Envelope, instant: int, text: bytes, new_id: Callable[[], str]) -> Event:
    if envelope.id:
        return Event(envelope.appId, envelope.id, True, instant, text)  # ID-2
    event_id = new_id()
    return Event(envelope.appId, event_id, False, instant, fill_id(text, event_id))


def _explain(text: bytes, index: int, new_id: Callable[[], str]) -> Event | Rejection:
    """Judge an event that the quick way did not take, and name every fault; it may be valid all the same (FRAME-8)."""
    data = json_text.loads(text.decode())
    found: list[str] = []
    envelope = None
    try:
        envelope = _CONVERTER.structure(data, Envelope)
    except ClassValidationError as error:
        found = faults(error)
    except Fault as fault:
        return Rejection(index, f"events[{index}]: {fault}")
    payload = data.get("payload")
    if data.get("type") == "error" and isinstance(payload, dict) and not isinstance(payload.get("message"), str):
        found.append("payload.message: an event of type error needs a string here")  # EVENT-6
    if envelope is None or found:
        return Rejection(index, "; ".join(f"events[{index}].{fault}" for fault in found))
    return _event(envelope, parse_timestamp(envelope.timestamp), text, new_id)


def _event_type(value: Any, _type: object) -> EventType:
    if not isinstance(value, str) or not _EVENT_TYPE.fullmatch(value):
        raise Fault(f"expected a string that matches {_EVENT_TYPE.pattern}")  # EVENT-4
    return EventType(value)


def _timestamp(value: Any, _type: object) -> Timestamp:
    if not isinstance(value, str):
        raise Fault("expected a string")
    try:
        parse_timestamp(value)
    except ValueError as error:
        raise Fault(str(error)) from None  # TIME-2
    return Timestamp(value)


_CONVERTER = strict_converter()
_CONVERTER.register_structure_hook(Any, lambda value, _type: value)
_CONVERTER.register_structure_hook(EventType, _event_type)
_CONVERTER.register_structure_hook(Timestamp, _timestamp)


_EMPTY_ID_FIRST = re.compile(rb'\{\s*"id"\s*:\s*""')
_ANOTHER_EMPTY_ID = re.compile(rb'"(?:i|\\u0069)(?:d|\\u0064)"\s*:\s*""')


def fill_id(text: bytes, event_id: str) -> bytes:
    """Put an id into the text of an event that has none or an empty one; nothing else of it changes (X-BYTES-1).

    :param event_id: ASCII without quotes or backslashes.
    """
    filled = b'"%s"' % event_id.encode()
    if first := _EMPTY_ID_FIRST.match(text):  # what the plugin sends
        rest = text[first.end() :]
        if b'""' not in rest or not _ANOTHER_EMPTY_ID.search(rest):
            return text[: first.end() - 2] + filled + rest
    return _fill_id_anywhere(text.decode(), filled.decode()).encode()


def _fill_id_anywhere(text: str, filled: str) -> str:
    spans = [(begin, end) for name, begin, end in json_text.members(text) if name == "id"]
    if not spans:
        return f'{{"id":{filled},{text[1:]}'
    pieces, position = [], 0
    for begin, end in spans:  # twice the same name is legal JSON: no empty id may be left (FRAME-11)
        pieces += [text[position:begin], filled]
        position = end
    return "".join([*pieces, text[position:]])
