"""Events that a program makes: as the plugin would have made them, checked, and as JSON text."""

import json
import math
import platform
import time
from collections.abc import Mapping
from typing import Any

import attrs

from wsproto_tracker.client.ids import new_event_id
from wsproto_tracker.errors import EventError
from wsproto_tracker.protocol.events import Rejection, read_event
from wsproto_tracker.protocol.json_text import MAX_DEPTH
from wsproto_tracker.protocol.timestamps import format_instant
from wsproto_tracker.version import __version__

__all__ = ["USER_AGENT", "Origin", "encoded"]

USER_AGENT = f"wsproto-tracker-client/{__version__} Python/{platform.python_version()}"

_MAX_EVENT_DEPTH = MAX_DEPTH - 2  # an event stands in the array of a frame (FRAME-9)
_TOO_MANY = 10**309  # infinite for every reader that has doubles only


@attrs.frozen
class Origin:
    """Whom events are from; the names are those of the protocol."""

    app_id: str
    session_id: str
    user_id: str

    def custom(
        self,
        name: str,
        data: Mapping[str, Any] | None,
        *,
        level: str,
        duration_ms: float | None,
        group_id: str | None,
        context: Mapping[str, Any] | None,
        meta: Mapping[str, Any] | None,
    ) -> dict[str, Any]:
        """An event of type ``custom``, of now, without an id.

        :raises EventError: where an argument is not of its type; the message names it.
        """
        for argument, text in (("name", name), ("level", level), ("group_id", group_id)):
            if not (isinstance(text, str) or (argument == "group_id" and text is None)):
                raise _wrong(argument, "a string", text)
        for argument, mapping in (("data", data), ("context", context), ("meta", meta)):
            if not (mapping is None or isinstance(mapping, Mapping)):
                raise _wrong(argument, "a mapping", mapping)
        if isinstance(duration_ms, bool) or not (duration_ms is None or isinstance(duration_ms, int | float)):
            raise _wrong("duration_ms", "a number", duration_ms)
        payload: dict[str, Any] = {"name": name, "data": data or {}}
        if duration_ms is not None:
            payload["duration"] = duration_ms
        event: dict[str, Any] = {
            "timestamp": format_instant(time.time_ns() // 1_000_000 * 1000),
            "level": level,
            "type": "custom",
            "appId": self.app_id,
            "sessionId": self.session_id,
            "userId": self.user_id,
            "payload": payload,
            "meta": {"userAgent": USER_AGENT, "route": ""} | dict(meta or {}),
        }
        if group_id is not None:
            event["groupId"] = group_id
        if context is not None:
            event["context"] = context
        return event


def _wrong(argument: str, expected: str, value: object) -> EventError:
    return EventError(f"{argument}: expected {expected}, not {type(value).__name__}")


def encoded(event: Mapping[str, Any], max_bytes: int) -> tuple[str, bytes]:
    """The id of an event, given to it where it has none, and its JSON text in UTF-8.

    :raises EventError: where it is no JSON, too large, or would be rejected by section 4 of the specification.
    """
    if not isinstance(event, Mapping):
        raise EventError(f"expected a mapping with the members of an event, not {type(event).__name__}")
    with_id = {"id": event.get("id") or new_event_id()} | {name: event[name] for name in event if name != "id"}
    _check_json(with_id, max_bytes)
    text = _dumped(with_id)
    if len(text) > max_bytes:
        raise EventError(_too_large(max_bytes))
    judged = read_event(text, 0, new_event_id)
    if isinstance(judged, Rejection):
        raise EventError(judged.reason.replace("events[0].", "").replace("events[0]", "the event"))
    return judged.id, text


def _dumped(event: dict[str, Any]) -> bytes:
    try:
        return json.dumps(event, ensure_ascii=False, separators=(",", ":"), default=dict).encode()
    except UnicodeEncodeError:  # a lone surrogate, which is legal when it is escaped (FRAME-8)
        return json.dumps(event, separators=(",", ":"), default=dict).encode()


def _too_large(max_bytes: int) -> str:
    return f"the event is larger than {max_bytes} bytes of JSON, which max_frame_bytes leaves for one; send less of it"


def _check_json(event: dict[str, Any], max_bytes: int) -> None:
    """Refuse what JSON cannot say, where ``json.dumps`` would say something else or fail half way.

    Every value takes a byte at least, so that what goes round in circles ends as well.
    """
    values: list[tuple[str, Any, int]] = [("", event, 1)]
    seen = 0
    while values:
        path, value, depth = values.pop()
        seen += 1
        if seen > max_bytes:
            raise EventError(_too_large(max_bytes))
        if value is None or isinstance(value, str | bool):
            continue
        if isinstance(value, int | float):
            _check_number(path, value)
        elif depth > _MAX_EVENT_DEPTH:
            raise EventError(f"{_shortened(path)}: nested deeper than {_MAX_EVENT_DEPTH} levels, or contains itself")
        elif isinstance(value, Mapping):
            for name, member in value.items():
                if not isinstance(name, str):
                    raise EventError(f"{path or 'the event'}: a name has to be a string, not {type(name).__name__}")
                values.append((f"{path}.{name}" if path else name, member, depth + 1))
        elif isinstance(value, list | tuple):
            values += [(f"{path}[{index}]", member, depth + 1) for index, member in enumerate(value)]
        else:
            raise EventError(f"{path}: {type(value).__name__} is not JSON; use str, int, float, bool, None, list, dict")


def _check_number(path: str, value: float) -> None:
    if isinstance(value, float):
        if not math.isfinite(value):
            raise EventError(f"{path}: {value} is not JSON; leave it out, or use None")
    elif abs(value) >= _TOO_MANY:
        raise EventError(f"{path}: JSON has no number that large; use a string")


def _shortened(path: str) -> str:
    return path if len(path) <= 100 else f"{path[:100]}…"
