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
from wsproto_tracker.access import Access, Key, Scope
from wsproto_tracker.protocol import json_text
from wsproto_tracker.protocol import session as session_module
from wsproto_tracker.protocol.ids import new_id
from wsproto_tracker.protocol.query import Query
from wsproto_tracker.protocol.session import Action, Answer, ChangePush, Close, Reply, Save, Session, StartPush, State

KEY = "S3CRET-KEY"
HERE = "https://shop.example"
PAGE = Key(key="PAGE-KEY", name="page", scopes=frozenset([Scope.INGEST]), apps=frozenset(["shop"]))
OFFICE = Key(key="0FFICE-KEY", name="office", scopes=frozenset([Scope.QUERY]), apps=frozenset(["shop", "blog"]))
ELSEWHERE = Key(key="OTHER-KEY", name="elsewhere", origins=("https://other.example",))
KEYS = (Key(key=KEY, name="everything"), PAGE, OFFICE, ELSEWHERE)
AUTH = json.dumps({"type": "auth", "key": KEY})
WRONG = json.dumps({"type": "auth", "key": "WR0NG-KEY"})
PING = '{"type":"ping"}'
SUBSCRIBE = '{"type":"subscribe"}'

AUTH_OK: list[Any] = [{"type": "auth_ok"}]
PONG: list[Any] = [{"type": "pong"}]
UNAUTHORIZED: list[Any] = [{"type": "error", "code": "unauthorized", "message": "Unauthorized"}, (1008, "Unauthorized")]

LARGE = ingest(*[event(payload={"text": "x" * 9_000})] * 2)
NEED_A_KEY = [LARGE, ingest(), ingest(event()), ingest(None), query(), query(limit=1), SUBSCRIBE]
NO_FRAMES = [
    *("", "hello", "[]", "{}", "null", "[" * 2_000, '{"type":5}', '{"type":"hello"}', '{"type":"Auth"}'),
    *('{"type":"auth","key":5}', '{"type":"auth","key":null}', '{"type":"ingest"}', '{"type":"ingest","events":1}'),
    *('{"type":"events:query"}', '{"type":"events:query","reqId":"r","query":5}', query(limit=-1), query(since="x")),
]
WRONG_AUTHS = [WRONG, '{"type":"auth"}', '{"type":"auth","key":""}', json.dumps({"type": "auth", "key": KEY + "x"})]


def session(key: str | None = None, *, push: bool = True) -> Session:
    return Session(Access.of(key), new_id, push=push)


def auth(key: Key) -> str:
    return json.dumps({"type": "auth", "key": key.key})


def unlocked(key: Key, origin: str | None = HERE) -> Session:
    """A session on a server with several keys, after one of them was shown."""
    session_ = Session(Access(KEYS), new_id, origin=origin)
    assert shown(session_.receive(auth(key))) == AUTH_OK
    return session_


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


# Keys with scopes


@pytest.mark.parametrize("frame", [query("r1"), query("r1", appId="shop"), SUBSCRIBE])
def test_asking_with_a_key_for_sending(frame: str) -> None:
    """What asks is ``forbidden`` to a key that only sends, with its reqId, and nothing is closed (X-SCOPE-1, ERR-3)."""
    session_ = unlocked(PAGE)
    (error,) = shown(session_.receive(frame))
    assert error == {
        "type": "error",
        "code": "forbidden",
        "message": "the key is not for asking for events",
        **({} if frame == SUBSCRIBE else {"reqId": "r1"}),
    }
    (save,) = session_.receive(ingest(event(appId="shop")))
    assert isinstance(save, Save)
    assert len(save.batch.events) == 1


def test_sending_with_a_key_for_asking() -> None:
    """An ingest with a key that only asks is ``forbidden``, and none of its events is judged (X-SCOPE-2)."""

    def new_id() -> str:
        pytest.fail("an event was judged")

    session_ = Session(Access(KEYS), new_id)
    session_.receive(auth(OFFICE))
    for frame in (ingest(event(appId="shop")), ingest(), ingest(None), '{"type":"ingest","events":[],"x":"\\ud83d"}'):
        assert code(session_.receive(frame)) == "forbidden"
    (error,) = shown(session_.receive(ingest(event())[:-1] + ',"reqId":"r2"}'))
    assert (error["code"], error["reqId"]) == ("forbidden", "r2")
    assert session_.receive(query("r1")) == (Answer("r1", Query(), OFFICE.apps),)


