"""Delivery: one connection that sends what waits in the outbox, takes the acks, and comes back when it is lost.

::

    track ──▶ outbox ──sender──▶ link ──▶ server
                 ▲                          │
                 └───settle◀──receiver◀─────┘ acks, and errors in place of acks

A connection is *proved* when a tracker has answered on it: with ``auth_ok`` where there is a key, otherwise to a batch
without events. Nothing is sent before, so that events go to trackers only.
"""

import logging
from collections.abc import Callable
from contextlib import suppress

import trio

from wsproto_tracker.client.backoff import MAX_RETRY_AFTER_S, Backoff
from wsproto_tracker.client.incoming import Ack, Error, Violation
from wsproto_tracker.client.link import Link, Lost, open_link
from wsproto_tracker.client.options import ClientOptions
from wsproto_tracker.client.outbox import Outbox, Settled
from wsproto_tracker.errors import (
    ClientError,
    ConnectError,
    ErrorCode,
    ForbiddenError,
    NotATrackerError,
    WrongKeyError,
)
from wsproto_tracker.tasks import together

__all__ = ["Delivery", "again"]

_log = logging.getLogger("wsproto_tracker.client")

_LATE = 10  # times as long an ack may take that the server has said will be late (X-LATE-1)
_REFUSES_A_BATCH = frozenset((ErrorCode.BAD_JSON, ErrorCode.BAD_FRAME, ErrorCode.TOO_LARGE))


class _Stopped(Exception):  # noqa: N818 - not an error
    """The client is done with the connection."""


def again(failure: ClientError) -> ClientError:
    """The same failure for another caller: one that is raised again and again would grow with each traceback."""
    return type(failure)(*failure.args)


