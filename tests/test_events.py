"""What ingest judges of one event, and how its id is filled in (SPEC.md section 4)."""

import json
import re
from itertools import cycle, islice
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import event
from wsproto_tracker.protocol.events import Event, Rejection, _explain, fill_id, id_source, read_event
from wsproto_tracker.protocol.timestamps import parse_timestamp

FILLED = "filled-in"
STRINGS = ("timestamp", "level", "type", "appId", "sessionId", "userId")
OBJECTS = ("payload", "meta")
OPTIONAL = {"id": str, "groupId": str, "context": dict}
EVENT_TYPE = "[A-Za-z][A-Za-z0-9_.:-]{0,63}"

AWKWARD = st.text('[]{}"\\/<&id: \n\x00\u2028\xe9\U0001f680\ud83d', max_size=6)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | AWKWARD,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(AWKWARD | st.just("id"), inner, max_size=3),
    max_leaves=8,
)
LIKELY = st.sampled_from(
    [
        *("", "info", "error", "click", "later.type", "Error", "9", "user\ud83d"),
        *("2026-11-23T21:05:13Z", "2026-02-30T00:00:00Z", "2026-11-23t21:05:13.5-01:00"),
        *({}, {"message": "boom"}, {"message": ""}, {"message": None}, {"message": "\ude80"}, {"id": ""}, [], None),
    ]
)


def new_id() -> str:
    return FILLED


def judged(text: str | bytes, index: int = 0) -> Event | Rejection:
    return read_event(text.encode() if isinstance(text, str) else text, index, new_id)


def accepted(**members: Any) -> Event:
    """The plugin's event with these members, which has to be accepted."""
    outcome = judged(json.dumps(event(**members)))
    assert isinstance(outcome, Event), outcome
    return outcome


def rejected(**members: Any) -> str:
    """Why the plugin's event with these members is rejected as the fourth of its frame."""
    outcome = judged(json.dumps(event(**members)), 3)
    assert isinstance(outcome, Rejection), outcome
    assert outcome.index == 3
    return outcome.reason


def fits(data: Any) -> bool:
    """The rules of section 4, word by word."""
    return (
        isinstance(data, dict)
        and all(isinstance(data.get(name), str) for name in STRINGS)
        and all(isinstance(data.get(name), dict) for name in OBJECTS)
        and all(isinstance(data.get(name, type_()), type_) for name, type_ in OPTIONAL.items())
        and data["level"] in ("debug", "info", "warn", "error")
        and re.fullmatch(EVENT_TYPE, data["type"]) is not None
        and (data["type"] != "error" or isinstance(data["payload"].get("message"), str))
        and is_timestamp(data["timestamp"])
    )


def is_timestamp(text: str) -> bool:
    try:
        parse_timestamp(text)
    except ValueError:
        return False
    return True


def written(pairs: list[tuple[str, Any]], spaces: list[str], *, escaped: bool) -> str:
    """The text of an object with these members, perhaps with an escape in each name."""
    space = cycle(spaces)
    listed = []
    for name, value in pairs:
        spelled = json.dumps(name)
        if escaped and name[:1].isalpha():
            spelled = f'"\\u{ord(name[0]):04x}{spelled[2:]}'
        listed.append(f"{next(space)}{spelled}{next(space)}:{next(space)}{json.dumps(value)}{next(space)}")
    return f"{{{','.join(listed)}}}"


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """The text of the plugin's event after some changes: members missing, added, wrong, repeated or moved."""
    pairs = list(event(type=draw(st.sampled_from(["click", "error"])), payload={"message": "boom"}).items())
    names = st.sampled_from([*STRINGS, *OBJECTS, *OPTIONAL, "x"])
    if draw(st.booleans()):
        pairs.pop(draw(st.integers(0, len(pairs) - 1)))
    for name in draw(st.lists(names, max_size=3)):
        pairs.insert(draw(st.integers(0, len(pairs))), (name, draw(LIKELY | VALUES)))
    spaces = draw(st.lists(st.sampled_from(["", " ", "\n\t"]), min_size=1, max_size=5) | st.just([""]))
    return written(pairs, spaces, escaped=draw(st.booleans()))


