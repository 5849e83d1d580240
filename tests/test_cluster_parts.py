"""The parts of a shared store, each alone: what is written into the stream, the way into it, and the bridge."""

import asyncio
import math
from collections.abc import Callable
from typing import Any, ClassVar

import attrs
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from tests.store_contract import at, events
from wsproto_tracker.cluster.bridge import open_bridge
from wsproto_tracker.cluster.checks import stream_problems, sync_problems
from wsproto_tracker.cluster.errors import LostError
from wsproto_tracker.cluster.message import Batches, BrokenMessageError, Erasure, NewerMessageError, decode, encode
from wsproto_tracker.cluster.outbox import THE_WAY, Outbox, Pace
from wsproto_tracker.cluster.url import ClusterUrl, parse_cluster_url
from wsproto_tracker.errors import UnavailableError
from wsproto_tracker.protocol.ids import new_id
from wsproto_tracker.store import Appended

names = st.text(max_size=5) | st.sampled_from(["ann", "cut \ud83d", "ü"])


class TestMessages:
    @given(st.lists(st.tuples(st.integers(0, 2**31), st.lists(events, max_size=4)), max_size=4))
    def test_batches(self, batches: list[Any]) -> None:
        """What is read is what was written, lone surrogates and all."""
        found = decode(encode(Batches(batches)))
        assert isinstance(found, Batches)
        assert [(number, list(batch)) for number, batch in found.batches] == batches

    @given(st.none() | names, names)
    def test_erasures(self, user: str | None, app: str) -> None:
        """Names of any form come through."""
        assert decode(encode(Erasure(user, app))) == Erasure(user, app)

    @given(st.binary(min_size=1, max_size=60))
    def test_others(self, data: bytes) -> None:
        """What no tracker wrote is told from what a newer one wrote, and nothing else comes of it."""
        with pytest.raises(NewerMessageError if data[0] > 1 else BrokenMessageError):
            decode(data)

    def test_long_names(self) -> None:
        """A message is hardly larger than the texts of its events, however long their ids and the names of apps are."""
        event = at(
            0, id="i" + "".join(new_id() for _ in range(9000)), appId="a" + "".join(new_id() for _ in range(9000))
        )
        data = encode(Batches([(0, [event])]))
        assert len(data) < len(event.text) * 1.01
        assert decode(data) == Batches([(0, [event])])


class TestChecks:
    URL = parse_cluster_url("nats://h/S")
    GOOD: ClassVar = {
        "subjects": ["S.>"],
        "retention": "limits",
        "storage": "file",
        "num_replicas": 3,
        "allow_rollup_hdrs": True,
    }

    @pytest.mark.parametrize(
        ("changed", "told"),
        [
            ({}, []),
            ({"subjects": ["S.batches", "S.marks"]}, []),
            ({"subjects": ["orders.*"]}, ["expected S.>"]),
            ({"subjects": ["S.>", "orders.*"]}, ["this stream is the trackers' alone"]),
            ({"retention": "workqueue"}, ["expected limits"]),
            ({"no_ack": True}, ["expected no_ack: false"]),
            ({"allow_rollup_hdrs": False}, ["nats stream edit S --allow-rollup"]),
            ({"max_msgs_per_subject": 1}, ["expected max_msgs_per_subject: -1"]),
            ({"max_msg_size": 1000}, ["expected max_msg_size: -1"]),
            ({"sources": [{"name": "OTHER"}]}, ["it copies from other streams"]),
            ({"storage": "memory"}, ["expected file"]),
            ({"num_replicas": 1}, ["it has 1 replicas; expected 3"]),
        ],
    )
    def test_streams(self, changed: dict[str, Any], told: list[str]) -> None:
        """Each thing that could lose what was acked is told, with what would be right."""
        found = list(stream_problems({**self.GOOD, **changed}, 1024 * 1024, self.URL, is_full=True))
        assert len(found) == len(told)
        assert all(words in problem for words, problem in zip(told, found, strict=True))

    def test_replicated(self) -> None:
        """Where a quorum need not sync, storage and replicas are the operator's affair; the size of messages is not."""
        config = {**self.GOOD, "storage": "memory", "num_replicas": 1}
        assert list(stream_problems(config, 1024 * 1024, self.URL, is_full=False)) == []
        (told,) = stream_problems(config, 64 * 1024, self.URL, is_full=False)
        assert "expected max_payload: 1MB" in told

    def test_sync(self) -> None:
        """A server syncs where it says so; one that says nothing is not known to."""
        told: dict[str, dict[str, Any]] = {
            "a": {"jetstream": {"config": {"sync_always": True}}},
            "b": {"jetstream": {"config": {"sync_interval": 120}}},
            "c": {"jetstream": None},
        }
        assert sync_problems(["a", "b", "c", "d"], told) == (["b", "c"], ["d"])

    def test_url(self) -> None:
        """A URL is read whole, and never shows its password."""
        url = parse_cluster_url(
            "tls://ann:s%40crt@h:1,[::1]/S?tls_ca=ca.pem&max_bytes=5000000&monitor=http://m:1/,https://n:2"
        )
        assert url.servers == ("tls://h:1", "tls://[::1]:4222")
        assert (url.user, url.password, url.is_tls, url.max_bytes) == ("ann", "s@crt", True, 5_000_000)
        assert url.monitors == ("http://m:1", "https://n:2")
        assert str(url) == "tls://h:1,[::1]:4222/S"
        assert "s@crt" not in repr(url)
        assert parse_cluster_url("nats://a,b:5/S").monitors == ("http://a:8222", "http://b:8222")