class Delivery:
    """The delivery of one client's events.

    :param on_settled: is told what became of each batch.
    :ivar failure: why nothing will be delivered any more; ``None`` while it may.
    :ivar trouble: why the last connection was lost, for messages; empty where something was delivered since.
    :ivar reconnects: how many connections there were after the first.
    """

    def __init__(self, options: ClientOptions, outbox: Outbox, on_settled: Callable[[Settled], None]) -> None:
        self._options = options
        self._outbox = outbox
        self._on_settled = on_settled
        self._backoff = Backoff(options.backoff_min_s, options.backoff_max_s)
        self._news = trio.Event()  # for whoever waits for a change; a new one after each
        self._stopping = trio.Event()
        self._ended = trio.Event()
        self._is_open = False
        self._proved = trio.Event()  # of the connection that there is
        self._connections = 0
        self._through = -1  # what was tracked up to here is due at once
        self._not_before_s = 0.0  # when the next batch may go, on whatever connection
        self._heard_s = 0.0  # since when the next ack is awaited
        self._is_late = False
        self.failure: ClientError | None = None
        self.trouble = ""
        self._told = ""  # what the log tells of it; empty while there is a connection

    @property
    def reconnects(self) -> int:
        """How many connections there were after the first."""
        return max(self._connections - 1, 0)

    @property
    def is_over(self) -> bool:
        """Whether nothing more is sent, for it was stopped, or was cancelled, or has failed."""
        return self._stopping.is_set() or self._ended.is_set() or self.failure is not None

    def changed(self) -> None:
        """Look again: something was tracked, settled, or has failed."""
        self._news.set()
        self._news = trio.Event()

    async def connected(self) -> None:
        """Wait until a tracker has answered.

        :raises ConnectError: where none does within ``connect_timeout_s``.
        :raises NotATrackerError: where something else answers.
        :raises WrongKeyError: where it wants another key.
        :raises ForbiddenError: where the key is not for here.
        """
        timeout_s = self._options.connect_timeout_s
        with trio.move_on_after(timeout_s):
            while self._connections == 0 and self.failure is None:
                await self._news.wait()
        if self.failure is not None:
            raise again(self.failure)
        if self._connections == 0:
            reason = self.trouble or "nothing answered as a tracker does"
            advice = "is the server running, and the address right?"
            raise ConnectError(f"{self._options.address}: no connection within {timeout_s:g} s: {reason}; {advice}")

    async def delivered(self, through: int) -> bool:
        """Wait until everything that was tracked up to a ``seq`` is settled, or will not be; returns which."""
        self._through = max(self._through, through)
        self.changed()
        await trio.lowlevel.checkpoint_if_cancelled()
        while (oldest := self._outbox.oldest) is not None and oldest <= through:
            if self.is_over:
                return False
            await self._news.wait()
        return True

    async def stop(self) -> None:
        """Close the connection, where there is one, and end ``run``."""
        self._stopping.set()
        self.changed()
        if self._is_open:
            await self._ended.wait()  # a link is closed within a second

    async def run(self) -> None:
        """Deliver, until it is stopped or has failed for good."""
        try:
            await self._run()
        finally:
            self._ended.set()
            self.changed()

    async def _run(self) -> None:
        while not self._stopping.is_set() and self.failure is None:
            began_s = trio.current_time()
            retry_after_s = 0.0
            try:
                await self._connect()
            except Lost as lost:
                retry_after_s = lost.retry_after_s
                self._disconnected(str(lost), is_too_large=lost.is_too_large)
            except (WrongKeyError, ForbiddenError) as error:
                self._fail(error)
                return
            except (NotATrackerError, ConnectError) as error:
                if self._options.wait_for_server and self._connections == 0:
                    self._fail(error)
                    return
                self._disconnected(str(error))
            finally:
                self._is_open = False
            if trio.current_time() - began_s > self._options.backoff_max_s:
                self._backoff.reset()
            with trio.move_on_after(self._backoff.next_s(retry_after_s)):
                await self._stopping.wait()

    async def _connect(self) -> None:
        self._proved = trio.Event()
        self._is_late = False
        async with open_link(self._options) as link:
            self._is_open = True
            self._heard_s = trio.current_time()
            if self._options.api_key is not None:
                self._prove()
            else:
                await link.send(self._outbox.probe().frame)
            with suppress(_Stopped):
                await together(lambda: self._send(link), lambda: self._receive(link), self._watch, self._until_stopped)

    async def _until_stopped(self) -> None:
        await self._stopping.wait()
        raise _Stopped

    def _prove(self) -> None:
        if self._proved.is_set():
            return
        if self._told:
            _log.info("connected to %s", self._options.address)
        self._told = ""
        self._connections += 1
        self._proved.set()
        self.changed()

    def _disconnected(self, reason: str, *, is_too_large: bool = False) -> None:
        if reason != self._told:
            _log.warning("not connected to %s: %s; trying again", self._options.address, reason)
        self.trouble = self._told = reason
        self._settled(self._outbox.disconnect(is_too_large=is_too_large))

    def _fail(self, error: ClientError) -> None:
        """Give up: it would not be better the next time."""
        if self._connections or not self._options.wait_for_server:  # else open_client raises it
            _log.error("nothing more is sent to %s: %s", self._options.address, type(error).__name__)
        self._outbox.disconnect()
        self.failure = error
        self.changed()

    # --- the tasks of a connection

    async def _send(self, link: Link) -> None:
        await self._proved.wait()
        while True:
            due_s = max(self._outbox.due_s(self._through), self._not_before_s)
            if due_s > trio.current_time():
                news = self._news
                with trio.move_on_at(due_s):
                    await news.wait()
                continue
            if self._outbox.in_flight == 0:
                self._heard_s = trio.current_time()
            await link.send(self._outbox.take().frame)

    async def _receive(self, link: Link) -> None:
        while True:
            frame = await link.receive()
            if isinstance(frame, Ack):
                self._ack(frame)
            elif isinstance(frame, Error) and frame.reqId is None:
                self._error(frame)

    def _ack(self, ack: Ack) -> None:
        self._heard_s = trio.current_time()
        self._is_late = False
        try:
            settled = self._outbox.settle(ack)
        except Violation as violation:
            raise NotATrackerError(f"{self._options.address}: {violation}") from None
        if settled.items:
            self.trouble = ""
            self._backoff.reset()
        self._prove()
        self._settled(settled)

    def _error(self, error: Error) -> None:
        """Take an error; but for ``unavailable`` it stands in place of an ack (FRAME-10, LIMIT-6, X-SCOPE-2)."""
        if error.code == ErrorCode.UNAVAILABLE:
            _log.warning("%s cannot save for now; acks will be late", self._options.address)
            self._is_late = True
            self._prove()
            return
        if not self._outbox.in_flight:
            raise Lost(f"the server said {error.name}, and nothing was asked")
        self._heard_s = trio.current_time()
        if error.code == ErrorCode.RATE_LIMITED:
            self._outbox.put_back()
            wait_s = min(error.retry_after_s, MAX_RETRY_AFTER_S) + self._backoff.next_s()
            self._not_before_s = max(self._not_before_s, trio.current_time() + wait_s)
            self._prove()
            self.changed()
        elif error.code == ErrorCode.FORBIDDEN:
            raise ForbiddenError(f"{self._options.address}: this api_key is not for sending events; use one that is")
        elif error.code in _REFUSES_A_BATCH:
            self._settled(self._outbox.refuse(f"refused by the server: {error.message}"))
        elif error.code == ErrorCode.UNKNOWN_TYPE:
            raise NotATrackerError(f"{self._options.address}: it knows no ingest; a tracker answers it with an ack")
        else:
            raise Lost(f"the server answered a batch with {error.name}")

    def _settled(self, settled: Settled) -> None:
        if settled.items:
            self._on_settled(settled)
        self.changed()

    async def _watch(self) -> None:
        """Give the connection up where acks do not come; what was sent goes again on the next (X-DUP-1)."""
        with trio.move_on_after(self._options.connect_timeout_s):
            await self._proved.wait()
        if not self._proved.is_set():
            raise Lost(f"no ack for a batch without events came within {self._options.connect_timeout_s:g} s")
        while True:
            timeout_s = self._options.ack_timeout_s * (_LATE if self._is_late else 1)
            overdue_s = self._heard_s + timeout_s
            if self._outbox.in_flight and trio.current_time() >= overdue_s:
                raise Lost(f"no ack came within {timeout_s:g} s")
            await trio.sleep(timeout_s if overdue_s <= trio.current_time() else overdue_s - trio.current_time())
