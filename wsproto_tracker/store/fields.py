"""What queries and erasures look at in the text of a stored event."""

import json

import msgspec
from msgspec import UNSET, UnsetType

from wsproto_tracker.protocol import json_text
from wsproto_tracker.protocol.query import Query

__all__ = ["Fields", "app_of", "fields_of", "matches_fields", "searchable"]


class Fields(msgspec.Struct, gc=False):
    """The members that filters compare (FILTER-3)."""

    type: str
    level: str
    appId: str
    sessionId: str
    userId: str
    groupId: str | UnsetType = UNSET


class _App(msgspec.Struct, gc=False):
    appId: str


_FIELDS = msgspec.json.Decoder(Fields)
_APP = msgspec.json.Decoder(_App)


def fields_of(text: bytes) -> Fields:
    """The filtered members of a stored event."""
    try:
        return _FIELDS.decode(text)
    except msgspec.DecodeError:  # a lone surrogate (FRAME-8)
        return msgspec.convert(json_text.loads(text.decode()), Fields)


def app_of(text: bytes) -> str:
    """The ``appId`` of a stored event."""
    try:
        return _APP.decode(text).appId
    except msgspec.DecodeError:
        return fields_of(text).appId


def matches_fields(text: bytes, query: Query) -> bool:
    """Whether a stored event passes every filter but those of the window and the app (FILTER-3, FILTER-4)."""
    fields = fields_of(text)
    return (
        (query.type is None or fields.type == query.type)
        and (query.level is None or fields.level == query.level)
        and (query.userId is None or fields.userId == query.userId)
        and (query.sessionId is None or fields.sessionId == query.sessionId)
        and (query.groupId is None or fields.groupId == query.groupId)
        and (query.search is None or query.search.lower() in searchable(text))
    )


def searchable(text: bytes) -> str:
    """What ``search`` looks at: the payload as ``JSON.stringify`` gives it, in lower case (FILTER-4)."""
    payload = json_text.loads(text.decode())["payload"]
    return json.dumps(payload, ensure_ascii=False, separators=(",", ":")).lower()
