"""The client against the real server: events arrive once, in order, and whoever waits for that is told the truth."""

import json
import logging
import random
import ssl
from contextlib import closing
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
import trustme

from bench.soak.proxy import Proxy
from tests.client_support import APP, opened, stored, track
from tests.support import Running, event, running
from tests.test_client_spool import full_disk
from tests.test_store_cancellation import AtStep
from wsproto_tracker import (
    BufferFullError,
    Client,
    ClosedError,
    ConnectError,
    DeliveryError,
    EventError,
    ForbiddenError,
    QueryError,
    Rejected,
    SpoolError,
    UndeliveredError,
    WrongKeyError,
    open_client,
)
from wsproto_tracker.access import Key, Scope
from wsproto_tracker.client.spool import Spool

NEVER = 100_000.0


def numbers(events: list[dict[str, Any]]) -> list[int]:
    return [event["payload"]["data"]["n"] for event in events]


class TestDelivery:
    async def test_what_is_tracked_is_stored_as_it_was(self, server: Running) -> None:
        """Every tracked event is stored, once, with its id and its data (ACK-3, ID-2)."""
        async with open_client(server.ws_url, app_id=APP, session_id="s", user_id="ann") as client:
            ids = track(client, *range(100))
        found = await stored(server)
        assert [event["id"] for event in found] == ids
        assert numbers(found) == list(range(100))
        assert {(event["appId"], event["sessionId"], event["userId"]) for event in found} == {(APP, "s", "ann")}
        assert (client.stats.tracked, client.stats.acked, client.stats.waiting) == (100, 100, 0)

    async def test_sessions_and_users_are_made_up_like_the_plugins(self, server: Running) -> None:
        """Without a session and a user there are ``sess_`` and ``anon_`` with a UUID, the same for all events."""
        async with opened(server.ws_url) as client:
            track(client, 1, 2)
        first, second = await stored(server)
        assert (first["sessionId"], first["userId"]) == (second["sessionId"], second["userId"])
        assert first["sessionId"].startswith("sess_")
        assert first["userId"].startswith("anon_")

    async def test_whole_events_are_sent_as_they_are(self, server: Running) -> None:
        """``send`` takes an event of any type, and changes nothing but an id that is missing."""
        async with opened(server.ws_url) as client:
            event_id = client.send(event(id="", type="click"))
            client.send(event(id="own", type="console"))
        async with server.client() as reader:
            found = {event["id"]: event for event in await reader.events()}
        assert found == {event_id: event(id=event_id), "own": event(id="own", type="console")}

    async def test_a_batch_goes_when_it_is_full(self, server: Running) -> None:
        """A full batch goes at once; what does not fill one waits for the interval, or for a flush."""
        async with opened(server.ws_url, batch_size=10, flush_interval_s=NEVER) as client:
            track(client, *range(25))
            while client.stats.acked < 20:
                await trio.sleep(0.005)
            assert client.stats.waiting == 5
            await client.flush()
            assert client.stats.waiting == 0

    async def test_a_batch_goes_when_the_interval_passes(self, server: Running) -> None:
        """What does not fill a batch goes when its first event has waited for the interval."""
        async with opened(server.ws_url, batch_size=10, flush_interval_s=0.02) as client:
            track(client, 1)
            while client.stats.acked < 1:
                await trio.sleep(0.005)

    async def test_many_tasks_may_track_and_flush(self, server: Running) -> None:
        """Tasks that track and flush at the same time each get what they wait for."""
        async with opened(server.ws_url, flush_interval_s=NEVER) as client:

            async def work(first: int) -> None:
                for number in range(first, first + 50):
                    track(client, number)
                    await client.flush()

            async with trio.open_nursery() as nursery:
                for first in range(0, 500, 50):
                    nursery.start_soon(work, first)
        assert numbers(await stored(server)) == list(range(500))

    async def test_over_tls(self) -> None:
        """With ``ssl_context`` a private certificate is trusted; without it that is told at once (TLS)."""
        authority = trustme.CA()
        certificate = authority.issue_cert("127.0.0.1")
        with certificate.private_key_pem.tempfile() as key, certificate.cert_chain_pems[0].tempfile() as chain:
            async with running(tls_cert=Path(chain), tls_key=Path(key)) as server:
                url = server.ws_url.replace("ws://", "wss://")
                context = ssl.create_default_context()
                authority.configure_trust(context)
                async with opened(url, ssl_context=context) as client:
                    track(client, 1)
                assert client.stats.acked == 1
                with pytest.raises(ConnectError, match=r"TLS failed .*ssl_context"):
                    async with opened(url, connect_timeout_s=NEVER):
                        pass

    async def test_a_full_buffer_raises_and_loses_nothing(self, server: Running) -> None:
        """A full buffer refuses what is new, and what was tracked before arrives."""
        async with opened(server.ws_url, max_buffer_events=10, flush_interval_s=NEVER) as client:
            track(client, *range(10))
            with pytest.raises(BufferFullError, match="max_buffer_events=10"):
                track(client, 10)
            await client.flush()
            track(client, 10)
        assert numbers(await stored(server)) == list(range(11))

    async def test_no_log_tells_keys_or_events(self, locked: Running, caplog: pytest.LogCaptureFixture) -> None:
        """However much is logged, neither a key nor what an event holds is."""
        with caplog.at_level(logging.DEBUG):
            async with opened(locked.ws_url, api_key="s3cret") as client:
                client.track("hush", {"n": 1, "text": "hush"})
                await client.flush()
                assert [event["payload"]["name"] async for event in client.query()] == ["hush"]
            with pytest.raises(WrongKeyError):
                async with opened(locked.ws_url, api_key="s3cret-wrong"):
                    pass
        assert "s3cret" not in caplog.text
        assert "hush" not in caplog.text

    async def test_what_is_no_event_is_told_and_not_kept(self, server: Running) -> None:
        """An event that is no JSON is told to who made it, and nothing of it waits."""
        async with opened(server.ws_url) as client:
            with pytest.raises(EventError, match=r"payload\.data\.a: set is not JSON"):
                client.track("x", {"a": set()})
            with pytest.raises(EventError, match="level: expected"):
                client.track("x", level="fatal")
            with pytest.raises(EventError, match="duration"):
                client.track("x", duration_ms=float("nan"))
            assert client.stats.waiting == client.stats.tracked == 0


