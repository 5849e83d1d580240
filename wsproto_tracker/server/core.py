"""The core: the tracker itself, whatever the transport: it saves batches, answers queries, and tells subscribers."""

from collections.abc import Callable
from contextlib import aclosing
from time import perf_counter
from typing import TypeVar

import attrs
import trio

from wsproto_tracker.access import Grant
from wsproto_tracker.errors import ErrorCode, FrameError, UnavailableError
from wsproto_tracker.hooks import Caller, Hooks
from wsproto_tracker.protocol import frames
from wsproto_tracker.protocol.events import Batch, Rules
from wsproto_tracker.protocol.query import Query
from wsproto_tracker.protocol.timestamps import format_instant
from wsproto_tracker.server.budget import Budget
from wsproto_tracker.server.coding import Coding, Pieces, encoded
from wsproto_tracker.server.hooked import Hooked
from wsproto_tracker.server.limits import Limits
from wsproto_tracker.server.metrics import Metrics
from wsproto_tracker.server.peer import Peer
from wsproto_tracker.server.push import Hub
from wsproto_tracker.server.tally import Tally
from wsproto_tracker.settings import Settings
from wsproto_tracker.store import EventStore, Receipt

__all__ = ["Core", "Told", "work_of"]

_RETRY_S = 5.0
_DECODE_THREADS = 1  # decoding takes many times the memory of the text, and a second thread would not make it faster
_LARGE_BYTES = 256 * 1024  # decoding so much takes some milliseconds
_COMMA_BYTES = 64  # between two commas may be a faulty event, which takes longer than the few bytes that it has

T = TypeVar("T")
D = TypeVar("D")


