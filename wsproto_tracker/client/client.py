"""The client: ``open_client`` and what can be done with it."""

import json
import logging
import math
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, Unpack
from uuid import uuid4

import attrs
import trio

from wsproto_tracker.client.asking import Asking
from wsproto_tracker.client.delivery import Delivery, again
from wsproto_tracker.client.events import Origin, encoded
from wsproto_tracker.client.options import ClientOptions, Options, Rejected
from wsproto_tracker.client.outbox import ENVELOPE_BYTES, Item, Outbox, Refused, Settled
from wsproto_tracker.client.paging import Pager
from wsproto_tracker.client.spool import Spool
from wsproto_tracker.client.subscription import Subscription
from wsproto_tracker.errors import (
    ClientError,
    ClosedError,
    ConfigurationError,
    DeliveryError,
    SpoolError,
    UndeliveredError,
)
from wsproto_tracker.protocol.filters import Asked, Filters, Page, members_of
from wsproto_tracker.tasks import beside

__all__ = ["Client", "Stats", "open_client"]

_log = logging.getLogger("wsproto_tracker.client")

_CLOSED = "the client is closed; open another one"
_LAST_ATTEMPT_S = 1.0  # to deliver, where the body has failed


@attrs.frozen
class Stats:
    """Counts of one client: ``tracked + restored == acked + rejected + waiting``.

    :ivar tracked: events taken by ``track`` and ``send``.
    :ivar restored: events that the spool held when it was opened.
    :ivar acked: events that the server keeps, the duplicates included.
    :ivar duplicates: events that it had already, for an ack was lost before (X-DUP-2).
    :ivar rejected: events that it did not take, and will not.
    :ivar waiting: events without an ack.
    :ivar reconnects: connections after the first.
    """

    tracked: int = 0
    restored: int = 0
    acked: int = 0
    duplicates: int = 0
    rejected: int = 0
    waiting: int = 0
    reconnects: int = 0


