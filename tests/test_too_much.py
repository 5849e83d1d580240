"""What a client sees of the limits (SPEC.md section 11)."""

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.command import run
from tests.raw_websocket import raw_websocket
from tests.support import event, ingest, query, running
from wsproto_tracker import Settings
from wsproto_tracker.cli.limits import report
from wsproto_tracker.protocol.decoding import read_body
from wsproto_tracker.protocol.events import MAX_LISTED_REJECTIONS, Rules
from wsproto_tracker.protocol.ids import new_id
from wsproto_tracker.server.memory import bounds
from wsproto_tracker.settings import flag, options

EVENTS = st.lists(
    st.sampled_from([event(), event(level="loud"), event(payload={"text": "x" * 600}), 0, {}]), max_size=30
)


def listed(*indices: int, reason: str) -> list[dict[str, Any]]:
    return [{"index": index, "reason": f"events[{index}]: {reason}"} for index in indices]


class TestEvents:
    async def test_too_many_in_a_frame(self) -> None:
        """What is beyond the number that a frame may have is rejected by index, and the others are saved (LIMIT-5)."""
        async with running(max_events_per_frame=2) as server, server.client() as client:
            ack = await client.ask(ingest(*[event()] * 4))
            reason = "beyond the 2 events that a frame may have"
            assert ack == {"type": "ack", "saved": 2, "rejected": listed(2, 3, reason=reason)}
            response = await server.http("POST", "/events", json.dumps({"events": [event()] * 3}).encode())
            assert response.json() == {"type": "ack", "saved": 2, "rejected": listed(2, reason=reason)}
            assert len(await client.events()) == 4

    async def test_too_large(self) -> None:
        """An event that is too large is rejected by its index, and its neighbours are saved (LIMIT-5)."""
        async with running(max_event_bytes=1024) as server, server.client() as client:
            ack = await client.ask(ingest(event(), event(payload={"text": "x" * 1024}), event()))
            reason = "larger than the 1024 bytes that an event may have"
            assert ack == {"type": "ack", "saved": 2, "rejected": listed(1, reason=reason)}

    @given(events=EVENTS, max_events=st.integers(1, 40), max_bytes=st.sampled_from([100, 500, 10_000]))
    def test_others_are_judged_as_ever(self, events: list[Any], max_events: int, max_bytes: int) -> None:
        """With limits, the same events are taken as without, but for those that are beyond them (LIMIT-5)."""
        body = json.dumps({"events": events}).encode()
        free, bound = read_body(body, new_id), read_body(body, new_id, Rules(max_events, max_bytes))
        beyond = {
            index for index, item in enumerate(events) if index >= max_events or len(json.dumps(item)) > max_bytes
        }
        rejected = {rejection.index for rejection in free.rejected}
        assert {rejection.index for rejection in bound.rejected} == rejected | beyond
        assert len(bound.events) == len(events) - len(rejected | beyond)

    @pytest.mark.parametrize("item", ["0", "{}", "[]", '""'])
    def test_tightly_packed(self, item: str) -> None:
        """Where far too many are packed tightly, as many are told of as may be, and no more are looked at (LIMIT-5)."""
        body = b'{"events":[%b]}' % b",".join([item.encode()] * 50_000)
        batch = read_body(body, new_id, Rules(max_events=100))
        assert [rejection.index for rejection in batch.rejected] == list(range(MAX_LISTED_REJECTIONS))

    def test_tightly_packed_within_an_event(self) -> None:
        """An event that has many numbers is none too many (LIMIT-5)."""
        body = json.dumps({"events": [event(payload={"data": [0] * 50_000})] * 3}, separators=(",", ":"))
        batch = read_body(body.encode(), new_id, Rules(max_events=100))
        assert (len(batch.events), batch.rejected) == (3, ())


