"""What ingest judges of one event, and how its id is filled in (SPEC.md section 4)."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from itertools import cycle, islice
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import event
from wsproto_tracker.protocol import events as events_module
from wsproto_tracker.protocol import frames
from wsproto_tracker.protocol import ids as ids_module
from wsproto_tracker.protocol.events import (
    MAX_LISTED_REJECTIONS,
    Cause,
    Event,
    Rejection,
    Rules,
    _explain,
    _faults,
    read_batch,
    read_event,
)
from wsproto_tracker.protocol.ids import fill_id
from wsproto_tracker.protocol.timestamps import parse_timestamp

FILLED = "filled-in"
STRINGS = ("timestamp", "level", "type", "appId", "sessionId", "userId")
OBJECTS = ("payload", "meta")
OPTIONAL = {"id": str, "groupId": str, "context": dict}
EVENT_TYPE = "[A-Za-z][A-Za-z0-9_.:-]{0,63}"

WRONG: list[Any] = [None, True, 0, 1.5, "text", [], {}, ["info"]]

AWKWARD = st.text('[]{}"\\/<&id: \n\x00\u2028\xe9\U0001f680\ud83d', max_size=6)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | AWKWARD,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(AWKWARD | st.just("id"), inner, max_size=3),
    max_leaves=8,
)
LIKELY: st.SearchStrategy[Any] = st.sampled_from(
    [
        *("", "info", "error", "click", "later.type", "Error", "9", "user\ud83d"),
        *("2026-11-23T21:05:13Z", "2026-02-30T00:00:00Z", "2026-11-23t21:05:13.5-01:00"),
        *({}, {"message": "boom"}, {"message": ""}, {"message": None}, {"message": "\ude80"}, {"id": ""}, [], None),
    ]
)
RIGHT: dict[str, list[Any]] = {
    "timestamp": ["2026-11-23T21:05:13Z", "2026-11-23t21:05:60.5-01:00"],
    "level": ["debug", "error"],
    "type": ["later.type", "error", "Error"],
    "payload": [{}, {"message": "boom"}, {"message": "\ude80", "id": ""}],
    "context": [{}, {"id": ""}],
    "meta": [{}, {"route": "\ud83d"}],
    "id": ["", "given", "\ud83d"],
}


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
    if draw(st.sampled_from([False, False, True])):
        pairs.pop(draw(st.integers(0, len(pairs) - 1)))
    for name in draw(st.lists(names, max_size=3)):
        right = st.sampled_from(RIGHT.get(name, ["", "text", "cut \ud83d"]))
        pairs.insert(draw(st.integers(0, len(pairs))), (name, draw(right | right | LIKELY | VALUES)))
    spaces = draw(st.sampled_from([[""], [" "], ["", "\n\t", " "]]))
    return written(pairs, spaces, escaped=draw(st.booleans()))


def own_members(text: str) -> list[tuple[str, Any]]:
    """The members of an object, those with the same name included; objects in it are lists of pairs too."""
    pairs: list[tuple[str, Any]] = json.loads(text, object_pairs_hook=list)
    return pairs


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
    assert (found.app, found.has_given_id) == ("demo", False)
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
    assert accepted(type=type_, payload=payload).app == "demo"


@given(st.from_regex(EVENT_TYPE, fullmatch=True).filter(lambda type_: type_ != "error"))
def test_any_type_that_matches_is_accepted(type_: str) -> None:
    """A type that the plugin may have later is accepted (EVENT-5)."""
    assert accepted(type=type_).app == "demo"


# What is rejected


@pytest.mark.parametrize("name", [*STRINGS, *OBJECTS])
def test_a_required_member_is_missing(name: str) -> None:
    """An event without one of the required members is rejected, with the member's path (EVENT-2, X-REJECT-1)."""
    assert rejected(**{name: ...}) == f"events[3].{name}: missing"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (name, value)
        for name in (*STRINGS, *OBJECTS, *OPTIONAL)
        for value in WRONG
        if not isinstance(value, dict if name in (*OBJECTS, "context") else str)
    ],
)
def test_a_member_has_another_json_type(name: str, value: Any) -> None:
    """A member of another JSON type is rejected, and ``null`` leaves no optional one out (EVENT-2, EVENT-7)."""
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
    assert json.loads(found.text)[name] == "cut \ud83d"
    assert {"appId": found.app, "id": found.id}.get(name, "cut \ud83d") == "cut \ud83d"
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