def json_equal(one: Any, other: Any) -> bool:
    """Whether two values are the same JSON: ``true`` is no 1, and ``1`` is 1.0."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(json_equal(one[name], other[name]) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(json_equal, one, other))
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


# What is accepted


def test_the_plugins_event_is_accepted() -> None:
    """An event as the plugin sends it is accepted, with what queries ask about it (EVENT-1, TIME-1)."""
    found = accepted()
    assert (found.envelope.type, found.envelope.level, found.envelope.userId) == ("click", "info", "user-1")
    assert found.instant == parse_timestamp("2026-11-23T21:05:13.536Z")


@pytest.mark.parametrize(
    "members",
    [
        {"payload": {}, "meta": {}},
        {"appId": "", "sessionId": "", "userId": "", "groupId": "", "context": {}},
        {"unknown": None, "n": 1.5, "deep": [{"a": [None]}], "__proto__": {}, "constructor": "x", "": ""},
        {"payload": {"text": "<script>alert(1)</script>"}, "userId": "<b>"},
        {"level": "error"},
        {"level": "debug"},
        {"level": "warn"},
        {"timestamp": "2026-11-23t21:05:60.123456789-23:59"},
        {"type": "error", "payload": {"message": ""}},
        {"type": "Error"},
        {"context": {"id": 5, "context": None}},
    ],
    ids=str,
)
def test_what_no_rule_rejects_is_accepted(members: dict[str, Any]) -> None:
    """Empty strings, empty objects, unknown members and markup in values are the sender's own (EVENT-1)."""
    assert json.loads(accepted(**members).text) == event(**members) | {"id": FILLED}


@pytest.mark.parametrize("type_", ["click", "http", "navigation", "console", "custom", "session"])
@pytest.mark.parametrize("payload", [{}, {"tag": 1, "coordinates": "no"}, {"message": None}])
def test_a_payload_need_not_fit_its_type(type_: str, payload: dict[str, Any]) -> None:
    """A payload that does not fit its type's schema is no reason to reject an event (EVENT-9)."""
    assert accepted(type=type_, payload=payload).envelope.type == type_


@given(st.from_regex(EVENT_TYPE, fullmatch=True).filter(lambda type_: type_ != "error"))
def test_any_type_that_matches_is_accepted(type_: str) -> None:
    """A type that the plugin may have later is accepted (EVENT-5)."""
    assert accepted(type=type_).envelope.type == type_


# What is rejected


@pytest.mark.parametrize("name", [*STRINGS, *OBJECTS])
def test_a_required_member_is_missing(name: str) -> None:
    """An event without one of the required members is rejected, with the member's path (EVENT-2, X-REJECT-1)."""
    assert rejected(**{name: ...}) == f"events[3].{name}: missing"


@pytest.mark.parametrize("value", [None, True, 0, 1.5, "text", [], {}, ["info"]], ids=repr)
@pytest.mark.parametrize("name", [*STRINGS, *OBJECTS, *OPTIONAL])
def test_a_member_has_another_json_type(name: str, value: Any) -> None:
    """A member of another JSON type is rejected, and ``null`` for an optional one is not "left out" (EVENT-2, EVENT-7)."""
    if isinstance(value, dict if name in (*OBJECTS, "context") else str):
        return
    assert rejected(**{name: value}).startswith(f"events[3].{name}: expected ")


@pytest.mark.parametrize("text", ["null", "true", "0", "1e2", '"click"', "[]", '[{"type":"click"}]', '"\\ud83d"', "{}"])
def test_an_event_is_an_object(text: str) -> None:
    """An item that is no object, or an empty one, is rejected (EVENT-2)."""
    outcome = judged(text, 3)
    assert isinstance(outcome, Rejection)
    assert text == "{}" or outcome.reason == "events[3]: expected an object"


@pytest.mark.parametrize("level", ["", "INFO", "Info", "warning", "fatal", " info", "info ", "info\n", "<b>info</b>"])
def test_a_level_is_one_of_four(level: str) -> None:
    """A level that is not one of the four is rejected, with the four (EVENT-3)."""
    assert rejected(level=level) == "events[3].level: expected one of debug, info, warn, error"


@pytest.mark.parametrize(
    "type_",
    [
        "",
        *("x" * 65, "9lives", "_x", ".x", ":x", "-x"),
        *("click\n", "\nclick", "click\x00", " click", "a b", "a/b"),
        *("clic\u03ba", "\u212aind", "caf\xe9", "x\u0661", "\ud83d", "x\ud83d"),
        *("<img src=x onerror=alert(1)>", "click<b>", "error\n"),
    ],
    ids=ascii,
)
def test_a_type_matches_from_end_to_end(type_: str) -> None:
    """A type that does not match from its first character to its last is rejected (EVENT-4)."""
    assert rejected(type=type_).startswith("events[3].type: expected a string that matches ")


@pytest.mark.parametrize("payload", [{}, {"message": None}, {"message": 5}, {"message": ["x"]}, {"Message": "x"}])
def test_an_error_has_a_message(payload: dict[str, Any]) -> None:
    """An event of type ``error`` whose ``payload.message`` is no string is rejected, whatever its level (EVENT-6)."""
    for level in ("error", "info"):
        reason = rejected(type="error", level=level, message="outside", payload=payload)
        assert reason.startswith("events[3].payload.message: ")


