"""From the text of a message, the body of a request or its parameters to a frame, or to the error that tells."""

import json
from collections.abc import Callable
from typing import Any, NoReturn

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.support import event, query
from wsproto_tracker.errors import ErrorCode, FrameError
from wsproto_tracker.protocol.decoding import _INGEST, Frame, _read_quickly, read_body, read_frame, read_parameters
from wsproto_tracker.protocol.events import Batch, Rules
from wsproto_tracker.protocol.frames import Auth, EventsQuery, Ping, Subscribe
from wsproto_tracker.protocol.query import Query
from wsproto_tracker.protocol.timestamps import parse_timestamp

FILLED = "filled-in"
NOON = "2026-11-23T12:00:00Z"
EVENT = json.dumps(event())
INNER = {"member": '"x":VALUE,', "payload": '"payload":{"message":VALUE},'}
LONE = json.dumps(event(userId="cut \ud83d"))  # the quick way cannot read it

AWKWARD = st.text('[]{}"\\/,: \n\x00\u2028\xe9\U0001f680\ud83d', max_size=6)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | AWKWARD,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(AWKWARD | st.just("type"), inner, max_size=3),
    max_leaves=8,
)
TYPES = st.sampled_from(["auth", "ingest", "events:query", "ping", "subscribe", "hello"])
FRAMES = st.fixed_dictionaries(
    {"type": TYPES | VALUES},
    optional={
        "key": st.just("s3cret") | VALUES,
        "reqId": st.just("r1") | VALUES,
        "query": st.dictionaries(st.sampled_from(["since", "limit", "page", "level", "x"]), VALUES, max_size=3)
        | VALUES,
        "events": st.lists(st.just(event()) | st.just(event(meta=...)) | VALUES, max_size=3) | VALUES,
        "x": VALUES,
    },
)
TEXTS = [
    '{"type":"auth","key":"s3cret","x":[1.5e-3,true,null]}',
    f'{{"type":"ingest","events":[{EVENT},{{"id":"given"}},-0.5E+2,"\\u00e9\\n",false]}}',
    f'{{"type": "ingest", "x": [{{"y": []}}], "events": [ {LONE} , {{}} ] }}',
    query(since=NOON, limit=5),
    '{"type":"ping"}',
]


UNREADABLE: list[tuple[str, list[Any]]] = [
    ("since until after", ["", "yesterday", "2026-11-23", NOON + "\n", 5, None]),
    ("type userId sessionId groupId appId search", [5, None, True, [], {}]),
    ("level", ["", "fatal", "ERROR", 5, None, ["info"]]),
    ("limit", [-1, 1.5, "10", None, True, [], 1e300, -0.5]),
    ("page", [0, -1, 1.5, "2", None, True, {}]),
]


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """A frame after a few characters were deleted, inserted, exchanged or repeated."""
    text = draw(st.sampled_from(TEXTS))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(text) - 1))
        text = draw(
            st.sampled_from(
                [
                    text[:at] + text[at + 1 :],
                    text[:at]
                    + draw(st.sampled_from('{}[],:"\\019-+.eEuntf \t\n\x00\x1f\x7f\xa0\xe9\ufeff'))
                    + text[at:],
                    text[:at] + text[at + 1 : at + 2] + text[at] + text[at + 2 :],
                    text[: at + 1] + text[at // 2 :],
                ]
            )
        )
    return text


def spliced(parts: tuple[str, bytes]) -> bytes:
    """A text's bytes with others in their middle."""
    body = parts[0].encode()
    return body[: len(body) // 2] + parts[1] + body[len(body) // 2 :]


def new_id() -> str:
    return FILLED


def read(text: str) -> Frame:
    return read_frame(text, new_id)


def batch(text: str) -> Batch:
    frame = read(text)
    assert isinstance(frame, Batch)
    return frame


def refusal(text: str) -> FrameError:
    """The error that the message is answered with."""
    with pytest.raises(FrameError) as caught:
        read(text)
    return caught.value


def outcome(function: Callable[[Any, Callable[[], str]], Frame], message: str | bytes) -> Frame | FrameError:
    try:
        return function(message, new_id)
    except FrameError as error:
        return error


def is_json(text: str | bytes) -> bool:
    """Whether the text is JSON of RFC 8259, in UTF-8."""

    def refuse(_constant: str) -> NoReturn:
        raise ValueError

    try:
        json.loads(text if isinstance(text, str) else text.decode(), parse_int=str, parse_constant=refuse)
    except ValueError:
        return False
    return True


def assert_saves_only_what_was_sent(text: str | bytes, frame: Frame | FrameError) -> None:
    """What is no JSON was refused as such; of a batch, each event is what was sent."""
    if not is_json(text):
        assert isinstance(frame, FrameError)
        assert frame.code == ErrorCode.BAD_JSON
    elif isinstance(frame, Batch):
        sent = json.loads(text)["events"]
        kept = [place for place in range(len(sent)) if place not in {rejection.index for rejection in frame.rejected}]
        assert len(frame.events) == len(kept)
        for place, found in zip(kept, frame.events, strict=True):
            assert json.loads(found.text) == sent[place] | {"id": sent[place].get("id") or FILLED}


# Frames


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"type":"auth","key":"s3cret"}', Auth("s3cret")),
        ('{"type":"auth"}', Auth("")),
        ('{"type":"auth","key":"\\ud83d"}', Auth("\ud83d")),
        ('{"type":"ping"}', Ping()),
        (' {"type" : "subscribe"}\n', Subscribe()),
        ('{"type":"ingest","events":[]}', Batch((), ())),
        ('{"type":"events:query","reqId":"","query":{}}', EventsQuery("", Query())),
        (
            query("r1", since=NOON, type="click", limit=5, page=2),
            EventsQuery("r1", Query(since=parse_timestamp(NOON), type="click", limit=5, page=2)),  # type: ignore[arg-type]
        ),
    ],
)
def test_every_frame_of_a_client_is_read(text: str, expected: Frame) -> None:
    """Each frame is read, with what it leaves out left out (AUTH-1, INGEST-1, QUERY-1, QUERY-4, X-PING-1, X-SUB-1)."""
    assert read(text) == expected


