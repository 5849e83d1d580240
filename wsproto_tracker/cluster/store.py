"""``ClusterStore``: an event store that other trackers share, by a stream of NATS JetStream.

::

    append ─▶ outbox ─▶ link ─▶ stream ─▶ link ─▶ inbox ─▶ the node's own timeline ─▶ query
               ▲                                    │
               └────────────── applied ─────────────┘

What is appended is published, and is acked when a quorum of the servers has stored it and it has come back and is in
the node's own file. So every node has the same events in the same order, whoever took them in.
"""

import logging
import math
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import attrs
import trio

from wsproto_tracker.cluster.bridge import Bridge, Call, open_bridge
from wsproto_tracker.cluster.errors import LostError, UnfitError
from wsproto_tracker.cluster.inbox import Inbox
from wsproto_tracker.cluster.link import Link, Opened
from wsproto_tracker.cluster.local import Found, check_position, look_at, set_aside
from wsproto_tracker.cluster.message import Erasure, encode
from wsproto_tracker.cluster.outbox import Outbox, Pace
from wsproto_tracker.cluster.pulling import Received
from wsproto_tracker.cluster.url import ClusterUrl
from wsproto_tracker.errors import StoreError, UnavailableError
from wsproto_tracker.protocol.events import Event
from wsproto_tracker.protocol.ids import new_id
from wsproto_tracker.protocol.query import Query
from wsproto_tracker.store import (
    Answer,
    Capacity,
    OnCommitted,
    OnStored,
    Outage,
    Receipt,
    StoreStatus,
    TimelineStore,
    open_timeline,
)
from wsproto_tracker.tasks import beside

__all__ = ["ClusterStore", "open_cluster"]

_LOG = logging.getLogger("wsproto_tracker.cluster")

_PACE = Pace()
_UNFIT_S = 10.0  # between two attempts, where somebody has to change something first


