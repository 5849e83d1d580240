"""What waits to be sent, and what was sent and not acked: plain values, no I/O.

::

    add ──▶ waiting ──take──▶ in flight ──settle──▶ gone: acked, or rejected by the server
                                ▲    │
                              take   │ put_back, refuse, disconnect
                                │    ▼
                                again

Rule: an event is in exactly one place until it is settled, and each place is in the order of tracking. What goes
again goes before what waits, and as the same batch, unless the server refused it as a whole; then it goes in halves.
"""

import math
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import chain

import attrs

from wsproto_tracker.client.incoming import Ack, Violation
from wsproto_tracker.errors import BufferFullError

__all__ = ["ENVELOPE_BYTES", "Batch", "Item", "Outbox", "Refused", "Settled"]

_BEFORE, _AFTER = b'{"type":"ingest","events":[', b"]}"
ENVELOPE_BYTES = len(_BEFORE) + len(_AFTER)
"""What a frame has beside its events."""

_NOT_TOLD = "the server did not say why"


@attrs.frozen
class Item:
    """One event.

    :ivar seq: its number in the order of tracking.
    :ivar text: its JSON text in UTF-8.
    :ivar due_s: when it has to be sent, by the clock of the caller.
    """

    seq: int
    text: bytes
    due_s: float = -math.inf


@attrs.frozen
class Batch:
    """The events of one ``ingest`` frame; with none, it only asks for an ack (INGEST-1)."""

    items: tuple[Item, ...]

    @property
    def frame(self) -> bytes:
        """The frame as JSON text in UTF-8."""
        return _BEFORE + b",".join(item.text for item in self.items) + _AFTER

    @property
    def bytes(self) -> int:
        """How large the frame is."""
        return ENVELOPE_BYTES + sum(len(item.text) + 1 for item in self.items)


@attrs.frozen
class Refused:
    """Events that the server did not take.

    :ivar item: the event; ``None`` where the server did not say which of a batch it was (X-REJECT-2).
    :ivar count: how many.
    """

    reason: str
    item: Item | None = None
    count: int = 1


@attrs.frozen
class Settled:
    """What became of a batch.

    :ivar items: the events that need not be sent again, whatever the reason.
    :ivar saved: how many of them the server keeps, the duplicates included (ACK-3, X-DUP-2).
    """

    items: tuple[Item, ...] = ()
    saved: int = 0
    duplicates: int = 0
    refused: tuple[Refused, ...] = ()


