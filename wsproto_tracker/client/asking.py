"""Asking: one connection for all queries, opened with the first, whose answers are told apart by their ``reqId``.

It is not the one that delivers: a large answer would keep acks waiting, and late acks (ACK-7) answers. A query changes
nothing, so it is asked again where its connection is lost, as long as there is time.
"""

import json
import math
from itertools import count
from typing import Any

import attrs
import trio

from wsproto_tracker.client.backoff import Backoff
from wsproto_tracker.client.incoming import Error, EventsResponse, Response
from wsproto_tracker.client.link import AnswerTooLarge, Link, Lost, open_link
from wsproto_tracker.client.options import ClientOptions
from wsproto_tracker.errors import ClientError, ClosedError, ErrorCode, QueryError
from wsproto_tracker.tasks import together

__all__ = ["Asking"]

_COME_BACK = frozenset((ErrorCode.RATE_LIMITED, ErrorCode.UNAVAILABLE))
_UNAVAILABLE_S = 1.0  # after which a query is asked again that the server could not answer


@attrs.define(eq=False)
class _Question:
    """A query that waits for its answer.

    :ivar not_before_s: when it may be sent.
    :ivar sent: its place in the order of sending on this connection; 0 where it is not sent.
    :ivar trouble: why there is no answer yet; empty where nothing is known.
    """

    frame: bytes
    not_before_s: float = 0.0
    sent: int = 0
    trouble: str = ""
    code: str = "timeout"
    answer: Response | ClientError | None = None
    ended: trio.Event = attrs.field(factory=trio.Event)

    def end(self, answer: Response | ClientError) -> None:
        self.answer = answer
        self.ended.set()


class Asking:
    """The queries of one client."""

    def __init__(self, options: ClientOptions) -> None:
        self._options = options
        self._backoff = Backoff(options.backoff_min_s, options.backoff_max_s)
        self._numbers = count(1)
        self._questions: dict[str, _Question] = {}
        self._news = trio.Event()
        self._given_up = trio.Event()  # whether the connection answers no more
        self._is_closed = False

    async def ask(self, query: dict[str, Any]) -> Response:
        """Ask, and wait for the answer.

        :raises QueryError: where the server answers with an error, or not within ``query_timeout_s``.
        :raises ClosedError: where the client is closed.
        :raises ClientError: where no connection can ever be had: a wrong key, no tracker.
        """
        if self._is_closed:
            raise ClosedError("the client is closed; open another one")
        req_id = f"q{next(self._numbers)}"
        frame = json.dumps({"type": "events:query", "reqId": req_id, "query": query}).encode()
        question = self._questions[req_id] = _Question(frame)
        self._changed()
        try:
            with trio.move_on_after(self._options.query_timeout_s):
                await question.ended.wait()
        finally:
            del self._questions[req_id]
        if question.answer is None:
            self._given_up.set()  # it may be dead, and nobody would notice
            reason = f": {question.trouble}" if question.trouble else ""
            raise QueryError(question.code, f"no answer came within {self._options.query_timeout_s:g} s{reason}")
        if isinstance(question.answer, ClientError):
            raise question.answer
        return question.answer

    def close(self) -> None:
        """Take no more queries, and end those that wait."""
        self._is_closed = True
        self._fail(ClosedError("the client was closed before the answer came"))

    async def run(self) -> None:
        """Answer what is asked, until it is cancelled."""
        while True:
            while not self._questions:
                await self._news.wait()
            retry_after_s = 0.0
            self._given_up = trio.Event()
            try:
                async with open_link(self._options) as link:
                    await together(lambda: self._send(link), lambda: self._receive(link), self._until_given_up)
            except Lost as lost:
                retry_after_s = lost.retry_after_s
                self._lost(lost)
            except ClientError as error:
                self._fail(error)
            await trio.sleep(self._backoff.next_s(retry_after_s))

    def _lost(self, lost: Lost) -> None:
        sent = [question for question in self._questions.values() if question.sent and not question.ended.is_set()]
        if isinstance(lost, AnswerTooLarge) and sent:  # answers come in the order of the questions (CONN-6)
            min(sent, key=lambda question: question.sent).end(QueryError(ErrorCode.TOO_LARGE, str(lost)))
        for question in self._questions.values():
            question.sent = 0
            question.trouble, question.code = str(lost), "timeout"

    def _fail(self, error: ClientError) -> None:
        for question in self._questions.values():
            question.end(error)

    def _changed(self) -> None:
        self._news.set()
        self._news = trio.Event()

    async def _until_given_up(self) -> None:
        await self._given_up.wait()
        raise Lost("an answer did not come in time")

    async def _send(self, link: Link) -> None:
        while True:
            unsent = [question for question in self._questions.values() if not (question.sent or question.answer)]
            due = min(unsent, key=lambda question: question.not_before_s, default=None)
            if due is None or due.not_before_s > trio.current_time():
                news = self._news
                with trio.move_on_at(math.inf if due is None else due.not_before_s):
                    await news.wait()
                continue
            due.sent = next(self._numbers)
            await link.send(due.frame)

    async def _receive(self, link: Link) -> None:
        while True:
            frame = await link.receive()
            if isinstance(frame, EventsResponse):
                self._backoff.reset()
                if (question := self._questions.get(frame.reqId)) is not None:
                    question.end(frame.response)
            elif isinstance(frame, Error) and frame.reqId is not None:
                self._error(frame, self._questions.get(frame.reqId))

    def _error(self, error: Error, question: _Question | None) -> None:
        if question is None:
            return  # nobody waits for it any more
        if error.code not in _COME_BACK:
            question.end(QueryError(error.code or ErrorCode.INTERNAL, error.message))
            return
        question.trouble, question.code = error.message, error.code
        question.not_before_s = trio.current_time() + self._backoff.next_s(error.retry_after_s or _UNAVAILABLE_S)
        question.sent = 0
        self._changed()