class TestBridge:
    async def test_both_ways(self) -> None:
        """Calls come back with what they return or raise, in any number; what is told comes in order."""
        told: list[int] = []
        found: list[int] = []
        async with open_bridge() as bridge:

            async def double(number: int) -> int:
                await asyncio.sleep(0)
                bridge.tell(told.append, number)
                if number == 13:
                    raise ValueError("no")
                return 2 * number

            async def ask(number: int) -> None:
                try:
                    found.append(await bridge.run(double, number))
                except ValueError:
                    found.append(-1)

            async with trio.open_nursery() as nursery:
                for number in range(50):
                    nursery.start_soon(ask, number)
        assert sorted(found) == sorted([-1, *(2 * number for number in range(50) if number != 13)])
        assert sorted(told) == list(range(50))

    async def test_cancelled(self) -> None:
        """A call that is cancelled is cancelled on the other side too; what still runs at the end is cancelled."""
        ended: list[str] = []

        async def wait(name: str) -> None:
            try:
                await asyncio.sleep(math.inf)
            finally:
                ended.append(name)

        async with open_bridge() as bridge:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(bridge.run, wait, "a")
                await trio.sleep(0.05)
                nursery.cancel_scope.cancel()
            await bridge.run(asyncio.sleep, 0)
            assert ended == ["a"]
            with trio.move_on_after(0.05):
                await bridge.run(wait, "b")
        assert ended == ["a", "b"]


@attrs.define
class Stream:
    """What an outbox publishes to: it stores, or fails as it is told to, and applies at once."""

    outbox: Outbox = attrs.field(init=False)
    stored: list[tuple[str, Batches]] = attrs.field(factory=list)
    attempts: list[str] = attrs.field(factory=list)
    is_lost: bool = False
    loses_answers: bool = False
    forgets: bool = False
    last: trio.Event = attrs.field(factory=lambda: _set())

    def publish(self, message_id: str, data: bytes) -> "Attempt":
        return Attempt(self, message_id, data)

    async def store(self, message_id: str, data: bytes) -> int:
        self.attempts.append(message_id)
        await trio.sleep(0.01)
        if self.is_lost:
            raise LostError("it is away")
        known = [known_id for known_id, _ in self.stored]
        if message_id not in known:
            content = decode(data)
            assert isinstance(content, Batches)
            self.stored.append((message_id, content))
            self.outbox.applied(message_id, {number: Appended(len(batch), 0) for number, batch in content.batches})
        elif self.forgets:
            self.outbox.applied(message_id, {})  # it is in the stream twice, and passed over
        if self.loses_answers:
            self.loses_answers = False
            raise LostError("no answer in time")
        return len(self.stored)

    async def wait_applied(self, sequence: int) -> None:
        assert sequence

    def ids(self) -> list[str]:
        return [event.id for _, content in self.stored for _, batch in content.batches for event in batch]


@attrs.define
class Attempt:
    """A message on its way to a stream; what is begun first is stored first."""

    stream: Stream
    message_id: str
    data: bytes
    before: trio.Event = attrs.field(init=False)
    after: trio.Event = attrs.field(factory=trio.Event)

    def __attrs_post_init__(self) -> None:
        self.before, self.stream.last = self.stream.last, self.after

    async def wait(self) -> int:
        await self.before.wait()
        try:
            return await self.stream.store(self.message_id, self.data)
        finally:
            self.after.set()


def _set() -> trio.Event:
    event = trio.Event()
    event.set()
    return event


@pytest.fixture
def stream() -> Stream:
    return Stream()


async def run_with(stream: Stream, body: Callable[[Outbox], Any], max_bytes: int = 10**8) -> None:
    stream.outbox = outbox = Outbox(stream.publish, stream.wait_applied, max_bytes, Pace())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(outbox.run)
        await body(outbox)
        outbox.close()


async def test_gathered_and_pipelined(stream: Stream, autojump_clock: MockClock) -> None:  # noqa: ARG001 - time flies
    """Batches that wait share messages, a few of which are on their way at a time; each batch hears of itself."""

    async def body(outbox: Outbox) -> None:
        receipts = [await outbox.append([at(0, id=f"{n:03}")] * (n % 3), is_patient=True) for n in range(900)]
        for n, receipt in enumerate(receipts):
            assert await receipt.committed() == Appended(n % 3, 0)

    await run_with(stream, body)
    assert stream.ids() == [f"{n:03}" for n in range(900) for _ in range(n % 3)]
    assert len(stream.stored) < 20