@pytest.mark.parametrize(
    "timestamp", ["", "now", "2026-11-23", "2026-11-23T21:05:13", "2026-11-23T21:05:13Z\n", "2026-02-30T00:00:00Z"]
)
def test_a_timestamp_is_of_rfc_3339(timestamp: str) -> None:
    """An event whose timestamp is anything else is rejected (TIME-2)."""
    assert rejected(timestamp=timestamp).startswith("events[3].timestamp: expected an RFC 3339 timestamp")


@given(
    st.sets(st.sampled_from([*STRINGS, *OBJECTS, *OPTIONAL]), min_size=1),
    st.lists(st.sampled_from([None, 5, True, ["\ud83d"]]), min_size=1),
)
def test_every_fault_is_named_with_its_path(names: set[str], values: list[Any]) -> None:
    """The reason names every member that is wrong, and no other (X-REJECT-1, SEC-3)."""
    reason = rejected(**dict(zip(sorted(names), islice(cycle(values), len(names)), strict=True)))
    assert set(re.findall(r"events\[3\]\.([A-Za-z.]+): ", reason)) == names


def test_a_missing_message_is_named_beside_other_faults() -> None:
    """The message that an error lacks is named together with what else is wrong (EVENT-6, X-REJECT-1)."""
    reason = rejected(type="error", level="fatal", meta=..., payload={})
    assert set(re.findall(r"events\[3\]\.([A-Za-z.]+): ", reason)) == {"level", "meta", "payload.message"}


@pytest.mark.parametrize("value", ["<b>M4RK</b>", ["M4RK"], {"M4RK": "M4RK"}, "M4RK\ud83d\n"], ids=ascii)
@pytest.mark.parametrize("name", [*STRINGS, *OBJECTS, *OPTIONAL])
def test_a_reason_repeats_no_value(name: str, value: Any) -> None:
    """The reason of a rejection names members and holds nothing that the event's values hold (SEC-3)."""
    assert "M4RK" not in rejected(**{"M4RK": {"M4RK": 1}, "meta": "M4RK", name: value, "level": "M4RK"})


# Lone surrogates and depth


@pytest.mark.parametrize("name", ["appId", "sessionId", "userId", "groupId", "id"])
def test_a_lone_surrogate_in_a_member_that_is_read(name: str) -> None:
    """Text that was cut inside an emoji is accepted and kept where the server has to read it (FRAME-8)."""
    found = accepted(**{name: "cut \ud83d"})
    assert getattr(found.envelope, name) == "cut \ud83d"
    assert rb"cut \ud83d" in found.text


@pytest.mark.parametrize(
    "members",
    [
        {"payload": {"text": "\ud83d"}},
        {"payload": {"\ude80": 1}},
        {"type": "error", "payload": {"message": "\ud83d"}},
        {"meta": {"route": "\ude80\ud83d"}, "context": {"\ud83d": "\ud83d"}},
        {"\ud83d": "\ud83d"},
    ],
    ids=ascii,
)
def test_a_lone_surrogate_elsewhere(members: dict[str, Any]) -> None:
    """Lone surrogates in values and names of members are accepted and given back (FRAME-8, EVENT-8)."""
    assert json.loads(accepted(**members).text) == event(**members) | {"id": FILLED}


def nested(levels: int, place: str, opening: str, closing: str) -> str:
    """An event that is so many levels deep, with all but the first of them in one member."""
    inner = levels - 2
    deep = f'{{"x":{opening * inner}1{closing * inner}}}'
    return json.dumps(event(payload={}, meta={}, **{place: 0})).replace(f'"{place}": 0', f'"{place}":{deep}')


@pytest.mark.parametrize("user_id", ["user-1", "cut \ud83d"], ids=["plain", "surrogate"])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}"), ('[{"[":', "}]")], ids=["[", "{", "[{"])
@pytest.mark.parametrize("place", ["context", "later"])
def test_126_levels_are_accepted_and_127_are_not(place: str, opening: str, closing: str, user_id: str) -> None:
    """An event may have the 126 levels that its frame leaves it; a deeper one is rejected (FRAME-9, FRAME-10)."""
    step = opening.count("[", 0, 1) + opening.count("{")
    deepest = nested(126 if step == 1 else 64, place, opening, closing).replace("user-1", json.dumps(user_id)[1:-1])
    assert isinstance(judged(deepest), Event)
    too_deep = deepest.replace("1}", "[]}") if closing == "}" else deepest.replace(":1", ":[1]").replace("[1]", "[[1]]")
    for levels in (127, 128, 400, 5_000):
        too_deep = nested(levels, place, opening, closing).replace("user-1", json.dumps(user_id)[1:-1])
        assert judged(too_deep, 7) == Rejection(7, "events[7]: nested deeper than 126 levels")
