"""Hooks: a program that says what keys allow, and that sees, changes and drops events before they are stored."""

import json
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from tests.support import Running, event, ingest, query
from wsproto_tracker import Caller, ConfigurationError, Grant, Hooks, Scope, Settings, Tracker, open_tracker
from wsproto_tracker.protocol.events import Cause

Event = dict[str, Any]


@asynccontextmanager
async def hooked(hooks: Hooks, **options: Any) -> AsyncGenerator[Running, None]:
    defaults: dict[str, Any] = {"port": 0, "store": "memory:"}
    settings = Settings(**(defaults | options))
    async with open_tracker(settings, hooks=hooks) as tracker:
        yield Running(tracker, settings)


async def scraped(server: Running) -> bytes:
    return (await server.http("GET", "//metrics")).body


async def stored(tracker: Tracker) -> list[Event]:
    async with tracker.query() as answer:
        return [found async for found in answer]


class TestOnEvent:
    async def test_it_sees(self) -> None:
        """It sees valid events with their ids, and who sent them, by every way in."""
        seen: list[tuple[str, Caller]] = []

        async def on_event(found: Event, caller: Caller) -> Event:
            assert found["id"]
            seen.append((found["type"], caller))
            return found

        async with hooked(Hooks(on_event=on_event)) as server:
            async with server.client(origin="http://localhost:5173") as client:
                await client.ask(ingest(event(type="a"), event(meta=...), event(type="b")))
            body = json.dumps({"events": [event(type="c")]}).encode()
            await server.http("POST", "/events", body)
            await server.server.append([event(type="d")])
        page = Caller(address="127.0.0.1", origin="http://localhost:5173", name="anybody")
        other = Caller(address="127.0.0.1", name="anybody")
        assert seen == [("a", page), ("b", page), ("c", other), ("d", Caller(address="", name="program"))]

    async def test_unchanged(self) -> None:
        """What it returns as it was keeps its bytes (X-BYTES-1)."""

        async def on_event(found: Event, _caller: Caller) -> Event:
            return dict(reversed(found.items())) if found["type"] == "turned" else found

        spelled = json.dumps(event(id="x", payload={"n": 1}), indent=1).replace('"n": 1', '"n": 1.50e0')
        async with hooked(Hooks(on_event=on_event)) as server:
            await server.server.append([spelled])
            assert spelled.encode() in (await server.http("GET", "", headers={"Accept-Encoding": "identity"})).body

    async def test_changed(self) -> None:
        """What it changes is stored as it returns it, but for the id; a generated id stays one (X-DUP-1)."""

        async def on_event(found: Event, caller: Caller) -> Event:
            return {**found, "context": {"from": caller.address}, "id": "mine", "timestamp": "2026-01-01T00:00:00Z"}

        async with hooked(Hooks(on_event=on_event)) as server:
            async with server.client() as client:
                assert await client.ask(ingest(event(), event(), event(id="x"), event(id="x"))) == {
                    "type": "ack",
                    "saved": 4,
                    "duplicates": 1,
                }
                found = await client.events(until="2026-01-01T00:00:00Z")
            assert [one["context"] for one in found] == [{"from": "127.0.0.1"}] * 3
            ids = [one["id"] for one in found]
            assert len(set(ids)) == 3
            assert "mine" not in ids

    async def test_dropped(self) -> None:
        """What it drops is not stored, and its sender is told which (X-REJECT-1)."""

        async def on_event(found: Event, _caller: Caller) -> Event | None:
            return None if found["type"] == "noise" else found

        async with hooked(Hooks(on_event=on_event)) as server, server.client() as client:
            ack = await client.ask(ingest(event(meta=...), event(), event(type="noise"), event(), event(level="loud")))
            assert (ack["saved"], [found["index"] for found in ack["rejected"]]) == (2, [0, 2, 4])
            assert ack["rejected"][1]["reason"] == "events[2]: this server does not take it"
            assert "noise" not in {found["type"] for found in await client.events()}
            assert (
                b'tracker_events_rejected_total{reason="dropped"} 1.0' in (await server.http("GET", "//metrics")).body
            )

    async def test_many_rejections(self) -> None:
        """Places are right as far as rejections are listed, whoever rejects (X-REJECT-2)."""

        async def on_event(_event: Event, _caller: Caller) -> None:
            return None

        async with hooked(Hooks(on_event=on_event)) as server:
            bad = event(meta=...)
            saved = await server.server.append([event(), *[bad] * 998, event(), *[bad] * 10, event(), event()])
            assert (saved.saved, saved.rejections) == (0, 1_012)
            assert [found.index for found in saved.rejected] == list(range(1_000))
            assert (saved.rejected[998].cause, saved.rejected[999].cause) == (Cause.META, Cause.DROPPED)

    @pytest.mark.parametrize("fault", ["raises", "no event", "no mapping", "no JSON", "too slow", "too large"])
    async def test_it_fails(self, fault: str, caplog: pytest.LogCaptureFixture) -> None:
        """Where it fails, that event is not stored, and told of, counted and logged; the others are stored."""

        async def on_event(found: Event, _caller: Caller) -> Any:
            if found["type"] != "bad":
                return found
            match fault:
                case "raises":
                    raise LookupError("no such user")
                case "no event":
                    return {**found, "level": "loud"}
                case "no mapping":
                    return [found]
                case "no JSON":
                    return {**found, "payload": {"at": object()}}
                case "too slow":
                    await trio.sleep(30)
                case _:
                    return {**found, "payload": {"text": "x" * 5_000}}
            return found

        caplog.set_level(logging.ERROR, "wsproto_tracker.hooks")
        hooks = Hooks(on_event=on_event, timeout_s=0.05 if fault == "too slow" else 5.0)
        async with hooked(hooks, max_event_bytes=4_096) as server, server.client() as client:
            ack = await client.ask(ingest(event(), event(type="bad"), event()))
            assert (ack["saved"], ack["rejected"]) == (
                2,
                [{"index": 1, "reason": "events[1]: this server failed on it"}],
            )
            assert {found["type"] for found in await client.events()} == {"click"}
            assert b'tracker_events_rejected_total{reason="failed"} 1.0' in await scraped(server)
        assert [record.message for record in caplog.records] == ["the hook on_event failed"]
        assert caplog.records[0].exc_info

    async def test_order(self) -> None:
        """However long it takes over one, acks stay in their order, and others are served (ACK-2, CONN-7)."""
        waiting, go_on = trio.Event(), trio.Event()

        async def on_event(found: Event, _caller: Caller) -> Event:
            if found["type"] == "slow":
                waiting.set()
                await go_on.wait()
            return found

        async with hooked(Hooks(on_event=on_event)) as server, server.client() as one, server.client() as other:
            await one.send(ingest(event(type="slow")), ingest(event(), event()), query("r"))
            await waiting.wait()
            assert await other.ask(ingest(event())) == {"type": "ack", "saved": 1}
            go_on.set()
            assert [await one.receive() for _ in range(2)] == [{"type": "ack", "saved": n} for n in (1, 2)]
            assert (await one.receive())["response"]["total"] == 4

    async def test_a_large_batch(self) -> None:
        """Between the events of a batch others have their turn, though the hook waits for nothing (CONN-7)."""
        turns = 0

        async def on_event(found: Event, _caller: Caller) -> Event:
            return found

        async def others() -> None:
            nonlocal turns
            while True:
                await trio.lowlevel.checkpoint()
                turns += 1

        async with hooked(Hooks(on_event=on_event)) as server, trio.open_nursery() as nursery:
            nursery.start_soon(others)
            await server.server.append([event()] * 500)
            nursery.cancel_scope.cancel()
        assert turns > 500

    @pytest.mark.parametrize("hook", [3, "on_event"])
    def test_a_hook_that_is_none(self, hook: Any) -> None:
        with pytest.raises(ConfigurationError, match=r"on_event: expected an async function, not (int|str)"):
            Hooks(on_event=hook)

    @pytest.mark.parametrize("timeout_s", [0, -1, float("nan"), "5"])
    def test_a_time_that_is_none(self, timeout_s: Any) -> None:
        with pytest.raises(ConfigurationError, match="timeout_s: expected seconds above 0"):
            Hooks(timeout_s=timeout_s)


