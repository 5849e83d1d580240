"""The client against servers that are no trackers, wrong ones, and right ones with little room: each is told."""

import logging
import re
import ssl
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import trio

from tests.client_support import Peer, answering, keeping, opened, scripted, track
from wsproto_tracker import (
    ConfigurationError,
    ConnectError,
    DeliveryError,
    ForbiddenError,
    NotATrackerError,
    QueryError,
    Rejected,
    TrackerError,
    UndeliveredError,
    open_client,
)

DEEP = 7  # the number of the event that a server cannot take


def numbers(events: list[dict[str, Any]]) -> list[int]:
    return [event["payload"]["data"]["n"] for event in events]


class TestNoTracker:
    @pytest.mark.parametrize(
        ("answer", "message"),
        [
            (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", "HTTP 200; expected 101"),
            (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "HTTP 404; there is no WebSocket at this path"),
            (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", "HTTP 403; the server lets nobody in"),
            (b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n", "HTTP 401; a proxy"),
            (b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", "no WebSocket"),
            (b"SSH-2.0-OpenSSH_9.9\r\n", "speaks no WebSocket"),
            (b"\x15\x03\x01\x00\x02\x02\x46" * 10 + b"\r\n", "speaks no WebSocket"),
        ],
        ids=["200", "404", "403", "401", "302", "ssh", "tls"],
    )
    async def test_what_is_no_websocket_is_told(self, answer: bytes, message: str) -> None:
        """What answers with something else than a WebSocket handshake is told at once, with what it said."""
        async with answering(answer) as url:
            with pytest.raises(NotATrackerError, match=message):
                async with opened(url):
                    pass

    @pytest.mark.parametrize("key", [None, "k"])
    @pytest.mark.parametrize(
        ("sent", "message"),
        [
            ("hello", "not JSON"),
            ("[]", "JSON that is no frame"),
            ('{"hello":1}', "JSON that is no frame"),
            (b"\x00", "binary"),
            ('{"type":"ack","saved":"1"}', "type ack that is none"),
            ('{"type":"ack"}', "type ack that is none"),
            ('{"type":"ack","saved":5}', "an ack for 0 events says saved 5"),
            ('{"type":"error"}', "type error that is none"),
            ('{"type":"error","message":"?","code":"unknown_type"}', "a tracker (answers it with an ack|says auth_ok)"),
            ("[" * 100_000, "not JSON"),
        ],
    )
    async def test_frames_of_another_protocol_are_told(self, key: str | None, sent: str | bytes, message: str) -> None:
        """A WebSocket server whose frames are not of the protocol is told at once, or after the time to connect."""

        async def converse(peer: Peer) -> None:
            await peer.receive()
            await peer.send(sent)
            await trio.sleep_forever()

        is_ignored = key is not None and isinstance(sent, str) and sent.startswith('{"type":"ack","saved":5')
        async with scripted(converse) as url:
            with pytest.raises(ConnectError if is_ignored else NotATrackerError) as caught:
                async with opened(url, api_key=key, connect_timeout_s=0.2 if is_ignored else 20.0):
                    pass
        assert re.search("as a tracker does" if is_ignored else message, str(caught.value))

    @pytest.mark.parametrize("key", [None, "k"])
    async def test_an_echo_is_told(self, key: str | None) -> None:
        """A server that echoes is told from a tracker by what it echoes."""

        async def echo(peer: Peer) -> None:
            while True:
                await peer.send(await peer.websocket.recv())

        async with scripted(echo) as url:
            with pytest.raises(NotATrackerError, match="does it echo what it gets"):
                async with opened(url, api_key=key):
                    pass

    @pytest.mark.parametrize("key", [None, "k"])
    async def test_a_silent_server_is_told(self, key: str | None) -> None:
        """A server that says nothing is given up when the time to connect has passed."""

        async def silent(_peer: Peer) -> None:
            await trio.sleep_forever()

        async with scripted(silent) as url:
            with pytest.raises(ConnectError, match=r"no connection within 0.2 s"):
                async with opened(url, api_key=key, connect_timeout_s=0.2):
                    pass

    @pytest.mark.parametrize(
        ("key", "first"), [(None, {"type": "ingest", "events": []}), ("k", {"type": "auth", "key": "k"})]
    )
    async def test_no_event_goes_to_what_is_no_tracker(self, key: str | None, first: dict[str, Any]) -> None:
        """Before a tracker has answered, nothing is sent that was tracked."""
        peers: list[Peer] = []

        async def record(peer: Peer) -> None:
            peers.append(peer)
            while True:
                await peer.receive()

        async with scripted(record) as url:
            with pytest.raises(UndeliveredError):
                async with opened(
                    url, api_key=key, wait_for_server=False, connect_timeout_s=0.1, close_timeout_s=0.1
                ) as client:
                    track(client, *range(50))
                    while len(peers) < 3:
                        await trio.sleep(0.01)
        assert all(frame == first for peer in peers for frame in peer.frames)
        assert any(peer.frames for peer in peers)

    async def test_nothing_listens(self) -> None:
        """An address where nothing listens is told with the reason of the system."""
        with pytest.raises(ConnectError, match=r"no connection within 0.5 s: cannot connect: .*refused"):
            async with opened("ws://127.0.0.1:1/", connect_timeout_s=0.5):
                pass

    async def test_a_name_that_does_not_exist(self) -> None:
        """A name that cannot be found is no connection, however long it is looked for."""
        with pytest.raises(ConnectError, match=r"no-such-host.invalid/: no connection within 0.5 s"):
            async with opened("ws://no-such-host.invalid/", connect_timeout_s=0.5):
                pass

    async def test_in_the_background_it_is_tried_again(self, caplog: pytest.LogCaptureFixture) -> None:
        """Where the opening does not wait, a server that is no tracker yet is tried again, and told in the log."""
        kept: list[dict[str, Any]] = []

        async def not_yet(peer: Peer) -> None:
            await peer.receive()
            await peer.send("hello")
            await peer.websocket.wait_closed()

        with caplog.at_level(logging.WARNING, "wsproto_tracker.client"):
            async with scripted(not_yet, partial(keeping, kept=kept)) as url:
                async with opened(url, wait_for_server=False) as client:
                    track(client, 1)
        assert numbers(kept) == [1]
        assert "not JSON" in caplog.text

    async def test_a_server_that_is_busy_is_tried_again(self) -> None:
        """A handshake that is answered 503 may work later: it is tried while there is time to connect (CLOSE-5)."""
        async with answering(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n") as url:
            with pytest.raises(ConnectError, match="the server answered HTTP 503"):
                async with opened(url, connect_timeout_s=0.5):
                    pass


class TestAcks:
    async def test_a_batch_without_an_ack_is_sent_again(self) -> None:
        """What a broken connection left without an ack is sent again, with the same ids, before what is new."""
        kept: list[dict[str, Any]] = []

        async def break_off(peer: Peer) -> None:
            kept.extend((await peer.ingest())["events"])

        async with scripted(break_off, break_off, partial(keeping, kept=kept)) as url:
            async with opened(url, batch_size=2, max_batches_in_flight=1) as client:
                track(client, *range(6))
        assert numbers(kept) == [0, 1, 0, 1, 0, 1, 2, 3, 4, 5]
        assert kept[0]["id"] == kept[2]["id"] == kept[4]["id"]
        assert client.stats.reconnects == 2

    async def test_an_ack_makes_the_waits_begin_anew(self) -> None:
        """A server that closes after each ack is tried without long waits: each time something was delivered."""
        kept: list[dict[str, Any]] = []

        async def one(peer: Peer) -> None:
            frame = await peer.ingest()
            kept.extend(frame["events"])
            await peer.ack(frame)

        async with scripted(one) as url:
            async with opened(url, batch_size=1, max_batches_in_flight=1, backoff_max_s=100_000.0) as client:
                track(client, *range(25))  # the last wait would be as long as a day
                await client.flush()
        assert numbers(kept) == list(range(25))

    async def test_leaving_closes_the_connection_properly(self) -> None:
        """Whoever leaves when all is delivered closes with 1000."""
        peers: list[Peer] = []

        async def converse(peer: Peer) -> None:
            peers.append(peer)
            await keeping(peer)

        async with scripted(converse) as url:
            async with opened(url) as client:
                track(client, 1)
            (peer,) = peers
            await peer.websocket.wait_closed()
            assert peer.websocket.close_code == 1000

    async def test_duplicates_are_counted(self) -> None:
        """What the server had already counts as acked, and as a duplicate (X-DUP-2)."""

        async def converse(peer: Peer) -> None:
            await peer.ack(await peer.ingest(), duplicates=1)
            await keeping(peer)

        async with scripted(converse) as url, opened(url, batch_size=2) as client:
            track(client, 1, 2)
            await client.flush()
            assert (client.stats.acked, client.stats.duplicates) == (2, 1)

    async def test_late_acks_are_waited_for(self) -> None:
        """After ``unavailable`` the ack comes late: the connection is kept for longer than acks may take (X-LATE-1)."""

        async def converse(peer: Peer) -> None:
            frame = await peer.ingest()
            await peer.send({"type": "error", "code": "unavailable", "message": "later"})
            await trio.sleep(0.8)
            await peer.ack(frame)
            await keeping(peer)

        async with scripted(converse) as url, opened(url, ack_timeout_s=0.3) as client:
            track(client, 1)
            await client.flush()
            assert client.stats.reconnects == 0

    async def test_what_is_too_much_goes_later(self) -> None:
        """``rate_limited`` stands in place of an ack: the batch is kept, and goes when its time has come (LIMIT-6)."""
        times: list[float] = []

        async def converse(peer: Peer) -> None:
            await peer.ingest()
            times.append(trio.current_time())
            await peer.send({"type": "error", "code": "rate_limited", "message": "slower", "retryAfterMs": 200})
            frame = await peer.ingest()
            times.append(trio.current_time())
            await peer.ack(frame)
            await keeping(peer)

        async with scripted(converse) as url, opened(url) as client:
            track(client, 1)
            await client.flush()
            assert (client.stats.acked, client.stats.reconnects) == (1, 0)
        assert times[1] - times[0] >= 0.2

    async def test_another_connection_does_not_make_it_sooner(self) -> None:
        """What was too much goes no sooner because the connection was lost meanwhile (LIMIT-6)."""
        times: list[float] = []
        kept: list[dict[str, Any]] = []

        async def converse(peer: Peer) -> None:
            await peer.ingest()
            times.append(trio.current_time())
            await peer.send({"type": "error", "code": "rate_limited", "message": "slower", "retryAfterMs": 300})

        async def keep(peer: Peer) -> None:
            frame = await peer.ingest()
            times.append(trio.current_time())
            kept.extend(frame["events"])
            await peer.ack(frame)
            await keeping(peer, kept)

        async with scripted(converse, keep) as url, opened(url) as client:
            track(client, 1)
            await client.flush()
            assert client.stats.reconnects == 1
        assert numbers(kept) == [1]
        assert times[1] - times[0] >= 0.3

    async def test_forbidden_in_place_of_an_ack(self) -> None:
        """``forbidden`` will not change: it ends the delivery with an error that says so (X-SCOPE-2)."""

        async def converse(peer: Peer) -> None:
            await peer.ingest()
            await peer.send({"type": "error", "code": "forbidden", "message": "not for sending"})
            await trio.sleep_forever()

        async with scripted(converse) as url:
            with pytest.raises(UndeliveredError):
                async with opened(url) as client:
                    track(client, 1)
                    with pytest.raises(ForbiddenError, match="use one that is"):
                        await client.flush()

    @pytest.mark.parametrize("code", ["bad_json", "too_large"])
    async def test_a_refused_batch_is_taken_apart(self, code: str) -> None:
        """A batch that is refused for one event goes again in parts, until only that event is rejected (FRAME-10)."""
        kept: list[dict[str, Any]] = []
        rejected: list[Rejected] = []

        async def converse(peer: Peer) -> None:
            while True:
                frame = await peer.ingest()
                if DEEP in numbers(frame["events"]):
                    await peer.send({"type": "error", "code": code, "message": "nested too deep"})
                else:
                    kept.extend(frame["events"])
                    await peer.ack(frame)

        async with scripted(converse) as url:
            async with opened(url, on_rejected=rejected.append) as client:
                track(client, *range(20))
        assert sorted(numbers(kept)) == [number for number in range(20) if number != DEEP]
        assert [numbers([told.event]) for told in rejected if told.event] == [[DEEP]]
        assert "nested too deep" in rejected[0].reason

    @pytest.mark.parametrize("limit", [1_500, 4_000])
    async def test_what_is_too_large_for_the_server(self, limit: int) -> None:
        """A server with little room gets smaller batches; an event that is too large alone is rejected (CLOSE-3)."""
        kept: list[dict[str, Any]] = []
        rejected: list[Rejected] = []
        async with scripted(partial(keeping, kept=kept), max_size=limit) as url:
            async with opened(url, on_rejected=rejected.append) as client:
                track(client, *range(40))
                client.track("counted", {"n": 40, "large": "x" * limit})
                track(client, *range(41, 80))
        assert sorted(set(numbers(kept))) == [number for number in range(80) if number != 40]
        assert [numbers([told.event]) for told in rejected if told.event] == [[40]]
        assert (client.stats.rejected, client.stats.waiting) == (1, 0)

    @pytest.mark.parametrize(
        "answer",
        [
            {"type": "ack", "saved": 9},
            {"type": "ack", "saved": -1},
            {"type": "ack", "saved": 0, "rejected": [{"index": 5, "reason": ""}]},
            {"type": "error", "code": "internal", "message": "?"},
            {"type": "error", "message": "no code at all"},
        ],
    )
    async def test_answers_that_say_nothing_clear(self, answer: dict[str, Any]) -> None:
        """An answer that leaves open what became of a batch costs the connection, not the events."""
        kept: list[dict[str, Any]] = []

        async def converse(peer: Peer) -> None:
            await peer.ingest()
            await peer.send(answer)
            await trio.sleep_forever()

        async with scripted(converse, partial(keeping, kept=kept)) as url, opened(url) as client:
            track(client, 1)
            await client.flush()
        assert numbers(kept) == [1]

    async def test_frames_that_nobody_asked_for_are_no_trouble(self) -> None:
        """Pushes, pongs and frames of later versions may come at any time (PUSH-1, section 12)."""

        async def converse(peer: Peer) -> None:
            for frame in ({"type": "push", "events": []}, {"type": "pong"}, {"type": "later", "x": 1}):
                await peer.send(frame)
            await keeping(peer)

        async with scripted(converse) as url, opened(url, api_key="k") as client:
            track(client, 1)
            await client.flush()
            assert client.stats.reconnects == 0

    async def test_a_server_that_accepts_and_closes(self) -> None:
        """A server that closes each connection is tried again, with waits between."""
        connections = 0

        async def close(_peer: Peer) -> None:
            nonlocal connections
            connections += 1

        async with scripted(close) as url:
            async with open_client(
                url, app_id="shop", wait_for_server=False, backoff_min_s=0.05, backoff_max_s=5.0, close_timeout_s=0.0
            ) as client:
                while connections < 4:
                    await trio.sleep(0.01)
                assert client.stats.reconnects == 0, "none of them was a tracker's"


class TestAnswers:
    async def test_a_query_is_asked_again_when_told_to(self) -> None:
        """``unavailable`` and ``rate_limited`` mean: ask again later; so it does, while there is time (LIMIT-6)."""

        async def converse(peer: Peer) -> None:
            for code in ("unavailable", "rate_limited", None):
                while (frame := await peer.receive())["type"] != "events:query":
                    await peer.ack(frame)
                req_id = frame["reqId"]
                if code:
                    error = {"type": "error", "code": code, "message": "later", "retryAfterMs": 10, "reqId": req_id}
                    await peer.send(error)
            await peer.send({"type": "events:response", "reqId": "other", "response": {"events": [], "total": 9}})
            await peer.send({"type": "events:response", "reqId": req_id, "response": {"events": [], "total": 4}})
            await trio.sleep_forever()

        async with scripted(keeping, converse) as url, opened(url) as client:
            assert (await client.page(limit=0)).total == 4

    async def test_a_connection_that_does_not_answer_is_not_asked_again(self) -> None:
        """After a query without an answer the next one goes over another connection."""

        async def silent(_peer: Peer) -> None:
            await trio.sleep_forever()

        async def answer(peer: Peer) -> None:
            while True:
                frame = await peer.receive()
                response = {"events": [], "total": 0}
                await peer.send({"type": "events:response", "reqId": frame["reqId"], "response": response})

        async with scripted(keeping, silent, answer) as url, opened(url, query_timeout_s=0.5) as client:
            with pytest.raises(QueryError, match="no answer came"):
                await client.page(limit=0)
            for _ in range(5):
                try:
                    assert (await client.page(limit=0)).total == 0
                    break
                except QueryError:
                    continue  # this machine is slow
            else:
                pytest.fail("it is asked again and again")

    async def test_a_wrong_answer_is_told(self) -> None:
        """An answer that is none ends the query with an error that says what is wrong with it (RESP-1)."""

        async def converse(peer: Peer) -> None:
            frame = await peer.receive()
            await peer.send({"type": "events:response", "reqId": frame["reqId"], "response": {"events": {}}})
            await trio.sleep_forever()

        async with scripted(keeping, converse) as url, opened(url) as client:
            with pytest.raises(NotATrackerError, match="events:response that is none"):
                await client.page(limit=1)

    async def test_a_server_without_subscriptions(self) -> None:
        """A server that knows no ``subscribe`` says so, or nothing; both are told."""

        async def unknown(peer: Peer) -> None:
            await peer.receive()
            await peer.send({"type": "error", "code": "unknown_type", "message": "what?"})
            await trio.sleep_forever()

        async with scripted(keeping, unknown) as url, opened(url) as client:
            with pytest.raises(QueryError, match="unknown_type"):
                async with client.subscribe():
                    pass
        async with scripted(keeping, keeping) as url, opened(url, connect_timeout_s=0.2) as client:
            with pytest.raises(ConnectError, match="perhaps it has no subscriptions"):
                async with client.subscribe():
                    pass

    async def test_dropped_pushes_of_the_server_are_counted(self) -> None:
        """What the server says it dropped is counted with what is dropped here (X-SUB-2)."""

        async def converse(peer: Peer) -> None:
            await peer.receive()
            await peer.send({"type": "subscribed"})
            await peer.send({"type": "push", "events": [{"id": "a"}], "dropped": 3})
            await trio.sleep_forever()

        async with scripted(keeping, converse) as url, opened(url) as client, client.subscribe() as subscription:
            assert await anext(subscription) == {"id": "a"}
            assert subscription.dropped == 3


class TestConfiguration:
    @pytest.mark.parametrize(
        "options",
        [
            {"url": "http://127.0.0.1/"},
            {"url": "ws://"},
            {"url": "ws://127.0.0.1:99999/"},
            {"url": "ws://127.0.0.1/#x"},
            {"url": 5},
            {"app_id": ""},
            {"app_id": None},
            {"api_key": ""},
            {"session_id": ""},
            {"batch_size": 0},
            {"batch_size": 1001},
            {"batch_size": True},
            {"batch_size": 2.0},
            {"flush_interval_s": float("nan")},
            {"flush_interval_s": -1},
            {"connect_timeout_s": 0},
            {"ack_timeout_s": float("inf")},
            {"close_timeout_s": "1"},
            {"max_buffer_events": 0},
            {"max_frame_bytes": 10},
            {"backoff_min_s": 60.0},
            {"spool": "spool.db"},
            {"ssl_context": True},
            {"on_rejected": 5},
            {"wait_for_server": 1},
        ],
        ids=str,
    )
    async def test_what_is_not_allowed_is_told_by_its_name(self, options: dict[str, Any]) -> None:
        """A wrong option is refused before anything is connected; the message names it and what is allowed."""
        right: dict[str, Any] = {"url": "ws://127.0.0.1:1/", "app_id": "shop"}
        (name,) = options
        with pytest.raises(ConfigurationError, match=f"^{name}: expected"):
            async with open_client(**(right | options)):
                pass

    async def test_tls_options_without_tls(self) -> None:
        """An ``ssl_context`` for ws:// is refused: it would not be used."""
        with pytest.raises(ConfigurationError, match="ssl_context: there is no TLS with ws://"):
            async with opened("ws://127.0.0.1:1/", ssl_context=ssl.create_default_context()):
                pass

    async def test_an_option_that_does_not_exist(self) -> None:
        """An option that does not exist is told, with those that do."""
        with pytest.raises(ConfigurationError, match=r"batchsize: there is no such option; there are .*batch_size"):
            async with opened("ws://127.0.0.1:1/", batchsize=5):
                pass

    @pytest.mark.parametrize(
        "call",
        [
            lambda client: client.flush(timeout_s=float("nan")),
            lambda client: client.flush(timeout_s=-1),
            lambda client: client.page(limit=-1),
            lambda client: client.page(limit=1, page=0),
            lambda client: client.page(limit=1, since="now"),
            lambda client: client.subscribe(max_waiting_events=0).__aenter__(),
        ],
    )
    async def test_wrong_arguments_of_calls(self, call: Callable[[Any], Any]) -> None:
        """A wrong argument of a call is refused by its name, and the client goes on."""
        async with scripted(keeping) as url, opened(url) as client:
            with pytest.raises(ConfigurationError, match=r"^\w+: expected"):
                await call(client)
            track(client, 1)

    async def test_addresses_in_messages_hold_no_secrets(self) -> None:
        """A key or password in the URL is in no message."""
        for url in ("ws://ann:hush@127.0.0.1:1/ws?key=hush", "ws://ann:hush@127.0.0.1:1/ws#hush"):
            with pytest.raises(TrackerError) as caught:
                async with opened(url, connect_timeout_s=0.05):
                    pass
            assert "hush" not in str(caught.value)

    async def test_a_delivery_that_fails_says_why(self) -> None:
        """The error of a flush says what the trouble is."""

        async def close(peer: Peer) -> None:
            await peer.ingest()
            await peer.websocket.aclose(1011)

        async with scripted(close) as url:
            with pytest.raises(UndeliveredError):
                async with opened(url, close_timeout_s=0.0) as client:
                    track(client, 1)
                    with pytest.raises(DeliveryError, match="closed the connection with 1011"):
                        while client.stats.reconnects < 1:
                            await trio.sleep(0.01)
                        await client.flush(timeout_s=0.1)