class TestRejections:
    async def test_rejected_events_are_counted_and_told(self, caplog: pytest.LogCaptureFixture) -> None:
        """What the server rejects is counted, given to ``on_rejected`` with its reason, and logged without contents."""
        rejected: list[Rejected] = []
        key = Key(key="s3cret", name="k", apps=frozenset([APP]))
        with caplog.at_level(logging.INFO, "wsproto_tracker.client"):
            async with running(keys=(key,)) as server:
                async with opened(server.ws_url, api_key="s3cret", on_rejected=rejected.append) as client:
                    track(client, 1)
                    client.send(event(id="e2", appId="hidden"))
                    track(client, 3)
                assert numbers(await stored(server, "s3cret")) == [1, 3]
        assert (client.stats.acked, client.stats.rejected, client.stats.waiting) == (2, 1, 0)
        (told,) = rejected
        assert told.event == event(id="e2", appId="hidden")
        assert "the key is not for this app" in told.reason
        lines = [record.getMessage() for record in caplog.records if record.name == "wsproto_tracker.client"]
        assert any("rejected 1 events of 3" in line for line in lines)
        assert not any("s3cret" in line or "hidden" in line for line in lines)

    async def test_a_callback_that_fails_does_no_harm(self, caplog: pytest.LogCaptureFixture) -> None:
        """An ``on_rejected`` that raises is logged, and the client goes on."""

        def failing(_rejected: Rejected) -> None:
            raise RuntimeError("of the program")

        async with running(keys=(Key(key="k", name="k", apps=frozenset([APP])),)) as server:
            async with opened(server.ws_url, api_key="k", on_rejected=failing) as client:
                client.send(event(appId="other"))
                await client.flush()
                track(client, 1)
        assert (client.stats.acked, client.stats.rejected) == (1, 1)
        assert "on_rejected has failed with RuntimeError" in caplog.text


