"""What a store does for the server. ``tests/store_contract.py`` is the kit that every store has to pass.

- Events are ordered by (instant, arrival): an *arrival* is the number that an event gets when it is appended, one after
  another. Answers are newest first (QUERY-5, QUERY-6).
- ``append`` fixes the arrivals, ``Receipt.committed`` tells when the events are kept and every later query shows them
  (ACK-4). Between the two a store may gather the batches of many connections.
- A store is given ``on_stored`` when it is made, and calls it with the events that become visible, in the order of
  their arrival, before ``committed`` returns (X-SUB-1). It must not wait.
- It is given ``on_committed`` as well, and calls it once for each transaction that kept batches. It must not wait
  either.
- Capacity is first in, first out by arrival; an erased event keeps its place until its turn comes. The last batch
  of which something was stored is never what goes.
- An event whose client-given id is there already for its app is not stored again (X-DUP-1). A store remembers such an
  id as long as the event.
"""

from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Protocol

import attrs

from wsproto_tracker.protocol.events import Event
from wsproto_tracker.protocol.query import Query
from wsproto_tracker.store.run import Seal, inflate

__all__ = [
    "Answer",
    "Appended",
    "Chunk",
    "Commit",
    "EventStore",
    "OnCommitted",
    "OnStored",
    "Outage",
    "Receipt",
    "StoreStatus",
]

OnStored = Callable[[Sequence[Event]], None]


@attrs.frozen
class Commit:
    """A transaction that kept batches.

    :ivar events: how many events it stored.
    :ivar seconds: how long it took, the wait for its turn included.
    """

    events: int
    seconds: float


OnCommitted = Callable[[Commit], None]


@attrs.frozen
class Appended:
    """What became of a batch.

    :ivar stored: how many of its events were stored.
    :ivar duplicates: how many were there already.
    """

    stored: int
    duplicates: int


@attrs.frozen(eq=False)
class Outage:
    """A time in which a store can save nothing; it is over with the next batch that is committed.

    :ivar reason: why, in words for the operator.
    """

    reason: str


@attrs.frozen(kw_only=True)
class StoreStatus:
    """Where a store stands.

    :ivar events: how many a query can find, about: of a block that is partly gone, the share is estimated.
    :ivar blocks: how many sealed blocks there are.
    :ivar stored_bytes: what its events take: as they lie in blocks, and the text of those that are in none.
    :ivar file_bytes: what its file took when something was last written, without its log; 0 for a store in memory.
    :ivar evicted: how many events have gone since the store was made, because of its capacity. One that was erased
        counts when its turn comes.
    :ivar uncommitted_bytes: memory that batches take on their way to the disk.
    :ivar damages: how many parts were found damaged, and are left out.
    :ivar position: the message of its stream that was applied last; 0 where it is in no cluster.
    """

    events: int
    blocks: int = 0
    stored_bytes: int
    file_bytes: int = 0
    evicted: int
    uncommitted_bytes: int = 0
    damages: int = 0
    position: int = 0


class Receipt(Protocol):
    """A batch on its way into the store. A cancelled wait takes nothing back."""

    @property
    def has_ended(self) -> bool:
        """Whether ``committed`` returns, or raises, without a wait."""
        ...

    async def attempted(self) -> Outage | None:
        """Wait for the first attempt to keep the batch; returns the outage that it met, if any."""
        ...

    async def committed(self) -> Appended:
        """Wait until the batch is kept.

        :raises UnavailableError: if it is not, and is given up: an impatient one after a failed attempt, any other when
            the store is closed during an outage.
        """
        ...


@attrs.frozen
class Chunk:
    """A run of events as text: JSON objects joined by commas, in UTF-8.

    :ivar data: the text, or its raw deflate, cut at a sync flush (RFC 1951 blocks, byte-aligned, none final).
    :ivar seal: what the text is, where it is deflated.
    """

    data: bytes
    seal: Seal | None = None

    @property
    def text(self) -> bytes:
        """The text, inflated where it has to be."""
        return self.data if self.seal is None else inflate(self.data, self.seal.text_bytes + 1)


@attrs.frozen
class Answer:
    """The answer to a query.

    :ivar total: how many events match (RESP-2).
    :ivar newest: the instant of the newest of them, ``None`` where none matches (RESP-4).
    :ivar chunks: the events of the page, newest first; to be iterated once, and closed. No chunk is empty, and a
        comma belongs between two of them.
    :ivar is_behind: whether events may be missing that were acked before, by another node (X-BEHIND-1).
    """

    total: int
    newest: int | None
    chunks: AsyncGenerator[Chunk, None]
    is_behind: bool = False


class EventStore(Protocol):
    """Keeps events, and answers queries."""

    async def append(self, events: Sequence[Event], *, is_patient: bool = True) -> Receipt:
        """Take a batch in; waits while too much is on its way already. Arrivals follow the order of the calls.

        Cancelled while it waits, nothing of the batch is taken; once it returns, all of it is.

        :param is_patient: whether the batch stays on its way during an outage. If not, it is given up after the next
            attempt that fails, for the sender will try again.
        :raises UnavailableError: if an impatient batch would have to wait for the end of an outage.
        """
        ...

    async def query(self, query: Query, apps: frozenset[str] | None = None) -> Answer:
        """Answer from everything that is committed; what is appended while the answer is read does not change it.

        :param apps: the apps whose events are seen, as if there were no others; ``None`` for all.
        :raises UnavailableError: if it cannot be read now; reading the chunks may raise it as well.
        """
        ...

    async def erase(self, *, user: str | None = None, app: str | None = None) -> int:
        """Erase the events of a user, of an app, or of a user in an app; returns how many there were."""
        ...

    @property
    def outage(self) -> Outage | None:
        """The outage that the last attempt to save something has met; ``None`` where it went well, or there was none.

        While there is one, a store goes on trying, whether or not something waits.
        """
        ...

    @property
    def why_incomplete(self) -> str:
        """Why other nodes may have events that this one has not, though they were acked long ago; else empty."""
        ...

    def status(self) -> StoreStatus:
        """Where it stands at this moment; asks no disk, and takes milliseconds at the most."""
        ...