def nested(levels: int, place: str, brackets: list[tuple[str, str]], user_id: str) -> str:
    """An event that is so many levels deep in one of its members."""
    inner = list(islice(cycle(brackets), levels - 2))
    deep = "".join(opening for opening, _ in inner) + "1" + "".join(closing for _, closing in reversed(inner))
    plain = json.dumps(event(**{"userId": user_id, "payload": {}, place: 0}))
    return plain.replace(f'"{place}": 0', f'"{place}":{{"x":{deep}}}')


@pytest.mark.parametrize("user_id", ["user-1", "cut \ud83d"], ids=["plain", "surrogate"])
@pytest.mark.parametrize(
    "brackets", [[("[", "]")], [('{"a":', "}")], [("[", "]"), ('{"[":', "}")]], ids=["arrays", "objects", "both"]
)
@pytest.mark.parametrize("place", ["payload", "context", "later"])
def test_126_levels_are_accepted_and_127_are_not(place: str, brackets: list[tuple[str, str]], user_id: str) -> None:
    """An event may have the 126 levels that its frame leaves it; a deeper one is rejected (FRAME-9, FRAME-10)."""
    for levels in (3, 125, 126):
        assert isinstance(judged(nested(levels, place, brackets, user_id)), Event)
    for levels in (127, 128, 900, 5_000):
        too_deep = nested(levels, place, brackets, user_id)
        assert judged(too_deep, 7) == Rejection(7, "events[7]: nested deeper than 126 levels")


def test_brackets_are_not_levels() -> None:
    """Many brackets side by side, or inside strings, are no depth (FRAME-9)."""
    accepted(payload={"list": [[]] * 500, "text": '[{"' * 500, "cut": "\\" * 99 + '"[['})
    accepted(payload={"list": [{}] * 500}, userId="\ud83d")


# What is kept


VERBATIM = [
    '"n":1.50,"m":1e2,"k":-0.0,"big":1E400,"long":12345678901234567890123456789',
    '"z":1,"a":2,"__proto__":null',
    r'"text":"\u0041\/\u00e9\ud83d\ude80\ud83d\b"',
    '"text":"caf\xe9 \U0001f680 \u2028"',
    '"x" :\t[ 1 ,\r\n2 ]  , "y":{ }',
    '"x":1,"x":2',
]


@pytest.mark.parametrize("members", VERBATIM)
def test_an_event_with_an_id_is_kept_byte_by_byte(members: str) -> None:
    """The spelling of numbers and strings, the order and the spaces of an event are kept (X-BYTES-1, EVENT-8, ID-2)."""
    text = f"{{{members},{json.dumps(event(id='given'))[1:]}".encode()
    found = judged(text)
    assert isinstance(found, Event)
    assert (found.text, found.id, found.has_given_id) == (text, "given", True)