class TestKeys:
    @pytest.mark.parametrize(("key", "message"), [(None, "set api_key"), ("wrong", "does not know this api_key")])
    async def test_a_wrong_key_is_told_when_it_is_opened(self, locked: Running, key: str | None, message: str) -> None:
        """A wrong key, or none, ends the opening with an error that does not repeat it (AUTH-3, AUTH-5)."""
        with pytest.raises(WrongKeyError, match=message) as caught:
            async with opened(locked.ws_url, api_key=key):
                pass
        assert "wrong" not in str(caught.value)

    async def test_a_wrong_key_is_told_later(self, locked: Running) -> None:
        """Where the opening did not wait, ``track``, ``flush`` and the end tell of a wrong key, and nothing is lost."""
        with pytest.raises(UndeliveredError) as caught:
            async with opened(locked.ws_url, api_key="wrong", wait_for_server=False) as client:
                track(client, 1)
                with pytest.raises(WrongKeyError):
                    await client.flush()
                with pytest.raises(WrongKeyError):
                    track(client, 2)
        assert numbers(list(caught.value.events)) == [1]
        assert isinstance(caught.value.__cause__, WrongKeyError)

    async def test_a_key_that_is_not_for_sending(self) -> None:
        """A key for asking only is forbidden to send: permanent for events, and queries go on (X-SCOPE-2)."""
        key = Key(key="k", name="k", scopes=frozenset([Scope.QUERY]))
        async with running(keys=(key,)) as server:
            with pytest.raises(UndeliveredError, match="not for sending"):
                async with opened(server.ws_url, api_key="k") as client:
                    track(client, 1)
                    with pytest.raises(ForbiddenError, match="not for sending"):
                        await client.flush()
                    with pytest.raises(ForbiddenError):
                        track(client, 2)
                    assert (await client.page(limit=1)).total == 0

    async def test_a_key_that_is_not_for_asking(self) -> None:
        """A key for sending only sends, and its queries and subscriptions are forbidden (X-SCOPE-1)."""
        key = Key(key="k", name="k", scopes=frozenset([Scope.INGEST]))
        async with running(keys=(key,)) as server:
            async with opened(server.ws_url, api_key="k") as client:
                track(client, 1)
                with pytest.raises(QueryError, match="forbidden"):
                    await client.page(limit=1)
                with pytest.raises(QueryError, match="forbidden"):
                    async with client.subscribe():
                        pass
            assert client.stats.acked == 1


class TestEnd:
    async def test_leaving_delivers_what_waits(self, server: Running) -> None:
        """Leaving the block sends what waits, without waiting for the interval."""
        async with opened(server.ws_url, flush_interval_s=NEVER) as client:
            track(client, *range(60))
        assert numbers(await stored(server)) == list(range(60))
        with pytest.raises(ClosedError):
            track(client, 1)
        with pytest.raises(ClosedError):
            await client.page(limit=1)
        with pytest.raises(ClosedError):
            async with client.subscribe():
                pass
        await client.aclose()

    async def test_what_cannot_be_delivered_is_told(self, network: "Network") -> None:
        """What is not acked in time is told with its number, and the events are in the error."""
        with pytest.raises(UndeliveredError, match=r"3 events are not acked and the client is closed") as caught:
            async with opened(network.url, close_timeout_s=0.1) as client:
                network.go_down()
                track(client, 1, 2, 3)
        assert numbers(list(caught.value.events)) == [1, 2, 3]
        assert (caught.value.waiting, caught.value.is_spooled) == (3, False)

    async def test_a_flush_that_takes_too_long_keeps_the_events(self, network: "Network") -> None:
        """A flush that ends without acks says so; the events are kept and arrive later."""
        async with opened(network.url) as client:
            network.go_down()
            track(client, 1, 2)
            with pytest.raises(DeliveryError, match=r"2 events are not acked after 0.2 s") as caught:
                await client.flush(timeout_s=0.2)
            assert caught.value.waiting == 2
            network.come_up()
            await client.flush()
        assert numbers(await stored(network.server)) == [1, 2]
        assert client.stats.reconnects >= 1

    @pytest.mark.parametrize(
        "error", [KeyError("of the body"), KeyboardInterrupt(), ExceptionGroup("g", [ValueError()])]
    )
    async def test_an_error_in_the_body_comes_out_as_it_is(self, server: Running, error: BaseException) -> None:
        """An error in the body is raised as it is, after an attempt to deliver."""
        with pytest.raises(type(error)) as caught:
            async with opened(server.ws_url, flush_interval_s=NEVER) as client:
                track(client, 1)
                raise error
        assert caught.value is error
        assert numbers(await stored(server)) == [1]

    async def test_an_error_in_the_body_counts_more_than_events(self, network: "Network") -> None:
        """Where events cannot be delivered either, the error of the body is the one that is raised."""
        with pytest.raises(KeyError, match="of the body"):
            async with opened(network.url, close_timeout_s=0.1) as client:
                network.go_down()
                track(client, 1)
                raise KeyError("of the body")

    async def test_a_cancellation_leaves_at_once(self, network: "Network") -> None:
        """Cancelled, it does not wait for acks, nor for a server that does not answer."""
        with trio.fail_after(5), trio.CancelScope() as scope:
            async with opened(network.url, close_timeout_s=NEVER) as client:
                network.proxy.stall()
                track(client, *range(100))
                scope.cancel()
                await trio.sleep(NEVER)
        assert scope.cancelled_caught
        with pytest.raises(ClosedError):
            track(client, 1)
        with pytest.raises(ClosedError):
            await client.page(limit=1)

    async def test_an_error_during_a_cancellation_is_not_lost(self, server: Running) -> None:
        """Where the body fails when it is cancelled already, its error comes out, without an attempt to deliver."""
        with pytest.raises(KeyError, match="of the body"), trio.CancelScope() as scope:
            async with opened(server.ws_url) as client:
                track(client, 1)
                scope.cancel()
                raise KeyError("of the body")

    async def test_a_server_that_has_stopped_answering_is_left(self, network: "Network") -> None:
        """Leaving takes no longer than it may, though the server neither answers nor closes."""
        with trio.fail_after(10), pytest.raises(UndeliveredError):
            async with opened(network.url, close_timeout_s=0.1) as client:
                network.proxy.stall()
                for number in range(300):
                    client.track("counted", {"n": number, "large": random.Random(number).randbytes(20_000).hex()})

    async def test_no_task_outlives_it(self, server: Running) -> None:
        """After the block there are as many tasks as before it."""
        before = trio.lowlevel.current_statistics().tasks_living
        async with opened(server.ws_url) as client:
            await client.page(limit=1)
            track(client, 1)
        async with opened(server.ws_url) as client, client.subscribe():
            track(client, 2)
        for _ in range(1_000):
            await trio.sleep(0.01)
            if trio.lowlevel.current_statistics().tasks_living <= before:
                break
        assert trio.lowlevel.current_statistics().tasks_living <= before