class ClusterStore:
    """A node's store. ``open_cluster`` makes it, and runs its tasks.

    :param reads_latest: whether a query waits until everything is here that was acked before it came.
    """

    def __init__(
        self,
        local: TimelineStore,
        bridge: Bridge,
        link: Link,
        path: Path,
        *,
        reads_latest: bool,
        max_uncommitted_bytes: int,
        pace: Pace,
    ) -> None:
        self._local = local
        self._bridge = bridge
        self._link = link
        self._path = path
        self._reads_latest = reads_latest
        self._pace = pace
        self._outbox = Outbox(self._publish, self._wait_applied, max_uncommitted_bytes, pace)
        self._inbox = Inbox(
            local,
            on_applied=self._outbox.applied,
            on_erased=self._note_erased,
            on_outage=self._note_outage,
            on_room=lambda memory_bytes: bridge.call(link.room.give_back, memory_bytes),
        )
        self._erasing: dict[str, int] = {}
        self._mark_wanted = trio.Event()
        self._marked = _Marked()
        self._is_closed = False

    async def append(self, events: Sequence[Event], *, is_patient: bool = True) -> Receipt:
        """Take a batch in; see the contract."""
        return await self._outbox.append(events, is_patient=is_patient)

    async def query(self, query: Query, apps: frozenset[str] | None = None) -> Answer:
        """Answer from the node's own timeline, when everything is in it that was acked before; see the contract."""
        is_here = await self._catch_up() if self._reads_latest else self.outage is None
        answer = await self._local.query(query, apps)
        return attrs.evolve(answer, is_behind=not is_here or bool(self.why_incomplete))

    async def erase(self, *, user: str | None = None, app: str | None = None) -> int:
        """Have every node erase the events of a user, of an app, or of a user in an app; returns how many were here.

        :raises ValueError: if neither is given.
        :raises UnavailableError: if the stream cannot be reached; it may be done all the same.
        """
        if user is None and app is None:
            raise ValueError("expected a user, an app, or both")
        message_id = new_id()
        self._erasing[message_id] = 0
        try:
            await self._wait_applied(await self._publish(message_id, encode(Erasure(user, app))).wait())
            return self._erasing[message_id]
        except LostError as error:
            raise UnavailableError(str(error), may_be_kept=True) from None
        finally:
            del self._erasing[message_id]

    @property
    def outage(self) -> Outage | None:
        """The outage that the last attempt to save something has met; see the contract."""
        return self._outbox.outage or self._local.outage

    @property
    def why_incomplete(self) -> str:
        """Why other nodes may have more; see the contract."""
        if self._inbox.why_stuck:
            return self._inbox.why_stuck
        if self._local.damages:
            return "a part of this node's file is damaged; it is built anew at the next start"
        if self._inbox.news_after is None or self._inbox.applied < self._inbox.news_after:
            return "what other nodes have saved is still on its way here"
        return ""

    def status(self) -> StoreStatus:
        """Where it stands; see the contract."""
        status = self._local.status()
        waiting = status.uncommitted_bytes + self._outbox.waiting_bytes
        return attrs.evolve(status, uncommitted_bytes=waiting, position=self._inbox.applied)

    def close(self) -> None:
        """Take nothing in any more."""
        self._is_closed = True
        self._outbox.close()

    # --- tasks

    async def run(self, opened: Opened | None) -> None:
        """Publish, apply and mark, until it is closed and what was taken in is saved, or cannot be.

        :param opened: what the link was opened to, if it was.
        """
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._stay_connected, opened)
            nursery.start_soon(self._inbox.run)
            nursery.start_soon(self._mark)
            await self._outbox.run()
            nursery.cancel_scope.cancel()

    async def _stay_connected(self, opened: Opened | None) -> None:
        while True:
            wait_s = self._pace.retry_s
            try:
                now = await self._open() if opened is None else opened
                self._inbox.begin_at(now.stream, now.first_sequence, now.last_sequence)
                await self._bridge.run(self._link.consume, self._inbox.received + 1, self._deliver)
            except LostError as error:
                _LOG.info("%s", error)
                self._outbox.failed(str(error))
            except UnfitError as error:
                self._outbox.failed(str(error), for_good=True)
                wait_s = _UNFIT_S
            opened = None
            await trio.sleep(wait_s)

    async def _open(self) -> Opened:
        found = Found(self._local.position)
        check = partial(check_position, self._path, found)
        return await self._bridge.run(self._link.open, check, missing=found.why_not_make)

    def _deliver(self, received: Received) -> None:
        """Take a message; called on the side of the link."""
        self._bridge.tell(self._inbox.deliver, received)

    def _publish(self, message_id: str, data: bytes) -> Call[int]:
        return self._bridge.begin(self._link.publish, message_id, data)

    async def _wait_applied(self, sequence: int) -> None:
        await self._inbox.wait_applied(sequence)

    def _note_erased(self, message_id: str, erased: int) -> None:
        if message_id in self._erasing:
            self._erasing[message_id] = erased

    def _note_outage(self, outage: Outage) -> None:
        self._outbox.failed(outage.reason, for_good=True)

    # --- reading what is acked

    async def _catch_up(self) -> bool:
        """Wait until everything that was acked before is in the timeline; whether that is so."""
        if self.outage is not None:
            return False
        marked = self._marked
        self._mark_wanted.set()
        with trio.move_on_after(self._pace.read_s):
            await marked.ended.wait()
        return marked.is_applied

    async def _mark(self) -> None:
        """Mark the end of the stream, once for all queries that wait for it, and now and then for a trial."""
        while True:
            trial_at = math.inf if self.outage is None else trio.current_time() + self._pace.retry_s
            with trio.move_on_at(min(trial_at, self._outbox.succeeded_at + self._pace.trial_s)):
                await self._mark_wanted.wait()
            is_idle = trio.current_time() >= self._outbox.succeeded_at + self._pace.trial_s
            if not (self._mark_wanted.is_set() or is_idle or self.outage is not None):
                continue
            self._mark_wanted = trio.Event()
            marked, self._marked = self._marked, _Marked()
            try:
                with trio.fail_after(2 * self._pace.read_s):
                    if self._inbox.why_stuck:
                        raise LostError(self._inbox.why_stuck)
                    await self._wait_applied(await self._bridge.run(self._link.mark))
                marked.is_applied = True
                self._outbox.succeeded()
            except LostError as error:
                self._outbox.failed(str(error))
                await trio.sleep(self._pace.retry_s)
            except trio.TooSlowError:
                self._outbox.failed("what was published does not come back in time")
            finally:
                marked.ended.set()