@pytest.mark.parametrize(
    "members",
    [
        {"type": "auth", "key": "s3cret"},
        {"type": "ping"},
        {"type": "subscribe"},
        {"type": "ingest", "events": [event(), event(level="fatal")]},
        {"type": "events:query", "reqId": "r1", "query": {"limit": 1}},
    ],
    ids=lambda members: str(members["type"]),
)
def test_unknown_members_are_ignored(members: dict[str, Any]) -> None:
    """A member that the server does not know changes nothing, whatever it holds and wherever it stands (FRAME-2)."""
    unknown: dict[str, Any] = {"x": {"events": [event()], "type": 5}, "\ud83d": None, "": [[]]}
    assert read(json.dumps(unknown | members)) == read(json.dumps(members | unknown)) == read(json.dumps(members))


def test_unknown_members_of_a_query_are_ignored() -> None:
    """A member of ``query`` that the server does not know is ignored (FRAME-2, FILTER-1)."""
    assert read(query("r1", order="asc", tags=[], limit=1)) == read(query("r1", limit=1))


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", ErrorCode.BAD_JSON),
        ("hello", ErrorCode.BAD_JSON),
        ('{"type":"ping"', ErrorCode.BAD_JSON),
        ('{"type":"ping"}{"type":"ping"}', ErrorCode.BAD_JSON),
        ('{"type":"ping","x":NaN}', ErrorCode.BAD_JSON),
        ('\ufeff{"type":"ping"}', ErrorCode.BAD_JSON),
        ("[]", ErrorCode.BAD_FRAME),
        ('[{"type":"ping"}]', ErrorCode.BAD_FRAME),
        ('"ping"', ErrorCode.BAD_FRAME),
        ("42", ErrorCode.BAD_FRAME),
        ("1e999", ErrorCode.BAD_FRAME),
        ("null", ErrorCode.BAD_FRAME),
        ("{}", ErrorCode.BAD_FRAME),
        ('{"events":[]}', ErrorCode.BAD_FRAME),
        ('{"type":null}', ErrorCode.BAD_FRAME),
        ('{"type":["ping"]}', ErrorCode.BAD_FRAME),
        ('{"Type":"ping"}', ErrorCode.BAD_FRAME),
        ('{"type":"auth","key":5}', ErrorCode.BAD_FRAME),
        ('{"type":"auth","key":null}', ErrorCode.BAD_FRAME),
        ('{"type":"events:query","query":{}}', ErrorCode.BAD_FRAME),
        ('{"type":"events:query","reqId":5,"query":{}}', ErrorCode.BAD_FRAME),
        ('{"type":"events:query","reqId":"r"}', ErrorCode.BAD_FRAME),
        ('{"type":"events:query","reqId":"r","query":null}', ErrorCode.BAD_FRAME),
        ('{"type":"events:query","reqId":"r","query":[]}', ErrorCode.BAD_FRAME),
        ('{"type":"events:query","reqId":5,"query":{"limit":-1}}', ErrorCode.BAD_FRAME),
        ('{"type":"events:query","reqId":"r","query":{"limit":-1}}', ErrorCode.BAD_QUERY),
        ('{"type":"hello"}', ErrorCode.UNKNOWN_TYPE),
        ('{"type":""}', ErrorCode.UNKNOWN_TYPE),
        ('{"type":"PING"}', ErrorCode.UNKNOWN_TYPE),
        ('{"type":"ping\\n"}', ErrorCode.UNKNOWN_TYPE),
        ('{"type":"\\ud83d"}', ErrorCode.UNKNOWN_TYPE),
        ('{"type":"ack","saved":1}', ErrorCode.UNKNOWN_TYPE),
    ],
)
def test_a_message_that_is_no_frame_has_a_code(text: str, code: ErrorCode) -> None:
    """What is not JSON, no object, of no known type or wrongly typed is told apart by its code (FRAME-3, ERR-2)."""
    assert refusal(text).code == code


