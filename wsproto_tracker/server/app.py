"""``open_tracker`` and ``serve``: front, WebSocket server and store, started together and ended in order."""

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial

import trio
from websockets.trio.server import Server as WebSocketServer
from websockets.trio.server import ServerConnection
from websockets.trio.server import serve as serve_websocket

from wsproto_tracker.cluster import needing_nats
from wsproto_tracker.errors import ConfigurationError
from wsproto_tracker.hooks import Hooks
from wsproto_tracker.server.core import Core
from wsproto_tracker.server.deflate import BlockDeflateFactory
from wsproto_tracker.server.front import Front
from wsproto_tracker.server.guests import Guests
from wsproto_tracker.server.link import AcceptedLink
from wsproto_tracker.server.listening import addresses_of, listening
from wsproto_tracker.server.metrics import Metrics
from wsproto_tracker.server.push import Hub
from wsproto_tracker.server.scrape import Scrapes
from wsproto_tracker.server.streams import UpgradedStream, UpgradeListener
from wsproto_tracker.server.tls import Certificate
from wsproto_tracker.server.tracker import Tracker
from wsproto_tracker.server.websocket import Conversations
from wsproto_tracker.settings import Settings
from wsproto_tracker.store import Capacity, EventStore, OnCommitted, OnStored, open_timeline

__all__ = ["open_tracker", "serve"]

_MAX_QUEUED_FRAMES = 4  # of one connection, read from its socket and not yet decoded
_CLOSE_TIMEOUT_S = 5.0
_LAST_MOMENT_S = 1.0


@asynccontextmanager
async def open_tracker(
    settings: Settings = Settings(), *, hooks: Hooks = Hooks(), listen: bool = True
) -> AsyncGenerator[Tracker, None]:
    """Run a tracker for as long as the ``async with`` lasts; at its end, finish what is in hand, and close with 1001.

    ::

        async with open_tracker(Settings(port=0)) as tracker:
            print(*tracker.addresses)

    Cancelled, or left by an exception, it ends at once: what was acked is kept, what was not may be. The exception
    comes out as it is, in no group.

    :param hooks: what the program has a say in.
    :param listen: whether it listens itself. If not, it lives on what the program gives it, by ``Tracker.append``,
        ``handle``, ``http`` and ``asgi``.
    :raises ConfigurationError: if there are keys in the settings, and a hook ``authorise`` beside them.
    :raises ServeError: if it cannot listen on the address, or the certificate cannot be used.
    :raises StoreError: if the store cannot be opened, or fails.
    """
    if hooks.authorise is not None and settings.access.needs_key:
        raise ConfigurationError("authorise: the settings have keys as well; expected one or the other")
    certificate = Certificate.of(settings)
    hub, metrics = Hub(settings.max_push_bytes, settings.max_subscriptions), Metrics()
    async with AsyncExitStack() as stack:
        listeners: list[trio.SocketListener] = []
        metrics_listeners: list[trio.SocketListener] = []
        if listen:
            listeners = await stack.enter_async_context(listening(settings.host, settings.port, settings.unix))
            if settings.metrics_address is not None:
                where = listening(*settings.metrics_address, option="--metrics-address")
                metrics_listeners = await stack.enter_async_context(where)
        store = await stack.enter_async_context(open_store(settings, hub.publish, metrics.committed))
        core = Core(settings, hub, store, metrics, hooks)
        serving = _Serving(core, listeners, metrics_listeners, certificate)
        tracker = serving.tracker
        await stack.enter_async_context(serving.running())
        yield tracker


async def serve(
    settings: Settings, *, hooks: Hooks = Hooks(), task_status: trio.TaskStatus[Tracker] = trio.TASK_STATUS_IGNORED
) -> None:
    """Serve until ``Tracker.stop`` is called: ``open_tracker`` as a task.

    ::

        tracker = await nursery.start(serve, Settings(port=0))
        print(*tracker.addresses)

    Its errors are those of ``open_tracker``.
    """
    async with open_tracker(settings, hooks=hooks) as tracker:
        task_status.started(tracker)
        await tracker.wait_stopping()


def open_store(
    settings: Settings, on_stored: OnStored, on_committed: OnCommitted
) -> AbstractAsyncContextManager[EventStore]:
    """The store that the settings ask for.

    :raises ConfigurationError: if it is that of a cluster, and the NATS client is not installed.
    """
    max_age_s = None if settings.max_age is None else settings.max_age.total_seconds()
    capacity = Capacity(settings.max_events, max_age_s, settings.max_bytes)
    if (url := settings.cluster) is not None and settings.path is not None:
        with needing_nats():
            from wsproto_tracker.cluster.store import open_cluster
        return open_cluster(
            url,
            settings.path,
            capacity,
            on_stored=on_stored,
            on_committed=on_committed,
            is_full=settings.durability == "full",
            reads_latest=settings.read == "latest",
            max_uncommitted_bytes=settings.max_uncommitted_bytes,
        )
    return open_timeline(
        settings.path,
        capacity,
        on_stored=on_stored,
        on_committed=on_committed,
        durability="full" if settings.durability == "full" else "normal",
        max_uncommitted_bytes=settings.max_uncommitted_bytes,
    )


