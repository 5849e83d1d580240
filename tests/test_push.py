"""Push: to those who asked, in order, within bounds."""

import json
import os

import pytest
import trio

from tests.raw_websocket import raw_websocket
from tests.support import Running, event, ingest, query, running
from wsproto_tracker.access import Key, Scope
from wsproto_tracker.protocol.events import Event
from wsproto_tracker.server.push import Hub, Subscription


async def test_subscribers_get_what_is_saved(server: Running) -> None:
    """After subscribed every saved event is pushed, as a query would return it, in the order of saving.

    X-SUB-1, PUSH-1, PUSH-2.
    """
    async with server.client() as subscriber, server.client() as writer:
        await writer.ask(ingest(event(userId="before")))
        assert await subscriber.ask({"type": "subscribe"}) == {"type": "subscribed"}
        await writer.ask(ingest(event(userId="0"), event(level="fatal"), event(userId="1", id="given")))
        await writer.ask(ingest(event(userId="1", id="given")))  # stored already: nothing to push
        await server.http("POST", "/events", json.dumps({"events": [event(userId="2")]}).encode())
        pushed = [await subscriber.receive(), await subscriber.receive()]
        assert [push["type"] for push in pushed] == ["push", "push"]
        assert all("dropped" not in push for push in pushed)
        events = [entry for push in pushed for entry in push["events"]]
        assert [entry["userId"] for entry in events] == ["0", "1", "2"]
        assert events[::-1] == (await writer.events(limit=3))
        assert await subscriber.ask({"type": "ping"}) == {"type": "pong"}


async def test_own_events(server: Running) -> None:
    """A subscriber that ingests gets its ack, and its own events pushed once however often it subscribes (X-SUB-1)."""
    async with server.client() as client:
        await client.send({"type": "subscribe"}, {"type": "subscribe"}, ingest(event()), {"type": "ping"})
        kinds = sorted([(await client.receive())["type"] for _ in range(5)])
        assert kinds == ["ack", "pong", "push", "subscribed", "subscribed"]
        with trio.move_on_after(0.2):
            pytest.fail(f"an unexpected {await client.receive()}")


async def test_nobody_else_gets_any(server: Running) -> None:
    """Who has not asked gets no push, whatever it queried (PUSH-1)."""
    async with server.client() as dashboard, server.client() as writer:
        await dashboard.ask(query())
        await writer.ask(ingest(event()))
        assert await dashboard.ask({"type": "ping"}) == {"type": "pong"}


async def test_queriers() -> None:
    """With ``push = "queriers"`` a connection that has queried is pushed to."""
    async with running(push="queriers") as server, server.client() as dashboard, server.client() as writer:
        await writer.ask(ingest(event()))
        await dashboard.ask(query())
        await writer.ask(ingest(event(userId="later")))
        assert [entry["userId"] for entry in (await dashboard.receive())["events"]] == ["later"]


async def test_off() -> None:
    """With ``push = "off"`` subscribing is answered as unsupported (X-SUB-3)."""
    async with running(push="off") as server, server.client() as client:
        assert (await client.ask({"type": "subscribe"}))["code"] == "unsupported"
        assert (await client.ask(ingest(event())))["type"] == "ack"
        assert await client.ask({"type": "ping"}) == {"type": "pong"}


async def test_locked(locked: Running) -> None:
    """Without the key nothing is pushed, though others save (PUSH-3)."""
    async with locked.client() as stranger, locked.client(key="s3cret") as writer:
        await writer.ask(ingest(event()))
        assert await stranger.ask({"type": "ping"}) == {"type": "pong"}
        assert (await stranger.ask({"type": "subscribe"}))["code"] == "unauthorized"


async def test_slow_reader() -> None:
    """What waits for a slow reader is bounded; what was dropped is told with the next push; others are not slowed.

    X-SUB-2, CONN-7.
    """
    async with running(max_push_bytes=200_000) as server, server.client() as writer, raw_websocket(server) as slow:
        await slow.send_frame(0x1, b'{"type":"subscribe"}')
        assert json.loads((await slow.receive_frame())[1]) == {"type": "subscribed"}
        sent = 400
        for number in range(sent):
            noise = os.urandom(20_000).hex()
            assert (await writer.ask(ingest(event(userId=str(number), payload={"noise": noise}))))["saved"] == 1
        received: list[str] = []
        dropped = 0

        async def read() -> None:
            nonlocal dropped
            while "last" not in received:
                opcode, text = await slow.receive_frame()
                if opcode & 0x0F == 0x1:
                    push = json.loads(text)
                    dropped += push.get("dropped", 0)
                    received.extend(entry["userId"] for entry in push["events"])

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            while "last" not in received:  # dropped as well, as long as the queue is full
                await writer.ask(ingest(event(userId="last")))
                sent += 1
                await trio.sleep(0.05)
        numbers = [int(user) for user in received if user != "last"]
        assert numbers == sorted(numbers)
        assert dropped > 0
        assert len(received) + dropped == sent


