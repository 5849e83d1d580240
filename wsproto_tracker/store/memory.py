"""``MemoryStore``: a list that is filtered and sorted. Plain and obviously right, which is what it is for."""

from collections import deque
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import attrs
import trio

from wsproto_tracker.protocol import json_text
from wsproto_tracker.protocol.events import Event
from wsproto_tracker.protocol.query import Query
from wsproto_tracker.store.contract import (
    Answer,
    Appended,
    Chunk,
    Commit,
    OnCommitted,
    OnStored,
    Outage,
    Receipt,
    StoreStatus,
)
from wsproto_tracker.store.fields import searchable

__all__ = ["MemoryStore"]

_CHUNK_BYTES = 64 * 1024


@attrs.frozen
class _Committed:
    appended: Appended
    has_ended: bool = True

    async def attempted(self) -> Outage | None:
        await trio.lowlevel.checkpoint()
        return None

    async def committed(self) -> Appended:
        await trio.lowlevel.checkpoint()
        return self.appended


class MemoryStore:
    """Keeps the last ``max_events`` events in memory, and nothing when the process ends.

    :param max_events: capacity in events, at least 1.
    :param on_stored: is told of every event that is stored.
    :param on_committed: is told of every batch.
    """

    def __init__(
        self,
        max_events: int = 500_000,
        on_stored: OnStored = lambda _events: None,
        on_committed: OnCommitted = lambda _commit: None,
    ) -> None:
        self._max_events = max_events
        self._on_stored = on_stored
        self._on_committed = on_committed
        self._last_arrival = 0
        self._horizon = 0  # events whose arrival is not above it are gone
        self._events: deque[tuple[int, Event]] = deque()  # with their arrivals, in this order
        self._given_ids: set[tuple[str, str]] = set()  # (app, id) of those whose id the client gave

    async def append(self, events: Sequence[Event], *, is_patient: bool = True) -> Receipt:  # noqa: ARG002
        """Store the batch; it is committed at once."""
        await trio.lowlevel.checkpoint()
        stored = [event for event in events if self._is_new(event)]
        for event in stored:
            self._last_arrival += 1
            self._events.append((self._last_arrival, event))
        if stored:
            self._horizon = max(self._horizon, self._last_arrival - max(self._max_events, len(stored)))
        while self._events and self._events[0][0] <= self._horizon:
            self._forget(self._events.popleft()[1])
        self._on_stored(stored)
        self._on_committed(Commit(len(stored), 0.0))
        return _Committed(Appended(len(stored), len(events) - len(stored)))

    async def query(self, query: Query, apps: frozenset[str] | None = None) -> Answer:
        """Filter and sort everything, in a thread."""
        events = [event for _, event in self._events if apps is None or event.app in apps]
        return await trio.to_thread.run_sync(_answer, events, query)

    async def erase(self, *, user: str | None = None, app: str | None = None) -> int:
        """Erase what matches."""
        await trio.lowlevel.checkpoint()
        gone = [
            event for _, event in self._events if user in (None, _members(event)["userId"]) and app in (None, event.app)
        ]
        for event in gone:
            self._forget(event)
        self._events = deque(entry for entry in self._events if entry[1] not in gone)
        return len(gone)

    @property
    def outage(self) -> Outage | None:
        """There is never one."""
        return None

    @property
    def why_incomplete(self) -> str:
        """Nothing: there is no other node that may have more; see the contract."""
        return ""

    def status(self) -> StoreStatus:
        """Count what there is."""
        stored_bytes = sum(len(event.text) for _, event in self._events)
        return StoreStatus(events=len(self._events), stored_bytes=stored_bytes, evicted=self._horizon)

    def _is_new(self, event: Event) -> bool:
        if not event.has_given_id:
            return True
        key = (event.app, event.id)
        is_new = key not in self._given_ids
        self._given_ids.add(key)
        return is_new

    def _forget(self, event: Event) -> None:
        if event.has_given_id:
            self._given_ids.remove((event.app, event.id))


def _answer(events: list[Event], query: Query) -> Answer:
    matching = [event for event in events if _matches(event, query)]
    matching.reverse()  # newest arrival first; sorting is stable, so equal instants stay like that
    matching.sort(key=lambda event: event.instant, reverse=True)
    newest = matching[0].instant if matching else None
    return Answer(len(matching), newest, _chunks([event.text for event in matching[query.on_page]]))


def _matches(event: Event, query: Query) -> bool:
    members = _members(event)
    asked = {name: getattr(query, name) for name in ("type", "level", "userId", "sessionId", "groupId", "appId")}
    return (
        (query.since is None or event.instant >= query.since)
        and (query.until is None or event.instant <= query.until)
        and (query.after is None or event.instant > query.after)
        and all(value is None or members.get(name) == value for name, value in asked.items())
        and (query.search is None or query.search.lower() in searchable(event.text))
    )


def _members(event: Event) -> dict[str, Any]:
    members: dict[str, Any] = json_text.loads(event.text.decode())
    return members


async def _chunks(texts: list[bytes]) -> AsyncGenerator[Chunk, None]:
    piece: list[bytes] = []
    size = 0
    for text in texts:
        piece.append(text)
        size += len(text)
        if size >= _CHUNK_BYTES:
            yield Chunk(b",".join(piece))
            piece, size = [], 0
    if piece:
        yield Chunk(b",".join(piece))
