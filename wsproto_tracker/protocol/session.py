"""The protocol of one WebSocket connection, without I/O: a message in, actions out.

The caller carries the actions out in their order, and in the order of the messages (CONN-6). That order is all that
AUTH-4, ACK-2 and X-PING-1 need: whatever waits, waits in one queue.
"""

from collections.abc import Callable
from enum import Enum, auto

import attrs

from wsproto_tracker.access import Access
from wsproto_tracker.errors import ErrorCode, FrameError
from wsproto_tracker.protocol import frames, json_text
from wsproto_tracker.protocol.decoding import Frame, read_frame
from wsproto_tracker.protocol.events import Batch
from wsproto_tracker.protocol.query import Query

__all__ = ["Action", "Answer", "Close", "Reply", "Save", "Session", "StartPush", "State"]


@attrs.frozen
class Reply:
    """Send this text."""

    text: bytes


@attrs.frozen
class Save:
    """Save the events, then send the ack (ACK-1)."""

    batch: Batch


@attrs.frozen
class Answer:
    """Answer the query (QUERY-1)."""

    req_id: str
    query: Query


@attrs.frozen
class StartPush:
    """Send ``subscribed``, and push from now on (X-SUB-1)."""


@attrs.frozen
class Close:
    """Close the connection; nothing after it counts."""

    code: int
    reason: str


Action = Reply | Save | Answer | StartPush | Close


class State(Enum):
    """Where a session is."""

    LOCKED = auto()  # a key is configured and has not come yet
    OPEN = auto()
    CLOSED = auto()  # after a wrong key


class _Input(Enum):
    RIGHT_KEY = auto()
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


class Session:
    """One connection's side of the protocol.

    :param access: who may do what.
    :param new_id: gives the ids of events that come without.
    :param push: whether this server pushes at all (X-SUB-3).
    """

    def __init__(self, access: Access, new_id: Callable[[], str], *, push: bool = True) -> None:
        self._access = access
        self._new_id = new_id
        self._push = push
        self.state = State.LOCKED if access.needs_key else State.OPEN

    def receive(self, message: str | bytes) -> tuple[Action, ...]:
        """Take the next message, ``str`` from a text message and ``bytes`` from a binary one; never raises."""
        if self.state is State.CLOSED:
            return ()  # AUTH-7
        try:
            if isinstance(message, bytes):
                raise FrameError(ErrorCode.UNSUPPORTED, "binary messages are not frames; send JSON text")  # FRAME-6
            # before the key has come, nothing is done for a stranger that costs much
            return self._act_on(read_frame(message, self._new_id if self.state is State.OPEN else None))
        except FrameError as problem:
            if problem.req_id is None:
                problem.req_id = _req_id(message)
            reply = Reply(frames.encode(frames.error(problem)))  # FRAME-3, FRAME-4
            if problem.code is ErrorCode.UNAUTHORIZED:
                return (reply, Close(_POLICY_VIOLATION, "Unauthorized"))
            return (reply,)

    def _act_on(self, frame: Frame) -> tuple[Action, ...]:
        match frame:
            case frames.Ping():
                return (Reply(frames.encode(frames.Pong())),)  # X-PING-1
            case frames.Auth(key):
                if not self._moves(_Input.RIGHT_KEY if self._access.admits(key) else _Input.WRONG_KEY):
                    raise FrameError(ErrorCode.UNAUTHORIZED, "Unauthorized")
                return (Reply(frames.encode(frames.AuthOk())),)
        if not self._moves(_Input.NEEDS_KEY):
            raise FrameError(ErrorCode.UNAUTHORIZED, "Unauthorized")
        match frame:
            case Batch():
                return (Save(frame),)
            case frames.EventsQuery(req_id, query):
                return (Answer(req_id, query),)
            case frames.Subscribe():
                if not self._push:
                    raise FrameError(ErrorCode.UNSUPPORTED, "this server does not push")  # X-SUB-3
                return (StartPush(),)

    def _moves(self, input_: _Input) -> bool:
        """Go where the table says; whether the session is still open."""
        self.state = _TRANSITIONS[self.state, input_]
        return self.state is State.OPEN


def _req_id(message: str | bytes) -> str | None:
    """The ``reqId`` of a message that was refused for other reasons than its form (ERR-3)."""
    if isinstance(message, bytes) or "reqId" not in message:
        return None
    try:
        data = json_text.loads(message)
    except (ValueError, RecursionError):
        return None
    req_id = data.get("reqId") if isinstance(data, dict) else None
    return req_id if isinstance(req_id, str) else None