async def test_stored_twice(stream: Stream, autojump_clock: MockClock) -> None:  # noqa: ARG001 - time flies
    """Where the servers have forgotten a message that is published again, what became of it at first counts."""
    stream.loses_answers = stream.forgets = True

    async def body(outbox: Outbox) -> None:
        receipt = await outbox.append([at(0, id="a")], is_patient=True)
        assert await receipt.committed() == Appended(1, 0)

    await run_with(stream, body)


async def test_answers_that_are_lost(stream: Stream, autojump_clock: MockClock) -> None:  # noqa: ARG001 - time flies
    """What may be stored is published again under the same id, and no outage is told of that is over in a moment."""
    stream.loses_answers = True

    async def body(outbox: Outbox) -> None:
        receipt = await outbox.append([at(0, id="a")], is_patient=False)
        assert await receipt.committed() == Appended(1, 0)
        assert outbox.outage is None

    await run_with(stream, body)
    assert len(stream.attempts) == 2
    assert len(set(stream.attempts)) == 1
    assert stream.ids() == ["a"]


async def test_outage(stream: Stream, autojump_clock: MockClock) -> None:  # noqa: ARG001 - time flies
    """In an outage patient batches wait, in their order, and others fail, with whether they may be kept."""

    async def body(outbox: Outbox) -> None:
        stream.is_lost = True
        patient = [await outbox.append([at(0, id=str(n))], is_patient=True) for n in range(3)]
        impatient = await outbox.append([at(0, id="x")], is_patient=False)
        began = trio.current_time()
        assert await patient[0].attempted() is not None
        assert 8 <= trio.current_time() - began < 9
        with pytest.raises(UnavailableError) as told:
            await impatient.committed()
        assert told.value.may_be_kept
        with pytest.raises(UnavailableError) as told:
            await outbox.append([at(0, id="y")], is_patient=False)
        assert not told.value.may_be_kept
        stream.is_lost = False
        for receipt in patient:
            assert await receipt.committed() == Appended(1, 0)
        assert outbox.outage is None
        assert outbox.waiting_bytes == 0

    await run_with(stream, body)
    assert stream.ids() == ["0", "1", "2"]


async def test_message_that_is_never_taken(stream: Stream, autojump_clock: MockClock) -> None:  # noqa: ARG001 - time flies
    """Where a message is refused for ever, that is an outage though others get through, and the end does not wait."""
    receipts = []

    async def body(outbox: Outbox) -> None:
        stream.is_lost = True
        receipts.append(await outbox.append([at(0)], is_patient=True))
        for _ in range(30):
            outbox.succeeded(THE_WAY)  # a mark
            await trio.sleep(0.5)
        assert outbox.outage is not None
        outbox.succeeded(THE_WAY)
        assert outbox.outage is not None

    await run_with(stream, body)
    with pytest.raises(UnavailableError):
        await receipts[0].committed()


async def test_close_in_an_outage(stream: Stream, autojump_clock: MockClock) -> None:  # noqa: ARG001 - time flies
    """What waits when it is closed in an outage is given up, and said to be."""
    receipts = []

    async def body(outbox: Outbox) -> None:
        stream.is_lost = True
        receipts.append(await outbox.append([at(0)], is_patient=True))
        await receipts[0].attempted()

    await run_with(stream, body)
    with pytest.raises(UnavailableError):
        await receipts[0].committed()


async def test_close_waits_for_what_was_taken_in(stream: Stream, autojump_clock: MockClock) -> None:  # noqa: ARG001 - time flies
    """What was taken in before it is closed is still published."""
    receipts = []

    async def body(outbox: Outbox) -> None:
        receipts.extend([await outbox.append([at(0, id=str(n))], is_patient=True) for n in range(100)])

    await run_with(stream, body)
    assert [await receipt.committed() for receipt in receipts] == [Appended(1, 0)] * 100


async def test_memory_is_bounded(stream: Stream, autojump_clock: MockClock) -> None:  # noqa: ARG001 - time flies
    """Where too much waits, more has to wait before it is taken in."""
    stream.is_lost = True

    async def body(outbox: Outbox) -> None:
        await outbox.append([at(0)], is_patient=True)
        with trio.move_on_after(1) as scope:
            await outbox.append([at(1)], is_patient=True)
        assert scope.cancelled_caught
        stream.is_lost = False

    await run_with(stream, body, max_bytes=1000)
    assert len(stream.ids()) == 1


def test_urls_are_equal_by_value() -> None:
    """Two readings of a URL are one."""
    assert parse_cluster_url("nats://h/S") == ClusterUrl(
        servers=("nats://h:4222",), stream="S", monitors=("http://h:8222",)
    )