@pytest.mark.parametrize("key", [PAGE, OFFICE])
@pytest.mark.parametrize("message", NO_FRAMES)
def test_what_is_no_frame_is_told_so_first(key: Key, message: str) -> None:
    """What is malformed gets its own error, whatever the key is for (FRAME-4, X-SCOPE-1, X-SCOPE-2)."""
    assert code(unlocked(key).receive(message)) == code(opened().receive(message)) != "forbidden"


def test_subscribe_is_forbidden_without_push_too() -> None:
    """A client that may not ask does not learn whether this server pushes (X-SCOPE-1)."""
    session_ = Session(Access(KEYS), new_id, push=False)
    session_.receive(auth(PAGE))
    assert code(session_.receive(SUBSCRIBE)) == "forbidden"


def test_events_of_other_apps_are_rejected() -> None:
    """Of a frame the events of the key's apps are saved, and the others named by index (X-SCOPE-4, X-REJECT-1)."""
    batch = ingest(event(appId="shop"), event(appId="blog"), event(appId="<b>", level="fatal"), event(appId="shop"))
    (save,) = unlocked(PAGE).receive(batch)
    assert isinstance(save, Save)
    assert [one.app for one in save.batch.events] == ["shop", "shop"]
    told = {rejection.index: rejection.reason for rejection in save.batch.rejected}
    assert told.keys() == {1, 2}
    assert told[1] == "events[1].appId: the key is not for this app; it is for shop"
    assert "events[2].level: " in told[2]
    assert "events[2].appId: " in told[2]
    assert "<b>" not in told[2]  # SEC-3


def test_what_is_seen_is_of_the_apps_of_the_key() -> None:
    """Queries and subscriptions are for the apps of the key (X-SCOPE-5)."""
    session_ = unlocked(OFFICE)
    assert session_.receive(query("r1", appId="else")) == (Answer("r1", Query(appId="else"), OFFICE.apps),)
    assert session_.receive(SUBSCRIBE) == (StartPush(OFFICE.apps),)


def test_a_key_of_another_origin() -> None:
    """A right key on a page of another origin is ``forbidden``, as is what needs a key after it; nothing is closed.

    X-SCOPE-6, CLOSE-1.
    """
    session_ = Session(Access(KEYS), new_id, origin=HERE)
    (error,) = shown(session_.receive(json.dumps({"type": "auth", "key": ELSEWHERE.key, "reqId": "r"})))
    assert error == {
        "type": "error",
        "code": "forbidden",
        "message": "the key is not for pages of this origin",
        "reqId": "r",
    }
    for frame in (ingest(event()), ingest(), query(), SUBSCRIBE):
        (error,) = shown(session_.receive(frame))
        assert (error["code"], error["message"]) == ("forbidden", "the key is not for pages of this origin")
    assert shown(session_.receive(PING)) == PONG
    assert shown(session_.receive(auth(OFFICE)))[-1:] == AUTH_OK
    assert session_.receive(query("r1")) == (Answer("r1", Query(), OFFICE.apps),)


@pytest.mark.parametrize("origin", [None, "https://other.example"])
def test_a_key_of_this_origin(origin: str | None) -> None:
    """It is the right one on pages of its origin, and for clients that are no pages (X-SCOPE-6)."""
    assert unlocked(ELSEWHERE, origin).grant == ELSEWHERE