@pytest.mark.parametrize(
    "text",
    [
        '{"type":"<b>M4RK</b>"}',
        '{"type":"M4RK","reqId":5}',
        '{"type":{"M4RK":"M4RK"}}',
        '{"type":"auth","key":["M4RK"]}',
        '{"type":"auth","key":{"M4RK":1}}',
        '{"type":"ingest","events":"M4RK"}',
        '{"type":"events:query","reqId":["M4RK"],"query":"M4RK"}',
        '{"type":"events:query","reqId":"r","query":{"since":"M4RK","level":"M4RK","limit":"M4RK","M4RK":"M4RK"}}',
        'M4RK {"type":"auth"}',
        '{"type":"auth","key":"M4RK',
        '{"type":"auth","key":"\\M4RK"}',
        '{"type":"auth","key":M4RK}',
    ],
)
def test_an_error_names_members_and_no_values(text: str) -> None:
    """An error repeats neither a key nor markup from a message (SEC-1, SEC-3)."""
    assert "M4RK" not in refusal(text).message


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("{}", "type: missing"),
        ('{"type":5}', "type: expected a string"),
        ('{"type":"auth","key":5}', "key: expected a string"),
        ('{"type":"events:query","query":{}}', "reqId: missing"),
        ('{"type":"events:query","reqId":"r"}', "query: missing"),
        ('{"type":"events:query","reqId":"r","query":5}', "query: expected an object"),
        ('{"type":"ingest"}', "events: missing"),
        ('{"type":"ingest","events":{}}', "events: expected an array"),
    ],
)
def test_an_error_says_what_is_wrong_where(text: str, named: str) -> None:
    """An error names the member that is wrong, with its path (ERR-1)."""
    assert named in refusal(text).message


# Ingest


@pytest.mark.parametrize("item", [EVENT, LONE], ids=["quick", "thorough"])
@pytest.mark.parametrize("count", [0, 1, 25, 2_000])
def test_a_frame_has_any_number_of_events(count: int, item: str) -> None:
    """An ``ingest`` frame may hold no event, one, or thousands (INGEST-1, FRAME-8)."""
    read_ = batch(f'{{"type":"ingest","events":[{",".join([item] * count)}]}}')
    assert (len(read_.events), read_.rejected) == (count, ())


