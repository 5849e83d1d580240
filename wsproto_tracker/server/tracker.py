"""The tracker as a program sees it that embeds it."""

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from functools import partial
from time import perf_counter
from typing import Any, Unpack

import attrs
import trio
from trio_websocket import WebSocketRequest

from wsproto_tracker.access import Access, Grant
from wsproto_tracker.errors import ConfigurationError, ErrorCode, EventError, FrameError
from wsproto_tracker.hooks import Caller
from wsproto_tracker.protocol import json_text
from wsproto_tracker.protocol.events import Batch, Rejection, Rules, read_batch
from wsproto_tracker.protocol.filters import Asked, Filters, Page, members_of
from wsproto_tracker.protocol.ids import new_id
from wsproto_tracker.protocol.query import query_of
from wsproto_tracker.protocol.timestamps import format_instant
from wsproto_tracker.server.asgi import Asgi, Receive, Scope, Send
from wsproto_tracker.server.core import Core, work_of
from wsproto_tracker.server.gate import Gate
from wsproto_tracker.server.guests import Guests
from wsproto_tracker.server.hosted import UNKNOWN, HostedLink, Unknown, WebSocket, accepted_elsewhere, origin_of
from wsproto_tracker.server.listening import Address
from wsproto_tracker.server.metrics import Transport
from wsproto_tracker.server.mounted import HttpRequest, HttpResponse, answered
from wsproto_tracker.server.peer import Peer, address_of
from wsproto_tracker.server.push import Subscription
from wsproto_tracker.server.tally import Tally
from wsproto_tracker.server.tls import Certificate
from wsproto_tracker.server.websocket import Conversations
from wsproto_tracker.store import Chunk

__all__ = ["Answer", "Saved", "SavedEvents", "Tracker"]

_JOINED_ANSWERS = 2
_PAGE = 100


@attrs.frozen
class Saved:
    """What became of events that were appended.

    :ivar saved: how many of them are kept, those included that were there already (X-DUP-2).
    :ivar duplicates: how many were there already, by their id.
    :ivar rejected: the others, with their place and the reason; the first 1,000 of them (X-REJECT-2).
    :ivar rejections: how many others there are.
    """

    saved: int
    duplicates: int
    rejected: tuple[Rejection, ...]
    rejections: int


@attrs.frozen
class Answer:
    """The answer to a query: an async iterator of its events, newest first, each as a dictionary.

    :ivar total: how many events match, whatever ``limit`` and ``page`` say.
    :ivar next_cursor: the timestamp of the newest of them, to be given as ``after``; ``None`` where none matches.
    :ivar is_behind: whether events may be missing that another node of a cluster has acked (X-BEHIND-1).
    """

    total: int
    next_cursor: str | None
    is_behind: bool
    _events: AsyncGenerator[dict[str, Any], None] = attrs.field(alias="events")

    def __aiter__(self) -> AsyncGenerator[dict[str, Any], None]:
        return self._events


class SavedEvents:
    """An async iterator of what is saved, each event as a dictionary; it ends when the tracker stops.

    :ivar dropped: how many events were left out so far, because they came faster than they were taken.
    """

    def __init__(self, subscription: Subscription) -> None:
        self._subscription = subscription
        self._events: list[dict[str, Any]] = []
        self.dropped = 0

    def __aiter__(self) -> "SavedEvents":
        return self

    async def __anext__(self) -> dict[str, Any]:
        while not self._events:
            try:
                push = json_text.loads((await self._subscription.next()).decode())
            except trio.EndOfChannel:
                raise StopAsyncIteration from None
            self.dropped += push.get("dropped", 0)
            self._events = push["events"][::-1]
        return self._events.pop()