async def test_saver_that_does_not_read(server: Running) -> None:
    """What is saved is pushed at once, in the order of saving, though its sender does not take its ack (X-SUB-1)."""
    async with server.client() as subscriber, server.client() as writer, raw_websocket(server) as lazy:
        for _ in range(10):
            await writer.ask(ingest(*[event(payload={"noise": os.urandom(2000).hex()})] * 500))
        assert await subscriber.ask({"type": "subscribe"}) == {"type": "subscribed"}
        await lazy.send_frame(0x1, query().encode())  # an answer that it will not read
        await lazy.send_frame(0x1, ingest(event(userId="first")).encode())
        assert [entry["userId"] for entry in (await subscriber.receive())["events"]] == ["first"]
        await writer.ask(ingest(event(userId="second")))
        assert [entry["userId"] for entry in (await subscriber.receive())["events"]] == ["second"]


async def test_large_batches(server: Running) -> None:
    """A batch that is large comes in pushes that a client with common limits can take, in order (X-SUB-1, PUSH-2)."""
    async with server.client() as subscriber, server.client() as writer:
        await subscriber.ask({"type": "subscribe"})
        batch = [event(userId=str(number), payload={"text": "x" * 10_000}) for number in range(60)]
        await writer.ask(ingest(*batch))
        users: list[str] = []
        while len(users) < 60:
            message = await subscriber.websocket.recv()
            assert len(message) < 100_000
            users += [entry["userId"] for entry in json.loads(message)["events"]]
        assert users == [str(number) for number in range(60)]


async def test_nothing_is_missed_at_the_start(server: Running) -> None:
    """What is saved after subscribed was sent is pushed, even while that is still on its way (X-SUB-1)."""
    async with server.client() as writer, trio.open_nursery() as nursery:
        saved = 0

        async def write() -> None:
            nonlocal saved
            while True:
                assert (await writer.ask(ingest(event(userId=str(saved)))))["saved"] == 1
                saved += 1

        nursery.start_soon(write)
        for _ in range(50):
            async with server.client() as subscriber:
                await subscriber.ask({"type": "subscribe"})
                acked = saved  # all of these were saved before, and all others after
                first = int((await subscriber.receive())["events"][0]["userId"])
                assert first <= acked + 1
        nursery.cancel_scope.cancel()


def test_dropped_are_counted() -> None:
    """What does not fit is counted, and told with the first push that fits again (X-SUB-2)."""

    async def pushes() -> list[object]:
        hub = Hub(max_bytes=10, max_subscriptions=9)
        subscription = hub.subscribe()
        for text, count in ((b"123456", 1), (b"7", 2), (b"too much", 3), (b"nor this", 4), (b"8", 1)):
            subscription.offer(text, count)
        first = [await subscription.next(), await subscription.next(), await subscription.next()]
        subscription.offer(b"12345678901234567890", 1)  # waits alone
        return [*first, await subscription.next()]

    assert trio.run(pushes) == [
        b'{"type":"push","events":[123456]}',
        b'{"type":"push","events":[7]}',
        b'{"type":"push","dropped":7,"events":[8]}',
        b'{"type":"push","events":[12345678901234567890]}',
    ]


SHOP, BLOG = frozenset(["shop"]), frozenset(["blog"])
KEYS = (
    Key(key="wr1ter", name="writer", scopes=frozenset([Scope.INGEST])),
    Key(key="everyth1ng", name="everything"),
    Key(key="sh0p", name="shop", scopes=frozenset([Scope.QUERY]), apps=SHOP),
)


async def test_only_of_the_apps_of_the_key() -> None:
    """A subscriber is pushed the events of its key's apps, as if there were no others (X-SCOPE-5)."""
    async with (
        running(keys=KEYS) as server,
        server.client(key="everyth1ng") as all_,
        server.client(key="sh0p") as shop,
        server.client(key="wr1ter") as writer,
    ):
        for subscriber in (all_, shop):
            assert await subscriber.ask({"type": "subscribe"}) == {"type": "subscribed"}
        await writer.ask(ingest(event(appId="blog", userId="1")))
        await writer.ask(ingest(event(appId="shop", userId="2"), event(appId="blog", userId="3")))
        assert [entry["userId"] for entry in (await shop.receive())["events"]] == ["2"]
        users = [entry["userId"] for _ in range(2) for entry in (await all_.receive())["events"]]
        assert users == ["1", "2", "3"]
        assert await shop.ask({"type": "ping"}) == {"type": "pong"}