@pytest.mark.parametrize("members", VERBATIM)
def test_an_event_without_an_id_is_kept_but_for_the_id(members: str) -> None:
    """Nothing changes but the id, be it empty or missing (X-BYTES-1, ID-1)."""
    for plain in (event(), event(id=...)):
        text = f"{{{members},{json.dumps(plain)[1:]}"
        found = judged(text)
        assert isinstance(found, Event)
        assert (found.id, found.has_given_id) == (FILLED, False)
        filled = text.replace('"id": ""', f'"id": "{FILLED}"') if "id" in plain else f'{{"id":"{FILLED}",{text[1:]}'
        assert found.text == filled.encode()


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ('{"id":""}', '{"id":"N"}'),
        ('{"id":"","x":1}', '{"id":"N","x":1}'),
        ('{"id" : ""}', '{"id" : "N"}'),
        ('{ "id":"" , "x":1}', '{ "id":"N" , "x":1}'),
        ('{"x":1,"id":""}', '{"x":1,"id":"N"}'),
        ('{"x":1}', '{"id":"N","x":1}'),
        ('{\n "x" : 1\n}', '{"id":"N",\n "x" : 1\n}'),
        ('{"payload":{"id":""}}', '{"id":"N","payload":{"id":""}}'),
        ('{"id":"","payload":{"id":""}}', '{"id":"N","payload":{"id":""}}'),
        ('{"payload":{"id":""},"id":""}', '{"payload":{"id":""},"id":"N"}'),
        ('{"payload":[{"id":"","a":{"id":""}}],"x":""}', '{"id":"N","payload":[{"id":"","a":{"id":""}}],"x":""}'),
        ('{"id":"","x":1,"id":""}', '{"id":"N","x":1,"id":"N"}'),
        ('{"id":"","x":1,"id" :\n""}', '{"id":"N","x":1,"id" :\n"N"}'),
        ('{"id":"a","x":1,"id":""}', '{"id":"N","x":1,"id":"N"}'),
        ('{"id":"","id":"a","id":""}', '{"id":"N","id":"N","id":"N"}'),
        (r'{"\u0069d":""}', r'{"\u0069d":"N"}'),
        (r'{"i\u0064":"","x":1}', r'{"i\u0064":"N","x":1}'),
        (r'{"id":"","\u0069\u0064":""}', r'{"id":"N","\u0069\u0064":"N"}'),
        (r'{"id":"","x":"\"id\":\"\""}', r'{"id":"N","x":"\"id\":\"\""}'),
        ('{"id":"","x":"id","y":""}', '{"id":"N","x":"id","y":""}'),
        ('{"id":"","x":["id",""],"ID":"","idd":""}', '{"id":"N","x":["id",""],"ID":"","idd":""}'),
        ('{"x":"\xe9\U0001f680","id":""}', '{"x":"\xe9\U0001f680","id":"N"}'),
        (r'{"x":"\ud83d","id":""}', r'{"x":"\ud83d","id":"N"}'),
    ],
)
def test_an_id_is_filled_in_where_it_belongs(text: str, filled: str) -> None:
    """Every empty ``id`` of the event itself is filled in, none of what it holds is touched (ID-1, X-BYTES-1)."""
    assert fill_id(text.encode(), "N").decode() == filled


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (["given"], "given"),
        (["", "given"], "given"),
        (["given", ""], FILLED),
        (["", ""], FILLED),
        (["first", "second"], "second"),
        ([" "], " "),
        (["\x00"], "\x00"),
        (["\ud83d"], "\ud83d"),
    ],
)
@pytest.mark.parametrize("escaped", [False, True])
def test_the_last_id_of_several_counts(ids: list[str], expected: str, escaped: bool) -> None:
    """Of several members ``id`` the last decides whether the client gave one, in any spelling (ID-2, FRAME-11)."""
    pairs = [*event(id=...).items(), *(("id", one) for one in ids)]
    found = judged(written(pairs, [""], escaped=escaped))
    assert isinstance(found, Event)
    assert (found.id, json.loads(found.text)["id"]) == (expected, expected)
    assert found.has_given_id == (expected != FILLED)


def test_ids_are_unique_and_unpredictable() -> None:
    """New ids are all different, and those that were seen tell nothing of the next (ID-1)."""
    ids = [ids_module.new_id() for _ in range(1_000)]
    assert len(set(ids)) == 1_000
    assert len({name[:8] for name in ids}) > 990


# Apps of a key


@pytest.mark.parametrize(
    "text", [json.dumps(event()), json.dumps(event(userId="cut \ud83d"))], ids=["quick", "thorough"]
)
def test_every_fault_of_an_event_of_another_app_is_told(text: str) -> None:
    """An event of another app is told so beside its other faults, and its app is not repeated (X-SCOPE-4, SEC-3)."""
    faulty = json.dumps(json.loads(text) | {"level": "fatal"})
    batch = read_batch([text.encode(), faulty.encode(), b"5"], new_id, Rules(apps=frozenset(["shop", "blog"])))
    told = [rejection.reason for rejection in batch.rejected]
    assert told[0] == "events[0].appId: the key is not for this app; it is for blog, shop"
    assert told[1] == (
        "events[1].level: expected one of debug, info, warn, error; "
        "events[1].appId: the key is not for this app; it is for blog, shop"
    )
    assert told[2] == "events[2]: expected an object"


