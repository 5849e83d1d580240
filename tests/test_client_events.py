"""Events that programs make: as the plugin makes them, and nothing that is no JSON or that a tracker rejects."""

import json
import math
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import event, recording
from wsproto_tracker.client.events import USER_AGENT, Origin, encoded
from wsproto_tracker.client.ids import IdMaker, new_event_id
from wsproto_tracker.errors import EventError
from wsproto_tracker.protocol.events import Event, read_event

MAX_BYTES = 10_000
ORIGIN = Origin("shop", "sess_1", "anon_1")
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**300), 10**300)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def custom(data: Any = None, **members: Any) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "level": "info",
        "duration_ms": None,
        "group_id": None,
        "context": None,
        "meta": None,
    }
    return ORIGIN.custom("checkout", {} if data is None else data, **(plain | members))


def test_an_event_is_as_the_plugin_makes_it() -> None:
    """A tracked event has the members of the plugin's ``custom`` events, with the same types."""
    made = json.loads(
        encoded(custom({"n": 1}, duration_ms=5, group_id="g", context={"a": 1}, meta={"route": "/x"}), MAX_BYTES)[1]
    )
    lines = [
        line
        for line in recording("plugin-2.1.0-websocket-key.jsonl")
        if line.get("kind") == "ws" and line["dir"] == "in"
    ]
    frames = [json.loads(line["text"]) for line in lines]
    theirs = next(e for frame in frames for e in frame.get("events", []) if e["type"] == "custom")
    assert {name: type(value) for name, value in made.items() if name in theirs} == {
        n: type(v) for n, v in theirs.items()
    }
    assert set(theirs["payload"]) <= set(made["payload"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", made["timestamp"])
    assert made["payload"] == {"name": "checkout", "data": {"n": 1}, "duration": 5}
    assert made["meta"] == {"userAgent": USER_AGENT, "route": "/x"}
    assert (made["groupId"], made["context"]) == ("g", {"a": 1})


@given(JSON)
def test_what_is_json_arrives_as_it_is(value: Any) -> None:
    """Any JSON in an event reads back as it was, lone surrogates included, and is accepted (EVENT-1, FRAME-8)."""
    event_id, text = encoded(custom({"value": value, "odd": "\ud83d"}), 10**6)
    assert json.loads(text)["payload"]["data"] == {"value": value, "odd": "\ud83d"}
    judged = read_event(text, 0, lambda: "new")
    assert isinstance(judged, Event)
    assert (judged.id, judged.has_given_id) == (event_id, True)


def circle() -> dict[str, Any]:
    own: dict[str, Any] = {}
    own["own"] = own
    return own


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"a": {1, 2}}, r"payload\.data\.a: set is not JSON"),
        ({"a": [0, math.nan]}, r"payload\.data\.a\[1\]: nan is not JSON"),
        ({"a": -math.inf}, r"payload\.data\.a: -inf is not JSON"),
        ({"a": 10**400}, r"payload\.data\.a: JSON has no number that large"),
        ({"a": 10**5000}, r"payload\.data\.a: JSON has no number that large"),
        ({"a": b"x"}, r"payload\.data\.a: bytes is not JSON"),
        ({"a": {1: 2}}, r"payload\.data\.a: a name has to be a string, not int"),
        ({"a": {None: 2}}, r"a name has to be a string"),
        (circle(), r"deeper than 126 levels, or contains itself"),
        ({"a": nested(200)}, r"deeper than 126 levels"),
        ({"a": nested(100_000)}, r"deeper than 126 levels"),
        ({"a": "x" * MAX_BYTES}, r"larger than 10000 bytes"),
        ({"a": [None] * MAX_BYTES}, r"larger than 10000 bytes"),
    ],
    ids=lambda value: None if isinstance(value, dict) else str(value)[:30],
)
def test_what_is_no_json_is_refused(data: Any, message: str) -> None:
    """What JSON cannot say is refused with its path, and what is too large with the bound."""
    with pytest.raises(EventError, match=message):
        encoded(custom(data), MAX_BYTES)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"name": 3}, "name: expected a string, not int"),
        ({"name": None}, "name: expected a string, not NoneType"),
        ({"data": [1, 2]}, "data: expected a mapping, not list"),
        ({"data": []}, "data: expected a mapping, not list"),
        ({"data": 0}, "data: expected a mapping, not int"),
        ({"level": None}, "level: expected a string, not NoneType"),
        ({"duration_ms": "5"}, "duration_ms: expected a number, not str"),
        ({"duration_ms": True}, "duration_ms: expected a number, not bool"),
        ({"group_id": 7}, "group_id: expected a string, not int"),
        ({"context": "x"}, "context: expected a mapping, not str"),
        ({"meta": [1]}, "meta: expected a mapping, not list"),
    ],
    ids=str,
)
def test_an_argument_that_is_not_of_its_type(members: dict[str, Any], message: str) -> None:
    """An argument against the signature is refused by its own name, whether a tracker would take it or not."""
    right: dict[str, Any] = {"name": "checkout", "data": {}, "level": "info"}
    right |= dict.fromkeys(("duration_ms", "group_id", "context", "meta"))
    encoded(ORIGIN.custom(**right), MAX_BYTES)
    with pytest.raises(EventError, match=f"^{message}$"):
        encoded(ORIGIN.custom(**(right | members)), MAX_BYTES)


