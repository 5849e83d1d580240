"""The schemas, the examples and the recordings agree with each other, and this server with all of them."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

from tests.support import RECORDINGS, SPEC, event, ingest, query, recording
from wsproto_tracker.access import Access
from wsproto_tracker.errors import ErrorCode, FrameError
from wsproto_tracker.protocol import frames
from wsproto_tracker.protocol.decoding import read_body
from wsproto_tracker.protocol.events import Event, Rejection, read_event
from wsproto_tracker.protocol.ids import new_id
from wsproto_tracker.protocol.session import Action, Answer, Reply, Save, Session, StartPush

SCHEMAS = {path.stem: json.loads(path.read_text("utf-8")) for path in sorted((SPEC / "schemas").glob("*.json"))}
EXAMPLES = {path.stem: json.loads(path.read_text("utf-8")) for path in sorted((SPEC / "examples").glob("*.json"))}
REGISTRY: Registry[Any] = Registry().with_resources(
    (schema["$id"], Resource.from_contents(schema)) for schema in SCHEMAS.values()
)
VALIDATORS = {name: Draft202012Validator(schema, registry=REGISTRY) for name, schema in SCHEMAS.items()}
FROM_CLIENTS = ["frame-auth", "frame-events-query", "frame-ingest", "frame-ping", "frame-subscribe", "frame-unknown"]
NOON = "2026-11-23T12:00:00.000Z"


def cases(name: str) -> list[Any]:
    """Every case of the file of this name, under its description."""
    return [pytest.param(case, id=case["description"]) for case in EXAMPLES[name]]


def cases_of(*names: str) -> list[Any]:
    """Every case of the files of these names, beside the name."""
    return [pytest.param(name, case, id=f"{name}: {case['description']}") for name in names for case in EXAMPLES[name]]


def fits(name: str, value: Any) -> bool:
    return VALIDATORS[name].is_valid(value)


def judged(value: Any) -> Event | Rejection:
    """What the server says of an event; lone surrogates go as escapes, as they have to."""
    return read_event(json.dumps(value).encode(), 0, new_id)


def recorded_events() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every event that the plugin sent, with the name of the recording."""
    for path in sorted(RECORDINGS.glob("*.jsonl")):
        for line in recording(path.name):
            text = line.get("text") or line.get("body") or "null"
            if line.get("dir") == "in" and (frame := json.loads(text)) and frame["type"] == "ingest":
                yield from ((path.stem, found) for found in frame["events"])


def stored() -> list[Event]:
    """A recorded event of each type as a store would hold it, and one with everything that is odd."""
    odd = event(id="given", userId="cut \ud83d", payload={"text": "</script>\u2028"}, later=[1.5e300, None])
    of_each_type = {sent["type"]: sent for _, sent in recorded_events()}
    found = [one for one in map(judged, [*of_each_type.values(), odd]) if isinstance(one, Event)]
    assert len(found) == len(of_each_type) + 1
    return found


def reply(message: str | bytes, access: Access | None = None, *, push: bool = True) -> Any:
    """The first text that a new session answers a message with, as JSON."""
    action, *_ = Session(access or Access(), new_id, push=push).receive(message)
    assert isinstance(action, Reply)
    return json.loads(action.text)


# Schemas and examples


@pytest.mark.parametrize("name", SCHEMAS)
def test_schemas_are_schemas(name: str) -> None:
    """Every schema is valid JSON Schema 2020-12 and bears the name of its file (FRAME-1)."""
    Draft202012Validator.check_schema(SCHEMAS[name])
    assert SCHEMAS[name]["$schema"] == Draft202012Validator.META_SCHEMA["$id"]
    assert SCHEMAS[name]["$id"].endswith(f"/schemas/{name}.json")


def test_every_reference_leads_somewhere() -> None:
    """Every ``$ref`` of a schema is to a schema that is there (FRAME-1)."""
    for schema in SCHEMAS.values():
        resolver = REGISTRY.resolver(schema["$id"])
        for reference in re.findall(r'"\$ref": "([^"]+)"', json.dumps(schema)):
            assert resolver.lookup(reference).contents


