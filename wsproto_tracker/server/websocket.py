"""One WebSocket connection: frames come in, actions are carried out in order, the answers go out.

::

    reader ──actions──▶ carrier ──▶ socket
                           ▲
    subscription ──▶ pusher┘ (once subscribed)

The reader takes the next frame while the carrier still waits for the store, so many batches of one connection can be
committed together. Between the two stands a bounded queue: when answers are not read, frames are not read either.
"""

from contextlib import suppress
from functools import partial
from time import perf_counter

import attrs
import trio

from wsproto_tracker.access import Access
from wsproto_tracker.errors import ErrorCode, FrameError
from wsproto_tracker.protocol import frames
from wsproto_tracker.protocol.events import Batch
from wsproto_tracker.protocol.ids import new_id
from wsproto_tracker.protocol.session import (
    Action,
    Answer,
    Ask,
    ChangePush,
    Close,
    Reply,
    Save,
    Session,
    StartPush,
    State,
    req_id_of,
)
from wsproto_tracker.server.budget import Held
from wsproto_tracker.server.coding import Pieces
from wsproto_tracker.server.core import Core, work_of
from wsproto_tracker.server.link import Link
from wsproto_tracker.server.push import Subscription
from wsproto_tracker.store import Outage, Receipt

__all__ = ["Conversation", "Conversations"]

_QUIET_S = 0.1  # a connection from which nothing came for this long has nothing in hand
_GOING_AWAY = 1001
_INTERNAL_ERROR = 1011
_NORMAL_CLOSURE = 1000
_REJECTION_BYTES = 256  # what one takes in memory besides its reason, about
_RETRY_S = 5.0


@attrs.frozen
class _Saving:
    """A batch that is on its way into the store, without its events: many may wait for their turn to be acked.

    :ivar came_s: when its frame had come in, by ``perf_counter``.
    """

    batch: Batch
    receipt: Receipt
    came_s: float


@attrs.frozen
class _Pending:
    """What is to be carried out, and the memory that it takes until then."""

    action: Action | _Saving
    held: Held