class TestRates:
    async def test_websocket(self) -> None:
        """What comes too fast is told in its turn, with a time to come back, and the connection goes on (LIMIT-6)."""
        async with running(max_event_rate=1.0, max_rate_delay_s=0.1) as server, server.client() as client:
            await client.send(ingest(*[event()] * 500), ingest(event()), query("q"), {"type": "ping"})
            assert await client.receive() == {"type": "ack", "saved": 500}
            refused = await client.receive()
            assert (refused["code"], isinstance(refused["retryAfterMs"], int)) == ("rate_limited", True)
            assert 400_000 < refused["retryAfterMs"] < 500_000
            assert (await client.receive())["response"]["total"] == 500
            assert await client.receive() == {"type": "pong"}

    async def test_http(self) -> None:
        """Over HTTP it is 429, and Retry-After says when (LIMIT-6)."""
        body = json.dumps({"events": [event()] * 100}).encode()
        async with running(max_event_rate_per_address=1.0, max_rate_delay_s=0.1) as server:
            assert (await server.http("POST", "/events", body)).status == 200
            refused = await server.http("POST", "/events", body)
            assert (refused.status, refused.json()["code"]) == (429, "rate_limited")
            assert 60 < int(refused.headers["retry-after"]) <= 100
            assert (await server.http("GET", "")).json()["total"] == 100

    async def test_rejected_events_count(self) -> None:
        """Events that are rejected are as much work as others, and count (LIMIT-6)."""
        async with running(max_event_rate=1.0, max_rate_delay_s=0.1) as server, server.client() as client:
            assert (await client.ask(ingest(*[{}] * 500)))["saved"] == 0
            assert (await client.ask(ingest(event())))["code"] == "rate_limited"

    async def test_req_id(self) -> None:
        """A frame with a reqId that is too much gets it back (ERR-3)."""
        options = {"max_event_rate": 1.0, "max_rate_delay_s": 0.1, "max_subscriptions": 1}
        async with running(**options) as server, server.client() as first, server.client() as second:
            await first.ask(ingest(*[event()] * 500))
            refused = await first.ask({"type": "ingest", "events": [event()], "reqId": "mine"})
            assert (refused["code"], refused["reqId"]) == ("rate_limited", "mine")
            await first.ask({"type": "subscribe"})
            refused = await second.ask({"type": "subscribe", "reqId": "mine"})
            assert (refused["code"], refused["reqId"]) == ("rate_limited", "mine")

    async def test_slowed(self) -> None:
        """Within the delay that is allowed everything is saved, only later (LIMIT-7)."""
        async with running(max_event_rate=1_000.0, max_rate_delay_s=30.0) as slow, slow.client() as client:
            await client.send(*[ingest(*[event()] * 5_000)] * 2, *[ingest(*[event()] * 200)] * 3)
            acks = [(await client.receive())["saved"] for _ in range(5)]
            assert acks == [5_000, 5_000, 200, 200, 200]


class TestQueries:
    async def test_too_many(self) -> None:
        """A query that gets no place in time is told so, with its reqId (LIMIT-6, ERR-3)."""
        async with running(max_queries=1, max_query_delay_s=0.1) as server, server.client() as client:
            for _ in range(30):
                await client.ask(ingest(*[event()] * 1_000))
            async with raw_websocket(server) as peer:  # which does not read its answer
                await peer.send_frame(1, query("large").encode())
                while (await client.ask(query("small", limit=1)))["type"] != "error":
                    pass
                refused = await client.ask(query("mine"))
            assert (refused["type"], refused["code"], refused["reqId"]) == ("error", "rate_limited", "mine")
            assert refused["retryAfterMs"] > 0

    async def test_too_many_subscriptions(self) -> None:
        """Beyond the number of connections that are pushed to, subscribe is refused until one goes (LIMIT-6)."""
        async with running(max_subscriptions=1) as server, server.client() as second:
            async with server.client() as first:
                assert await first.ask({"type": "subscribe"}) == {"type": "subscribed"}
                refused = await second.ask({"type": "subscribe"})
                assert (refused["code"], refused["retryAfterMs"]) == ("rate_limited", 5000)
            while (await second.ask({"type": "subscribe"}))["type"] == "error":
                pass
            assert (await second.ask(ingest(event())))["type"] in ("ack", "push")


class TestReport:
    async def test_command(self) -> None:
        """limits prints every limit as it is set, and the memory that they allow (LIMIT-4)."""
        ended = await run("limits", "--max-connections", "7", variables={"TRACKER_MAX_QUERIES": "3"})
        assert ended.is_clean
        for option in options():
            if option.name.startswith("max_"):
                assert flag(option.name) in ended.output
        assert re.search(r"--max-connections +7 ", ended.output)
        assert re.search(r"--max-queries +3 ", ended.output)
        assert "MiB  in all" in ended.output

    async def test_wrong_option(self) -> None:
        """A wrong option is refused as serve refuses it."""
        ended = await run("limits", "--max-connections", "none")
        assert (ended.status, ended.output) == (2, "")
        assert ended.errors == "wsproto-tracker: --max-connections: expected a whole number from 1\n"

    @pytest.mark.parametrize(
        "name",
        [
            *("max_connections", "max_head_bytes", "max_receiving_bytes", "max_frame_bytes", "max_uncommitted_bytes"),
            *("max_queries", "max_subscriptions", "max_push_bytes"),
        ],
    )
    def test_each_counts(self, name: str) -> None:
        """Every limit on memory is in the sum: with more allowed, it is more."""
        more = Settings(**{name: getattr(Settings(), name) * 4})
        assert sum(bound.max_bytes for bound in bounds(more)) > sum(bound.max_bytes for bound in bounds(Settings()))
        assert report(more) != report(Settings())