def test_every_frame_has_a_schema_and_examples() -> None:
    """Each frame that is read or written has a schema, and each schema of a frame or body has examples (FRAME-1)."""
    named = {f"frame-{type_.replace(':', '-')}" for type_ in (*frames.INCOMING, *frames.OUTGOING.values())}
    described = {name for name in SCHEMAS if name.startswith(("frame-", "body-"))}
    assert described >= named | {"frame-ingest", "frame-push", "frame-events-response"}
    assert described | {"event", "frame-unknown"} == EXAMPLES.keys()


@pytest.mark.parametrize("path", sorted(SPEC.rglob("*.json")), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_requirements_that_are_cited_exist(path: Path) -> None:
    """Every requirement that a schema or an example cites is in SPEC.md (ERR-2)."""
    known = set(re.findall(r"^- \*\*([A-Z-]+-\d+) ", (SPEC / "SPEC.md").read_text("utf-8"), re.MULTILINE))
    assert set(re.findall(r"\b(?:X-)?[A-Z]{2,}-\d+\b", path.read_text("utf-8"))) - {"UTF-8"} <= known


@pytest.mark.parametrize(("name", "case"), cases_of(*(name for name in EXAMPLES if name != "frame-unknown")))
def test_a_schema_judges_its_examples(name: str, case: dict[str, Any]) -> None:
    """Each example is valid or not by its schema, as it says of itself (EVENT-1 to EVENT-7, FRAME-1)."""
    assert fits(name, case["value"]) == case["valid"]


@pytest.mark.parametrize("case", cases("frame-unknown"))
def test_what_is_no_frame_fits_no_frame_of_clients(case: dict[str, Any]) -> None:
    """What is no frame or of an unknown type fits the schema of no frame that clients send (FRAME-3)."""
    assert not case["valid"]
    assert not any(fits(name, case["value"]) for name in FROM_CLIENTS if name in SCHEMAS)


# The server's own judgement


@pytest.mark.parametrize("case", cases("event"))
def test_the_server_judges_events_as_the_schema_does(case: dict[str, Any]) -> None:
    """An example of an event is accepted or rejected by the server as by the schema (EVENT-1 to EVENT-7, TIME-2)."""
    found = judged(case["value"])
    assert isinstance(found, Event) == case["valid"]
    if isinstance(found, Event):
        assert fits("stored-event", json.loads(found.text))


@pytest.mark.parametrize(("name", "case"), cases_of(*FROM_CLIENTS))
def test_the_server_judges_frames_as_the_schemas_do(name: str, case: dict[str, Any]) -> None:
    """An example of a frame is served, or answered with an error of its very code (FRAME-3, FRAME-4, ERR-2, ERR-3)."""
    value = case["value"]
    (action,) = Session(Access(), new_id).receive(json.dumps(value))
    if case["valid"]:
        assert_served(name, value, action)
        return
    assert isinstance(action, Reply)
    error = json.loads(action.text)
    assert fits("frame-error", error)
    assert error["code"] == case["error"]
    req_id = value.get("reqId") if isinstance(value, dict) else None
    assert error.get("reqId") == (req_id if isinstance(req_id, str) else None)


def assert_served(name: str, value: dict[str, Any], action: Action) -> None:
    """A well-formed frame leads to what its type asks for."""
    if name in ("frame-auth", "frame-ping"):
        assert isinstance(action, Reply)
        assert json.loads(action.text) == {"type": "auth_ok" if name == "frame-auth" else "pong"}
    elif name == "frame-ingest":
        assert isinstance(action, Save)
        good = [fits("event", item) for item in value["events"]]
        assert len(action.batch.events) == good.count(True)
        assert [rejection.index for rejection in action.batch.rejected] == [
            index for index, is_good in enumerate(good) if not is_good
        ]
    elif name == "frame-events-query":
        assert isinstance(action, Answer)
        assert action.req_id == value["reqId"]
    else:
        assert action == StartPush(req_id=value.get("reqId"))


@pytest.mark.parametrize("case", cases("body-ingest"))
def test_the_server_judges_bodies_as_the_schema_does(case: dict[str, Any]) -> None:
    """An example of an HTTP body is a batch, or refused with its very code (HTTP-1, HTTP-4, HTTP-5)."""
    body = json.dumps(case["value"]).encode()
    if case["valid"]:
        batch = read_body(body, new_id)
        assert len(batch.events) == sum(fits("event", item) for item in case["value"]["events"])
        assert len(batch.events) + len(batch.rejected) == len(case["value"]["events"])
    else:
        with pytest.raises(FrameError) as caught:
            read_body(body, new_id)
        assert caught.value.code == case["error"]


# What the server sends


@pytest.mark.parametrize(
    ("name", "frame"),
    [
        ("frame-auth_ok", frames.AuthOk()),
        ("frame-pong", frames.Pong()),
        ("frame-subscribed", frames.Subscribed()),
        ("frame-ack", frames.ack(0, 0, ())),
        ("frame-ack", frames.ack(3, 0, (Rejection(0, "events[0]: \u2028 \U0001f680"),))),
        ("frame-ack", frames.ack(25, 2, tuple(Rejection(index, "events: missing") for index in range(3)))),
        *[("frame-error", frames.error(FrameError(code, "A sentence."))) for code in ErrorCode],
        *[("frame-error", frames.error(FrameError(ErrorCode.INTERNAL, "", req_id))) for req_id in ("", "r", "\ud83d")],
    ],
    ids=str,
)
def test_frames_of_the_server_fit_their_schemas(name: str, frame: frames.Outgoing) -> None:
    """Every frame that the server makes is one JSON object that fits its schema (FRAME-1, ERR-1, ERR-2, ERR-3)."""
    sent = json.loads(frames.encode(frame))
    VALIDATORS[name].validate(sent)
    assert f"frame-{sent['type']}" == name


@pytest.mark.parametrize(
    "message", ["", "[]", '{"type":"hello","reqId":"r"}', ingest()[:-1], b"", query("\ud83d", page=0)]
)
def test_errors_of_a_session_fit_their_schema(message: str | bytes) -> None:
    """What a session answers rubbish with fits the schema of errors (ERR-1, ERR-2, ERR-3)."""
    VALIDATORS["frame-error"].validate(reply(message))


def test_refusals_fit_their_schema() -> None:
    """The answers to a wrong key and to ``subscribe`` without push fit the schema of errors (AUTH-3, X-SUB-3)."""
    for error in (reply(ingest(), Access.of("s3cret")), reply('{"type":"subscribe"}', push=False)):
        VALIDATORS["frame-error"].validate(error)


@pytest.mark.parametrize("dropped", [0, 17])
def test_a_push_fits_its_schema(dropped: int) -> None:
    """A push holds events as a query returns them, and what was dropped only where something was (PUSH-2, X-SUB-2)."""
    sent = json.loads(frames.push(b",".join(found.text for found in stored()), dropped))
    VALIDATORS["frame-push"].validate(sent)
    assert len(sent["events"]) == len(stored())
    assert sent.get("dropped") == (dropped or None)


@pytest.mark.parametrize("req_id", ["0hcyxue35s5", "", '"\\\n', "\ud83d", "\U0001f680"], ids=ascii)
@pytest.mark.parametrize("cursor", [NOON, None])
def test_an_answer_fits_its_schemas(req_id: str, cursor: str | None) -> None:
    """An answer fits its schema over HTTP and over WebSocket, with its ``reqId`` (QUERY-1, RESP-1, RESP-4, HTTP-10)."""
    events = b",".join(found.text for found in stored()) if cursor else b""
    before, after = frames.read_answer(len(stored()), 1, 50, cursor)
    body = before + events + after
    VALIDATORS["body-read"].validate(json.loads(body))
    opening, closing = frames.response(req_id)
    sent = json.loads(opening + body + closing)
    VALIDATORS["frame-events-response"].validate(sent)
    assert (sent["reqId"], sent["response"]) == (req_id, json.loads(body))
    expected = {"total": len(stored()), "page": 1, "limit": 50} | ({"nextCursor": cursor} if cursor else {})
    assert {name: value for name, value in sent["response"].items() if name != "events"} == expected


def test_rejections_are_listed_in_the_ack() -> None:
    """The ack lists the place and the faults of each rejected event, and nothing where none was (X-REJECT-1, ACK-3)."""
    (save,) = Session(Access(), new_id).receive(ingest(event(), event(), event(), event(meta=...), None))
    assert isinstance(save, Save)
    ack = json.loads(frames.encode(frames.ack(len(save.batch.events), 0, save.batch.rejected)))
    assert ack == {
        "type": "ack",
        "saved": 3,
        "rejected": [
            {"index": 3, "reason": "events[3].meta: missing"},
            {"index": 4, "reason": "events[4]: expected an object"},
        ],
    }
    assert json.loads(frames.encode(frames.ack(3, 0, ()))) == {"type": "ack", "saved": 3}


def test_only_the_first_thousand_rejections_are_listed() -> None:
    """Of more than 1,000 rejections the first 1,000 are listed (X-REJECT-2)."""
    batch = read_body(json.dumps({"events": [0] * 1_500}).encode(), new_id)
    listed = json.loads(frames.encode(frames.ack(0, 0, batch.rejected)))["rejected"]
    assert [rejection["index"] for rejection in listed] == list(range(1_000))


def test_duplicates_are_told_only_where_there_are_some() -> None:
    """``duplicates`` is in the ack only where an event was stored before (X-DUP-2)."""
    assert json.loads(frames.encode(frames.ack(25, 2, ()))) == {"type": "ack", "saved": 25, "duplicates": 2}
    assert "duplicates" not in json.loads(frames.encode(frames.ack(25, 0, ())))


# The recordings


@pytest.mark.parametrize("name", sorted({name for name, _ in recorded_events()}))
def test_recorded_events_fit_their_schemas(name: str) -> None:
    """Every event of the real plugin fits the envelope, its payload's schema and that of meta (EVENT-1, EVENT-2)."""
    events = [found for recorded, found in recorded_events() if recorded == name]
    assert {found["type"] for found in events} == {
        schema.removeprefix("payload-") for schema in SCHEMAS if schema.startswith("payload-")
    }
    for found in events:
        VALIDATORS["event"].validate(found)
        VALIDATORS[f"payload-{found['type']}"].validate(found["payload"])
        VALIDATORS["meta"].validate(found["meta"])


def test_recorded_events_are_accepted() -> None:
    """Every event of the real plugin is accepted and gets an id (EVENT-1, ID-1)."""
    for _, sent in recorded_events():
        found = judged(sent)
        assert isinstance(found, Event)
        assert json.loads(found.text) == sent | {"id": found.id}


@pytest.mark.parametrize("path", sorted(RECORDINGS.glob("*websocket*.jsonl")), ids=lambda path: path.stem)
def test_recorded_frames_fit_their_schemas(path: Path) -> None:
    """Every frame of a recorded conversation, of either side, fits its schema (FRAME-1)."""
    spoken = [line["text"] for line in recording(path.name) if line.get("kind") == "ws"]
    whole = [json.loads(text) for text in spoken if not re.search(r"\u2026\[\+\d+\]$", text)]  # the longest are cut
    assert {frame["type"] for frame in whole} >= {"auth", "auth_ok", "ingest", "ack", "events:query"}
    for frame in whole:
        VALIDATORS[f"frame-{frame['type'].replace(':', '-')}"].validate(frame)
