"""One WebSocket connection: frames come in, actions are carried out in order, the answers go out.

::

    reader ──actions──▶ carrier ──▶ socket
                           ▲
    subscription ──▶ pusher┘ (once subscribed)

The reader takes the next frame while the carrier still waits for the store, so many batches of one connection can be
committed together. Between the two stands a bounded queue: when answers are not read, frames are not read either.
"""

from contextlib import aclosing, suppress

import attrs
import trio
from websockets.exceptions import ConnectionClosed
from websockets.trio.server import ServerConnection

from wsproto_tracker.errors import ErrorCode, FrameError, UnavailableError
from wsproto_tracker.protocol import frames
from wsproto_tracker.protocol.events import Rejection, new_id
from wsproto_tracker.protocol.session import Action, Answer, Close, Reply, Save, Session, StartPush
from wsproto_tracker.server.coding import Coding, Pieces
from wsproto_tracker.server.deflate import takes_blocks
from wsproto_tracker.server.push import Subscription
from wsproto_tracker.server.streams import UpgradedStream
from wsproto_tracker.server.tracker import Tracker
from wsproto_tracker.store import Outage, Receipt

__all__ = ["Conversation"]

_QUIET_S = 0.1  # a connection from which nothing came for this long has nothing in hand
_GOING_AWAY = 1001
_INTERNAL_ERROR = 1011


@attrs.frozen
class _Saving:
    """A batch that is on its way into the store, without its events: many may wait for their turn to be acked."""

    rejected: tuple[Rejection, ...]
    receipt: Receipt