@attrs.define
class Network:
    """A server behind a network that can fail."""

    server: Running
    proxy: Proxy

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.proxy.port}{self.server.settings.base_path}/ws"

    def go_down(self) -> None:
        self.proxy.refuses = True
        self.proxy.cut()

    def come_up(self) -> None:
        self.proxy.refuses = False


@pytest.fixture
async def network(server: Running, nursery: trio.Nursery) -> Network:
    """A server behind a network that can fail."""
    proxy = Proxy(random.Random(1))
    await nursery.start(proxy.run)
    proxy.target = server.address.port
    return Network(server, proxy)


class TestConnections:
    async def test_a_lost_connection_is_replaced(self, network: Network) -> None:
        """Whenever the connection breaks, the client comes back, and every event is stored once."""
        async with opened(network.url, batch_size=5) as client:
            for fault in range(10):
                network.proxy.tear() if fault % 2 else network.proxy.cut()
                track(client, *range(fault * 20, fault * 20 + 20))
                while client.stats.reconnects <= fault:
                    await trio.sleep(0.005)
            await client.flush()
        assert numbers(await stored(network.server)) == list(range(200))

    async def test_a_server_that_comes_later(self, network: Network) -> None:
        """The opening waits for a server that is not there yet."""
        network.go_down()
        async with trio.open_nursery() as nursery:

            async def come_up() -> None:
                await trio.sleep(0.1)
                network.come_up()

            nursery.start_soon(come_up)
            async with opened(network.url) as client:
                track(client, 1)
        assert numbers(await stored(network.server)) == [1]

    async def test_it_need_not_wait_for_the_server(self, network: Network, caplog: pytest.LogCaptureFixture) -> None:
        """With ``wait_for_server=False`` it opens at once; what is tracked before there is a server is sent then."""
        network.go_down()
        with caplog.at_level(logging.INFO, "wsproto_tracker.client"):
            async with opened(network.url, wait_for_server=False) as client:
                track(client, 1, 2)
                await trio.sleep(0.1)
                network.come_up()
                await client.flush()
        assert numbers(await stored(network.server)) == [1, 2]
        told = [
            record.getMessage().split(" to ")[0] for record in caplog.records if record.name == "wsproto_tracker.client"
        ]
        assert told == ["not connected", "connected"], "a trouble is told once"

    async def test_a_dead_peer_is_noticed(self, network: Network) -> None:
        """Where no ack comes and the connection stays, it is given up, and what was sent goes again."""
        async with opened(network.url, ack_timeout_s=0.2) as client:
            network.proxy.stall()
            track(client, 1)
            trouble = ""
            while "no ack came within 0.2 s" not in trouble:
                with pytest.raises(DeliveryError) as caught:
                    await client.flush(timeout_s=0.1)
                trouble = str(caught.value)
            network.proxy.go_on()
            await client.flush()
        assert numbers(await stored(network.server)) == [1]

    async def test_pings_notice_a_dead_peer(self, network: Network, caplog: pytest.LogCaptureFixture) -> None:
        """A connection on which nothing is sent is kept alive by pings, and replaced where they are not answered."""
        async with opened(network.url, ping_interval_s=0.05, ping_timeout_s=0.1) as client:
            network.proxy.stall()
            while "the server did not answer pings" not in caplog.text:
                await trio.sleep(0.01)
            network.proxy.go_on()
            while client.stats.reconnects < 1:
                await trio.sleep(0.01)
            track(client, 1)
        assert numbers(await stored(network.server)) == [1]