class Conversations:
    """All conversations that go on."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._all: set[Conversation] = set()

    async def hold(self, link: Link, access: Access | None = None) -> None:
        """Hold one from its beginning to its end.

        :param access: who may do what on it, if that is another than for everybody.
        """
        conversation = Conversation(link, self._core, access or self._core.access)
        self._all.add(conversation)
        try:
            with link.tally.held():
                await conversation.run(already_draining=self._core.is_draining)
        finally:
            self._all.discard(conversation)

    def drain(self, nursery: trio.Nursery) -> None:
        """Bring them all to their end (CLOSE-4)."""
        for conversation in self._all:
            nursery.start_soon(conversation.drain)


class Conversation:
    """The conversation with one WebSocket client, from after the handshake to the close."""

    def __init__(self, link: Link, core: Core, access: Access) -> None:
        self._link = link
        self.tally = link.tally
        self._core = core
        self._session = Session(
            access,
            new_id,
            push=core.settings.push != "off",
            origin=link.peer.origin,
            rules=core.rules,
            check_may_try=partial(core.limits.check_may_try_key, link.peer.address),
        )
        self._subscription: Subscription | None = None
        self._told_of: Outage | None = None
        self._in_hand = 0  # actions that wait to be carried out

    async def run(self, *, already_draining: bool = False) -> None:
        """Converse until the connection is closed and everything that came is carried out (ACK-6).

        :param already_draining: whether the server began to shut down while this connection was being opened.
        """
        settings = self._core.settings
        send, receive = trio.open_memory_channel[_Pending](settings.max_pending_replies)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._link.keep_alive)
                nursery.start_soon(self._read, send)
                nursery.start_soon(self._await_key)
                if already_draining:
                    nursery.start_soon(self.drain)
                async with receive:
                    while (pending := await self._next(receive)) is not None:
                        await self._carry_out(pending.action, nursery)
                        pending.held.release()
                        self._in_hand -= 1
                        self.tally.replied()
                nursery.cancel_scope.cancel()
        except Exception:  # a fault of ours, which the WebSocket server logs
            self.tally.failed(ErrorCode.INTERNAL)
            raise
        finally:
            self._link.account.close()
            self.tally.close_code = self._link.close_code
            if self._subscription is not None:
                self._core.hub.unsubscribe(self._subscription)

    async def drain(self) -> None:
        """Answer what was received, within half the time that there is, then close with 1001 (CLOSE-4)."""
        before_last_wait = -1
        with trio.move_on_after(self._core.settings.drain_timeout_s / 2):
            while self._in_hand or before_last_wait != self._link.progress:
                before_last_wait = self._link.progress
                await trio.sleep(_QUIET_S)
        await self._link.close(_GOING_AWAY, "the server is shutting down")

    async def _await_key(self) -> None:
        """Close where no key comes for long; the client may come back with one (CLOSE-2, CLOSE-6)."""
        await trio.sleep(self._core.settings.first_frame_timeout_s)
        if self._session.state is State.LOCKED:
            await self._link.close(_NORMAL_CLOSURE, "no key came")

    async def _read(self, actions: trio.MemorySendChannel[_Pending]) -> None:
        async with actions:
            while await self._take_next(actions):
                pass  # nothing of a message is held while the next one is awaited

    async def _take_next(self, actions: trio.MemorySendChannel[_Pending]) -> bool:
        """Take the next message in; whether there was one."""
        if (message := await self._link.receive()) is None:
            return False
        held, came_s = self._link.account.take(), perf_counter()
        work = work_of(message)
        due = await self._core.decode(self._session.receive, message, work)
        match due:
            case (Ask(key),):
                due = await self._ask(key, message, work)
        self.tally.received(due)
        if due and self._session.tried_wrong_key:  # what follows it on the connection is due nothing
            self._core.limits.note_wrong_key(self._link.peer.address)
        for action in due:
            self._in_hand += 1
            if isinstance(action, Save):
                try:
                    begun: Action | _Saving = await self._begin(action.batch, held, came_s)
                except FrameError as problem:
                    problem.req_id = await self._core.decode(req_id_of, message, work)
                    self.tally.failed(problem.code)
                    begun = Reply(frames.encode(frames.error(problem)))
            else:
                begun = action
            await actions.send(_Pending(begun, held))
        return True

    async def _ask(self, key: str, message: str | bytes, work: int) -> tuple[Action, ...]:
        """Have the program say what a key allows; where it fails, the client is to come again (CLOSE-1)."""
        try:
            grant = await self._core.grant(key, self._link.peer)
            return await self._core.decode(partial(self._session.granted, grant), message, work)
        except FrameError as problem:
            reply = Reply(frames.encode(frames.error(problem)), error=problem.code)
            return (reply, Close(_INTERNAL_ERROR, "the key could not be checked"))

    async def _begin(self, batch: Batch, held: Held, came_s: float) -> _Saving:
        """Put a batch on its way, which need not wait for its turn.

        :raises FrameError: if it comes too fast.
        """
        batch = await self._core.take_in(batch, self._session.grant, self._link.peer)
        receipt = await self._core.append(batch)
        held.resize(sum(len(rejection.reason) + _REJECTION_BYTES for rejection in batch.rejected))
        return _Saving(attrs.evolve(batch, events=()), receipt, came_s)

    async def _next(self, actions: trio.MemoryReceiveChannel[_Pending]) -> _Pending | None:
        """The next action; what was held back is sent before there is a wait for it. ``None`` at the end."""
        try:
            return actions.receive_nowait()
        except trio.WouldBlock:
            await self._link.flush()
        except trio.EndOfChannel:
            await self._link.flush()
            return None
        with suppress(trio.EndOfChannel):
            return await actions.receive()
        return None

    async def _carry_out(self, action: Action | _Saving, nursery: trio.Nursery) -> None:
        match action:
            case _Saving(batch, receipt, came_s):
                if not receipt.has_ended:
                    await self._link.flush()
                await self._tell_of(await receipt.attempted())
                ack = await self._core.commit(receipt, batch, self.tally, came_s)
                await self._link.send(ack, more_follows=True)  # those that were committed together go out together
            case Reply(text):
                await self._link.send(text)
            case Answer(req_id, query, apps):
                if self._core.settings.push == "queriers" and (new := self._subscribe(apps)) is not None:
                    nursery.start_soon(self._push, new)
                await self._link.flush()
                try:
                    answer = await self._core.answer(query, req_id, self._link.coding, apps, self._link.peer.address)
                    await self._send_pieces(answer.pieces)
                except FrameError as problem:
                    await self._fail(problem)
            case StartPush(apps, req_id):
                new = self._subscribe(apps)  # first, so that nothing is saved in between unseen
                if self._subscription is None:
                    message = "new events are pushed to as many connections as may be; try again later"
                    await self._fail(FrameError(ErrorCode.RATE_LIMITED, message, req_id, retry_after_s=_RETRY_S))
                    return
                await self._link.send(frames.encode(frames.Subscribed()))
                if new is not None:
                    nursery.start_soon(self._push, new)
            case ChangePush(apps):
                if self._subscription is not None:
                    self._subscription.apps = apps
            case Close(code, reason):
                await self._link.close(code, reason)

    async def _tell_of(self, outage: Outage | None) -> None:
        """Say once for each outage that acks will be late (ACK-7, X-LATE-1)."""
        if outage is not None and outage is not self._told_of:
            self._told_of = outage
            message = "nothing can be saved for now; what was sent is kept, and acked when it is saved"
            await self._fail(FrameError(ErrorCode.UNAVAILABLE, message))

    async def _fail(self, problem: FrameError) -> None:
        """Tell the client of a problem."""
        self.tally.failed(problem.code)
        await self._link.send(frames.encode(frames.error(problem)))

    async def _send_pieces(self, pieces: Pieces) -> None:
        """Send an answer; a reader that takes too long over it counts as gone."""
        with trio.move_on_after(self._core.settings.answer_timeout_s) as scope:
            await self._link.send_pieces(pieces)
        if scope.cancelled_caught:
            await self._link.abort()

    def _subscribe(self, apps: frozenset[str] | None) -> Subscription | None:
        """The subscription, if it is a new one; there may be none, where there are too many of them."""
        if self._subscription is not None or self._core.hub.is_full:
            return None
        self._subscription = self._core.hub.subscribe(apps)
        return self._subscription

    async def _push(self, subscription: Subscription) -> None:
        while True:
            await self._link.send(await subscription.next())
