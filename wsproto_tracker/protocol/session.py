"""The protocol of one WebSocket connection, without I/O: a message in, actions out.

The caller carries the actions out in their order, and in the order of the messages (CONN-6). That order is all that
AUTH-4, ACK-2 and X-PING-1 need: whatever waits, waits in one queue.
"""

from collections.abc import Callable
from enum import Enum, auto
from functools import partial
from typing import NoReturn

import attrs

from wsproto_tracker.access import NOBODY, Access, Grant, Scope
from wsproto_tracker.errors import ErrorCode, FrameError
from wsproto_tracker.protocol import frames, json_text
from wsproto_tracker.protocol.decoding import Frame, glance_at, read_frame
from wsproto_tracker.protocol.events import Batch, Rules
from wsproto_tracker.protocol.query import Query

__all__ = [
    "REFUSED",
    "Action",
    "Answer",
    "Ask",
    "ChangePush",
    "Close",
    "Reply",
    "Save",
    "Session",
    "StartPush",
    "State",
    "req_id_of",
]

REFUSED = "refused"
"""What stands for the type of a message that was no frame, or one that was not taken."""


@attrs.frozen
class Reply:
    """Send this text.

    :ivar frame: the ``type`` of the frame that it answers; ``REFUSED`` where the message was none that is taken.
    :ivar error: the code, where it tells what is wrong.
    """

    text: bytes
    frame: str = REFUSED
    error: ErrorCode | None = None


@attrs.frozen
class Save:
    """Save the events, then send the ack (ACK-1)."""

    batch: Batch


@attrs.frozen
class Answer:
    """Answer the query (QUERY-1), from the events of these apps, or of all (X-SCOPE-5)."""

    req_id: str
    query: Query
    apps: frozenset[str] | None = None


@attrs.frozen
class StartPush:
    """Send ``subscribed``, and push from now on (X-SUB-1), what is of these apps, or everything (X-SCOPE-5).

    :ivar req_id: for an ``error``, where that is not possible (ERR-3).
    """

    apps: frozenset[str] | None = None
    req_id: str | None = None


@attrs.frozen
class ChangePush:
    """Push from these apps only from now on, or from all: another key was shown (X-SCOPE-3, X-SCOPE-5)."""

    apps: frozenset[str] | None


@attrs.frozen
class Ask:
    """Ask what this key allows, and go on with ``Session.granted`` before the next message (AUTH-4)."""

    key: str = attrs.field(repr=False)


@attrs.frozen
class Close:
    """Close the connection; nothing after it counts."""

    code: int
    reason: str


Action = Reply | Save | Answer | StartPush | ChangePush | Ask | Close


class State(Enum):
    """Where a session is."""

    LOCKED = auto()  # a key is configured and has not come yet
    OPEN = auto()
    CLOSED = auto()  # after a wrong key


class _Input(Enum):
    RIGHT_KEY = auto()  # also one that is right elsewhere only (X-SCOPE-6)
    WRONG_KEY = auto()
    NEEDS_KEY = auto()  # a frame that only those may send who have shown the key


# Rule: only a wrong or missing key closes (CLOSE-1), and a closed session stays closed (AUTH-7).
# ``ping`` and messages that are no frame change nothing, so they are not here.
_TRANSITIONS = {
    (State.LOCKED, _Input.RIGHT_KEY): State.OPEN,  # AUTH-1
    (State.LOCKED, _Input.WRONG_KEY): State.CLOSED,  # AUTH-3
    (State.LOCKED, _Input.NEEDS_KEY): State.CLOSED,  # AUTH-5, X-SUB-4
    (State.OPEN, _Input.RIGHT_KEY): State.OPEN,  # AUTH-2, AUTH-8
    (State.OPEN, _Input.WRONG_KEY): State.CLOSED,  # AUTH-8
    (State.OPEN, _Input.NEEDS_KEY): State.OPEN,
}

_POLICY_VIOLATION = 1008
_MAX_LOCKED_CHARS = 16 * 1024  # many times what an auth frame has