class TestSpool:
    async def test_what_was_not_delivered_is_sent_by_the_next(self, network: Network, tmp_path: Path) -> None:
        """With a spool, events outlive the client; the next one sends them before its own, with their ids."""
        spool = tmp_path / "spool.db"
        network.go_down()
        with pytest.raises(UndeliveredError, match=r"2 events.*kept in the spool") as caught:
            async with opened(network.url, spool=spool, wait_for_server=False, close_timeout_s=0.05) as client:
                ids = track(client, 0, 1)
        assert (caught.value.is_spooled, caught.value.events) == (True, ())
        network.come_up()
        async with opened(network.url, spool=spool) as client:
            ids += track(client, 2)
            assert client.stats.restored == 2
        found = await stored(network.server)
        assert [event["id"] for event in found] == ids
        assert numbers(found) == [0, 1, 2]
        async with opened(network.url, spool=spool) as client:
            assert client.stats.restored == 0

    async def test_a_spool_is_for_one_client(self, server: Running, tmp_path: Path) -> None:
        """A second client on the same spool is refused, and the first goes on."""
        spool = tmp_path / "spool.db"
        async with opened(server.ws_url, spool=spool) as client:
            with pytest.raises(SpoolError, match="in use"):
                async with opened(server.ws_url, spool=spool):
                    pass
            track(client, 1)
        assert numbers(await stored(server)) == [1]

    async def test_a_full_disk_refuses_events(self, server: Running, tmp_path: Path) -> None:
        """Where the spool's disk is full, ``track`` raises and keeps nothing of the event; those before it arrive."""
        spool = tmp_path / "spool.db"
        async with opened(server.ws_url, spool=spool, flush_interval_s=NEVER) as client:
            track(client, 0)
            refused = 0
            with full_disk(spool):
                for number in range(1, 50):
                    try:
                        client.track("counted", {"n": number, "large": random.Random(number).randbytes(5_000).hex()})
                    except SpoolError:
                        refused += 1
            assert refused > 0
            track(client, 100)
            assert client.stats.tracked == 51 - refused
        found = numbers(await stored(server))
        assert len(found) == 51 - refused
        assert {0, 100} <= set(found)

    async def test_a_spool_that_is_larger_than_the_buffer(self, network: Network, tmp_path: Path) -> None:
        """A spool with more than the buffer may hold is told, with the option to raise, and nothing of it is lost."""
        spool = tmp_path / "spool.db"
        network.go_down()
        with pytest.raises(UndeliveredError):
            async with opened(network.url, spool=spool, wait_for_server=False, close_timeout_s=0.05) as client:
                track(client, *range(20))
        network.come_up()
        with pytest.raises(BufferFullError, match="max_buffer_events=19"):
            async with opened(network.url, spool=spool, max_buffer_events=19):
                pass
        async with opened(network.url, spool=spool):
            pass
        assert numbers(await stored(network.server)) == list(range(20))