async def test_queriers_see_the_apps_of_their_key() -> None:
    """So is a client that is pushed to because it queried (X-SCOPE-5)."""
    async with running(keys=KEYS, push="queriers") as server, server.client(key="sh0p") as shop:
        await shop.ask(query())
        async with server.client(key="wr1ter") as writer:
            await writer.ask(ingest(event(appId="blog"), event(appId="shop")))
            assert [entry["appId"] for entry in (await shop.receive())["events"]] == ["shop"]
            assert (await writer.ask(query()))["code"] == "forbidden"
            await writer.ask(ingest(event(appId="shop")))
            assert await writer.ask({"type": "ping"}) == {"type": "pong"}  # and no push


@pytest.mark.parametrize("at_once", [True, False])
async def test_another_key(at_once: bool) -> None:
    """After another key, a subscriber gets what is for that one, and nothing with a key that is not for asking.

    AUTH-8, X-SCOPE-3, X-SCOPE-5.
    """
    async with running(keys=KEYS) as server, server.client(key="everyth1ng") as client:
        async with server.client(key="wr1ter") as writer:
            frames = [{"type": "subscribe"}, {"type": "auth", "key": "sh0p"}]
            if at_once:
                await client.send(*frames)
            answers = [await client.receive() if at_once else await client.ask(frame) for frame in frames]
            assert answers == [{"type": "subscribed"}, {"type": "auth_ok"}]
            await writer.ask(ingest(event(appId="blog"), event(appId="shop")))
            assert [entry["appId"] for entry in (await client.receive())["events"]] == ["shop"]
            assert await client.ask({"type": "auth", "key": "wr1ter"}) == {"type": "auth_ok"}
            await writer.ask(ingest(event(appId="shop")))
            assert await client.ask({"type": "ping"}) == {"type": "pong"}
            assert await client.ask({"type": "auth", "key": "everyth1ng"}) == {"type": "auth_ok"}
            await writer.ask(ingest(event(appId="blog")))
            push = await client.receive()
            assert ([entry["appId"] for entry in push["events"]], push.get("dropped")) == (["blog"], None)


async def test_what_waits_for_another_key_is_dropped() -> None:
    """What waited when a key with fewer apps was shown is dropped, and counted, and what is for both is not."""
    subscription = Subscription(1000, None)
    subscription.offer(b"1", 2)
    subscription.apps = SHOP
    subscription.offer(b"3", 1)
    subscription.apps = SHOP | BLOG
    subscription.offer(b"4", 5)
    assert await subscription.next() == b'{"type":"push","dropped":2,"events":[3]}'
    subscription.apps = BLOG
    subscription.offer(b"5", 1)
    assert await subscription.next() == b'{"type":"push","dropped":5,"events":[5]}'
    subscription.apps = None
    subscription.offer(b"6", 1)
    assert await subscription.next() == b'{"type":"push","events":[6]}'


async def test_a_text_is_made_once_for_those_who_see_the_same() -> None:
    """Subscribers of the same apps are offered the very same text, and those of other apps another (X-SCOPE-5)."""
    hub = Hub(max_bytes=1000, max_subscriptions=9)
    everything, shop, also_shop, nothing = (hub.subscribe(apps) for apps in (None, SHOP, frozenset(SHOP), frozenset()))
    offered: dict[Subscription, list[bytes]] = {}
    for subscription in (everything, shop, also_shop, nothing):
        texts = offered[subscription] = []
        subscription.offer = lambda text, _count, texts=texts: texts.append(text)  # type: ignore[method-assign,misc]
    hub.publish(
        [Event("shop", "1", False, 0, b"1"), Event("blog", "2", False, 0, b"2"), Event("shop", "3", False, 0, b"3")]
    )
    assert offered[everything] == [b"1,2,3"]
    assert offered[shop] == offered[also_shop] == [b"1,3"]
    assert offered[shop][0] is offered[also_shop][0]
    assert offered[nothing] == []


async def test_to_a_client_that_ingests(server: Running) -> None:
    """Pushes, pings and the acks of many frames go out of one connection without getting into each other's way."""
    async with server.client() as client, server.client() as other, trio.open_nursery() as nursery:
        assert await client.ask({"type": "subscribe"}) == {"type": "subscribed"}

        async def others() -> None:
            for _ in range(100):
                await other.ask(ingest(event(payload={"long": "x" * 500})))

        async def pings() -> None:
            for _ in range(100):
                await (await client.websocket.ping()).wait()

        async def frames() -> None:
            for number in range(100):
                await client.send(ingest(event(), event()), {"type": "ping"})
                if number % 3 == 0:
                    await trio.sleep(0.001)

        for task in (others, pings, frames):
            nursery.start_soon(task)
        seen: list[str] = []
        pushed = 0
        while seen.count("ack") < 100 or seen.count("pong") < 100 or pushed < 300:
            frame = await client.receive()
            seen.append(frame["type"])
            pushed += len(frame.get("events", ()))
        assert [name for name in seen if name != "push"] == ["ack", "pong"] * 100