def test_many_apps_are_not_listed() -> None:
    """A key for many apps does not make the reasons long (X-SCOPE-4)."""
    apps = frozenset(f"app-{number}" for number in range(1000))
    batch = read_batch([json.dumps(event()).encode()], new_id, Rules(apps=apps))
    assert batch.rejected == (
        Rejection(0, "events[0].appId: the key is not for this app; it is for others", Cause.APP_ID),
    )


@settings(max_examples=150)
@given(st.lists(mutated() | mutated().map(lambda text: text.replace("demo", "shop"))), st.booleans())
def test_a_batch_of_a_key_is_what_is_valid_of_its_apps(texts: list[str], has_deep_one: bool) -> None:
    """What is taken is what would be without a key, less the events of other apps, which are rejected (X-SCOPE-4)."""
    texts += [json.dumps(event(x=0)).replace("0}", "[" * 120 + "]" * 120 + "}")] * has_deep_one
    apps = frozenset(["shop", "text"])
    batch = read_batch([text.encode() for text in texts], new_id, Rules(apps=apps))
    alone = [judged(text, index) for index, text in enumerate(texts)]
    assert list(batch.events) == [one for one in alone if isinstance(one, Event) and one.app in apps]
    rejected = {rejection.index: rejection.reason for rejection in batch.rejected}
    assert len(batch.events) + len(rejected) == len(texts)
    for index, one in enumerate(alone):
        if isinstance(one, Rejection):
            assert rejected[index].startswith(one.reason)
        elif one.app not in apps:
            assert rejected[index].startswith(f"events[{index}].appId: ")


# Many faulty events


def test_only_what_is_told_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the rejections that are listed, an event is judged until its first fault only (X-REJECT-2, CONN-7)."""
    named: list[str] = []

    def noting(data: dict[str, Any]) -> Iterator[str]:
        for fault in _faults(data):
            named.append(fault)
            yield fault

    monkeypatch.setattr(events_module, "_faults", noting)
    batch = read_batch([b"{}"] * (MAX_LISTED_REJECTIONS + 500), new_id)
    assert len(named) == 8 * MAX_LISTED_REJECTIONS + 500
    assert len(batch.rejected) == MAX_LISTED_REJECTIONS
    assert {rejection.reason.count("missing") for rejection in batch.rejected} == {8}
    assert batch.causes == {Cause.TIMESTAMP: MAX_LISTED_REJECTIONS + 500}


@settings(max_examples=60)
@given(st.lists(mutated() | st.sampled_from(["0", "{}", "[]"]), max_size=20), st.sampled_from([None, "demo", "shop"]))
def test_what_is_not_told_is_judged_all_the_same(texts: list[str], app: str | None) -> None:
    """After as many rejections as are listed, the same events are saved, the others counted alike (INGEST-2)."""
    rules = Rules(apps=None if app is None else frozenset([app]))
    plain = [text.encode() for text in texts]
    told, untold = (read_batch(before + plain, new_id, rules) for before in ([], [b"0"] * MAX_LISTED_REJECTIONS))
    assert untold.events == told.events
    assert [rejection.index for rejection in untold.rejected] == list(range(MAX_LISTED_REJECTIONS))
    assert Counter(untold.causes) - Counter({Cause.EVENT: MAX_LISTED_REJECTIONS}) == told.causes


def test_too_many_beside_those_that_are_wrong() -> None:
    """Events beyond those that are taken count though others fill the list (X-REJECT-2, LIMIT-5)."""
    batch = read_batch([b"0"] * 1_500, new_id, Rules(max_events=900))
    assert [rejection.index for rejection in batch.rejected] == list(range(MAX_LISTED_REJECTIONS))
    assert batch.causes == {Cause.EVENT: 900, Cause.LIMIT: 600}
    assert [rejection.cause for rejection in batch.rejected] == [Cause.EVENT] * 900 + [Cause.LIMIT] * 100


# Against arbitrary events


@given(VALUES | LIKELY)
def test_any_json_value_is_judged(value: Any) -> None:
    """Any JSON value as an event is accepted or rejected, and nothing is raised (EVENT-2, CONN-7)."""
    outcome = judged(json.dumps(value), 5)
    assert isinstance(outcome, Rejection)
    assert outcome.index == 5
    assert outcome.reason.startswith("events[5]")


@settings(max_examples=120)
@given(mutated())
def test_events_are_judged_by_the_rules_of_section_4(text: str) -> None:
    """What the rules reject is rejected and everything else is accepted (EVENT-1 to EVENT-7, EVENT-9, TIME-2)."""
    assert isinstance(judged(text), Event) == fits(json.loads(text))


@settings(max_examples=120)
@given(mutated())
def test_the_quick_way_and_the_thorough_way_agree(text: str) -> None:
    """Both ways of reading an event accept the same ones, with the same outcome (EVENT-1, FRAME-11)."""
    quick, thorough = judged(text), _explain(text.encode(), 0, new_id)
    if isinstance(quick, Event) and isinstance(thorough, Event):
        assert quick == thorough
    else:
        assert quick == thorough


@settings(max_examples=120)
@given(mutated())
def test_an_accepted_event_is_json_equal_to_what_was_sent(text: str) -> None:
    """Whatever is accepted keeps every member but the id, which is the event's own (EVENT-8, ID-1, ID-2)."""
    found = judged(text)
    if isinstance(found, Event):
        sent = json.loads(text)
        assert json_equal(json.loads(found.text), sent | {"id": sent.get("id") or FILLED})
        assert found.id == json.loads(found.text)["id"]


