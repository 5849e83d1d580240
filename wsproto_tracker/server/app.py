"""``serve``: the listener, the front, the WebSocket server and the store, started together and ended in order."""

import errno
import logging
import socket
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from functools import partial
from ipaddress import IPv6Address, ip_address

import attrs
import trio
from websockets.trio.server import Server as WebSocketServer
from websockets.trio.server import ServerConnection
from websockets.trio.server import serve as serve_websocket

from wsproto_tracker.errors import ServeError
from wsproto_tracker.server.deflate import BlockDeflateFactory
from wsproto_tracker.server.front import Front
from wsproto_tracker.server.push import Hub
from wsproto_tracker.server.shim import Shim
from wsproto_tracker.server.streams import UpgradeListener
from wsproto_tracker.server.tracker import Tracker
from wsproto_tracker.server.websocket import Conversation
from wsproto_tracker.settings import Settings, store_path
from wsproto_tracker.store import Capacity, EventStore, OnStored, open_timeline

__all__ = ["Address", "Server", "serve"]

_MAX_QUEUED_FRAMES = 4  # of one connection, read from its socket and not yet decoded
_CLOSE_TIMEOUT_S = 5.0
_LAST_MOMENT_S = 1.0


@attrs.frozen
class Address:
    """A host and a port that the server listens on."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@attrs.frozen
class Server:
    """A running server.

    :ivar addresses: what it really listens on.
    """

    addresses: tuple[Address, ...]
    _stopping: trio.Event = attrs.field(factory=trio.Event, alias="stopping")

    def stop(self) -> None:
        """Stop accepting, finish what is in hand, close with 1001; ``serve`` then returns (CLOSE-4)."""
        self._stopping.set()


async def serve(settings: Settings, *, task_status: trio.TaskStatus[Server] = trio.TASK_STATUS_IGNORED) -> None:
    """Serve until ``Server.stop`` is called.

    ::

        server = await nursery.start(serve, Settings(port=0))
        print(*server.addresses)

    Cancelled, it ends at once: what was acked is kept, what was not may be.

    :raises ServeError: if it cannot listen on the address.
    :raises StoreError: if the store cannot be opened.
    """
    listeners = await _listen(settings)
    hub = Hub(settings.max_push_bytes)
    async with AsyncExitStack() as stack:
        for listener in listeners:
            await stack.enter_async_context(listener)
        store = await stack.enter_async_context(open_store(settings, hub.publish))
        await _serve(settings, Tracker(settings, hub, store), listeners, task_status)


def open_store(settings: Settings, on_stored: OnStored) -> AbstractAsyncContextManager[EventStore]:
    """The store that the settings ask for."""
    path = None if settings.store == "memory:" else store_path(settings.store)
    max_age_s = None if settings.max_age is None else settings.max_age.total_seconds()
    return open_timeline(
        path,
        Capacity(settings.max_events, max_age_s, settings.max_bytes),
        on_stored=on_stored,
        durability=settings.durability,
        max_uncommitted_bytes=settings.max_uncommitted_bytes,
    )


async def _serve(
    settings: Settings,
    tracker: Tracker,
    listeners: list[trio.SocketListener],
    task_status: trio.TaskStatus[Server],
) -> None:
    server = Server(tuple(_address(listener) for listener in listeners))
    conversations: set[Conversation] = set()

    async def converse(websocket: ServerConnection) -> None:
        conversation = Conversation(websocket, tracker)
        conversations.add(conversation)
        try:
            await conversation.run(already_draining=front.is_draining)
        finally:
            conversations.discard(conversation)

    upgrades = UpgradeListener(listeners[0].socket)
    front = Front(settings, Shim(tracker), upgrades)
    async with trio.open_nursery() as nursery:
        websocket_server = await nursery.start(partial(_serve_websocket, converse, upgrades, settings))
        with trio.CancelScope() as in_hand:
            async with trio.open_nursery() as connections:
                accept = partial(trio.serve_listeners, front.handle, listeners, handler_nursery=connections)
                async with trio.open_nursery() as accepting:
                    await accepting.start(accept)
                    task_status.started(server)
                    await server._stopping.wait()
                    accepting.cancel_scope.cancel()
                in_hand.deadline = trio.current_time() + settings.drain_timeout_s
                front.drain()
                for conversation in conversations:
                    connections.start_soon(conversation.drain)
        with trio.move_on_after(_LAST_MOMENT_S):  # nothing is left to wait for, but a store that does not commit
            await websocket_server.aclose()
        nursery.cancel_scope.cancel()


async def _serve_websocket(
    converse: Callable[[ServerConnection], Awaitable[None]],
    upgrades: UpgradeListener,
    settings: Settings,
    *,
    task_status: trio.TaskStatus[WebSocketServer],
) -> None:
    """The WebSocket server behind the front; what it does by itself is CONN-1 to CONN-5, FRAME-7 and CLOSE-3."""
    await serve_websocket(
        converse,
        listeners=[upgrades],  # type: ignore[list-item]  # needs no more than a Listener with a socket
        compression=None,
        extensions=[BlockDeflateFactory()],
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
    log.setLevel(logging.ERROR)  # connections that come and go are no news
    return log


async def _listen(settings: Settings) -> list[trio.SocketListener]:
    where = f"{settings.host} port {settings.port}"
    try:
        return await trio.open_tcp_listeners(settings.port, host=settings.host)
    except (socket.gaierror, UnicodeError):
        raise ServeError(f"--host: {settings.host} is no address, and no name that can be found") from None
    except OSError as error:
        cause = error if error.errno else error.__cause__
        number = getattr(cause, "errno", None)
        if number == errno.EADDRINUSE:
            raise ServeError(f"--port: {where} is in use; stop what listens there, or take another --port") from None
        if number == errno.EADDRNOTAVAIL:
            raise ServeError(f"--host: {settings.host} is no address of this machine") from None
        if number == errno.EACCES:
            raise ServeError(f"--port: {where} is not allowed to this user; take a --port from 1024") from None
        raise ServeError(f"cannot listen on {where}: {error}") from None


def _address(listener: trio.SocketListener) -> Address:
    host, port = listener.socket.getsockname()[:2]
    address = ip_address(host.partition("%")[0])
    return Address(str(address) if isinstance(address, IPv6Address) else host, port)