@pytest.mark.parametrize("neighbour", [event(), event(userId="cut \ud83d")], ids=["quick", "thorough"])
def test_each_event_is_judged_by_itself(neighbour: dict[str, Any]) -> None:
    """Every valid event of a frame is kept and no other, whatever its neighbours are (INGEST-2, INGEST-3)."""
    good = [neighbour | {"id": name} for name in ("a", "b", "c")]
    bad = [None, event(meta=...), "click", event(type="<b>"), {}]
    read_ = batch(json.dumps({"type": "ingest", "events": [bad[0], good[0], *bad[1:3], good[1], good[2], *bad[3:]]}))
    assert [found.id for found in read_.events] == ["a", "b", "c"]
    assert [rejection.index for rejection in read_.rejected] == [0, 2, 3, 6, 7]
    assert read_.rejected[1].reason == "events[2].meta: missing"


@pytest.mark.parametrize("events", ["", ',"events":null', ',"events":{"0":{}}', ',"events":"[]"', ',"events":1'])
def test_events_are_an_array(events: str) -> None:
    """An ``ingest`` without an array ``events`` is a bad frame; the error has its ``reqId`` (INGEST-4, ERR-3)."""
    assert refusal(f'{{"type":"ingest"{events}}}').code == ErrorCode.BAD_FRAME
    assert refusal(f'{{"type":"ingest","reqId":"r1"{events}}}').req_id == "r1"


@pytest.mark.parametrize("event_text", [EVENT, LONE], ids=["quick", "thorough"])
@pytest.mark.parametrize(
    "frame",
    [
        '{{"type":"ping","type":"ingest","events":[{0}]}}',
        '{{"type":"ingest","events":[],"events":[{0}]}}',
        '{{"type":"ingest","events":5,"events":[{0}]}}',
        '{{"type":"ingest","events":[5,{0}],"x":1,"events":[{0}]}}',
        '{{"type":"ingest","\\u0065vents":[{0}]}}',
        '{{"type":"ingest","events":[{0},{0}],"\\u0065vents":[{0}]}}',
        '{{"events":[{0}],"type":"ing\\u0065st"}}',
        ' \t\r\n{{ "events" : [ {0} ] , "type" : "ingest" }} \n',
    ],
)
def test_the_last_of_several_members_counts(frame: str, event_text: str) -> None:
    """Of members with the same name the last is taken, however it is spelled (FRAME-11)."""
    (found,) = batch(frame.format(event_text)).events
    assert json.loads(found.text) == json.loads(event_text) | {"id": FILLED}


def test_the_last_type_of_several_counts() -> None:
    """A frame whose last ``type`` is another is another frame (FRAME-11)."""
    assert read(f'{{"type":"ingest","events":[{EVENT}],"type":"ping"}}') == Ping()
    assert refusal(f'{{"type":"ingest","events":[{EVENT}],"events":5}}').code == ErrorCode.BAD_FRAME


@pytest.mark.parametrize(
    "wrong",
    [
        *('"\\x"', '"\\u12g4"', '"\\u12"', '"\t"', '"\x00"', '"\n"', '"\\\n"', '"\x1f"'),
        *("01", "1.", ".5", "-", "+1", "1e", "1e+", "--1", "0x1", "1_0", "\u0661", "NaN", "-Infinity"),
        *("tru", "True", "nulll", "undefined", "'a'", "[1,]", "[,1]", "[1 2]", "{'a':1}", '{"a"}', '{"a":1,}', "{a:1}"),
        *("/**/1", "1//", "\xa01", "1;", "[1)", "]", "}", ""),
    ],
)
@pytest.mark.parametrize("place", ["member", "payload", "event", "frame"])
def test_one_wrong_character_and_nothing_is_saved(place: str, wrong: str) -> None:
    """Of a message that is not JSON in one place no event is saved, also none from elsewhere in it (FRAME-5)."""
    inner = INNER.get(place, "").replace("VALUE", wrong)
    item = wrong if place == "event" else f"{{{inner}{EVENT[1:]}"
    beside = f',"x":{wrong}' if place == "frame" else ""
    text = f'{{"type":"ingest","events":[{EVENT},{item},{EVENT}]{beside}}}'
    assert not is_json(text)
    assert refusal(text).code == ErrorCode.BAD_JSON


