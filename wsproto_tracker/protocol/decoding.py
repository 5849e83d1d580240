"""From a message's text to a frame, or to the ``FrameError`` that says what is wrong with it.

The quick way reads an ``ingest`` frame with ``msgspec`` and leaves its events as text. Whatever it does not take goes
the thorough way, which knows all frames, bears lone surrogates (FRAME-8) and names every fault.
"""

from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

import msgspec
from cattrs import ClassValidationError

from wsproto_tracker.errors import ErrorCode, FrameError
from wsproto_tracker.protocol import json_text
from wsproto_tracker.protocol.events import MAX_LISTED_REJECTIONS, Batch, Rules, read_batch
from wsproto_tracker.protocol.frames import INCOMING, Auth, EventsQuery, Glance, Ingest, IngestBody, Ping, Subscribe
from wsproto_tracker.protocol.query import Query, query_converter
from wsproto_tracker.structuring import faults

__all__ = ["Frame", "glance_at", "read_body", "read_frame", "read_parameters"]

_TYPE_NAMES = ", ".join(sorted([*INCOMING, "ingest"]))
NewId = Callable[[], str]
Frame = Auth | Batch | EventsQuery | Ping | Subscribe

_IngestDecoder = msgspec.json.Decoder[Ingest] | msgspec.json.Decoder[IngestBody]

_INGEST = msgspec.json.Decoder(Ingest)
_INGEST_BODY = msgspec.json.Decoder(IngestBody)
_GLANCE = msgspec.json.Decoder(Glance)
_CONVERTER = query_converter()
_TIGHT_BYTES = 8  # a comma in fewer bytes is no event of the plugin
_TOO_DEEP = f"nested deeper than {json_text.MAX_DEPTH} levels"


def read_frame(text: str, new_id: NewId | None, rules: Rules = Rules()) -> Frame:
    """Read the frame that a text message holds; an ``ingest`` becomes the ``Batch`` of its events.

    :param new_id: gives the ids of events that come without (ID-1); ``None`` for one who may not ingest: the events are
        not judged then, and the batch is empty.
    :raises FrameError: where it is none (FRAME-3); no other error, whatever the text.
    """
    events = _read_quickly(text, _INGEST, rules)
    return _read_thoroughly(text, new_id, rules) if events is None else _batch(events, new_id, rules)


def glance_at(text: str) -> tuple[bool, str | None]:
    """Look at a large message: whether it is an ``ingest``, and its ``reqId``; nothing is made of the rest of it.

    What only the thorough way could read is none, and has none.
    """
    try:
        glance = _GLANCE.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return False, None
    return glance.type == "ingest" and memoryview(glance.events)[:1].tobytes() == b"[", glance.reqId


def read_body(body: bytes, new_id: NewId, rules: Rules = Rules()) -> Batch:
    """Read the body of an HTTP ingest (HTTP-1, HTTP-5).

    :raises FrameError: where it is none; no other error, whatever the body.
    """
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise FrameError(ErrorCode.BAD_JSON, f"not UTF-8: {error.reason} at byte {error.start}") from None
    events = _read_quickly(text, _INGEST_BODY, rules)
    return _batch(_split_events(text, _load(text), None, rules) if events is None else events, new_id, rules)


def read_parameters(parameters: dict[str, str]) -> Query:
    """Read the parameters of an HTTP read as a query (X-READ-1).

    :raises FrameError: ``bad_query``, naming every parameter that cannot be read (HTTP-11).
    """
    values: dict[str, Any] = dict(parameters)
    for name in ("limit", "page"):
        try:
            values[name] = json_text.loads(parameters[name])
        except (KeyError, ValueError, RecursionError):
            continue  # left out, or no number: the converter says so
    try:
        return _CONVERTER.structure(values, Query)
    except ClassValidationError as error:
        hint = "; a + in a URL has to be written as %2B" if any(" " in value for value in parameters.values()) else ""
        raise FrameError(ErrorCode.BAD_QUERY, "; ".join(faults(error)) + hint) from None


