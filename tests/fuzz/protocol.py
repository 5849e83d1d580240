"""Targets of the protocol: conversations, bodies, parameters, timestamps, and JSON as text.

What is right is told by the ``json`` module, by ``datetime``, and by the same input spelled in another way.
"""

import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import count, islice
from typing import Any, NoReturn
from urllib.parse import parse_qsl

from tests.support import RECORDINGS, SPEC, recording
from wsproto_tracker.access import Access
from wsproto_tracker.errors import ErrorCode, FrameError
from wsproto_tracker.protocol import json_text
from wsproto_tracker.protocol import timestamps as timestamps_module
from wsproto_tracker.protocol.decoding import read_body, read_parameters
from wsproto_tracker.protocol.events import MAX_LISTED_REJECTIONS, Batch, Event
from wsproto_tracker.protocol.frames import OUTGOING
from wsproto_tracker.protocol.query import Query
from wsproto_tracker.protocol.session import Action, Answer, Close, Reply, Save, Session, StartPush, State
from wsproto_tracker.store.fields import app_of, matches_fields

__all__ = [
    "JSON_WORDS",
    "PARAMETER_WORDS",
    "TIMESTAMP_WORDS",
    "bodies",
    "body",
    "conversations",
    "json_document",
    "parameters",
    "session",
    "timestamps",
]

_KEY = "k"
_HAS_KEY, _HAS_NO_PUSH = 1, 2
_TEXT, _BINARY = b"\xff", b"\xfe"  # UTF-8 never has these
_SHALLOW = 100  # brackets; with fewer, no limit of depth plays a part
_LARGEST_EXAMPLE_BYTES = 2500
_MAX_MESSAGES = 8

TIMESTAMP_WORDS = (
    *(b"2026-11-23", b"0001-01-01", b"9999-12-31", b"2024-02-29", b"1970-01-01", b"0000-00-00", b"1582-10-15"),
    *(b"T", b"t", b"Z", b"z", b"00:00:00", b"23:59:59", b"23:59:60", b"24", b".", b".5", b".999999", b".9999999"),
    *(b"+00:00", b"-23:59", b"+23:59", b"+24:00", b"-", b"+", b" ", b"\xd9\xa1", b"\xc2\xb2"),
)
PARAMETER_WORDS = (
    *(b"since=", b"until=", b"after=", b"type=", b"level=", b"userId=", b"sessionId=", b"groupId=", b"appId="),
    *(b"search=", b"limit=", b"page=", b"&", b"=", b"+", b"%20", b"%2B", b"%00", b"%ff", b"%ED%A0%BD", b"%"),
    *(b"info", b"error", b"0", b"1", b"-1", b"5.0", b"1e2", b"1e400", b"true", b"null", b"NaN", b"[", b'"1"'),
    *TIMESTAMP_WORDS,
)
JSON_WORDS = (
    *(b"{", b"}", b"[", b"]", b":", b",", b" ", b"\n", b"{}", b"[]", b'""', b"null", b"true", b"false"),
    *(b"0", b"-0", b"1", b"-1", b"5.0", b"1e2", b"0.5", b"1e400", b"1e999999999", b"9" * 400, b"NaN", b"-Infinity"),
    *(b'"\\ud83d"', b'"\\ude80"', b'"\\u0000"', b'"\\""', b"\\", b'"', b"\\u0069", b"\xed\xa0\xbd", b"\xc3\xa9"),
    *(b'"type":', b'"ingest"', b'"auth"', b'"ping"', b'"subscribe"', b'"events:query"', b'"key":"k"', b'"key":'),
    *(b'"events":', b'"events":[]', b'"reqId":', b'"reqId":"r"', b'"query":', b'"query":{}', b'"id":""', b'"id":"a"'),
    *(b'"id":', b'"\\u0069d":""', b'"timestamp":', b'"level":', b'"error"', b'"info"', b'"appId":', b'"sessionId":'),
    *(b'"userId":', b'"groupId":', b'"context":', b'"payload":', b'"meta":', b'"message":', b'"since":', b'"until":'),
    *(b'"limit":', b'"page":', b'"search":', b'"a"', _TEXT + b'{"type":', _BINARY, b"[" * 128, b"]" * 128),
    *(b'{"type":"ingest","events":[', b'"2026-11-23T21:05:13.536Z"', b'"2016-12-31T23:59:60Z"', b'{"id":"",'),
)


# Conversations