class TestAuthorise:
    @staticmethod
    async def authorise(key: str | None, _caller: Caller) -> Grant | None:
        """Keys as a program may know them: by a table, after a look elsewhere."""
        await trio.lowlevel.checkpoint()
        match key:
            case "page":
                return Grant(name="page", scopes=frozenset({Scope.INGEST}), apps=frozenset({"shop"}))
            case "office":
                return Grant(name="office", scopes=frozenset({Scope.QUERY}), origins=("https://office.example",))
            case "broken":
                raise ConnectionError("the database is away")
            case "odd":
                return "yes"  # type: ignore[return-value]
            case _:
                return None

    async def test_grants(self) -> None:
        """What it grants is what counts (AUTH-1, X-SCOPE-1, X-SCOPE-4), and frames that follow wait for it (AUTH-4)."""
        async with hooked(Hooks(authorise=self.authorise)) as server:
            async with server.client() as client:
                await client.send({"type": "auth", "key": "page"}, ingest(event(appId="shop"), event()), query("q"))
                assert await client.receive() == {"type": "auth_ok"}
                ack = await client.receive()
                assert (ack["saved"], ack["rejected"][0]["index"]) == (1, 1)
                refused = await client.receive()
                assert (refused["code"], refused["reqId"]) == ("forbidden", "q")
            async with server.client(key="office") as client:
                assert len(await client.events()) == 1

    @pytest.mark.parametrize("key", ["", "wrong"])
    async def test_wrong_keys(self, key: str) -> None:
        """A key that it does not know is a wrong one (AUTH-3)."""
        async with hooked(Hooks(authorise=self.authorise)) as server, server.client() as client:
            told = await client.ask({"type": "auth", "key": key})
            assert (told["code"], told["message"]) == ("unauthorized", "Unauthorized")
            await client.websocket.wait_closed()
            assert client.websocket.close_code == 1008

    async def test_no_key(self) -> None:
        """Who shows no key is let do nothing (AUTH-5)."""
        async with hooked(Hooks(authorise=self.authorise)) as server, server.client() as client:
            assert (await client.ask(ingest(event())))["code"] == "unauthorized"
            await client.websocket.wait_closed()
            assert client.websocket.close_code == 1008
            assert await stored(server.server) == []

    async def test_origins_of_a_grant(self) -> None:
        """A key that is right elsewhere only opens nothing here (X-SCOPE-6)."""
        async with hooked(Hooks(authorise=self.authorise)) as server:
            async with server.client(origin="https://other.example") as client:
                assert (await client.ask({"type": "auth", "key": "office"}))["code"] == "forbidden"
            async with server.client(origin="https://office.example") as client:
                assert await client.ask({"type": "auth", "key": "office"}) == {"type": "auth_ok"}

    async def test_http(self) -> None:
        """HTTP requests are asked about as well, those without a key too (HTTP-6, HTTP-7)."""
        body = json.dumps({"events": [event(appId="shop")]}).encode()
        async with hooked(Hooks(authorise=self.authorise)) as server:
            for key, status in (("page", 200), ("office", 403), ("wrong", 401), ("broken", 500), (None, 401)):
                headers = {} if key is None else {"X-Tracker-Key": key}
                assert (await server.http("POST", "/events", body, headers)).status == status
            assert len(await stored(server.server)) == 1

    @pytest.mark.parametrize("key", ["broken", "odd"])
    async def test_it_fails(self, key: str, caplog: pytest.LogCaptureFixture) -> None:
        """Where it fails, the client is told so, and closed with 1011, so that the plugin comes again (CLOSE-1)."""
        caplog.set_level(logging.ERROR, "wsproto_tracker.hooks")
        async with hooked(Hooks(authorise=self.authorise)) as server, server.client() as client:
            told = await client.ask({"type": "auth", "key": key})
            assert (told["code"], told["retryAfterMs"]) == ("internal", 5_000)
            await client.websocket.wait_closed()
            assert client.websocket.close_code == 1011
        assert [record.message for record in caplog.records] == ["the hook authorise failed"]

    async def test_it_takes_too_long(self) -> None:
        async def authorise(_key: str | None, _caller: Caller) -> Grant | None:
            await trio.sleep_forever()

        async with hooked(Hooks(authorise=authorise, timeout_s=0.05)) as server, server.client() as client:
            assert (await client.ask({"type": "auth", "key": "x"}))["code"] == "internal"

    async def test_guesses_are_counted(self) -> None:
        """Who tries too many wrong keys is told to wait, and it is not asked any more (LIMIT-6)."""
        asked: list[str | None] = []

        async def authorise(key: str | None, _caller: Caller) -> Grant | None:
            asked.append(key)
            return None

        async with hooked(Hooks(authorise=authorise), max_auth_failures=2) as server:
            statuses = [(await server.http("GET", "", headers={"X-Tracker-Key": str(n)})).status for n in range(5)]
        assert statuses == [401, 401, 429, 429, 429]
        assert asked == ["0", "1"]