class Outbox:
    """The events that are not settled.

    :param batch_events: how many a batch may have.
    :param batch_bytes: how large a frame may be; one event that is larger goes alone.
    :param max_in_flight: how many batches may be without their ack.
    :param max_events: how many events there may be.
    :param max_bytes: how much JSON text there may be.
    """

    def __init__(
        self, *, batch_events: int, batch_bytes: int, max_in_flight: int, max_events: int, max_bytes: int
    ) -> None:
        self._batch_events = batch_events
        self._batch_bytes = batch_bytes
        self._max_in_flight = max_in_flight
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._waiting: deque[Item] = deque()
        self._waiting_bytes = 0
        self._in_flight: deque[Batch] = deque()
        self._again: deque[Batch] = deque()
        self._is_one_by_one = False  # so that it shows which batch it is that the server does not take
        self._count = 0
        self._bytes = 0

    def __len__(self) -> int:
        return self._count

    @property
    def in_flight(self) -> int:
        """How many batches are without their ack."""
        return len(self._in_flight)

    @property
    def oldest(self) -> int | None:
        """The least ``seq`` of what is not settled."""
        heads = [batch.items[0].seq for batch in self._sent()]
        if self._waiting:
            heads.append(self._waiting[0].seq)
        return min(heads, default=None)

    def items(self) -> list[Item]:
        """All that is not settled, in the order of tracking."""
        sent = [item for batch in self._sent() for item in batch.items]
        return sorted(sent, key=lambda item: item.seq) + list(self._waiting)

    def _sent(self) -> Iterator[Batch]:
        """The batches with events that were sent; what was put back may be in flight after later ones."""
        return (batch for batch in chain(self._in_flight, self._again) if batch.items)

    def check_room(self, size: int) -> None:
        """Whether an event of so many bytes may be added.

        :raises BufferFullError: if not.
        """
        if self._count >= self._max_events:
            bound = f"max_buffer_events={self._max_events}"
        elif self._bytes + size > self._max_bytes:
            bound = f"max_buffer_bytes={self._max_bytes}"
        else:
            return
        raise BufferFullError(
            f"{self._count} events ({self._bytes} bytes) wait for the server already; {bound} is the bound"
        )

    def add(self, item: Item) -> None:
        """Add an event; ``check_room`` comes first."""
        self._waiting.append(item)
        self._waiting_bytes += len(item.text) + 1
        self._count += 1
        self._bytes += len(item.text)

    def due_s(self, through: int = -1) -> float:
        """When ``take`` has something to give; infinity where only an ack or another event can change that.

        :param through: what has a ``seq`` up to this is due at once.
        """
        if len(self._in_flight) >= (1 if self._is_one_by_one else self._max_in_flight):
            return math.inf
        if self._again:
            return -math.inf
        if not self._waiting:
            return math.inf
        is_full = len(self._waiting) >= self._batch_events
        if is_full or ENVELOPE_BYTES + self._waiting_bytes >= self._batch_bytes or self._waiting[0].seq <= through:
            return -math.inf
        return self._waiting[0].due_s

    def take(self) -> Batch:
        """The next batch to be sent, which is in flight from now on; ``due_s`` says when there is one."""
        batch = self._again.popleft() if self._again else self._next_batch()
        self._in_flight.append(batch)
        return batch

    def _next_batch(self) -> Batch:
        items: list[Item] = []
        size = ENVELOPE_BYTES
        while self._waiting and len(items) < self._batch_events:
            more = len(self._waiting[0].text) + 1
            if items and size + more > self._batch_bytes:
                break
            size += more
            self._waiting_bytes -= more
            items.append(self._waiting.popleft())
        return Batch(tuple(items))

    def probe(self) -> Batch:
        """A batch without events, to see whether a tracker answers; it is in flight from now on."""
        batch = Batch(())
        self._in_flight.append(batch)
        return batch

    def settle(self, ack: Ack) -> Settled:
        """Take an ack, which is for the first batch in flight (ACK-2).

        :raises Violation: where it is for none, or says what cannot be.
        """
        if not self._in_flight:
            raise Violation("an ack came, and no batch was waiting for one")
        items = self._in_flight[0].items
        listed = {rejection.index: rejection.reason for rejection in ack.rejected}
        unsaved = len(items) - ack.saved
        is_possible = ack.saved >= 0 and len(listed) <= unsaved and all(0 <= index < len(items) for index in listed)
        if not is_possible:
            raise Violation(f"an ack for {len(items)} events says saved {ack.saved}, and rejects {len(listed)}")
        self._in_flight.popleft()
        refused = [Refused(reason, items[index]) for index, reason in sorted(listed.items())]
        if unsaved > len(listed):
            refused.append(Refused(_NOT_TOLD, count=unsaved - len(listed)))
        self._forget(items)
        return Settled(items, ack.saved, min(ack.duplicates, ack.saved), tuple(refused))

    def put_back(self) -> None:
        """The first batch in flight was not taken for now (LIMIT-6); it goes again."""
        batch = self._in_flight.popleft()
        if batch.items:
            self._again = _in_order([*self._again, batch])

    def refuse(self, reason: str) -> Settled:
        """The first batch in flight was refused as a whole: it goes again in halves; a single event not (FRAME-10)."""
        batch = self._in_flight.popleft()
        if len(batch.items) <= 1:
            self._forget(batch.items)
            return Settled(batch.items, refused=tuple(Refused(reason, item) for item in batch.items))
        half = len(batch.items) // 2
        self._again = _in_order([*self._again, Batch(batch.items[:half]), Batch(batch.items[half:])])
        return Settled()

    def disconnect(self, *, is_too_large: bool = False) -> Settled:
        """The connection is lost: what is in flight goes again.

        :param is_too_large: whether it is because of a batch that is too large (CLOSE-3). With one in flight, that is
            refused, and later ones are smaller; with several, they go one by one now, until it is found.
        """
        settled = Settled()
        in_flight = [batch for batch in self._in_flight if batch.items]
        if is_too_large and len(in_flight) == 1:
            self._batch_bytes = max(min(self._batch_bytes, in_flight[0].bytes // 2), ENVELOPE_BYTES)
            self._in_flight = deque(in_flight)
            settled = self.refuse("the event is larger than the server takes")
        self._again = _in_order([*self._again, *(batch for batch in self._in_flight if batch.items)])
        self._in_flight.clear()
        self._is_one_by_one = is_too_large or (self._is_one_by_one and bool(self._again))
        return settled

    def _forget(self, items: Sequence[Item]) -> None:
        self._count -= len(items)
        self._bytes -= sum(len(item.text) for item in items)
        if not self._again and not self._in_flight:
            self._is_one_by_one = False


def _in_order(batches: list[Batch]) -> deque[Batch]:
    return deque(sorted(batches, key=lambda batch: batch.items[0].seq))
