"""What happened on one connection: counted in the metrics as it happens, and told in one line of the log at its end."""

import logging
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import trio

from wsproto_tracker.errors import ErrorCode
from wsproto_tracker.protocol.events import Cause
from wsproto_tracker.protocol.session import REFUSED, Action, Answer, ChangePush, Reply, Save, StartPush
from wsproto_tracker.server.metrics import Metrics, Transport
from wsproto_tracker.store import Appended

__all__ = ["Tally"]

_LOG = logging.getLogger("wsproto_tracker.connections")


class Tally:
    """The tally of one connection.

    :ivar address: who is at its other end.
    :ivar close_code: how a WebSocket was closed.
    """

    def __init__(self, metrics: Metrics, address: str, transport: Transport = Transport.HTTP) -> None:
        self.address = address
        self.close_code: int | None = None
        self._metrics = metrics
        self._transport = transport
        self._began_s = trio.current_time()
        self._holders = 0
        self._is_over = False
        self._messages = 0  # frames, or requests
        self._pending = 0
        self._saved = 0
        self._rejected = 0
        self._errors: Counter[str] = Counter()
        metrics.opened(transport)

    @contextmanager
    def held(self) -> Generator["Tally", None, None]:
        """The connection is over when nobody holds its tally: what it sent may be carried out after it has closed."""
        self._holders += 1
        try:
            yield self
        finally:
            self._holders -= 1
            if not self._holders:
                self._end()

    def upgraded(self) -> None:
        """It becomes a WebSocket."""
        self._transport = Transport.WEBSOCKET
        self._messages = 0
        self._metrics.upgraded()

    def requested(self, status: int, error: ErrorCode | None) -> None:
        """A request is being answered; with an error, if it is one."""
        self._messages += 1
        self._metrics.requested(status)
        if error is not None:
            self.failed(error)

    def received(self, actions: Sequence[Action]) -> None:
        """A message has come, for which this is to be done."""
        self._messages += 1
        self._pending += len(actions)
        self._metrics.received(_type_of(actions), len(actions))
        for action in actions:
            if isinstance(action, Reply) and action.error is not None:
                self.failed(action.error)

    def replied(self) -> None:
        """One of these actions is done."""
        self._pending -= 1
        self._metrics.replied()

    def failed(self, code: ErrorCode) -> None:
        """The peer is told of an error, or there is a fault of ours."""
        self._errors[code.value] += 1
        self._metrics.failed(code)

    def acked(self, appended: Appended, causes: Mapping[Cause, int], seconds: float) -> None:
        """A batch is kept, and its ack is ready.

        :param causes: what was rejected of it.
        :param seconds: how long that took from when it had come in.
        """
        self._saved += appended.stored
        self._rejected += sum(causes.values())
        self._metrics.acked(appended, causes, seconds)

    def _end(self) -> None:
        self._metrics.replied(self._pending)
        self._pending = 0
        if self._is_over:  # a WebSocket conversation began when its connection had closed already
            return
        self._is_over = True
        self._metrics.closed(self._transport)
        told: dict[str, Any] = {
            "address": self.address,
            "transport": self._transport.value,
            "seconds": round(trio.current_time() - self._began_s, 3),
            "frames" if self._transport is Transport.WEBSOCKET else "requests": self._messages,
            "saved": self._saved,
            "rejected": self._rejected,
            "errors": dict(self._errors),
        }
        if self.close_code is not None:
            told["close_code"] = self.close_code
        _LOG.info("connection ended", extra=told)


def _type_of(actions: Sequence[Action]) -> str:
    match [action for action in actions if not isinstance(action, ChangePush)]:
        case [Save()]:
            return "ingest"
        case [Answer()]:
            return "events:query"
        case [StartPush()]:
            return "subscribe"
        case [Reply(_, frame), *_]:
            return frame
        case _:
            return REFUSED
