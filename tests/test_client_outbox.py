"""The outbox: whatever happens to batches, no event is lost, none is in two places, and their order stays."""

import math

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from wsproto_tracker.client.incoming import Ack, Rejected, Violation
from wsproto_tracker.client.outbox import ENVELOPE_BYTES, Item, Outbox, Settled
from wsproto_tracker.errors import BufferFullError

PLENTY = 10**9


def outbox(**options: int) -> Outbox:
    defaults = {
        "batch_events": 3,
        "batch_bytes": PLENTY,
        "max_in_flight": 2,
        "max_events": PLENTY,
        "max_bytes": PLENTY,
    }
    return Outbox(**(defaults | options))


def filled(count: int, size: int = 1, **options: int) -> Outbox:
    """An outbox with some events, all of them due."""
    box = outbox(**options)
    for seq in range(count):
        box.add(Item(seq, b"x" * size))
    return box


def seqs(settled: Settled) -> list[int]:
    return [item.seq for item in settled.items]


def taken(box: Outbox) -> list[list[int]]:
    """The batches that can be sent now."""
    batches = []
    while box.due_s() == -math.inf:
        batches.append([item.seq for item in box.take().items])
    return batches


class TestDue:
    def test_a_full_batch_is_due_at_once(self) -> None:
        """A batch is due when it is full, or when its first event has waited for long enough."""
        box = outbox()
        assert box.due_s() == math.inf
        box.add(Item(0, b"x", due_s=5.0))
        box.add(Item(1, b"x", due_s=6.0))
        assert box.due_s() == 5.0
        box.add(Item(2, b"x", due_s=7.0))
        assert box.due_s() == -math.inf

    def test_a_flush_does_not_wait_for_a_full_batch(self) -> None:
        """What was tracked before a flush is due at once, and what came after it is not."""
        box = outbox()
        box.add(Item(0, b"x", due_s=5.0))
        assert box.due_s(through=0) == -math.inf
        box.take()
        box.add(Item(1, b"x", due_s=6.0))
        assert box.due_s(through=0) == 6.0

    def test_so_many_batches_are_in_flight_and_no_more(self) -> None:
        """With as many batches in flight as may be, nothing is due before an ack."""
        box = filled(9)
        assert taken(box) == [[0, 1, 2], [3, 4, 5]]
        assert box.due_s() == math.inf
        assert seqs(box.settle(Ack(3))) == [0, 1, 2]
        assert taken(box) == [[6, 7, 8]]

    def test_a_frame_is_no_larger_than_it_may_be(self) -> None:
        """A frame keeps to its bytes; an event that is larger goes alone."""
        box = outbox(batch_bytes=ENVELOPE_BYTES + 10)
        for seq, size in enumerate((4, 4, 4, 50, 1)):
            box.add(Item(seq, b"x" * size))
        frames = []
        while len(box):
            batch = box.take()
            assert len(batch.frame) <= batch.bytes
            frames.append([item.seq for item in batch.items])
            box.settle(Ack(len(batch.items)))
        assert frames == [[0, 1], [2], [3], [4]]


class TestRoom:
    def test_a_full_buffer_takes_no_more(self) -> None:
        """A full buffer refuses the next event and keeps those it has; the message names the bound."""
        box = filled(2, max_events=2)
        with pytest.raises(BufferFullError, match="max_buffer_events=2"):
            box.check_room(1)
        assert len(box) == 2
        box.take()
        box.settle(Ack(2))
        box.check_room(1)

    def test_bytes_are_bounded_as_well(self) -> None:
        """The text of all events that wait has a bound of its own."""
        box = filled(2, size=40, max_bytes=100)
        box.check_room(20)
        with pytest.raises(BufferFullError, match="max_buffer_bytes=100"):
            box.check_room(21)