class TestQueries:
    async def test_every_event_newest_first(self, server: Running) -> None:
        """A query gives every event of its window once, newest first, however many pages that takes."""
        async with opened(server.ws_url, page_size=7) as client:
            for number in range(60):
                client.send(
                    event(timestamp=f"2026-11-23T21:05:{number // 20:02}.{number // 9:03}Z", payload={"n": number})
                )
            await client.flush()
            found = [event async for event in client.query()]
            assert [event["payload"]["n"] for event in found] == sorted(
                range(60), key=lambda n: (n // 20, n // 9, n), reverse=True
            )
            window = client.query(since="2026-11-23T21:05:01Z", until="2026-11-23T21:05:01.003Z", type="click")
            assert sorted([e["payload"]["n"] async for e in window]) == list(range(20, 36))
            assert [e async for e in client.query(search="nothing like it")] == []

    async def test_one_page(self, server: Running) -> None:
        """A page has its events, the total, and the cursor for what is newer (RESP-1 to RESP-4)."""
        async with opened(server.ws_url) as client:
            for second in range(5):
                client.send(event(timestamp=f"2026-11-23T21:05:0{second}.000Z"))
            await client.flush()
            page = await client.page(limit=2, page=2)
        assert [event["timestamp"][17:19] for event in page.events] == ["02", "01"]
        assert (page.total, page.page, page.limit, page.next_cursor) == (5, 2, 2, "2026-11-23T21:05:04.000Z")

    async def test_many_queries_at_once(self, server: Running) -> None:
        """Answers go to those who asked, whatever the order (QUERY-10)."""
        async with opened(server.ws_url) as client:
            for number in range(20):
                client.send(event(userId=f"u{number}"))
            await client.flush()
            found: dict[int, list[str]] = {}

            async def ask(number: int) -> None:
                found[number] = [event["userId"] async for event in client.query(user_id=f"u{number}")]

            async with trio.open_nursery() as nursery:
                for number in range(20):
                    nursery.start_soon(ask, number)
        assert found == {number: [f"u{number}"] for number in range(20)}

    async def test_a_query_survives_a_lost_connection(self, network: Network) -> None:
        """A query changes nothing, so it is asked again where its connection breaks before the answer."""
        async with opened(network.url) as client:
            track(client, 1)
            await client.flush()
            network.proxy.stall()
            async with trio.open_nursery() as nursery:

                async def disturb() -> None:
                    await trio.sleep(0.1)
                    network.proxy.cut()
                    network.proxy.go_on()

                nursery.start_soon(disturb)
                assert (await client.page(limit=1)).total == 1

    async def test_an_answer_that_does_not_come(self, network: Network) -> None:
        """A query without an answer ends in time, with the code ``timeout``, and the next takes a new connection."""
        async with opened(network.url, query_timeout_s=1.0) as client:
            assert (await client.page(limit=1)).total == 0
            network.proxy.stall()
            with pytest.raises(QueryError, match=r"no answer came within 1 s") as caught:
                await client.page(limit=1)
            assert caught.value.code == "timeout"
            network.proxy.go_on()
            for _ in range(50):
                try:
                    assert (await client.page(limit=1)).total == 0
                    break
                except QueryError:
                    continue
            else:
                pytest.fail("it does not recover")

    async def test_an_error_of_the_server_has_its_code(self, server: Running) -> None:
        """What the server says of a query is raised with its code (FILTER-8)."""
        async with opened(server.ws_url) as client:
            with pytest.raises(QueryError, match=r"query\.level") as caught:
                await client.page(limit=1, level="fatal")
        assert caught.value.code == "bad_query"

    async def test_an_answer_that_is_too_large(self, server: Running) -> None:
        """An answer beyond ``max_answer_bytes`` ends in an error that names the option."""
        async with opened(server.ws_url, max_answer_bytes=10_000) as client:
            client.send(event(payload={"text": random.Random(1).randbytes(20_000).hex()}))
            await client.flush()
            with pytest.raises(QueryError, match="max_answer_bytes=10000") as caught:
                await client.page(limit=1)
            assert caught.value.code == "too_large"

    async def test_reading_while_events_come_in(self, server: Running) -> None:
        """Events that come in while a window is read are no trouble: what was there comes once."""
        async with opened(server.ws_url, page_size=10) as client:
            track(client, *range(100))
            await client.flush()
            found: list[int] = []
            async for event_ in client.query():
                found.append(event_["payload"]["data"]["n"])
                if len(found) % 10 == 5:
                    track(client, *range(100 + len(found), 110 + len(found)))
                    await client.flush()
        assert len(set(found)) == len(found)
        assert set(range(100)) <= set(found)


class TestSubscriptions:
    async def test_what_is_saved_is_told(self, server: Running) -> None:
        """A subscription tells of every event that is saved from then on, in order (X-SUB-1)."""
        async with opened(server.ws_url) as client:
            track(client, 0)
            await client.flush()
            async with client.subscribe() as subscription:
                track(client, *range(1, 40))
                assert numbers([await anext(subscription) for _ in range(39)]) == list(range(1, 40))
            assert (subscription.dropped, subscription.gaps) == (0, 0)

    async def test_a_slow_reader_is_told_what_it_missed(self, server: Running) -> None:
        """What is not taken waits up to the bound; what comes then is counted as dropped (X-SUB-2)."""
        async with opened(server.ws_url) as client, client.subscribe(max_waiting_events=5) as subscription:
            track(client, *range(20))
            while subscription.dropped < 15:
                await trio.sleep(0.01)
            assert numbers([await anext(subscription) for _ in range(5)]) == list(range(5))

    async def test_after_a_lost_connection_it_subscribes_again(self, network: Network) -> None:
        """A connection that is lost is replaced, and counted: some events may have been missed."""
        async with opened(network.url) as client, client.subscribe() as subscription:
            network.proxy.cut()
            while subscription.gaps < 1:
                await trio.sleep(0.01)
            track(client, 7)
            assert numbers([await anext(subscription)]) == [7]

    async def test_a_server_that_does_not_push(self) -> None:
        """Where push is switched off, subscribing ends with ``unsupported`` (X-SUB-3)."""
        async with running(push="off") as server:
            async with opened(server.ws_url) as client:
                with pytest.raises(QueryError) as caught:
                    async with client.subscribe():
                        pass
        assert caught.value.code == "unsupported"

    async def test_an_error_in_its_body_comes_out_as_it_is(self, server: Running) -> None:
        """An error in the body of a subscription is raised as it is."""
        error = KeyError("of the body")
        with pytest.raises(KeyError) as caught:
            async with opened(server.ws_url) as client, client.subscribe():
                raise error
        assert caught.value is error


async def program(client: Client, ids: list[str]) -> None:
    """What a program may do, with all that can wait."""
    for number in range(4):
        ids += track(client, number, number + 100)
        await client.flush()
    assert (await client.page(limit=1)).total >= 8
    async with client.subscribe() as subscription:
        ids += track(client, 500)
        await anext(subscription)


@pytest.mark.parametrize("is_any_task", [False, True], ids=["own steps", "steps of all"])
@pytest.mark.parametrize("start", range(4))
async def test_cancelled_at_every_step(server: Running, tmp_path: Path, start: int, is_any_task: bool) -> None:
    """Wherever it is cancelled, it leaves, and what was tracked is in the server or in the spool, and nowhere half."""
    stride = 12 if is_any_task else 4  # all tasks together, the server's too, take a thousand steps
    step, is_over = start * stride // 4 + 1, False
    while not is_over:
        spool = tmp_path / f"{step}.db"
        ids: list[str] = []
        is_over = await _cancelled(server, spool, step, None if is_any_task else trio.lowlevel.current_task(), ids)
        kept = _kept(spool) if spool.exists() else []
        async with server.client() as reader:
            there = [event["id"] for event in await reader.events()]
        assert len(there) == len(set(there))
        assert set(ids) <= set(there) | set(kept)
        assert kept == [event_id for event_id in ids if event_id in kept], "in the order of tracking"
        step += stride


def _kept(path: Path) -> list[str]:
    """The ids of the events in a spool."""
    with closing(Spool(path, APP)) as spool:
        return [json.loads(item.text)["id"] for item in spool.load()]


async def _cancelled(server: Running, spool: Path, step: int, task: trio.lowlevel.Task | None, ids: list[str]) -> bool:
    """Run the program, and cancel it at a step; whether it came to its end before."""
    with trio.fail_after(20), trio.CancelScope() as scope:
        with AtStep(step, scope.cancel, task):
            async with opened(server.ws_url, spool=spool) as client:
                await program(client, ids)
    return not scope.cancelled_caught
