"""The ids of events: new ones, and how they are filled into the text of an event."""

import re
import secrets

from wsproto_tracker.protocol import json_text

__all__ = ["fill_id", "new_id"]

_ID_BYTES, _ID_CHARS = 12, 16  # no padding in Base64
_IDS = 256

_ids: list[str] = []  # random ones, for asking the system for each would take longer than all else


def new_id() -> str:
    """An id that no other event has, and that nobody can take in advance: 96 random bits, 16 characters (ID-1)."""
    while True:
        try:
            return _ids.pop()
        except IndexError:  # also where another thread was faster
            text = secrets.token_urlsafe(_ID_BYTES * _IDS)
            _ids.extend(text[start : start + _ID_CHARS] for start in range(0, len(text), _ID_CHARS))


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