@settings(max_examples=120)
@given(mutated())
def test_an_accepted_event_keeps_its_bytes(text: str) -> None:
    """Whatever is accepted keeps its very text, but for the id that was filled in (X-BYTES-1)."""
    found = judged(text)
    if isinstance(found, Event):
        ids = [value for name, value in own_members(text) if name == "id"]
        restored = found.text.decode().replace(f'"{FILLED}"', '""')
        if found.has_given_id or all(one == "" for one in ids):
            assert restored == (text if ids else f'{{"id":"",{text[1:]}')


@given(st.lists(st.tuples(st.sampled_from(["id", "x", "payload"]), LIKELY | VALUES), min_size=1), st.booleans())
def test_no_empty_id_is_left(pairs: list[tuple[str, Any]], escaped: bool) -> None:
    """However often and however ``id`` stands in an event, whoever reads it finds the one filled in (ID-1, ID-3)."""
    pairs = [(name, "" if name == "id" else value) for name, value in pairs]
    text = written(pairs, ["", " ", ""], escaped=escaped)
    filled = fill_id(text.encode(), FILLED).decode()
    assert {value for name, value in own_members(filled) if name == "id"} == {FILLED}
    assert json_equal(json.loads(filled), json.loads(text) | {"id": FILLED})


@pytest.mark.parametrize(
    ("wrong", "cause"),
    [
        ({"meta": ...}, Cause.META),
        ({"meta": 1, "level": 1, "context": 1}, Cause.LEVEL),
        ({"type": "error"}, Cause.PAYLOAD),
        ({"groupId": None}, Cause.GROUP_ID),
    ],
)
def test_cause(wrong: dict[str, Any], cause: Cause) -> None:
    """A rejection has the first member that is wrong as its cause, which the sender is not told (X-REJECT-1)."""
    outcome = judged(json.dumps(event(**wrong)))
    assert isinstance(outcome, Rejection)
    assert outcome.cause is cause
    told = json.loads(frames.encode(frames.ack(0, 0, (outcome,))))["rejected"]
    assert told == [{"index": 0, "reason": outcome.reason}]