class Core:
    """What all connections share.

    :param hub: what the store tells of what it stores.
    :param store: keeps the events; the caller closes it.
    :param metrics: what the store tells of its commits.
    :param hooks: what the program has a say in.
    :ivar budget: the memory for what is coming in.
    :ivar is_draining: whether the server shuts down.
    """

    def __init__(
        self, settings: Settings, hub: Hub, store: EventStore, metrics: Metrics, hooks: Hooks = Hooks()
    ) -> None:
        self.metrics = metrics
        self.budget = Budget(settings.max_receiving_bytes)
        self.is_draining = False
        self.limits = Limits(settings)
        self.rules = Rules(settings.max_events_per_frame, settings.max_stored_event_bytes)
        self._decoders = trio.CapacityLimiter(_DECODE_THREADS)
        self.settings = settings
        self.hub = hub
        self.store = store
        self._hooked = Hooked(hooks, settings.max_stored_event_bytes)
        self.access = attrs.evolve(settings.access, is_asked=self._hooked.authorises)

    async def decode(self, function: Callable[[T], D], message: T, work: int) -> D:
        """Decode a message: at once if that is little work, in a thread if it would hold up others (CONN-7).

        :param work: what ``work_of`` says of the message.
        """
        if work < _LARGE_BYTES:
            return function(message)
        return await trio.to_thread.run_sync(function, message, limiter=self._decoders)

    async def grant(self, key: str | None, peer: Peer) -> Grant | None:
        """What a key allows; ``None`` for a wrong one.

        :raises FrameError: ``internal``, if the program that is asked failed.
        """
        return await self._hooked.authorise(key, peer) if self.access.is_asked else self.access.grant(key, peer.origin)

    async def take_in(self, batch: Batch, grant: Grant, peer: Peer) -> Batch:
        """Take a batch in at the rate that there is for its sender, and let the program see its events.

        What was rejected of it counts against the rate as well, for it was work.

        :returns: what is left of it.
        :raises FrameError: ``rate_limited`` (LIMIT-6).
        """
        await self.limits.admit(len(batch.events) + sum(batch.causes.values()), grant, peer.address)
        return await self.show(batch, Caller(address=peer.address, origin=peer.origin, name=grant.name))

    async def show(self, batch: Batch, caller: Caller) -> Batch:
        """Let the program see the events of a batch; returns what is left of it."""
        return await self._hooked.apply(batch, caller)

    def check_may_converse(self, peer: Peer) -> None:
        """Let a handshake pass.

        :raises FrameError: if it is to be refused, for it would come to nothing (CLOSE-5).
        """
        if self.is_draining:
            raise FrameError(ErrorCode.UNAVAILABLE, "the server is shutting down", retry_after_s=_RETRY_S)
        if self.access.needs_key:
            self.limits.check_may_try_key(peer.address)

    async def append(self, batch: Batch) -> Receipt:
        """Put a batch on its way into the store; waits while too much is on its way."""
        return await self.store.append(batch.events)

    async def commit(self, receipt: Receipt, batch: Batch, tally: Tally, came_s: float) -> bytes:
        """Wait until a batch is kept, and return its ``ack`` (ACK-3, ACK-4).

        :param batch: what became of it; its events are with the store.
        :param came_s: when it had come in, by ``perf_counter``.
        """
        appended = await receipt.committed()
        tally.acked(appended, batch.causes, perf_counter() - came_s)
        saved = appended.stored + appended.duplicates  # X-DUP-2
        return frames.encode(frames.ack(saved, appended.duplicates, batch.rejected))

    async def save(self, batch: Batch, tally: Tally, came_s: float) -> bytes:
        """Save a batch whose sender tries again if it cannot be saved now, and return its ``ack`` (HTTP-3, HTTP-17).

        :param came_s: as for ``commit``.
        :raises FrameError: ``unavailable``; then nothing of it is kept.
        """
        try:
            receipt = await self.store.append(batch.events, is_patient=False)
            return await self.commit(receipt, batch, tally, came_s)
        except UnavailableError as error:
            what = "whether this was is not known" if error.may_be_kept else "nothing of this was"
            message = f"nothing can be saved for now, and {what}; send it again later"
            raise FrameError(ErrorCode.UNAVAILABLE, message, retry_after_s=_RETRY_S) from None

    async def answer(
        self, query: Query, req_id: str | None, coding: Coding, apps: frozenset[str] | None, address: str
    ) -> "Told":
        """An answer in pieces, at least two: a frame where there is a ``reqId``, a body otherwise.

        The second is empty where there is only one. Reading those after it may raise ``UnavailableError``.

        :param apps: the apps whose events are seen; ``None`` for all (X-SCOPE-5).
        :param address: who asks; has one of the places for answers until the pieces are closed.
        :raises FrameError: ``unavailable``, if nothing can be read now; ``rate_limited``, if there is no place.
        """
        told = Told()
        told.pieces = self._pieces(told, query, req_id, coding, apps, address)
        try:
            await anext(told.pieces)
        except FrameError as problem:
            problem.req_id = req_id
            raise
        return told

    async def _pieces(
        self, told: "Told", query: Query, req_id: str | None, coding: Coding, apps: frozenset[str] | None, address: str
    ) -> Pieces:
        """The pieces, after one that is empty and says that the first two of them have been read.

        :param told: what they are of.
        """
        began_s = perf_counter()
        before, after = (b"", b"") if req_id is None else frames.response(req_id)
        async with self.limits.answering(address):
            try:
                answer = await self.store.query(query, apps)
                told.is_behind = answer.is_behind
                limit = answer.total if query.limit is None else query.limit
                next_cursor = None if answer.newest is None else format_instant(answer.newest)
                head, tail = frames.read_answer(
                    answer.total, query.page, limit, next_cursor, is_behind=answer.is_behind
                )
                pieces = encoded(coding, before + head, answer.chunks, tail + after)
                first, second = await anext(pieces), await anext(pieces, b"")
            except UnavailableError:
                message = "nothing can be read for now; ask again later"
                raise FrameError(ErrorCode.UNAVAILABLE, message, retry_after_s=_RETRY_S) from None
            async with aclosing(pieces):
                self.metrics.answer_began(perf_counter() - began_s)
                yield b""
                self.metrics.answer_goes(coding, len(first) + len(second))
                yield first
                yield second
                async for piece in pieces:
                    self.metrics.answer_goes(coding, len(piece))
                    yield piece
        self.metrics.answer_ended(perf_counter() - began_s)

    async def metrics_text(self) -> bytes:
        """What Prometheus asks for."""
        return await self.metrics.text(self.store, self.hub, self.budget)

    @property
    def why_not_ready(self) -> tuple[str, ...]:
        """Why events had better go elsewhere; empty where they can be saved here. Whoever asks may read it."""
        reasons = {
            "the server is shutting down": self.is_draining,
            "nothing can be saved for now": self.store.outage is not None,
            self.store.why_incomplete: bool(self.store.why_incomplete),
        }
        return tuple(reason for reason, holds in reasons.items() if holds)


@attrs.define
class Told:
    """An answer on its way.

    :ivar is_behind: whether events may be missing in it (X-BEHIND-1).
    """

    pieces: Pieces = attrs.field(init=False)
    is_behind: bool = False


def work_of(text: str | bytes) -> int:
    """How much work it may be to decode a text, in bytes, about.

    Its length alone does not tell: a short text may have very many elements, at most one more than commas. Each comma
    counts for what is between those of events that the plugin sends, twice over, so that these are hardly ever large.
    """
    if len(text) >= _LARGE_BYTES:
        return len(text)
    commas = text.count(",") if isinstance(text, str) else text.count(b",")
    return len(text) + (commas + 1) * _COMMA_BYTES