def session(data: bytes) -> None:
    """One connection to its end, beside another one that gets the same messages in another spelling.

    The first byte tells whether there is a key, and whether there is push. Each message begins with its kind.
    """
    switches = data[0] if data else 0
    session_, twin = _session(switches), _session(switches)
    generated: set[str] = set()
    for message in islice(_messages(data[1:]), _MAX_MESSAGES):
        before = session_.state
        actions = session_.receive(message)
        _check_actions(message, before, session_.state, actions)
        for action in actions:
            if isinstance(action, Save):
                ids = [event.id for event in action.batch.events if not event.has_given_id]
                assert len(set(ids)) == len(ids)
                assert generated.isdisjoint(ids)
                generated.update(ids)
        assert list(map(_meaning, twin.receive(_respelled(message)))) == list(map(_meaning, actions))
        assert twin.state is session_.state


def conversations() -> list[bytes]:
    """The frames of the specification's examples, before and after a key, and what the plugin was heard to send."""
    examples = [_TEXT + text for path in sorted((SPEC / "examples").glob("frame-*.json")) for text in _examples(path)]
    heard = [
        entry["text"].encode()
        for path in sorted(RECORDINGS.glob("*-websocket-*.jsonl"))
        for entry in recording(path.name)
        if entry["kind"] == "ws" and entry["dir"] == "in"
    ]
    auth = _TEXT + b'{"type":"auth","key":"k"}'
    return [
        switches + text for text in [*examples, *(_TEXT + text for text in heard)] for switches in (b"0", b"1" + auth)
    ]


def _session(switches: int) -> Session:
    key = _KEY if switches & _HAS_KEY else None
    return Session(Access.of(key), _new_ids(), push=not switches & _HAS_NO_PUSH)


def _new_ids() -> Callable[[], str]:
    return map("new-{}".format, count()).__next__


def _messages(data: bytes) -> Iterator[str | bytes]:
    for kind, content in re.findall(rb"([\xfe\xff]|\A)([^\xfe\xff]*)", data):
        yield content if kind == _BINARY else _text(content)


def _text(data: bytes) -> str:
    """Any bytes as text; what is not UTF-8 becomes lone surrogates."""
    return data.decode("utf-8", "surrogateescape")


def _check_actions(message: str | bytes, before: State, after: State, actions: tuple[Action, ...]) -> None:
    """What has to be true of the actions that follow a message."""
    if before is State.CLOSED:
        assert (actions, after) == ((), State.CLOSED)  # AUTH-7
        return
    assert actions
    assert (after is State.CLOSED) == isinstance(actions[-1], Close)
    replies = [_frame(action.text) for action in actions if isinstance(action, Reply)]
    codes = [reply["code"] for reply in replies if reply["type"] == "error"]
    assert codes == ["unauthorized"] if after is State.CLOSED else len(actions) == 1
    assert after is State.CLOSED or "unauthorized" not in codes  # AUTH-5; inputs are no large messages
    if isinstance(message, bytes):
        assert (codes, after) == (["unsupported"], before)  # FRAME-6
        return
    if json_text.openers(message) > _SHALLOW:
        return
    try:
        message.encode()
        frame = _parsed(message)
    except ValueError:
        assert codes == ["bad_json"]  # FRAME-5
        return
    assert "bad_json" not in codes
    req_id = frame.get("reqId") if isinstance(frame, dict) else None
    for reply in replies:
        if reply["type"] == "error":
            assert reply.get("reqId") == (req_id if isinstance(req_id, str) else None)  # ERR-3
    for action in actions:
        assert after is State.OPEN or isinstance(action, Reply | Close)  # AUTH-5
        match action:
            case Save(batch):
                _check_batch(batch, frame["events"])
            case Answer(asked, query):
                assert (asked, frame["type"]) == (req_id, "events:query")
                _check_query(query)
            case StartPush():
                assert frame["type"] == "subscribe"


def _frame(text: bytes) -> dict[str, Any]:
    """A frame from the server, as every one has to be (FRAME-1, ERR-1, ERR-2)."""
    frame = _parsed(text.decode())
    assert frame["type"] in OUTGOING.values()
    if frame["type"] == "error":
        assert frame["code"] in list(ErrorCode)
        assert isinstance(frame["message"], str)
        assert frame["message"]
    return dict(frame)


def _meaning(action: Action) -> object:
    """What does not depend on how a message is spelled."""
    return _batch_meaning(action.batch) if isinstance(action, Save) else action


def _batch_meaning(batch: Batch) -> object:
    events = [
        (event.app, event.has_given_id and event.id, event.instant, _without_id(_parsed(event.text.decode())))
        for event in batch.events
    ]
    return events, batch.rejected