class Conversation:
    """The conversation with one WebSocket client, from after the handshake to the close."""

    def __init__(self, websocket: ServerConnection, tracker: Tracker) -> None:
        if not isinstance(websocket.stream, UpgradedStream):
            raise TypeError(f"expected an UpgradedStream, not {websocket.stream!r}")
        self._websocket = websocket
        self._stream = websocket.stream
        self._tracker = tracker
        self._coding = Coding.DEFLATED if takes_blocks(websocket.response) else Coding.PLAIN
        self._session = Session(tracker.access, new_id, push=tracker.settings.push != "off")
        self._subscription: Subscription | None = None
        self._told_of: Outage | None = None
        self._in_hand = 0  # actions that wait to be carried out

    async def run(self, *, already_draining: bool = False) -> None:
        """Converse until the connection is closed and everything that came is carried out (ACK-6).

        :param already_draining: whether the server began to shut down while this connection was being opened.
        """
        settings = self._tracker.settings
        send, receive = trio.open_memory_channel[Action | _Saving](settings.max_pending_replies)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._keep_alive)
                nursery.start_soon(self._read, send)
                if already_draining:
                    nursery.start_soon(self.drain)
                async with receive:
                    while (action := await self._next(receive)) is not None:
                        await self._carry_out(action, nursery)
                        self._in_hand -= 1
                nursery.cancel_scope.cancel()
        finally:
            if self._subscription is not None:
                self._tracker.hub.unsubscribe(self._subscription)

    async def drain(self) -> None:
        """Answer what was received, within half the time that there is, then close with 1001 (CLOSE-4)."""
        before_last_wait = -1
        with trio.move_on_after(self._tracker.settings.drain_timeout_s / 2):
            while self._in_hand or before_last_wait != self._stream.received_bytes:
                before_last_wait = self._stream.received_bytes
                await trio.sleep(_QUIET_S)
        await self._websocket.aclose(_GOING_AWAY, "the server is shutting down")

    async def _read(self, actions: trio.MemorySendChannel[Action | _Saving]) -> None:
        async with actions:
            while await self._take_next(actions):
                pass  # nothing of a message is held while the next one is awaited

    async def _take_next(self, actions: trio.MemorySendChannel[Action | _Saving]) -> bool:
        """Take the next message in; whether there was one."""
        try:
            message = await self._websocket.recv()
        except ConnectionClosed:
            return False
        for action in await self._tracker.decode(self._session.receive, message):
            self._in_hand += 1
            if isinstance(action, Save):
                receipt = await self._tracker.append(action.batch)
                await actions.send(_Saving(action.batch.rejected, receipt))
            else:
                await actions.send(action)
        return True

    async def _next(self, actions: trio.MemoryReceiveChannel[Action | _Saving]) -> Action | _Saving | None:
        """The next action; what was held back is sent before there is a wait for it. ``None`` at the end."""
        try:
            return actions.receive_nowait()
        except trio.WouldBlock:
            await self._stream.flush()
        except trio.EndOfChannel:
            await self._stream.flush()
            return None
        with suppress(trio.EndOfChannel):
            return await actions.receive()
        return None

    async def _carry_out(self, action: Action | _Saving, nursery: trio.Nursery) -> None:
        match action:
            case _Saving(rejected, receipt):
                if not receipt.has_ended:
                    await self._stream.flush()
                await self._tell_of(await receipt.attempted())
                ack = await self._tracker.commit(receipt, rejected)
                self._stream.holds = True  # acks of batches that were committed together go out together
                await self._send(ack)
                self._stream.holds = False
            case Reply(text):
                await self._send(text)
            case Answer(req_id, query):
                if self._tracker.settings.push == "queriers" and self._subscription is None:
                    nursery.start_soon(self._push, self._subscribe())
                await self._stream.flush()
                try:
                    await self._send_pieces(await self._tracker.answer(query, req_id, self._coding))
                except FrameError as problem:
                    await self._send(frames.encode(frames.error(problem)))
            case StartPush():
                is_new = self._subscription is None
                subscription = self._subscribe()  # first, so that nothing is saved in between unseen
                await self._send(frames.encode(frames.Subscribed()))
                if is_new:
                    nursery.start_soon(self._push, subscription)
            case Close(code, reason):
                await self._websocket.aclose(code, reason)

    async def _tell_of(self, outage: Outage | None) -> None:
        """Say once for each outage that acks will be late (ACK-7, X-LATE-1)."""
        if outage is not None and outage is not self._told_of:
            self._told_of = outage
            message = "nothing can be saved for now; what was sent is kept, and acked when it is saved"
            await self._send(frames.encode(frames.error(FrameError(ErrorCode.UNAVAILABLE, message))))

    async def _send(self, text: bytes | bytearray) -> None:
        """Send a frame; to a client that has gone, nothing, for what else it sent still has to be carried out."""
        with suppress(ConnectionClosed):
            await self._websocket.send(text, text=True)

    async def _send_pieces(self, pieces: Pieces) -> None:
        """Send a frame that comes in pieces, each a fragment of its message; a single one, before an empty, goes whole.

        A reader that takes too long over it counts as gone.
        """
        with trio.move_on_after(self._tracker.settings.answer_timeout_s) as scope:
            async with aclosing(pieces):
                first, second = await anext(pieces), await anext(pieces)
                if not second:
                    await self._send(first)
                    return
                async with aclosing(_chain(first, second, pieces)) as fragments:
                    with suppress(ConnectionClosed, UnavailableError):  # by the latter, it was closed (1011)
                        await self._websocket.send(fragments, text=True)
        if scope.cancelled_caught:
            await self._stream.abort()

    def _subscribe(self) -> Subscription:
        if self._subscription is None:
            self._subscription = self._tracker.hub.subscribe()
        return self._subscription

    async def _push(self, subscription: Subscription) -> None:
        while True:
            await self._send(await subscription.next())

    async def _keep_alive(self) -> None:
        """Ping, and close where neither a pong comes nor a byte moves while the server reads (CONN-9)."""
        settings = self._tracker.settings
        while True:
            await trio.sleep(settings.ping_interval_s)
            try:
                pong = await self._websocket.ping()
            except ConnectionClosed:
                return
            while not pong.is_set():
                progress = self._stream.received_bytes, self._stream.sent_bytes
                with trio.move_on_after(settings.ping_timeout_s):
                    await pong.wait()
                is_still = progress == (self._stream.received_bytes, self._stream.sent_bytes)
                if not pong.is_set() and is_still and self._stream.is_receiving:
                    await self._websocket.aclose(_INTERNAL_ERROR, "keepalive ping timeout")
                    return


async def _chain(first: bytes | bytearray, second: bytes | bytearray, rest: Pieces) -> Pieces:
    yield first
    yield second
    async for piece in rest:
        yield piece
