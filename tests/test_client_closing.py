"""Closing a client twice, in two tasks, or half: no event is lost without an error, and the error is raised once."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import attrs
import pytest
import trio
import trio.testing

from tests.client_support import Peer, opened, scripted, track
from tests.support import Running
from wsproto_tracker import Client, ClosedError, UndeliveredError

NEVER = 100_000.0


@attrs.define(eq=False)
class Slow:
    """A tracker that acks events when it is let."""

    url: str = ""
    has_batch: trio.Event = attrs.field(factory=trio.Event)
    may_ack: trio.Event = attrs.field(factory=trio.Event)

    async def converse(self, peer: Peer) -> None:
        while True:
            frame = await peer.ingest()
            self.has_batch.set()
            await self.may_ack.wait()
            await peer.ack(frame)


@asynccontextmanager
async def slow() -> AsyncGenerator[Slow, None]:
    tracker = Slow()
    async with scripted(tracker.converse) as url:
        tracker.url = url
        with trio.fail_after(20):
            yield tracker


async def close_half(client: Client, tracker: Slow) -> None:
    """Close it, and be cancelled while the ack is awaited."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.aclose)
        await tracker.has_batch.wait()
        nursery.cancel_scope.cancel()


async def test_what_a_cancelled_close_has_left_is_told() -> None:
    """Where ``aclose`` was cancelled, leaving the block tells what is not delivered."""
    async with slow() as tracker:
        with pytest.raises(UndeliveredError) as caught:
            async with opened(tracker.url, close_timeout_s=0.1) as client:
                ids = track(client, 1)
                await close_half(client, tracker)
                with pytest.raises(ClosedError):
                    track(client, 2)
    assert [event["id"] for event in caught.value.events] == ids


async def test_what_a_cancelled_close_has_left_is_delivered() -> None:
    """Where ``aclose`` was cancelled, leaving the block waits for the ack."""
    async with slow() as tracker, trio.open_nursery() as nursery:

        async def ack() -> None:
            await trio.testing.wait_all_tasks_blocked()
            tracker.may_ack.set()

        async with opened(tracker.url, close_timeout_s=NEVER) as client:
            track(client, 1)
            await close_half(client, tracker)
            nursery.start_soon(ack)
    assert (client.stats.acked, client.stats.waiting) == (1, 0)


async def test_leaving_waits_for_the_close_of_another_task() -> None:
    """While another task closes it, leaving the block waits for that, and does not end the delivery."""
    async with slow() as tracker, trio.open_nursery() as nursery:

        async def ack() -> None:
            await trio.testing.wait_all_tasks_blocked()
            tracker.may_ack.set()

        async with opened(tracker.url, close_timeout_s=NEVER) as client:
            track(client, 1)
            nursery.start_soon(client.aclose)
            await tracker.has_batch.wait()
            nursery.start_soon(ack)
    assert (client.stats.acked, client.stats.waiting) == (1, 0)


async def test_what_is_not_delivered_is_told_once() -> None:
    """When ``UndeliveredError`` was raised, closing again and leaving the block are harmless."""
    async with slow() as tracker, opened(tracker.url, close_timeout_s=0.1) as client:
        track(client, 1)
        with pytest.raises(UndeliveredError):
            await client.aclose()
        await client.aclose()
    assert client.stats.waiting == 1


async def test_after_a_cancelled_block_it_can_be_told() -> None:
    """Where the block was cancelled, ``aclose`` tells what was not delivered, at once."""
    async with slow() as tracker:
        with trio.CancelScope() as scope:
            async with opened(tracker.url, close_timeout_s=NEVER) as client:
                ids = track(client, 1)
                scope.cancel()
                await trio.sleep_forever()
        with pytest.raises(UndeliveredError) as caught:
            await client.aclose()
        await client.aclose()
    assert [event["id"] for event in caught.value.events] == ids


async def test_a_flush_after_the_end() -> None:
    """A flush of a closed client is refused at once, whether something waits or not."""
    async with slow() as tracker:
        async with opened(tracker.url, close_timeout_s=0.1) as client:
            with pytest.raises(UndeliveredError):
                track(client, 1)
                await client.aclose()
            with pytest.raises(ClosedError):
                await client.flush(timeout_s=NEVER)
        tracker.may_ack.set()
        async with opened(tracker.url) as client:
            await client.aclose()
            with pytest.raises(ClosedError):
                await client.flush()


async def test_a_flush_during_the_end() -> None:
    """A flush that waits while the client is closed ends with it, and says so."""
    async with slow() as tracker, opened(tracker.url, close_timeout_s=0.1) as client, trio.open_nursery() as nursery:

        async def flush() -> None:
            with pytest.raises(ClosedError, match="1 events are not acked and the client was closed meanwhile"):
                await client.flush(timeout_s=NEVER)

        track(client, 1)
        nursery.start_soon(flush)
        await tracker.has_batch.wait()
        with pytest.raises(UndeliveredError):
            await client.aclose()


async def test_a_subscription_outlives_the_close(server: Running) -> None:
    """A subscription that is open goes on when its client is closed, until its own block is left."""
    with trio.fail_after(20):
        async with opened(server.ws_url) as client, client.subscribe() as events:
            await client.aclose()
            async with opened(server.ws_url) as other:
                event_id = other.track("later")
            assert (await anext(events))["id"] == event_id