@pytest.mark.parametrize(
    ("keys", "apps"),
    [
        ((KEYS[0], OFFICE), OFFICE.apps),
        ((OFFICE, KEYS[0]), None),
        ((OFFICE, PAGE), frozenset()),
        ((OFFICE, ELSEWHERE), frozenset()),
    ],
)
def test_another_key_changes_what_is_pushed(keys: tuple[Key, Key], apps: frozenset[str] | None) -> None:
    """From the answer to another key on, only what is for that one is pushed (AUTH-8, X-SCOPE-3, X-SCOPE-5)."""
    session_ = unlocked(keys[0])
    assert session_.receive(SUBSCRIBE) == (StartPush(keys[0].apps),)
    change, reply = session_.receive(auth(keys[1]))
    assert change == ChangePush(apps)
    assert isinstance(reply, Reply)
    assert shown(session_.receive(auth(keys[1])))[0]["type"] in ("auth_ok", "error")


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
    """A session beside the simplest model of it: the key that was shown last, and whether it is closed."""

    @initialize(keys=st.sampled_from([(), KEYS]), push=st.booleans())
    def start(self, keys: tuple[Key, ...], push: bool) -> None:
        self.session = Session(Access(keys), new_id, push=push, origin=HERE)
        self.keys, self.push = keys, push
        self.shown: Key | None = None
        self.closed = False

    @property
    def open(self) -> bool:
        return not self.keys or self.shown is not None

    def may(self, scope: Scope) -> bool:
        return not self.keys or (self.shown not in (None, ELSEWHERE) and scope in self.shown.scopes)

    def sees(self) -> frozenset[str] | None:
        if not self.may(Scope.QUERY):
            return frozenset()
        return self.shown.apps if self.shown else None

    def refused(self, actions: tuple[Action, ...]) -> None:
        assert without_req_id(shown(actions)) == UNAUTHORIZED
        self.closed = True

    @precondition(lambda self: not self.closed)
    @rule(key=st.sampled_from(KEYS))
    def show_a_key(self, key: Key) -> None:
        """A right key opens, once and again, and changes what may be done (AUTH-1, AUTH-2, AUTH-8, X-SCOPE-6)."""
        had_key, seen = self.shown is not None, self.sees()
        *changes, reply = self.session.receive(auth(key))
        self.shown = key if self.keys else None
        assert changes == ([ChangePush(self.sees())] if had_key and self.sees() != seen else [])
        if self.keys and key is ELSEWHERE:
            assert code((reply,)) == "forbidden"
        else:
            assert shown((reply,)) == AUTH_OK

    @precondition(lambda self: not self.closed)
    @rule(frame=st.sampled_from(WRONG_AUTHS))
    def show_a_wrong_key(self, frame: str) -> None:
        """A wrong key closes, if there is a right one (AUTH-2, AUTH-3, AUTH-8)."""
        actions = self.session.receive(frame)
        if self.keys:
            self.refused(actions)
        else:
            assert shown(actions) == AUTH_OK

    @precondition(lambda self: not self.closed)
    @rule(frame=st.sampled_from(NEED_A_KEY))
    def ask_for_something(self, frame: str) -> None:
        """What needs a key is done or refused (AUTH-5, AUTH-6, X-SUB-3, X-SUB-4, X-SCOPE-1, X-SCOPE-2)."""
        actions = self.session.receive(frame)
        name = json.loads(frame)["type"]
        if not self.open:
            self.refused(actions)
        elif not self.may(Scope.INGEST if name == "ingest" else Scope.QUERY):
            assert code(actions) == "forbidden"
        elif frame == SUBSCRIBE and not self.push:
            assert code(actions) == "unsupported"
        else:
            (action,) = actions
            assert isinstance(action, {"ingest": Save, "events:query": Answer, "subscribe": StartPush}[name])
            assert isinstance(action, Save) or getattr(action, "apps", ()) == self.sees()  # X-SCOPE-5

    @precondition(lambda self: not self.closed)
    @rule(message=st.sampled_from([*NO_FRAMES, b"", b"\xff"]) | st.text(max_size=5))
    def send_what_is_no_frame(self, message: str | bytes) -> None:
        """What is no frame changes nothing (FRAME-3, FRAME-6, CLOSE-1)."""
        assert code(self.session.receive(message)) not in ("unauthorized", "forbidden")

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
    run_state_machine_as_test(Naive, settings=settings(max_examples=150, stateful_step_count=12))


PADDING = f'"x":["{"x" * 20_000}"]'