class _Serving:
    """What runs while there is a tracker."""

    def __init__(
        self,
        core: Core,
        listeners: list[trio.SocketListener],
        metrics_listeners: list[trio.SocketListener],
        certificate: Certificate | None,
    ) -> None:
        self._core = core
        self._listeners = listeners
        self._metrics_listeners = metrics_listeners
        self._certificate = certificate
        self._conversations = Conversations(core)
        self._guests = Guests()
        addresses = addresses_of(listeners), addresses_of(metrics_listeners)
        self.tracker = Tracker(core, self._conversations, self._guests, *addresses, certificate)

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None, None]:
        """Serve for as long as the ``async with`` lasts."""
        failure: BaseException | None = None
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(self._serve)
                try:
                    yield
                except trio.Cancelled:
                    raise
                except BaseException as error:
                    failure = error
                    nursery.cancel_scope.cancel()
                finally:
                    self.tracker.stop()
        except BaseException:  # a cancellation from outside does not hide the error
            if failure is None:
                raise
        finally:
            self._guests.end()
            with trio.move_on_after(_LAST_MOMENT_S, shield=True):  # they use the store until they notice
                await self._guests.wait_none()
        if failure is not None:
            raise failure  # as it is: the nursery would wrap it in a group

    async def _serve(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Serve until the tracker is stopped and what is in hand is finished."""
        async with trio.open_nursery() as nursery:
            upgrades = UpgradeListener(self._listeners[0].socket) if self._listeners else None
            websocket_server: WebSocketServer | None = None
            if upgrades is not None:
                start = partial(_serve_websocket, self._converse, upgrades, self._core.settings)
                websocket_server = await nursery.start(start)
            await self._accept(upgrades, task_status)
            if websocket_server is not None:
                with trio.move_on_after(_LAST_MOMENT_S):  # nothing is left to wait for, but a store without commits
                    await websocket_server.aclose()
            nursery.cancel_scope.cancel()

    async def _accept(self, upgrades: UpgradeListener | None, task_status: trio.TaskStatus[None]) -> None:
        front = None if upgrades is None else Front(self._core, upgrades, self._certificate)
        scrapes = Scrapes(self._core)
        with trio.CancelScope() as in_hand:
            async with trio.open_nursery() as connections:
                accept = partial(trio.serve_listeners, handler_nursery=connections)
                async with trio.open_nursery() as accepting:
                    if front is not None:
                        await accepting.start(accept, front.handle, self._listeners)
                    if self._metrics_listeners:
                        await accepting.start(accept, scrapes.handle, self._metrics_listeners)
                    task_status.started()
                    await self.tracker.wait_stopping()
                    self._core.is_draining = True
                    accepting.cancel_scope.cancel()
                in_hand.deadline = trio.current_time() + self._core.settings.drain_timeout_s
                if front is not None:
                    front.drain()
                scrapes.drain()
                self._conversations.drain(connections)
                connections.start_soon(self._guests.wait_none)

    async def _converse(self, websocket: ServerConnection) -> None:
        await self._conversations.hold(AcceptedLink(websocket, self._core.settings))


async def _serve_websocket(
    converse: Callable[[ServerConnection], Awaitable[None]],
    upgrades: UpgradeListener,
    settings: Settings,
    *,
    task_status: trio.TaskStatus[WebSocketServer],
) -> None:
    """The WebSocket server behind the front; by itself it does CONN-1 to CONN-5, FRAME-7, FRAME-12 and CLOSE-3."""
    await serve_websocket(
        converse,
        listeners=[upgrades],  # type: ignore[list-item]  # needs no more than a Listener with a socket
        compression=None,
        extensions=[BlockDeflateFactory(settings.max_inflate_ratio)],
        server_header="wsproto-tracker",
        open_timeout=settings.head_timeout_s,
        ping_interval=None,  # Conversation has its own, for this one would close what it does not read from (CONN-9)
        close_timeout=_CLOSE_TIMEOUT_S,
        max_size=settings.max_frame_bytes,
        max_queue=_MAX_QUEUED_FRAMES,
        logger=_websocket_log(),
        task_status=task_status,
    )


def _websocket_log() -> logging.Logger:
    log = logging.getLogger("wsproto_tracker.websocket")
    log.setLevel(logging.ERROR)  # that connections come is no news, and their end is told elsewhere
    log.addFilter(_tell_address)
    return log


def _tell_address(record: logging.LogRecord) -> bool:
    """Let a line tell the address of a connection, in place of the connection itself."""
    websocket = record.__dict__.pop("websocket", None)
    if websocket is not None and isinstance(websocket.stream, UpgradedStream):
        record.address = websocket.stream.tally.address
    return True