@attrs.define(eq=False)
class _Marked:
    """A mark that queries wait for.

    :ivar is_applied: whether everything before it is in the timeline.
    """

    ended: trio.Event = attrs.field(factory=trio.Event)
    is_applied: bool = False


@asynccontextmanager
async def open_cluster(
    url: ClusterUrl,
    path: Path,
    capacity: Capacity,
    *,
    on_stored: OnStored = lambda _events: None,
    on_committed: OnCommitted = lambda _commit: None,
    is_full: bool = True,
    reads_latest: bool = True,
    max_uncommitted_bytes: int = 32 * 1024 * 1024,
    pace: Pace = _PACE,
    now_s: Callable[[], float] = time.time,
) -> AsyncGenerator[ClusterStore, None]:
    """Open the store of a node, and close it at the end, when everything that was appended is saved.

    :param path: the node's own file, made where there is none.
    :param is_full: whether the stream and its servers have to be such that what is acked outlives a machine.
    :param reads_latest: whether a query waits until everything is here that was acked before it came.
    :raises StoreError: if the stream, its servers or the file are not as they have to be.
    """
    async with open_bridge() as bridge:
        link = Link(url, is_full=is_full)
        try:
            found = await trio.to_thread.run_sync(look_at, path)
            opened = await _first_opened(bridge, link, partial(check_position, path, found), found.why_not_make, pace)
            await _prepare(path, found, opened)
            async with open_timeline(
                path,
                capacity,
                on_stored=on_stored,
                on_committed=on_committed,
                max_uncommitted_bytes=max_uncommitted_bytes,
                now_s=now_s,
                is_node=True,
            ) as local:
                store = ClusterStore(
                    local,
                    bridge,
                    link,
                    path,
                    reads_latest=reads_latest,
                    max_uncommitted_bytes=max_uncommitted_bytes,
                    pace=pace,
                )
                async with beside(partial(store.run, opened), at_end=store.close):
                    yield store
        finally:
            with trio.move_on_after(pace.read_s, shield=True):
                await bridge.run(link.close)


async def _first_opened(
    bridge: Bridge, link: Link, check: Callable[[Opened], None], missing: str, pace: Pace
) -> Opened | None:
    """Open the link, if that is possible within the time that the start waits for it."""
    deadline = trio.current_time() + pace.start_s
    while True:
        try:
            opened = await bridge.run(link.open, check, missing=missing)
        except LostError as error:
            if trio.current_time() < deadline:
                await trio.sleep(pace.retry_s)
                continue
            _LOG.warning("%s; until the stream is there, nothing can be saved, and what is here may be behind", error)
            return None
        for name in opened.unknown:
            _LOG.warning("the server %s does not answer, so that it is not known whether it syncs what it acks", name)
        return opened


async def _prepare(path: Path, found: Found, opened: Opened | None) -> None:
    """Let go of a file that is damaged, if it can be built anew."""
    if found.damage and opened is None:
        raise StoreError(f"{found.damage}; it is built anew when the stream can be reached")
    if found.damage:
        aside = await trio.to_thread.run_sync(set_aside, path)
        _LOG.error("%s; it is now %s, and is built anew from the stream", found.damage, aside)
    if found.position is None and opened is not None and opened.first_sequence > 1:
        _LOG.warning("the stream begins at message %d; what came before is not here", opened.first_sequence)