class Client:
    """A client; ``open_client`` makes it. Its methods are for tasks of the trio program that opened it."""

    def __init__(self, options: ClientOptions, spool: Spool | None = None) -> None:
        self._options = options
        self._spool = spool
        self._outbox = Outbox(
            batch_events=options.batch_size,
            batch_bytes=options.max_frame_bytes,
            max_in_flight=options.max_batches_in_flight,
            max_events=options.max_buffer_events,
            max_bytes=options.max_buffer_bytes,
        )
        self._origin = Origin(
            options.app_id, options.session_id or f"sess_{uuid4()}", options.user_id or f"anon_{uuid4()}"
        )
        self._delivery = Delivery(options, self._outbox, self._settled)
        self._asking = Asking(options)
        self._counts = Stats()
        self._seq = 0
        self._is_closed = False  # whether it takes no more
        self._has_ended = False  # whether all is delivered, or UndeliveredError was raised
        self._ending = trio.Lock()

    # --- events

    def track(
        self,
        name: str,
        data: Mapping[str, Any] | None = None,
        *,
        level: str = "info",
        duration_ms: float | None = None,
        group_id: str | None = None,
        context: Mapping[str, Any] | None = None,
        meta: Mapping[str, Any] | None = None,
    ) -> str:
        """Take an event of type ``custom``, as the plugin's ``track`` makes it; it is sent soon.

        :param name: becomes ``payload.name``.
        :param data: becomes ``payload.data``: what JSON can say.
        :param level: ``debug``, ``info``, ``warn`` or ``error``.
        :param duration_ms: becomes ``payload.duration``, in milliseconds.
        :param meta: members for ``meta``, beside ``userAgent`` and ``route``.
        :returns: its id.
        :raises EventError: where it is no event, or an argument is not of its type; nothing of it is kept.
        :raises BufferFullError: where too much waits already.
        :raises SpoolError: where there is a spool, and it cannot be written.
        :raises WrongKeyError: where the server has refused the key.
        :raises ForbiddenError: where the server has refused to take events by this key.
        :raises ClosedError: where the client is closed.
        """
        event = self._origin.custom(
            name, data, level=level, duration_ms=duration_ms, group_id=group_id, context=context, meta=meta
        )
        return self.send(event)

    def send(self, event: Mapping[str, Any]) -> str:
        """Take a whole event, with the members of section 4; an ``id`` that is missing or empty is filled in.

        An ``id`` that is given has to be a new one: an event with one that is stored already is not stored (X-DUP-1).

        :returns: its id.
        :raises ClientError: as ``track`` does.
        """
        self._check_open()
        event_id, text = encoded(event, self._options.max_frame_bytes - ENVELOPE_BYTES)
        self._outbox.check_room(len(text))
        item = Item(self._seq, text, trio.current_time() + self._options.flush_interval_s)
        if self._spool is not None:
            self._spool.add(item)
        self._seq += 1
        self._outbox.add(item)
        self._counts = attrs.evolve(self._counts, tracked=self._counts.tracked + 1)
        self._delivery.changed()
        return event_id

    def _check_open(self) -> None:
        if self._is_closed:
            raise ClosedError(_CLOSED)
        if (failure := self._delivery.failure) is not None:
            raise again(failure)

    @property
    def stats(self) -> Stats:
        """Where it stands."""
        return attrs.evolve(self._counts, waiting=len(self._outbox), reconnects=self._delivery.reconnects)

    async def flush(self, *, timeout_s: float = 30.0) -> None:
        """Send what waits at once, and wait until everything that was tracked before is acked, or rejected.

        :raises DeliveryError: where that takes longer; the events are kept, and go on being sent.
        :raises WrongKeyError: where the server has refused the key.
        :raises ForbiddenError: where the server has refused to take events by this key.
        :raises ClosedError: where the client is closed, or is closed meanwhile before all of it is acked.
        """
        if not isinstance(timeout_s, int | float) or not (math.isfinite(timeout_s) and timeout_s >= 0):
            raise ConfigurationError("timeout_s: expected a finite number of seconds, 0 or more")
        if self._is_closed:
            raise ClosedError(_CLOSED)
        with trio.move_on_after(timeout_s):
            if await self._delivery.delivered(self._seq - 1):
                return
        if self._delivery.failure is not None:
            raise again(self._delivery.failure)
        if self._delivery.is_over:
            raise ClosedError(self._undelivered("and the client was closed meanwhile"))
        raise DeliveryError(self._undelivered(f"after {timeout_s:g} s"), len(self._outbox))

    def _undelivered(self, when: str) -> str:
        trouble = f": {self._delivery.trouble}" if self._delivery.trouble else ""
        return f"{self._options.address}: {len(self._outbox)} events are not acked {when}{trouble}"

    async def aclose(self) -> None:
        """Deliver what waits within ``close_timeout_s``, and close; harmless when that is done.

        While another task does it, it waits for that; where that was cancelled, it tries again.

        :raises UndeliveredError: where events are not acked by then; it is raised once.
        """
        self._close()
        if self._has_ended:
            return
        async with self._ending:
            if not self._has_ended:
                await self._end()

    async def _end(self) -> None:
        with trio.move_on_after(self._options.close_timeout_s):
            await self._delivery.delivered(self._seq - 1)
        await self._delivery.stop()
        self._has_ended = True
        if len(self._outbox):
            raise self._undelivered_error() from self._delivery.failure

    def _close(self) -> None:
        """Take no more events and queries."""
        self._is_closed = True
        self._asking.close()

    def _undelivered_error(self) -> UndeliveredError:
        reason = self._undelivered("and the client is closed")
        if (failure := self._delivery.failure) is not None:
            reason = f"{reason}: {failure}"
        if self._spool is not None:
            kept = "they are kept in the spool, and sent by the next client that opens it"
            return UndeliveredError(f"{reason}; {kept}", len(self._outbox), (), is_spooled=True)
        events = tuple(json.loads(item.text) for item in self._outbox.items())
        return UndeliveredError(f"{reason}; this error has them in events", len(events), events, is_spooled=False)

    def _settled(self, settled: Settled) -> None:
        """Book what became of a batch."""
        rejected = sum(refused.count for refused in settled.refused)
        self._counts = attrs.evolve(
            self._counts,
            acked=self._counts.acked + settled.saved,
            duplicates=self._counts.duplicates + settled.duplicates,
            rejected=self._counts.rejected + rejected,
        )
        if self._spool is not None:
            try:
                self._spool.remove(settled.items)
            except SpoolError as error:
                _log.warning("acked events stay in the spool for now: %s", error)
        if rejected:
            _log.warning("%s rejected %d events of %d", self._options.address, rejected, len(settled.items))
        if self._options.on_rejected is not None:
            for refused in settled.refused:
                self._tell(self._options.on_rejected, refused)

    def _tell(self, on_rejected: Callable[[Rejected], object], refused: Refused) -> None:
        event = None if refused.item is None else json.loads(refused.item.text)
        try:
            on_rejected(Rejected(refused.reason, event, refused.count))
        except Exception as error:
            _log.error("on_rejected has failed with %s", type(error).__name__)

    # --- queries

    async def query(self, **filters: Unpack[Asked]) -> AsyncGenerator[dict[str, Any], None]:
        """Iterate over every event that matches, newest first; no more than a page is held.

        Events that are saved meanwhile are not told twice, and none that was there is missed.

        :param filters: see ``Filters``; all of them have to match.
        :raises ConfigurationError: for a filter that cannot be asked for.
        :raises QueryError: where the server answers with an error, or not in time.
        """
        pager = Pager(Filters(**filters), self._options.page_size)
        while pager.query is not None:
            for event in pager.take(await self._asking.ask(pager.query)):
                yield event

    async def page(self, *, limit: int, page: int = 1, **filters: Unpack[Asked]) -> Page:
        """Ask for one page.

        :param filters: see ``Filters``; all of them have to match.
        :param limit: events on a page, from 0; a server that does not offer it gives all (FILTER-1).
        :param page: its number, from 1.
        :raises ConfigurationError: for a filter that cannot be asked for.
        :raises QueryError: where the server answers with an error, or not in time.
        """
        for name, value, least in (("limit", limit, 0), ("page", page, 1)):
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ConfigurationError(f"{name}: expected a whole number from {least}")
        answer = await self._asking.ask(members_of(Filters(**filters)) | {"limit": limit, "page": page})
        return Page(answer.events, answer.total, answer.page, answer.limit, answer.nextCursor, answer.behind)

    @asynccontextmanager
    async def subscribe(self, *, max_waiting_events: int = 10_000) -> AsyncGenerator[Subscription, None]:
        """Iterate over the events that are saved from now on.

        :param max_waiting_events: how many may wait to be taken; what comes then is dropped, and counted.
        :raises QueryError: where the server does not push, or not to this key.
        :raises ConnectError: where there is no connection in time.
        """
        if self._is_closed:
            raise ClosedError(_CLOSED)
        if not isinstance(max_waiting_events, int) or isinstance(max_waiting_events, bool) or max_waiting_events < 1:
            raise ConfigurationError("max_waiting_events: expected a whole number from 1")
        subscription = Subscription(self._options, max_waiting_events)
        async with beside(subscription.run):
            await subscription.subscribed()
            yield subscription

    def _restore(self, items: list[Item]) -> None:
        """Take what the spool holds; it goes before what is new."""
        for item in items:
            self._outbox.check_room(len(item.text))
            self._outbox.add(item)
            self._seq = item.seq + 1
        self._counts = Stats(restored=len(items))