def without_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on, no message is read, as a whole or for its ``reqId``."""
    for module, reader in ((session_module, "read_frame"), (json_text, "loads")):
        monkeypatch.setattr(module, reader, lambda *_: pytest.fail("a large message was read"))


@pytest.mark.parametrize("frame", [LARGE, f'{{"events" : [ 0],{PADDING},"type":"ingest"}}'], ids=["events", "padded"])
def test_large_events_of_strangers_are_not_read(monkeypatch: pytest.MonkeyPatch, frame: str) -> None:
    """A large ingest before the key is refused like a small one, but nothing is made of its text (AUTH-5, CONN-7)."""
    without_reading(monkeypatch)
    assert shown(session(KEY).receive(frame)) == UNAUTHORIZED
    (error, close) = shown(session(KEY).receive(frame[:-1] + ',"reqId":"r1"}'))
    assert (error["reqId"], close) == ("r1", UNAUTHORIZED[1])  # ERR-3


@pytest.mark.parametrize(
    ("message", "req_id"),
    [
        (f'{{"type":"events:query","reqId":"r1","query":{{}},{PADDING}}}', "r1"),
        (f'{{"type":"auth","key":"{KEY}","reqId":"\u00e9",{PADDING}}}', "\u00e9"),
        (f'{{"type":"hello",{PADDING}}}', None),
        (f'{{"type":"ingest","reqId":"r1",{PADDING}}}', "r1"),
        (f'{{"type":"ingest","events":{{}},{PADDING}}}', None),
        (f'{{"type":"ingest","events":[],"events":5,{PADDING}}}', None),
        (f'{{"type":"ingest","events":[],"type":"ping",{PADDING}}}', None),
        (f'{{"type":"ingest","events":[],{PADDING}', None),
        (f'{{"type":"ingest","events":[],"y":"\\ud83d",{PADDING}}}', None),
        (f'{{"type":"ingest","events":[],"y":"\ud83d",{PADDING}}}', None),
        (f'{{"type":5,{PADDING}}}', None),
        (f"[{{{PADDING}}}]", None),
        ('{"type":"x","a":' + "[" * 100_000 + "]" * 100_000 + "}", None),
        ("[" * 20_000, None),
        (" " * 20_000, None),
    ],
    ids=lambda value: ascii(value)[:50],
)
def test_a_large_message_of_a_stranger_is_not_read(
    monkeypatch: pytest.MonkeyPatch, message: str, req_id: str | None
) -> None:
    """What else is large before the key is told so; it closes nothing, and the key may come (CLOSE-1, FRAME-3)."""
    with monkeypatch.context() as patched:
        without_reading(patched)
        session_ = session(KEY)
        (error,) = shown(session_.receive(message))
    assert (error["type"], error["code"], error.get("reqId")) == ("error", "unauthorized", req_id)
    assert error["message"] == "before a key was shown, no message of more than 16384 characters is read"
    assert shown(session_.receive(AUTH)) == AUTH_OK


def test_large_messages_are_read_where_they_may_be() -> None:
    """Without keys, and after the right one, a message may be large (AUTH-4, AUTH-6, LIMIT-1)."""
    for session_ in (session(), opened()):
        (save,) = session_.receive(LARGE)
        assert isinstance(save, Save)
        assert len(save.batch.events) == 2
        assert shown(session_.receive(f'{{"type":"ping",{PADDING}}}')) == PONG


def test_a_large_binary_message_of_a_stranger() -> None:
    """A binary message is unsupported, however large it is (FRAME-6)."""
    assert code(session(KEY).receive(bytes(20_000))) == "unsupported"


def test_events_of_strangers_are_not_judged() -> None:
    """Before the key has come, an ingest costs no more than reading its text: no event of it is looked at (AUTH-5)."""

    def new_id() -> str:
        pytest.fail("an event was judged")

    locked = Session(Access.of("s3cret"), new_id)
    assert [type(action) for action in locked.receive(ingest(event(), event()))] == [Reply, Close]


@pytest.mark.parametrize(
    "message", ['{"type":"events:query","reqId":"R","query":{}}', '{"type":"auth","key":"no","reqId":"R"}']
)
def test_a_refusal_carries_the_req_id(message: str) -> None:
    """An Unauthorized answers with the reqId of its frame, like every error (ERR-3)."""
    reply, _ = Session(Access.of("s3cret"), lambda: "x").receive(message)
    assert isinstance(reply, Reply)
    assert b'"reqId":"R"' in reply.text


def without_req_id(answers: list[Any]) -> list[Any]:
    """What was shown, without the reqId that an error carries where its frame had one."""
    error, *rest = answers
    return [{name: value for name, value in error.items() if name != "reqId"}, *rest]