@pytest.mark.parametrize("right", ["1e999", "-0", "9" * 5_000, '"\\ud83d"', '"\x7f\u2028"', "1.5E+3", '{"a":1,"a":2}'])
@pytest.mark.parametrize("place", ["member", "payload", "frame"])
def test_odd_json_is_json(place: str, right: str) -> None:
    """Huge numbers, lone surrogates, repeated names: what is JSON is accepted (EVENT-1, FRAME-8, FRAME-11)."""
    inner = INNER.get(place, "").replace("VALUE", right)
    item = EVENT.replace('"payload"', '"old"') if place == "payload" else EVENT
    beside = f',"x":{right}' if place == "frame" else ""
    (found,) = batch(f'{{"type":"ingest","events":[{{{inner}{item[1:]}]{beside}}}').events
    assert right in (found.text.decode() + beside)


# Depth


def deep(levels: int) -> str:
    return "[" * levels + "]" * levels


@pytest.mark.parametrize("item", ["", EVENT, LONE], ids=["empty", "quick", "thorough"])
def test_a_frame_may_have_128_levels(item: str) -> None:
    """128 levels are accepted, the frame's own object being the first; one more beside the events is not (FRAME-9)."""
    frame = '{{"x":{0},"type":"ingest","events":[{1}]}}'
    assert len(batch(frame.format(deep(127), item)).events) == bool(item)
    for levels in (128, 200, 500):
        assert refusal(frame.format(deep(levels), item)).code == ErrorCode.BAD_JSON


@pytest.mark.parametrize("neighbour", [EVENT, LONE], ids=["quick", "thorough"])
def test_an_event_may_have_what_its_frame_leaves(neighbour: str) -> None:
    """An event down to level 128 of its frame is accepted, a deeper one alone rejected (FRAME-9, FRAME-10)."""
    for levels, count in ((125, 2), (126, 1), (300, 1)):
        read_ = batch(f'{{"type":"ingest","events":[{neighbour},{{"x":{deep(levels)},{EVENT[1:]}]}}')
        assert (len(read_.events), len(read_.rejected)) == (count, 2 - count)


@pytest.mark.parametrize("type_", ["ping", "auth", "subscribe", "events:query"])
def test_the_other_frames_have_the_same_depth(type_: str) -> None:
    """A frame of any type is refused beyond 128 levels, with its ``reqId`` (FRAME-9, FRAME-10, ERR-3)."""
    frame = '{{"type":"{0}","reqId":"r1","query":{{}},"x":{1}}}'
    assert not isinstance(read(frame.format(type_, deep(127))), Batch)
    error = refusal(frame.format(type_, deep(128)))
    assert (error.code, error.req_id) == (ErrorCode.BAD_JSON, "r1")


def test_depth_counts_no_brackets_side_by_side() -> None:
    """Many arrays beside each other, or brackets inside strings, are not deep (FRAME-9)."""
    assert read(json.dumps({"type": "ping", "x": [[]] * 500, "y": "[" * 500})) == Ping()
    for item in (EVENT, LONE):
        frame = f'{{"x":{json.dumps([[]] * 500)},"y":"{"[{" * 500}","type":"ingest","events":[{item}]}}'
        assert len(batch(frame).events) == 1


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        deep(100_000),
        '{"a":' * 100_000,
        f'{{"type":"ping","x":{deep(100_000)}}}',
        f'{{"type":"ingest","events":[],"x":{deep(100_000)}}}',
        f'{{"type":"ingest","events":[{LONE}],"x":{deep(100_000)}}}',
        f'{{"type":"events:query","reqId":"r","query":{deep(100_000)}}}',
    ],
    ids=["open", "closed", "objects", "ping", "ingest", "surrogate", "query"],
)
def test_endless_nesting_is_survived(text: str) -> None:
    """100,000 brackets are refused as too deep, and nothing else happens (FRAME-10, ERR-2)."""
    assert refusal(text).code == ErrorCode.BAD_JSON
    with pytest.raises(FrameError) as caught:
        read_body(text.encode(), new_id)
    assert caught.value.code == ErrorCode.BAD_JSON