@asynccontextmanager
async def open_client(
    url: str, *, app_id: str, api_key: str | None = None, **options: Unpack[Options]
) -> AsyncGenerator[Client, None]:
    """Open a client, and at the end deliver what waits and close it.

    :param url: the server's WebSocket endpoint: ``ws://127.0.0.1:4242/_tracker/ws``.
    :param app_id: the ``appId`` of the events that ``track`` makes.
    :param api_key: the key, where the server has any.
    :param options: see ``docs/client.md``.
    :raises ConfigurationError: for an option that is not allowed.
    :raises SpoolError: where the spool cannot be used.
    :raises ConnectError: where there is no connection within ``connect_timeout_s``.
    :raises NotATrackerError: where something else answers there.
    :raises WrongKeyError: where the server wants another key.
    :raises ForbiddenError: where the key is not for here.
    :raises UndeliveredError: at the end, where events are not acked within ``close_timeout_s``.
    """
    chosen = _options(url=url, app_id=app_id, api_key=api_key, **options)
    spool = None
    if chosen.spool is not None:
        spool = await trio.to_thread.run_sync(Spool, chosen.spool, app_id)
    try:
        client = Client(chosen, spool)
        if spool is not None:
            client._restore(await trio.to_thread.run_sync(spool.load))
        async with beside(client._delivery.run, client._asking.run):
            if chosen.wait_for_server:
                await client._delivery.connected()
            async with _delivering(client):
                yield client
    finally:
        if spool is not None:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(spool.close)


def _options(**options: Any) -> ClientOptions:
    names = {field.name for field in attrs.fields(ClientOptions)}
    if unknown := sorted(set(options) - names):
        raise ConfigurationError(f"{unknown[0]}: there is no such option; there are {', '.join(sorted(names))}")
    return ClientOptions(**options)


@asynccontextmanager
async def _delivering(client: Client) -> AsyncGenerator[None, None]:
    """Deliver at the end of the body; after an error in it for a moment only, and when it is cancelled not at all."""
    try:
        yield
    except BaseException:
        if trio.current_effective_deadline() > trio.current_time():
            with trio.move_on_after(_LAST_ATTEMPT_S), suppress(ClientError, trio.Cancelled):
                await client.aclose()
        client._close()
        raise
    await client.aclose()
