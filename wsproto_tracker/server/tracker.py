"""The tracker itself, whatever the transport: it saves batches, answers queries, and tells subscribers."""

from collections.abc import Callable
from contextlib import aclosing
from typing import TypeVar

import trio

from wsproto_tracker.access import Access
from wsproto_tracker.errors import ErrorCode, FrameError, UnavailableError
from wsproto_tracker.protocol import frames
from wsproto_tracker.protocol.events import Batch, Rejection
from wsproto_tracker.protocol.query import Query
from wsproto_tracker.protocol.timestamps import format_instant
from wsproto_tracker.server.coding import Coding, Pieces, encoded
from wsproto_tracker.server.push import Hub
from wsproto_tracker.settings import Settings
from wsproto_tracker.store import EventStore, Receipt

__all__ = ["Tracker"]

_LARGE_BYTES = 256 * 1024  # decoding so much takes some milliseconds

T = TypeVar("T", str | bytes, bytes)
D = TypeVar("D")


class Tracker:
    """What all connections share.

    :param hub: what the store tells of what it stores.
    :param store: keeps the events; the caller closes it.
    """

    def __init__(self, settings: Settings, hub: Hub, store: EventStore) -> None:
        self.settings = settings
        self.hub = hub
        self.store = store
        self.access = Access(settings.api_key)

    async def decode(self, function: Callable[[T], D], message: T) -> D:
        """Decode a message: at once if it is small, in a thread if it would hold up other connections (CONN-7)."""
        if len(message) < _LARGE_BYTES:
            return function(message)
        return await trio.to_thread.run_sync(function, message)

    async def append(self, batch: Batch) -> Receipt:
        """Put a batch on its way into the store; waits while too much is on its way."""
        return await self.store.append(batch.events)

    async def commit(self, receipt: Receipt, rejected: tuple[Rejection, ...]) -> bytes:
        """Wait until a batch is kept, and return its ``ack`` (ACK-3, ACK-4)."""
        appended = await receipt.committed()
        saved = appended.stored + appended.duplicates  # X-DUP-2
        return frames.encode(frames.ack(saved, appended.duplicates, rejected))

    async def save(self, batch: Batch) -> bytes:
        """Save a batch whose sender tries again if it cannot be saved now, and return its ``ack`` (HTTP-3, HTTP-17).

        :raises FrameError: ``unavailable``; then nothing of it is kept.
        """
        try:
            receipt = await self.store.append(batch.events, is_patient=False)
            return await self.commit(receipt, batch.rejected)
        except UnavailableError:
            message = "nothing can be saved for now, and nothing of this was; send it again later"
            raise FrameError(ErrorCode.UNAVAILABLE, message) from None

    async def answer(self, query: Query, req_id: str | None, coding: Coding) -> Pieces:
        """An answer in pieces, at least two: a frame where there is a ``reqId``, a body otherwise.

        The second is empty where there is only one. Reading those after it may raise ``UnavailableError``.

        :raises FrameError: ``unavailable``, if nothing can be read now.
        """
        before, after = (b"", b"") if req_id is None else frames.response(req_id)
        try:
            answer = await self.store.query(query)
            limit = answer.total if query.limit is None else query.limit
            next_cursor = None if answer.newest is None else format_instant(answer.newest)
            head, tail = frames.read_answer(answer.total, query.page, limit, next_cursor)
            pieces = _begun(encoded(coding, before + head, answer.chunks, tail + after))
            await anext(pieces)
            return pieces
        except UnavailableError:
            raise FrameError(ErrorCode.UNAVAILABLE, "nothing can be read for now; ask again later", req_id) from None


async def _begun(pieces: Pieces) -> Pieces:
    """The pieces, after one that is empty and says that the first two of them have been read."""
    async with aclosing(pieces):
        first, second = await anext(pieces), await anext(pieces, b"")
        yield b""
        yield first
        yield second
        async for piece in pieces:
            yield piece