@pytest.mark.parametrize("item", [EVENT, LONE], ids=["quick", "thorough"])
@pytest.mark.parametrize("place", ["event", "frame"])
def test_no_depth_is_too_much_for_the_interpreter(place: str, item: str) -> None:
    """Around what the interpreter can follow, a deeper frame is refused or its deep event rejected (FRAME-10)."""
    for levels in [*range(129, 1_100, 3), 5_000, 20_000]:
        inside, beside = (f',{{"x":{deep(levels)}}}', "") if place == "event" else ("", f',"x":{deep(levels)}')
        found = outcome(read_frame, f'{{"type":"ingest","events":[{item}{inside}]{beside}}}')
        if isinstance(found, Batch):
            assert (place, len(found.events), len(found.rejected)) == ("event", 1, 1)
        else:
            assert isinstance(found, FrameError)
            assert found.code == ErrorCode.BAD_JSON


# Queries


@pytest.mark.parametrize(
    ("name", "value"),
    [(name, value) for names, values in UNREADABLE for name in names.split() for value in values],
)
def test_a_member_of_a_query_that_cannot_be_read(name: str, value: Any) -> None:
    """A member that cannot be read is a bad query that is named, with the ``reqId`` (QUERY-9, FILTER-8, ERR-3)."""
    error = refusal(query("r1", **{name: value}))
    assert (error.code, error.req_id) == (ErrorCode.BAD_QUERY, "r1")
    assert error.message.startswith(f"query.{name}: expected ")


def test_every_member_that_cannot_be_read_is_named() -> None:
    """All that is wrong with a query is said at once (QUERY-9)."""
    message = refusal(query(since="x", level="x", limit=-1, page=1)).message
    assert all(f"query.{name}: " in message for name in ("since", "level", "limit"))
    assert "page" not in message


@pytest.mark.parametrize(
    ("spelled", "limit"),
    [("0", 0), ("5.0", 5), ("1e2", 100), ("-0", 0), ("123456789012345678901", 123456789012345678901)],
)
def test_a_whole_number_has_several_spellings(spelled: str, limit: int) -> None:
    """``5.0`` and ``1e2`` are whole numbers, so they are read as such (FILTER-5, FILTER-8)."""
    found = read(f'{{"type":"events:query","reqId":"r1","query":{{"limit":{spelled}}}}}')
    assert found == EventsQuery("r1", Query(limit=limit))  # type: ignore[arg-type]


@pytest.mark.parametrize("limit", ["1e400", "-1e400", "9" * 400, "9" * 5_000, "1.0000000000000002", "1e-400"])
def test_numbers_without_measure_raise_nothing(limit: str) -> None:
    """A ``limit`` that no double holds is a limit or a bad query, and nothing worse (QUERY-9, FILTER-8)."""
    text = f'{{"type":"events:query","reqId":"r1","query":{{"limit":{limit}}}}}'
    found = outcome(read_frame, text)
    assert isinstance(found, EventsQuery) or (isinstance(found, FrameError) and found.code == ErrorCode.BAD_QUERY)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ('{"reqId":"r\\ud83d1"}', ErrorCode.BAD_FRAME),
        ('{"type":5,"reqId":"r\\ud83d1"}', ErrorCode.BAD_FRAME),
        ('{"type":"hello","reqId":"r\\ud83d1"}', ErrorCode.UNKNOWN_TYPE),
        ('{"type":"auth","key":5,"reqId":"r\\ud83d1"}', ErrorCode.BAD_FRAME),
        ('{"type":"ingest","reqId":"r\\ud83d1"}', ErrorCode.BAD_FRAME),
        ('{"type":"events:query","reqId":"r\\ud83d1","query":5}', ErrorCode.BAD_FRAME),
        ('{"type":"events:query","reqId":"r\\ud83d1","query":{"page":0}}', ErrorCode.BAD_QUERY),
        (f'{{"type":"ingest","events":[],"reqId":"r\\ud83d1","x":{deep(200)}}}', ErrorCode.BAD_JSON),
    ],
)
def test_an_error_carries_the_req_id(text: str, code: ErrorCode) -> None:
    """Whatever is wrong, a string ``reqId`` is in the error, lone surrogates included (ERR-3, FRAME-8)."""
    error = refusal(text)
    assert (error.code, error.req_id) == (code, "r\ud83d1")


@pytest.mark.parametrize("req_id", ["5", "null", "true", "[]", '{"reqId":"r1"}', '["r1"]'])
def test_a_req_id_that_is_no_string_is_not_carried(req_id: str) -> None:
    """A ``reqId`` of another JSON type is left out of the error (ERR-3)."""
    for type_ in ("hello", "events:query", "ingest"):
        assert refusal(f'{{"type":"{type_}","reqId":{req_id}}}').req_id is None