class Session:
    """One connection's side of the protocol.

    :param access: who may do what.
    :param new_id: gives the ids of events that come without.
    :param push: whether this server pushes at all (X-SUB-3).
    :param origin: where the page comes from that opened the connection; ``None`` for a client that is no page.
    :param rules: what events have to be, beside what the specification asks for.
    :param check_may_try: raises ``FrameError`` if no key may be tried now (LIMIT-6).
    :ivar grant: what the client may do.
    :ivar tried_wrong_key: whether it is closed for a wrong key, not for none.
    """

    def __init__(
        self,
        access: Access,
        new_id: Callable[[], str],
        *,
        push: bool = True,
        origin: str | None = None,
        rules: Rules = Rules(),
        check_may_try: Callable[[], None] = lambda: None,
    ) -> None:
        self._access = access
        self._new_id = new_id
        self._push = push
        self._origin = origin
        self._rules = attrs.evolve(rules, apps=access.anybody.apps)
        self._check_may_try = check_may_try
        self.tried_wrong_key = False
        self._put_off: FrameError | None = None  # that a key was not looked at, for too many were wrong
        self.grant: Grant = NOBODY if access.needs_key else access.anybody
        self.state = State.LOCKED if access.needs_key else State.OPEN

    def receive(self, message: str | bytes) -> tuple[Action, ...]:
        """Take the next message, ``str`` from a text message and ``bytes`` from a binary one; never raises."""
        if self.state is State.CLOSED:
            return ()  # AUTH-7
        if self.state is State.LOCKED and isinstance(message, str) and len(message) > _MAX_LOCKED_CHARS:
            return self._carefully(partial(self._refuse_large, message))
        return self._carefully(partial(self._take, message), message)

    def granted(self, grant: Grant | None, message: str | bytes = "") -> tuple[Action, ...]:
        """Go on after ``Ask``.

        :param grant: what the key allows; ``None`` for a wrong one.
        :param message: the one that the key came with.
        """
        return self._carefully(partial(self._unlock, grant), message)

    def _carefully(self, act: Callable[[], tuple[Action, ...]], message: str | bytes = "") -> tuple[Action, ...]:
        """Act on a message; what is wrong with it becomes an answer.

        :param message: where its ``reqId`` is looked for, if the problem has none.
        """
        before = self.grant
        try:
            actions = act()
        except FrameError as problem:
            if problem.req_id is None:
                problem.req_id = req_id_of(message)
            actions = (Reply(frames.encode(frames.error(problem)), error=problem.code),)  # FRAME-3, FRAME-4
            if self.state is State.CLOSED:
                actions += (Close(_POLICY_VIOLATION, "Unauthorized"),)
        return actions if self.grant is before else (*self._changed_push(before), *actions)

    def _take(self, message: str | bytes) -> tuple[Action, ...]:
        if isinstance(message, bytes):
            raise FrameError(ErrorCode.UNSUPPORTED, "binary messages are not frames; send JSON text")  # FRAME-6
        # for one who may not send events, nothing is done with them that costs much
        new_id = self._new_id if self.grant.may(Scope.INGEST) else None
        return self._act_on(read_frame(message, new_id, self._rules), message)

    def _refuse_large(self, message: str) -> NoReturn:
        """Refuse a message that is too large to be read for somebody who has shown no key.

        :raises FrameError: always. The connection is closed for an ingest only: of others it is not known whether they
            are well-formed, so that AUTH-5 would ask for it, or CLOSE-1 and FRAME-3 forbid it.
        """
        is_ingest, req_id = glance_at(message)
        if is_ingest:
            self._check_has_key(req_id)
        why = f"before a key was shown, no message of more than {_MAX_LOCKED_CHARS} characters is read"
        raise FrameError(ErrorCode.UNAUTHORIZED, why, req_id)

    def _act_on(self, frame: Frame, message: str) -> tuple[Action, ...]:
        match frame:
            case frames.Ping():
                return (Reply(frames.encode(frames.Pong()), "ping"),)  # X-PING-1
            case frames.Auth(key):
                self._check_key_may_be_tried()
                if self._access.is_asked:
                    return (Ask(key),)
                return self._unlock(self._access.grant(key, self._origin))
        self._check_has_key()
        match frame:
            case Batch():
                self.grant.check(Scope.INGEST)  # X-SCOPE-2
                return (Save(frame),)
            case frames.EventsQuery(req_id, query):
                self.grant.check(Scope.QUERY)  # X-SCOPE-1
                return (Answer(req_id, query, self.grant.apps),)
            case frames.Subscribe():
                self.grant.check(Scope.QUERY)  # X-SCOPE-1
                if not self._push:
                    raise FrameError(ErrorCode.UNSUPPORTED, "this server does not push")  # X-SUB-3
                return (StartPush(self.grant.apps, req_id_of(message)),)

    def _check_has_key(self, req_id: str | None = None) -> None:
        if (late := self._put_off) is not None and self.state is State.LOCKED:  # its key may be right (CLOSE-1)
            raise FrameError(late.code, late.message, req_id, retry_after_s=late.retry_after_s)
        if not self._moves(_Input.NEEDS_KEY):
            raise FrameError(ErrorCode.UNAUTHORIZED, "Unauthorized", req_id)

    def _check_key_may_be_tried(self) -> None:
        if self._access.needs_key:
            try:
                self._check_may_try()
            except FrameError as problem:
                self._put_off = problem
                raise
        self._put_off = None

    def _unlock(self, grant: Grant | None) -> tuple[Action, ...]:
        if grant is None:
            self._moves(_Input.WRONG_KEY)
            self.tried_wrong_key = True
            raise FrameError(ErrorCode.UNAUTHORIZED, "Unauthorized")
        self._moves(_Input.RIGHT_KEY)
        self.grant = grant
        self._rules = attrs.evolve(self._rules, apps=grant.apps)
        grant.check_origin()  # X-SCOPE-6
        return (Reply(frames.encode(frames.AuthOk()), "auth"),)

    def _changed_push(self, before: Grant) -> tuple[ChangePush, ...]:
        """What another key changes of pushes, of which there are none before the first."""
        apps = self.grant.visible_apps
        return () if before is NOBODY or before.visible_apps == apps else (ChangePush(apps),)

    def _moves(self, input_: _Input) -> bool:
        """Go where the table says; whether the session is still open."""
        self.state = _TRANSITIONS[self.state, input_]
        return self.state is State.OPEN


def req_id_of(message: str | bytes) -> str | None:
    """The ``reqId`` of a message that was refused for other reasons than its form (ERR-3)."""
    if isinstance(message, bytes) or "reqId" not in message:
        return None
    try:
        data = json_text.loads(message)
    except (ValueError, RecursionError):
        return None
    req_id = data.get("reqId") if isinstance(data, dict) else None
    return req_id if isinstance(req_id, str) else None