class TestSettling:
    def test_rejected_events_are_told_with_their_reasons(self) -> None:
        """What an ack rejects is told by its event, and is not sent again (X-REJECT-1)."""
        box = filled(3)
        box.take()
        settled = box.settle(Ack(2, rejected=(Rejected(1, "no meta"),)))
        assert (settled.saved, [(r.reason, r.item and r.item.seq) for r in settled.refused]) == (2, [("no meta", 1)])
        assert len(box) == 0

    def test_unlisted_rejections_are_counted(self) -> None:
        """What is neither saved nor listed was rejected too (X-REJECT-2)."""
        box = filled(3)
        box.take()
        (refused,) = box.settle(Ack(1)).refused
        assert (refused.count, refused.item) == (2, None)

    @pytest.mark.parametrize(
        "ack",
        [
            Ack(4),
            Ack(-1),
            Ack(3, rejected=(Rejected(0, ""),)),
            Ack(2, rejected=(Rejected(3, ""),)),
            Ack(2, rejected=(Rejected(-1, ""),)),
        ],
    )
    def test_an_ack_that_cannot_be_loses_nothing(self, ack: Ack) -> None:
        """An ack that contradicts its batch is a violation, and the batch is still in flight."""
        box = filled(3)
        box.take()
        with pytest.raises(Violation):
            box.settle(ack)
        assert (len(box), box.in_flight) == (3, 1)

    def test_an_ack_for_nothing(self) -> None:
        """An ack without a batch is a violation."""
        with pytest.raises(Violation, match="no batch was waiting"):
            outbox().settle(Ack(0))

    def test_a_probe_asks_for_an_ack_and_has_no_events(self) -> None:
        """A batch without events settles like any other, and is not sent again after a connection is lost."""
        box = filled(1)
        assert box.probe().frame == b'{"type":"ingest","events":[]}'
        assert box.settle(Ack(0)) == Settled()
        box.probe()
        box.disconnect()
        assert box.in_flight == 0
        assert taken(box) == [[0]]


class TestAgain:
    def test_a_lost_connection_loses_nothing(self) -> None:
        """What was in flight goes again, in order, before what is new."""
        box = filled(9)
        taken(box)
        box.disconnect()
        assert taken(box) == [[0, 1, 2], [3, 4, 5]]
        assert box.oldest == 0

    def test_what_was_too_much_goes_again_in_its_place(self) -> None:
        """A batch that was rate-limited goes again before what is new, whatever was acked meanwhile (LIMIT-6)."""
        box = filled(9)
        taken(box)
        box.put_back()
        assert box.oldest == 0
        box.settle(Ack(3))
        assert taken(box) == [[0, 1, 2], [6, 7, 8]]

    def test_a_refused_batch_goes_in_halves_until_it_is_found(self) -> None:
        """One event that makes the server refuse its whole batch is found, and the others are saved (FRAME-10)."""
        box = filled(8, batch_events=8)
        saved: list[int] = []
        refused: list[int] = []
        while len(box):
            batch = [item.seq for item in box.take().items]
            settled = box.refuse("too deep") if 5 in batch else box.settle(Ack(len(batch)))
            (refused if settled.refused else saved).extend(seqs(settled))
        assert (sorted(saved), refused) == ([0, 1, 2, 3, 4, 6, 7], [5])

    @pytest.mark.parametrize("limit", [60, 100, 250, 1_000])
    def test_what_is_too_large_for_the_server_is_found(self, limit: int) -> None:
        """After 1009 batches become smaller, and an event that is too large alone is given up (CLOSE-3)."""
        box = outbox(batch_events=25, max_in_flight=4)
        sizes = [10, 20, 500, 10, 5, 30, 200, 10] * 5
        for seq, size in enumerate(sizes):
            box.add(Item(seq, b"x" * size))
        saved: list[int] = []
        refused: list[int] = []
        connections = 0
        while len(box):
            connections += 1
            assert connections < 100
            sent = []
            while box.due_s(through=len(sizes)) == -math.inf:
                sent.append(box.take())
            for batch in sent:
                if len(batch.frame) > limit:
                    settled = box.disconnect(is_too_large=True)
                    refused += seqs(settled)
                    break
                saved += seqs(box.settle(Ack(len(batch.items))))
        too_large = [seq for seq, size in enumerate(sizes) if size + ENVELOPE_BYTES > limit]
        assert (sorted(saved), refused) == ([s for s in range(len(sizes)) if s not in too_large], too_large)