# HTTP


@pytest.mark.parametrize(
    "type_", ["", '"type":"ingest",', '"type":"ping",', '"type":null,', '"type":[{"x":"\\ud83d"}],']
)
@pytest.mark.parametrize("item", [EVENT, LONE], ids=["quick", "thorough"])
def test_a_body_needs_no_type(type_: str, item: str) -> None:
    """A body is read by its ``events``, with a ``type``, without, or with another (HTTP-1)."""
    read_ = read_body(f'{{{type_}"events":[{item},5],"x":1}}'.encode(), new_id)
    assert (len(read_.events), len(read_.rejected)) == (1, 1)


def test_a_body_of_rejected_events_is_a_batch() -> None:
    """A body in which every event is rejected is no error (HTTP-4)."""
    assert len(read_body(b'{"events":[null,1,"x",{}]}', new_id).rejected) == 4
    assert read_body(b'{"events":[]}', new_id) == Batch((), ())


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", ErrorCode.BAD_JSON),
        (b"events=1", ErrorCode.BAD_JSON),
        (b'{"events":[', ErrorCode.BAD_JSON),
        (b'{"events":[]}]', ErrorCode.BAD_JSON),
        (b'{"events":[NaN]}', ErrorCode.BAD_JSON),
        (b'{"events":["\xff"]}', ErrorCode.BAD_JSON),
        (b'{"events":["\xed\xa0\xbd"]}', ErrorCode.BAD_JSON),
        (b'{"events":[]}\xc3', ErrorCode.BAD_JSON),
        (b'\xef\xbb\xbf{"events":[]}', ErrorCode.BAD_JSON),
        ('{"events":[]}'.encode("utf-16"), ErrorCode.BAD_JSON),
        (b"[]", ErrorCode.BAD_FRAME),
        (b'[{"events":[]}]', ErrorCode.BAD_FRAME),
        (b"null", ErrorCode.BAD_FRAME),
        (b'"ingest"', ErrorCode.BAD_FRAME),
        (b"{}", ErrorCode.BAD_FRAME),
        (b'{"type":"ingest"}', ErrorCode.BAD_FRAME),
        (b'{"events":null}', ErrorCode.BAD_FRAME),
        (b'{"events":{"0":{}}}', ErrorCode.BAD_FRAME),
        (EVENT.encode(), ErrorCode.BAD_FRAME),
    ],
)
def test_a_body_that_is_none(body: bytes, code: ErrorCode) -> None:
    """A body that is not JSON, not UTF-8, no object or without an array ``events`` is refused (HTTP-5, ERR-2)."""
    with pytest.raises(FrameError) as caught:
        read_body(body, new_id)
    assert caught.value.code == code


def test_parameters_are_read_as_a_query() -> None:
    """The parameters of an HTTP read mean what the members of a query mean (X-READ-1)."""
    members = {"since": NOON, "until": NOON, "after": NOON, "type": "5", "level": "info", "search": '"5"'}
    found = read(query("r1", **members, limit=5, page=2))
    assert isinstance(found, EventsQuery)
    assert read_parameters(members | {"limit": "5", "page": "2", "unknown": "x"}) == found.query
    assert read_parameters({}) == Query()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[(name, value) for name in ("since", "until", "after") for value in ("", "yesterday", "5")],
        *[("level", value) for value in ("", "fatal", "INFO")],
        *[
            ("limit", value)
            for value in ("", "-1", "1.5", "x", '"5"', "null", "true", "[5]", "[" * 100_000, "NaN", "1e999")
        ],
        *[("page", value) for value in ("", "0", "-1", "1.5", "x", "null", "\u0661")],
    ],
    ids=lambda value: str(value)[:10],
)
def test_a_parameter_that_cannot_be_read(name: str, value: str) -> None:
    """A parameter that cannot be read is a bad query that names it and not its value (HTTP-11, FILTER-8, SEC-3)."""
    with pytest.raises(FrameError) as caught:
        read_parameters({name: value})
    assert caught.value.code == ErrorCode.BAD_QUERY
    assert caught.value.message.startswith(f"{name}: expected ")