class Tracker:
    """A running tracker; ``open_tracker`` and ``serve`` make it. All of it is for the event loop that it was made in.

    Once it is closed, its methods raise ``trio.ClosedResourceError``; so do calls that go on when it closes, after the
    time that there is to finish what is in hand (``drain_timeout_s``).

    :ivar addresses: what it really listens on; none where that is a unix socket, or nothing.
    :ivar metrics_addresses: where ``/metrics`` is, if it has an address of its own.
    """

    def __init__(
        self,
        core: Core,
        conversations: Conversations,
        guests: Guests,
        addresses: tuple[Address, ...] = (),
        metrics_addresses: tuple[Address, ...] = (),
        certificate: Certificate | None = None,
    ) -> None:
        self.addresses = addresses
        self.metrics_addresses = metrics_addresses
        self._core = core
        self._conversations = conversations
        self._guests = guests
        self._certificate = certificate
        self._subscriptions: set[Subscription] = set()
        self._joins = trio.CapacityLimiter(_JOINED_ANSWERS)
        self._gate = Gate(core.access, core.settings.host)
        self._asgi = Asgi(core, self._gate, self._conversations, self._joins)
        self._stopping = trio.Event()

    async def wait_stopping(self) -> None:
        """Wait until it begins to stop."""
        await self._stopping.wait()

    def reload(self) -> bool:
        """Read the certificate and its key again, for connections that begin from now on; whether there is one.

        :raises ServeError: if they cannot be used; then the old ones stay.
        """
        if self._certificate is None:
            return False
        self._certificate.reload()
        return True

    def stop(self) -> None:
        """Stop accepting, finish what is in hand, close with 1001; ``serve`` then returns (CLOSE-4)."""
        self._stopping.set()
        for subscription in self._subscriptions:
            self._end(subscription)

    def _end(self, subscription: Subscription) -> None:
        self._core.hub.unsubscribe(subscription)
        subscription.end()

    async def append(self, events: Iterable[Mapping[str, Any] | str | bytes]) -> Saved:
        """Save events, and return when they are kept and every later query shows them; in an outage that may be late.

        All of them are saved, or none. Where the wait is cancelled, they may be saved all the same, but never a part.

        :param events: each a mapping, or its JSON text, which is then kept byte for byte.
        :raises EventError: if one of them is no JSON; then none is saved.
        :raises UnavailableError: if the tracker is closed during an outage; then none is saved.
        """
        with self._guests.guest():
            if isinstance(events, Mapping | str | bytes):
                raise EventError(f"append: expected a list of events, not one {type(events).__name__}")
            given, came_s = list(events), perf_counter()
            work = sum(work_of(event) if isinstance(event, str | bytes) else _ABOUT_BYTES for event in given)
            rules = Rules(max_bytes=self._core.rules.max_bytes)
            batch = await self._core.decode(partial(_read, rules=rules), given, work)
            batch = await self._core.show(batch, Caller(address="", name="program"))
            appended = await (await self._core.append(batch)).committed()
            self._core.metrics.acked(appended, batch.causes, perf_counter() - came_s)
            saved = appended.stored + appended.duplicates
            return Saved(saved, appended.duplicates, batch.rejected, sum(batch.causes.values()))

    @asynccontextmanager
    async def query(
        self,
        *,
        limit: int | None = None,
        page: int = 1,
        **filters: Unpack[Asked],
    ) -> AsyncGenerator[Answer, None]:
        """Ask for events, as they are at this moment; they are read while they are iterated.

        ::

            async with tracker.query(level="error") as answer:
                print(answer.total)
                async for event in answer:
                    print(event["payload"])

        The parameters mean what they mean in SPEC.md section 6. Moments are RFC 3339 text, or a ``datetime`` with a
        zone.

        :raises ConfigurationError: for a parameter that cannot be read.
        :raises UnavailableError: if the store cannot be read now; iterating may raise it as well.
        """
        asked: dict[str, Any] = members_of(Filters(**filters)) | {"page": page}
        query = query_of(asked if limit is None else asked | {"limit": limit})
        with self._guests.guest():
            answer = await self._core.store.query(query)
            newest = None if answer.newest is None else format_instant(answer.newest)
            async with aclosing(answer.chunks), aclosing(_events_of(answer.chunks)) as found:
                yield Answer(answer.total, newest, answer.is_behind, found)

    async def page(self, *, limit: int = _PAGE, page: int = 1, **filters: Unpack[Asked]) -> Page:
        """Some of the events that match.

        :param limit: how many are on a page.
        :param page: which one, from 1; past the last it is empty.
        :param filters: as for ``query``.
        """
        async with self.query(limit=limit, page=page, **filters) as answer:
            return Page(
                [event async for event in answer], answer.total, page, limit, answer.next_cursor, answer.is_behind
            )

    @asynccontextmanager
    async def subscribe(self, *, apps: Iterable[str] | None = None) -> AsyncGenerator[SavedEvents, None]:
        """Get every event that is saved from now on, in the order of saving.

        ::

            async with tracker.subscribe() as events:
                async for event in events:
                    print(event["type"])

        At most ``max_push_bytes`` wait for who iterates; what comes beyond is dropped and counted (X-SUB-2).

        :param apps: only events of these apps.
        :raises FrameError: ``rate_limited``, if there are ``max_subscriptions`` already.
        :raises ConfigurationError: if ``apps`` is one name in place of several.
        """
        if isinstance(apps, str):
            raise ConfigurationError("apps: expected several names, such as ['shop']")
        with self._guests.guest():
            if self._core.hub.is_full:
                raise FrameError(ErrorCode.RATE_LIMITED, "there are as many subscriptions as max_subscriptions allows")
        subscription = self._core.hub.subscribe(None if apps is None else frozenset(apps))
        self._subscriptions.add(subscription)
        if self._stopping.is_set():
            self._end(subscription)
        try:
            yield SavedEvents(subscription)
        finally:
            self._subscriptions.discard(subscription)
            self._core.hub.unsubscribe(subscription)

    async def handle(
        self,
        connection: WebSocket | object,
        *,
        grant: Grant | None = None,
        origin: str | Unknown | None = UNKNOWN,
        address: str | None = None,
    ) -> None:
        """Speak the protocol over a connection that the program accepted, until it is closed.

        The connection is one of ``trio_websocket`` or of ``websockets.trio``, or any object with the methods of
        ``WebSocket``. It should take messages of ``max_frame_bytes`` (LIMIT-1). A ``trio_websocket.WebSocketRequest``
        will do as well: it is accepted here, or rejected with 403 where its page is not let in.

        :param grant: what may be done on it; ``None`` where its client has to show a key, if keys are configured.
        :param origin: the ``Origin`` of its handshake, ``None`` if it had none, where the connection does not tell:
            those of ``trio_websocket`` do not. Pages that are not let in are told so by an ``error``, and the
            connection is closed (SEC-4), unless there is a grant.
        :param address: of the client, where the connection does not tell, or a proxy is between.
        :raises TypeError: if that is no connection.
        :raises ConfigurationError: if nothing keeps foreign pages out: no key, no grant, and no origin that is known.
        """
        with self._guests.guest():
            if isinstance(connection, WebSocketRequest):
                origin = origin_of(connection) if isinstance(origin, Unknown) else origin
                if grant is None and not self._core.access.takes_origin(origin):
                    await connection.reject(403, body=b"pages of this origin are not let in\n")
                    return
                connection = await connection.accept()
            accepted = accepted_elsewhere(connection)
            origin = accepted.origin if isinstance(origin, Unknown) else origin
            if isinstance(origin, Unknown):
                if grant is None and self._core.access.origins_matter:
                    raise ConfigurationError(
                        "handle: the origin of this connection is not known, and pages of some are not to be let in; "
                        "give the trio_websocket request in its place, or origin=…, or a grant"
                    )
                origin = None
            peer = Peer(address_of(accepted.address if address is None else address), origin=origin)
            core = self._core
            tally = Tally(core.metrics, peer.address, Transport.WEBSOCKET)
            with tally.held():
                link = HostedLink(accepted, peer, core.settings, core.budget, tally, self._joins)
                if grant is None and not core.access.takes_origin(peer.origin):
                    await link.refuse("pages of this origin are not let in; add it to the setting origins")
                    return
                access = None if grant is None else Access(anybody=grant)
                await self._conversations.hold(link, access)

    @asynccontextmanager
    async def http(self, request: HttpRequest, *, grant: Grant | None = None) -> AsyncGenerator[HttpResponse, None]:
        """Answer an HTTP request that came by a server of the program's own, at any of the tracker's paths.

        ::

            async with tracker.http(HttpRequest(method="GET", target="/_tracker/ping")) as response:
                print(response.status, await response.read())

        :param grant: what the request may do; ``None`` where it has to show a key, if keys are configured.
        """
        with self._guests.guest():
            async with answered(self._core, self._gate, request, grant) as response:
                yield response

    async def asgi(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The tracker as an ASGI 3 application, for servers that run on trio, such as Hypercorn with its trio worker.

        It has the routes of the server itself. Pass it on as it is: ``hypercorn.trio.serve(tracker.asgi, config)``.
        """
        if scope["type"] == "lifespan":  # which lasts as long as its server, and needs nothing of the tracker
            await self._asgi.serve(scope, receive, send)
            return
        with self._guests.guest():
            await self._asgi.serve(scope, receive, send)


_ABOUT_BYTES = 1024  # what an event takes that is no text yet, about


def _read(events: Sequence[Mapping[str, Any] | str | bytes], rules: Rules) -> Batch:
    return read_batch([_text_of(event, index) for index, event in enumerate(events)], new_id, rules)


def _text_of(event: Mapping[str, Any] | str | bytes, index: int) -> bytes:
    """The JSON text of an event.

    :raises EventError: if it has none.
    """
    try:
        if isinstance(event, bytes):
            event = event.decode()
        if isinstance(event, str):
            json_text.loads(event)
            return event.encode()
        if not isinstance(event, Mapping):
            raise TypeError(f"expected a mapping or JSON text, not {type(event).__name__}")
        return json_text.dumps(dict(event))
    except (TypeError, ValueError, RecursionError) as error:
        why = "nested too deep" if isinstance(error, RecursionError) else str(error)
        raise EventError(f"events[{index}]: no JSON: {why}") from None


def _parsed(chunk: Chunk) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = json_text.loads(f"[{chunk.text.decode()}]")
    return events


async def _events_of(chunks: AsyncGenerator[Chunk, None]) -> AsyncGenerator[dict[str, Any], None]:
    async for chunk in chunks:
        for event in await trio.to_thread.run_sync(_parsed, chunk):
            yield event
            await trio.lowlevel.checkpoint()