def _read_quickly(text: str, decoder: _IngestDecoder, rules: Rules) -> list[bytes] | None:
    """The events of an ingest, cut out of its text; ``None`` where only the thorough way can tell.

    That is also where more events than are taken may be packed so tightly that each, apart, takes many times its text.
    """
    try:
        data = text.encode()
        commas = data.count(b",") if len(data) > rules.max_events else 0
        if commas >= rules.max_events and commas * _TIGHT_BYTES > len(data):
            return None
        events = [bytes(raw) for raw in decoder.decode(data).events]
    except UnicodeEncodeError:
        raise FrameError(ErrorCode.BAD_JSON, "not text: a lone surrogate stands outside of escapes") from None
    except (msgspec.DecodeError, RecursionError):
        return None
    if len(data) - sum(map(len, events)) > 2 * json_text.MAX_DEPTH:  # else what stands beside them is not too deep
        beside = json_text.openers(data) - sum(map(json_text.openers, events))
        return events if beside <= json_text.MAX_DEPTH else None
    return events


def _load(text: str) -> dict[str, Any]:
    try:
        data = json_text.loads(text)
    except RecursionError:
        raise FrameError(ErrorCode.BAD_JSON, _TOO_DEEP) from None
    except ValueError as error:
        raise FrameError(ErrorCode.BAD_JSON, f"not JSON: {error}") from None
    if not isinstance(data, dict):
        raise FrameError(ErrorCode.BAD_FRAME, "expected a JSON object")
    return data


def _read_thoroughly(text: str, new_id: NewId | None, rules: Rules) -> Frame:
    data = _load(text)
    name, req_id = data.get("type"), data.get("reqId")
    if not isinstance(req_id, str):
        req_id = None
    if not isinstance(name, str):
        fault = "expected a string" if "type" in data else "missing"
        raise FrameError(ErrorCode.BAD_FRAME, f"type: {fault}; the types are {_TYPE_NAMES}", req_id)
    if name == "ingest":
        return _batch(_split_events(text, data, req_id, rules), new_id, rules)
    if name not in INCOMING:
        raise FrameError(
            ErrorCode.UNKNOWN_TYPE, f"no frame from clients has this type; the types are {_TYPE_NAMES}", req_id
        )
    _check_depth(text, req_id)
    try:
        return _CONVERTER.structure(data, INCOMING[name])
    except ClassValidationError as error:
        found = faults(error)
    code = ErrorCode.BAD_QUERY if all(fault.startswith("query.") for fault in found) else ErrorCode.BAD_FRAME
    raise FrameError(code, "; ".join(found), req_id)


def _split_events(text: str, data: dict[str, Any], req_id: str | None, rules: Rules) -> list[bytes]:
    """Cut the events out of the text of an ``ingest`` frame, as far as they are taken or told to be too many.

    :param data: what the text says.
    """
    if not isinstance(data.get("events"), list):
        fault = "expected an array" if "events" in data else "missing"
        raise FrameError(ErrorCode.BAD_FRAME, f"events: {fault}", req_id)  # INGEST-4, HTTP-5
    try:
        spans = {name: (begin, end) for name, begin, end in json_text.members(text)}  # the last counts, FRAME-11
        begin, end = spans["events"]
        wanted = islice(json_text.elements(text, begin), min(rules.max_events, len(text)) + MAX_LISTED_REJECTIONS)
        events = [text[first:last].encode() for first, last in wanted]
    except RecursionError:  # it was just about read as a whole
        raise FrameError(ErrorCode.BAD_JSON, _TOO_DEEP, req_id) from None
    _check_depth(f"{text[:begin]}0{text[end:]}", req_id)  # what stands beside the events
    return events


def _batch(events: Sequence[bytes], new_id: NewId | None, rules: Rules) -> Batch:
    return Batch((), ()) if new_id is None else read_batch(events, new_id, rules)


def _check_depth(text: str, req_id: str | None = None) -> None:
    if json_text.openers(text) > json_text.MAX_DEPTH and json_text.depth(text) > json_text.MAX_DEPTH:
        raise FrameError(ErrorCode.BAD_JSON, _TOO_DEEP, req_id)  # FRAME-10