class Machine(RuleBasedStateMachine):
    """Any order of tracking, sending, acks, rejections, refusals and lost connections, against a set of numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.box = outbox(batch_events=4, max_in_flight=3, batch_bytes=ENVELOPE_BYTES + 40)
        self.next = 0
        self.unsettled: set[int] = set()
        self.in_flight: list[tuple[int, ...]] = []

    @rule(count=st.integers(1, 6), size=st.integers(1, 60))
    def track(self, count: int, size: int) -> None:
        for _ in range(count):
            self.box.add(Item(self.next, b"x" * size))
            self.unsettled.add(self.next)
            self.next += 1

    @precondition(lambda self: self.box.due_s(self.next) == -math.inf)
    @rule()
    def take(self) -> None:
        batch = self.box.take()
        numbers = tuple(item.seq for item in batch.items)
        flying = {seq for flight in self.in_flight for seq in flight}
        assert numbers == tuple(sorted(numbers))
        assert numbers[0] == min(self.unsettled - flying), "the oldest go first"
        self.in_flight.append(numbers)

    @precondition(lambda self: not self.in_flight)
    @rule()
    def probe(self) -> None:
        self.box.probe()
        self.in_flight.append(())

    @precondition(lambda self: self.in_flight)
    @rule(data=st.data())
    def ack(self, data: st.DataObject) -> None:
        numbers = self.in_flight.pop(0)
        rejected = data.draw(st.sets(st.integers(0, len(numbers) - 1)) if numbers else st.just(set()))
        listed = sorted(rejected)[: data.draw(st.integers(0, len(rejected)))]
        ack = Ack(len(numbers) - len(rejected), rejected=tuple(Rejected(index, "no") for index in listed))
        settled = self.box.settle(ack)
        assert tuple(seqs(settled)) == numbers
        assert sum(refused.count for refused in settled.refused) == len(rejected)
        self.unsettled -= set(numbers)

    @precondition(lambda self: self.in_flight)
    @rule()
    def rate_limit(self) -> None:
        self.box.put_back()
        self.in_flight.pop(0)

    @precondition(lambda self: self.in_flight)
    @rule()
    def refuse(self) -> None:
        numbers = self.in_flight.pop(0)
        given_up = seqs(self.box.refuse("no"))
        assert given_up == (list(numbers) if len(numbers) == 1 else [])
        self.unsettled -= set(given_up)

    @rule(is_too_large=st.booleans())
    def disconnect(self, is_too_large: bool) -> None:
        given_up = seqs(self.box.disconnect(is_too_large=is_too_large))
        assert len(given_up) <= 1
        self.unsettled -= set(given_up)
        self.in_flight.clear()

    @invariant()
    def nothing_is_lost_or_twice(self) -> None:
        assert [item.seq for item in self.box.items()] == sorted(self.unsettled)
        assert len(self.box) == len(self.unsettled)
        assert self.box.oldest == min(self.unsettled, default=None)
        assert self.box.in_flight == len(self.in_flight)

    def teardown(self) -> None:
        """All of it can be delivered in the end, oldest first."""
        self.box.disconnect()
        order: list[int] = []
        while len(self.box):
            assert self.box.due_s(self.next) == -math.inf
            batch = self.box.take()
            order += seqs(self.box.settle(Ack(len(batch.items))))
        assert order == sorted(self.unsettled)


TestModel = Machine.TestCase
