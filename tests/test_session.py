"""One connection's side of the protocol: messages in, actions out."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.support import event, ingest, query
from wsproto_tracker.access import Access
from wsproto_tracker.protocol.events import new_id
from wsproto_tracker.protocol.query import Query
from wsproto_tracker.protocol.session import Action, Answer, Close, Reply, Save, Session, StartPush, State

KEY = "S3CRET-KEY"
AUTH = json.dumps({"type": "auth", "key": KEY})
WRONG = json.dumps({"type": "auth", "key": "WR0NG-KEY"})
PING = '{"type":"ping"}'
SUBSCRIBE = '{"type":"subscribe"}'

AUTH_OK: list[Any] = [{"type": "auth_ok"}]
PONG: list[Any] = [{"type": "pong"}]
UNAUTHORIZED: list[Any] = [{"type": "error", "code": "unauthorized", "message": "Unauthorized"}, (1008, "Unauthorized")]

NEED_A_KEY = [ingest(), ingest(event()), ingest(None), query(), query(limit=1), SUBSCRIBE]
NO_FRAMES = [
    *("", "hello", "[]", "{}", "null", "[" * 2_000, '{"type":5}', '{"type":"hello"}', '{"type":"Auth"}'),
    *('{"type":"auth","key":5}', '{"type":"auth","key":null}', '{"type":"ingest"}', '{"type":"ingest","events":1}'),
    *('{"type":"events:query"}', '{"type":"events:query","reqId":"r","query":5}', query(limit=-1), query(since="x")),
]
WRONG_AUTHS = [WRONG, '{"type":"auth"}', '{"type":"auth","key":""}', json.dumps({"type": "auth", "key": KEY + "x"})]


def session(key: str | None = None, *, push: bool = True) -> Session:
    return Session(Access(key), new_id, push=push)


def opened() -> Session:
    """A session that has shown the right key."""
    session_ = session(KEY)
    assert shown(session_.receive(AUTH)) == AUTH_OK
    return session_


def shown(actions: tuple[Action, ...]) -> list[Any]:
    """Replies as JSON and closes as code and reason; the other actions as they are."""
    return [
        json.loads(action.text)
        if isinstance(action, Reply)
        else (action.code, action.reason)
        if isinstance(action, Close)
        else action
        for action in actions
    ]


def code(actions: tuple[Action, ...]) -> str:
    """The code of the one error that was answered."""
    (reply,) = shown(actions)
    assert reply["type"] == "error"
    assert isinstance(reply["message"], str)
    return str(reply["code"])


# Keys


def test_the_right_key_opens() -> None:
    """An ``auth`` frame with the right key is answered with ``auth_ok``, what follows is served (AUTH-1, AUTH-4)."""
    session_ = session(KEY)
    assert shown(session_.receive(AUTH)) == AUTH_OK
    assert session_.receive(query("r1")) == (Answer("r1", Query()),)
    (save,) = session_.receive(ingest(event()))
    assert isinstance(save, Save)


@pytest.mark.parametrize(
    "auth", [AUTH, '{"type":"auth"}', '{"type":"auth","key":""}', '{"type":"auth","key":"\\ud83d"}']
)
def test_any_key_opens_where_none_is_configured(auth: str) -> None:
    """Where no key is configured, any well-formed ``auth`` is answered with ``auth_ok`` (AUTH-2)."""
    session_ = session()
    assert shown(session_.receive(auth)) == shown(session_.receive(auth)) == AUTH_OK


@pytest.mark.parametrize("auth", WRONG_AUTHS)
def test_a_wrong_key_closes(auth: str) -> None:
    """A wrong key, an empty one or none is answered with Unauthorized and 1008, in that order (AUTH-3, ERR-1)."""
    assert shown(session(KEY).receive(auth)) == UNAUTHORIZED


@pytest.mark.parametrize("frame", NEED_A_KEY)
def test_a_frame_that_needs_the_key_closes_before_it(frame: str) -> None:
    """``ingest``, ``events:query`` and ``subscribe`` before ``auth`` count as a wrong key (AUTH-5, X-SUB-4)."""
    assert without_req_id(shown(session(KEY).receive(frame))) == UNAUTHORIZED


def test_subscribe_before_auth_counts_as_a_wrong_key_without_push_too() -> None:
    """A client without the key does not learn whether this server pushes (X-SUB-4)."""
    assert shown(session(KEY, push=False).receive(SUBSCRIBE)) == UNAUTHORIZED


def test_no_key_is_asked_for_where_none_is_configured() -> None:
    """Where no key is configured, frames are served without ``auth`` (AUTH-6)."""
    session_ = session()
    (save,) = session_.receive(ingest(event(), event(meta=...)))
    assert isinstance(save, Save)
    assert (len(save.batch.events), len(save.batch.rejected)) == (1, 1)
    assert session_.receive(query("r1")) == (Answer("r1", Query()),)
    assert session_.receive(SUBSCRIBE) == (StartPush(),)


@pytest.mark.parametrize("auth", [WRONG, ingest(event())])
def test_nothing_comes_after_a_wrong_key(auth: str) -> None:
    """After a wrong key nothing is saved or answered, not even for the right one (AUTH-7)."""
    session_ = session(KEY)
    session_.receive(auth)
    messages: list[str | bytes] = [AUTH, PING, *NEED_A_KEY, *NO_FRAMES, b"\x00"]
    for message in messages:
        assert session_.receive(message) == ()


def test_a_key_may_come_again() -> None:
    """``auth`` on an open session is answered again; a wrong key then counts as one (AUTH-8, AUTH-7)."""
    session_ = opened()
    assert shown(session_.receive(AUTH)) == AUTH_OK
    assert shown(session_.receive(WRONG)) == UNAUTHORIZED
    assert session_.receive(query()) == ()


@pytest.mark.parametrize("message", [*NO_FRAMES, PING, b"", b'{"type":"ping"}'])
def test_nothing_but_the_key_closes(message: str | bytes) -> None:
    """What is no frame is answered and closes nothing, before the key and after (CLOSE-1, FRAME-3, FRAME-4)."""
    for session_ in (session(), session(KEY), opened()):
        (reply,) = session_.receive(message)
        assert isinstance(reply, Reply)
        assert shown(session_.receive(AUTH)) == AUTH_OK


def test_saying_nothing_closes_nothing() -> None:
    """A session waits for its key as long as it takes, and takes pings meanwhile (CLOSE-2, X-PING-1)."""
    session_ = session(KEY)
    for _ in range(1_000):
        assert shown(session_.receive(PING)) == PONG
    assert session_.state is State.LOCKED


@given(
    st.text(min_size=1, max_size=8).map(lambda tail: f"K3Y\u00e9{tail}"),
    st.text(max_size=8).map(lambda tail: f"K3Y{tail}"),
)
def test_no_answer_repeats_a_key(configured: str, sent: str) -> None:
    """Neither the key that is configured nor the one that was sent is in any answer (SEC-1)."""
    auth = json.dumps({"type": "auth", "key": sent})
    messages = [auth[:-1], json.dumps({"type": sent}), json.dumps({"type": "auth", "key": [sent]}), f"{sent}{auth}"]
    messages += [json.dumps({"type": "events:query", "reqId": "r", "query": {"level": sent, sent: sent}}), auth, auth]
    session_ = session(configured)
    for action in (action for message in messages for action in session_.receive(message)):
        assert b"K3Y" not in (action.reason.encode() if isinstance(action, Close) else getattr(action, "text", b""))


# The other frames


@pytest.mark.parametrize("data", [b"", b"\x00\xff", PING.encode(), ingest(event()).encode()])
def test_a_binary_message_is_answered_with_an_error(data: bytes) -> None:
    """A binary message is ``unsupported``, whatever it holds, and the session goes on (FRAME-6)."""
    session_ = session()
    assert code(session_.receive(data)) == "unsupported"
    assert shown(session_.receive(PING)) == PONG


@pytest.mark.parametrize("ping", [PING, '{"type":"ping","reqId":"r1","x":[]}'])
def test_ping_is_answered(ping: str) -> None:
    """``ping`` is answered with ``pong`` with a key, without one, and before it (X-PING-1)."""
    for session_ in (session(), session(KEY), opened()):
        assert shown(session_.receive(ping)) == PONG


def test_subscribe_without_push() -> None:
    """``subscribe`` is ``unsupported`` where push is switched off, and the session goes on (X-SUB-3, CLOSE-1)."""
    session_ = session(push=False)
    assert code(session_.receive(SUBSCRIBE)) == "unsupported"
    assert shown(session_.receive(PING)) == PONG


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("hello", "bad_json"),
        ("[]", "bad_frame"),
        ('{"type":"auth","key":5}', "bad_frame"),
        ('{"type":"ingest"}', "bad_frame"),
        (query(limit=-1), "bad_query"),
        ('{"type":"hello"}', "unknown_type"),
    ],
)
def test_errors_have_a_message_and_a_code(message: str, expected: str) -> None:
    """Every ``error`` has a string ``message`` and a ``code`` (ERR-1, ERR-2, FRAME-4)."""
    assert code(session().receive(message)) == expected


@pytest.mark.parametrize("req_id", ["r1", "", '"\\', "\ud83d", "\U0001f680"], ids=ascii)
def test_errors_carry_the_req_id(req_id: str) -> None:
    """The ``reqId`` comes back as it came, lone surrogates included; without one there is none (ERR-3, FRAME-8)."""
    (error,) = shown(session().receive(query(req_id, limit=-1)))
    assert error["reqId"] == req_id
    (error,) = shown(session().receive('{"type":"hello","reqId":5}'))
    assert "reqId" not in error


def test_ids_are_filled_in_from_the_source() -> None:
    """Events of all frames of a session get ids of one source, so none comes twice (ID-1)."""
    session_, ids = session(), []
    for _ in range(3):
        (save,) = session_.receive(ingest(event(), event(), event(id="given")))
        assert isinstance(save, Save)
        ids += [found.id for found in save.batch.events]
    assert (len(set(ids)), ids.count("given")) == (7, 3)


@given(st.lists(st.text(max_size=20) | st.binary(max_size=20), max_size=5), st.sampled_from([None, KEY]))
def test_arbitrary_messages_raise_nothing(messages: list[str | bytes], key: str | None) -> None:
    """Whatever comes, it is answered, and the session serves what follows (FRAME-3, CONN-7)."""
    session_ = session(key)
    for message in messages:
        assert shown(session_.receive(message))[0]["type"] == "error"
    assert shown(session_.receive(AUTH)) == AUTH_OK


@pytest.mark.parametrize("message", ["\ud83d", '{"type":"\ud83d"}', '{"type":"ingest","x":"\ud83d","events":[{}]}'])
def test_text_with_an_unescaped_surrogate_raises_nothing(message: str) -> None:
    """Even text that no UTF-8 could have held is answered with an error (FRAME-3, FRAME-4, CONN-7)."""
    assert code(session().receive(message)) == "bad_json"


class Naive(RuleBasedStateMachine):
    """A session beside the simplest model of it: whether it is open, and whether it is closed."""

    @initialize(key=st.sampled_from([None, KEY]), push=st.booleans())
    def start(self, key: str | None, push: bool) -> None:
        self.session = session(key, push=push)
        self.key, self.push = key, push
        self.open, self.closed = key is None, False

    def refused(self, actions: tuple[Action, ...]) -> None:
        assert without_req_id(shown(actions)) == UNAUTHORIZED
        self.closed = True

    @precondition(lambda self: not self.closed)
    @rule()
    def show_the_key(self) -> None:
        """The right key opens, once and again (AUTH-1, AUTH-2, AUTH-8)."""
        assert shown(self.session.receive(AUTH)) == AUTH_OK
        self.open = True

    @precondition(lambda self: not self.closed)
    @rule(auth=st.sampled_from(WRONG_AUTHS))
    def show_a_wrong_key(self, auth: str) -> None:
        """A wrong key closes, if there is a right one (AUTH-2, AUTH-3, AUTH-8)."""
        actions = self.session.receive(auth)
        if self.key is None:
            assert shown(actions) == AUTH_OK
        else:
            self.refused(actions)

    @precondition(lambda self: not self.closed)
    @rule(frame=st.sampled_from(NEED_A_KEY))
    def ask_for_something(self, frame: str) -> None:
        """What needs a key is done or refused (AUTH-5, AUTH-6, X-SUB-3, X-SUB-4)."""
        actions = self.session.receive(frame)
        if not self.open:
            self.refused(actions)
        elif frame == SUBSCRIBE and not self.push:
            assert code(actions) == "unsupported"
        else:
            (action,) = actions
            expected = {"ingest": Save, "events:query": Answer, "subscribe": StartPush}[json.loads(frame)["type"]]
            assert isinstance(action, expected)

    @precondition(lambda self: not self.closed)
    @rule(message=st.sampled_from([*NO_FRAMES, b"", b"\xff"]) | st.text(max_size=5))
    def send_what_is_no_frame(self, message: str | bytes) -> None:
        """What is no frame changes nothing (FRAME-3, FRAME-6, CLOSE-1)."""
        assert code(self.session.receive(message)) != "unauthorized"

    @precondition(lambda self: not self.closed)
    @rule()
    def ping(self) -> None:
        """A ping is answered at any time (X-PING-1)."""
        assert shown(self.session.receive(PING)) == PONG

    @precondition(lambda self: self.closed)
    @rule(message=st.sampled_from([AUTH, PING, b"", *NEED_A_KEY, *NO_FRAMES, *WRONG_AUTHS]))
    def send_after_the_end(self, message: str | bytes) -> None:
        """After a wrong key nothing comes (AUTH-7)."""
        assert self.session.receive(message) == ()

    @invariant()
    def is_where_the_model_is(self) -> None:
        """The session is as open as the model."""
        expected = State.CLOSED if self.closed else State.OPEN if self.open else State.LOCKED
        assert self.session.state is expected


def test_any_sequence_of_messages_does_what_a_naive_model_says() -> None:
    """Keys, frames and rubbish in any order are handled as the model says (AUTH-1 to AUTH-8, CLOSE-1, X-SUB-4)."""
    run_state_machine_as_test(Naive, settings=settings(max_examples=80, stateful_step_count=12))


def test_events_of_strangers_are_not_judged() -> None:
    """Before the key has come, an ingest costs no more than reading its text: no event of it is looked at (AUTH-5)."""

    def new_id() -> str:
        pytest.fail("an event was judged")

    locked = Session(Access("s3cret"), new_id)
    assert [type(action) for action in locked.receive(ingest(event(), event()))] == [Reply, Close]


@pytest.mark.parametrize(
    "message", ['{"type":"events:query","reqId":"R","query":{}}', '{"type":"auth","key":"no","reqId":"R"}']
)
def test_a_refusal_carries_the_req_id(message: str) -> None:
    """An Unauthorized answers with the reqId of its frame, like every error (ERR-3)."""
    reply, _ = Session(Access("s3cret"), lambda: "x").receive(message)
    assert isinstance(reply, Reply)
    assert b'"reqId":"R"' in reply.text


def without_req_id(answers: list[Any]) -> list[Any]:
    """What was shown, without the reqId that an error carries where its frame had one."""
    error, *rest = answers
    return [{name: value for name, value in error.items() if name != "reqId"}, *rest]