def _respelled(message: str | bytes) -> str | bytes:
    """The same JSON in other words: no space, all but ASCII escaped, of several members of a name the last."""
    if isinstance(message, bytes) or json_text.openers(message) > _SHALLOW:
        return message
    try:
        message.encode()
        return json.dumps(_parsed(message), separators=(",", ":"), allow_nan=False)
    except ValueError:
        return message


# Batches and queries


def _check_batch(batch: Batch, sent: list[Any]) -> None:
    """The events of a batch are those that were sent, in this order, but for the rejected ones and for ids."""
    rejected = {rejection.index for rejection in batch.rejected}
    assert len(rejected) == len(batch.rejected)
    assert rejected <= set(range(len(sent)))
    assert all(f"events[{rejection.index}]" in rejection.reason for rejection in batch.rejected)
    if len(rejected) < MAX_LISTED_REJECTIONS:  # else there may be more that are not told
        left = [value for index, value in enumerate(sent) if index not in rejected]
        for event, value in zip(batch.events, left, strict=True):
            _check_event(event, value)


def _check_event(event: Event, sent: dict[str, Any]) -> None:
    kept = _parsed(event.text.decode())
    given = sent.get("id", "")
    assert event.has_given_id == bool(given)
    assert kept["id"] == event.id == (given or event.id)
    assert event.id
    assert _without_id(kept) == _without_id(sent)  # EVENT-8
    assert event.app == app_of(event.text) == sent["appId"]
    assert event.instant == timestamps_module.parse_timestamp(sent["timestamp"])
    names = ("type", "level", "appId", "sessionId", "userId", "groupId")
    assert matches_fields(event.text, Query(**{name: sent[name] for name in names if name in sent}, search=""))


def _without_id(event: dict[str, Any]) -> str:
    return json.dumps({name: value for name, value in event.items() if name != "id"})


def _check_query(query: Query) -> None:
    """A query is within its bounds (FILTER-5, FILTER-6)."""
    assert query.limit is None or query.limit >= 0
    assert query.page >= 1
    assert len(range(10)[query.on_page]) <= 10
    assert query.level in (None, "debug", "info", "warn", "error")


def _whole_number(digits: str) -> int | float:
    return int(digits) if len(digits) < 310 else float(digits)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


_JSON = json.JSONDecoder(parse_int=_whole_number, parse_constant=_refuse)


def _parsed(text: str) -> Any:
    """The value of a JSON text, by the ``json`` module.

    :raises ValueError: where it is not JSON.
    """
    return _JSON.decode(text)


# HTTP bodies and parameters


def body(data: bytes) -> None:
    """The body of an HTTP ingest, and the same in another spelling."""
    batch, code = _read_body(data)
    try:
        text = data.decode()
    except UnicodeDecodeError:
        assert code is ErrorCode.BAD_JSON
        return
    if json_text.openers(text) > _SHALLOW:
        return
    try:
        sent = _parsed(text)
    except ValueError:
        assert code is ErrorCode.BAD_JSON
        return
    if isinstance(sent, dict) and isinstance(sent.get("events"), list):
        assert batch is not None  # HTTP-4
        _check_batch(batch, sent["events"])
        respelled = _respelled(text)
        assert isinstance(respelled, str)
        twin, _ = _read_body(respelled.encode())
        assert twin is not None
        assert _batch_meaning(twin) == _batch_meaning(batch)
    else:
        assert code is ErrorCode.BAD_FRAME  # HTTP-5


def bodies() -> list[bytes]:
    """The specification's examples."""
    return [text for path in sorted((SPEC / "examples").glob("*.json")) for text in _examples(path)]


def _examples(path: Any) -> list[bytes]:
    texts = [json.dumps(example["value"]).encode() for example in json.loads(path.read_text("utf-8"))]
    return [text for text in texts if len(text) <= _LARGEST_EXAMPLE_BYTES]


def _read_body(data: bytes) -> tuple[Batch | None, ErrorCode | None]:
    try:
        return read_body(data, _new_ids()), None
    except FrameError as problem:
        return None, problem.code


def parameters(data: bytes) -> None:
    """The parameters of an HTTP read, as they stand in a URL."""
    given = dict(parse_qsl(data.decode("latin-1"), keep_blank_values=True))
    try:
        query = read_parameters(given)
    except FrameError as problem:
        assert problem.code is ErrorCode.BAD_QUERY
        assert _bad_parameters(given)
        return
    assert not _bad_parameters(given)
    _check_query(query)
    for name in ("since", "until", "after"):
        assert getattr(query, name) == (timestamps_module.parse_timestamp(given[name]) if name in given else None)
    for name in ("type", "level", "userId", "sessionId", "groupId", "appId", "search"):
        assert getattr(query, name) == given.get(name)
    assert query.limit == (_parsed(given["limit"]) if "limit" in given else None)
    assert query.page == _parsed(given.get("page", "1"))