def test_what_multiplies_is_refused_soon() -> None:
    """Ten lists of ten of the same lists, ten deep, are small in memory; they are refused before they grow."""
    value: Any = "x"
    for _ in range(10):
        value = [value] * 10
    with pytest.raises(EventError, match="larger than"):
        encoded(custom({"a": value}), MAX_BYTES)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"timestamp": "now"}, "timestamp: expected an RFC 3339 timestamp"),
        ({"level": "fatal"}, "level: expected"),
        ({"type": "<b>"}, "type: expected"),
        ({"meta": ...}, "meta: missing"),
        ({"payload": []}, "payload: expected an object"),
        ({"userId": None}, "userId: expected a string"),
        ({"id": 5}, "id: expected a string"),
        ({"type": "error"}, "payload.message: an event of type error needs a string here"),
    ],
)
def test_what_every_tracker_rejects_is_refused_here(members: dict[str, Any], message: str) -> None:
    """An event that section 4 rejects is told to who made it, with every fault."""
    with pytest.raises(EventError, match=message):
        encoded(event(**members), MAX_BYTES)
    with pytest.raises(EventError, match="expected a mapping"):
        encoded([], MAX_BYTES)  # type: ignore[arg-type]


@pytest.mark.parametrize("members", [{"id": ""}, {"id": ...}, {"id": None}])
def test_an_event_without_an_id_gets_one(members: dict[str, Any]) -> None:
    """An event has an id before it is sent, so that sending again is noticed (X-DUP-1); a given one stays (ID-2)."""
    event_id, text = encoded(event(**members), MAX_BYTES)
    assert json.loads(text)["id"] == event_id != ""
    assert encoded(event(id="own"), MAX_BYTES)[0] == "own"


def test_ids_are_uuids_of_version_7() -> None:
    """Ids have the version, the variant and the milliseconds where RFC 9562 puts them."""
    made = IdMaker(lambda: 0x017F22E279B0 * 1_000_000)()
    assert re.fullmatch(r"017f22e2-79b0-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", made)


@given(st.lists(st.integers(0, 2**60), min_size=2, max_size=50))
def test_ids_grow_whatever_the_clock_does(clock: list[int]) -> None:
    """Each id is greater than the one before, though the clock stands still or goes back."""
    maker = IdMaker(iter(clock).__next__)
    ids = [maker() for _ in clock]
    assert ids == sorted(set(ids))


def test_many_ids_in_no_time() -> None:
    """Ids that are made at once differ, and are in order."""
    ids = [new_event_id() for _ in range(20_000)]
    assert ids == sorted(set(ids))