def test_a_plus_that_became_a_space_is_explained() -> None:
    """A timestamp whose offset lost its + on the way is refused with a hint (HTTP-11)."""
    with pytest.raises(FrameError, match="%2B"):
        read_parameters({"since": "2026-11-23T12:00:00 01:00"})


@given(
    st.dictionaries(st.sampled_from(["since", "limit", "page", "level", "search", "x"]), st.text(max_size=8) | AWKWARD)
)
def test_arbitrary_parameters_are_read_or_refused(parameters: dict[str, str]) -> None:
    """Whatever the parameters are, they are a query or a bad query (HTTP-11)."""
    try:
        assert isinstance(read_parameters(parameters), Query)
    except FrameError as error:
        code = error.code
    else:
        code = ErrorCode.BAD_QUERY
    assert code == ErrorCode.BAD_QUERY


# Against arbitrary messages


@given(st.text(max_size=50) | st.text('{}[]",:truefalsn0189.eE-+\\ ', max_size=20))
@example('{"type":"ingest","events":["\\ud83d"]}')
def test_arbitrary_text_is_a_frame_or_an_error(text: str) -> None:
    """Whatever the text, it is a frame or refused, and what is no JSON saves nothing (FRAME-3, FRAME-5)."""
    assert_saves_only_what_was_sent(text, outcome(read_frame, text))


@pytest.mark.parametrize(
    "frame", ['{"type":"\ud83d"}', f'{{"type":"ingest","events":[{EVENT}],"x":"\ud83d"}}', "\ud83d"]
)
def test_text_with_an_unescaped_surrogate_is_no_json(frame: str) -> None:
    """Text that no UTF-8 could have held is refused like any other that is not JSON (FRAME-3, ERR-2)."""
    assert refusal(frame).code == ErrorCode.BAD_JSON


@given(st.binary(max_size=50) | mutated().map(str.encode) | st.tuples(mutated(), st.binary(max_size=3)).map(spliced))
def test_an_arbitrary_body_is_a_batch_or_an_error(body: bytes) -> None:
    """Whatever the body, it is a batch or refused, and what is no JSON saves nothing (HTTP-5)."""
    assert_saves_only_what_was_sent(body, outcome(read_body, body))


@settings(max_examples=200)
@given(FRAMES | VALUES, st.booleans())
def test_arbitrary_json_is_a_frame_or_an_error(value: Any, indented: bool) -> None:
    """Any JSON is a frame or refused, and of its events each is kept as it was sent (FRAME-3, INGEST-2, EVENT-8)."""
    text = json.dumps(value, indent=1 if indented else None)
    assert_saves_only_what_was_sent(text, outcome(read_frame, text))
    assert_saves_only_what_was_sent(text, outcome(read_body, text.encode()))


@settings(max_examples=500)
@given(mutated())
def test_a_frame_with_wrong_characters_saves_nothing_wrong(text: str) -> None:
    """A frame with some wrong characters is refused unless it is JSON still, and raises nothing else (FRAME-5)."""
    assert_saves_only_what_was_sent(text, outcome(read_frame, text))


def test_every_depth_is_borne() -> None:
    """However deep an event is nested, near the interpreter's own limit too, nothing else is raised (FRAME-10)."""
    for depth in [*range(120, 132), *range(800, 1010), 20_000]:
        deep = EVENT.replace('"payload": {', f'"payload": {{"deep":{"[" * depth}{"]" * depth},', 1)
        for neighbour in ("0", '"\\ud83d"'):  # the second sends the frame the thorough way
            text = f'{{"type":"ingest","events":[{EVENT},{deep},{neighbour}]}}'
            found = outcome(read_frame, text)
            if isinstance(found, Batch):
                assert len(found.events) == (2 if depth < 125 else 1)
            else:
                assert isinstance(found, FrameError)
                assert found.code is ErrorCode.BAD_JSON


def test_spaces_between_events_do_not_slow_it_down() -> None:
    """A frame whose events stand apart is read by the quick way, as one whose events do not."""
    for between in (",", ", ", ",\n   "):
        text = f'{{"type":"ingest","events":[{between.join([json.dumps(event())] * 500)}]}}'
        found = _read_quickly(text, _INGEST, Rules())
        assert found is not None
        assert len(found) == 500