def _bad_parameters(given: dict[str, str]) -> list[str]:
    """Those that cannot be read (HTTP-11)."""
    bad: list[str] = [name for name in ("since", "until", "after") if name in given and not _is_timestamp(given[name])]
    bad += ["level"] if given.get("level", "info") not in ("debug", "info", "warn", "error") else []
    return bad + [name for name, least in (("limit", 0), ("page", 1)) if not _is_number(given.get(name, "1"), least)]


def _is_timestamp(text: str) -> bool:
    try:
        timestamps_module.parse_timestamp(text)
    except ValueError:
        return False
    return True


def _is_number(text: str, least: int) -> bool:
    try:
        number = _parsed(text)
    except (ValueError, RecursionError):
        return False
    if isinstance(number, float):
        return abs(number) < 1e21 and number.is_integer() and number >= least
    return type(number) is int and number >= least


# Timestamps


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def timestamps(data: bytes) -> None:
    """A timestamp: an instant that is written and read as itself, and that ``datetime`` agrees with; or none."""
    text = _text(data)
    try:
        instant = timestamps_module.parse_timestamp(text)
    except ValueError as error:
        assert timestamps_module.EXPECTED in str(error)
        return
    written = timestamps_module.format_instant(instant)
    assert timestamps_module.parse_timestamp(written) == instant
    assert timestamps_module.format_instant(timestamps_module.parse_timestamp(written)) == written
    leap = timedelta(seconds=":60" in text[16:20])
    cut = re.sub(r"(\.\d{6})\d+", r"\1", text.upper()).replace(":60", ":59")
    try:
        moment = datetime.fromisoformat(re.sub(r"\.\d+", lambda digits: digits[0].ljust(7, "0"), cut)) + leap
    except OverflowError:
        return  # the last second of all, with a leap second
    assert (moment - _EPOCH) // timedelta(microseconds=1) == instant


# JSON as text


def json_document(data: bytes) -> None:
    """Any text: it is JSON where ``json`` says so, means the same, and its parts are where they are said to be."""
    text = _text(data)
    try:
        value = json_text.loads(text)
    except (ValueError, RecursionError) as error:
        if isinstance(error, ValueError):
            assert not _is_json(text)
        return
    assert json_text.openers(text) == json_text.openers(text.encode("utf-8", "surrogateescape"))
    assert json_text.openers(text) >= json_text.depth(text)
    if json_text.depth(text) > _SHALLOW:
        return
    assert _is_same(value, _parsed(text))
    pairs = json.loads(text, object_pairs_hook=tuple, parse_int=_whole_number)
    assert json_text.depth(text) == _depth(pairs)
    start = len(text) - len(text.lstrip(" \t\n\r"))
    assert _rebuilt(f"[{text}", start + 1, len(text.rstrip(" \t\n\r")) + 1) == pairs


def _is_json(text: str) -> bool:
    try:
        _parsed(text)
    except (ValueError, RecursionError):
        return False
    return True


def _is_same(value: Any, expected: Any) -> bool:
    """Whether a value is the expected one; ``5.0`` is a whole number as well."""
    if isinstance(expected, dict):
        return list(value) == list(expected) and all(map(_is_same, value.values(), expected.values()))
    if isinstance(expected, list):
        return len(value) == len(expected) and all(map(_is_same, value, expected))
    if isinstance(expected, float) and expected.is_integer() and abs(expected) < 1e21:
        return type(value) is int and value == expected
    return type(value) is type(expected) and value == expected


def _depth(pairs: Any) -> int:
    if isinstance(pairs, list):
        return 1 + max(map(_depth, pairs), default=0)
    return 1 + max((_depth(value) for _, value in pairs), default=0) if isinstance(pairs, tuple) else 0


def _rebuilt(text: str, begin: int, end: int) -> Any:
    """The value that stands there, put together from its parts; an object as a tuple of pairs."""
    match text[begin]:
        case "{":
            return tuple((name, _rebuilt(text, first, last)) for name, first, last in json_text.members(text, begin))
        case "[":
            return [_rebuilt(text, first, last) for first, last in json_text.elements(text, begin)]
        case _:
            return json.loads(text[begin:end], parse_int=_whole_number)
