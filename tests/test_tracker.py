"""The tracker in a program: it is opened, fed, asked, listened to, and closed, whatever goes on."""

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta, timezone
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.store_support import Disk
from tests.support import Running, event, ingest
from tests.test_store_cancellation import AtStep
from wsproto_tracker import (
    Address,
    ConfigurationError,
    EventError,
    FrameError,
    Grant,
    Hooks,
    HttpRequest,
    Saved,
    Scope,
    ServeError,
    Settings,
    StoreError,
    Tracker,
    UnavailableError,
    open_tracker,
    serve,
)

EVIL = {"Origin": "https://evil.example"}


@asynccontextmanager
async def opened(**options: Any) -> AsyncGenerator[Tracker, None]:
    defaults: dict[str, Any] = {"port": 0, "store": "memory:"}
    async with open_tracker(Settings(**(defaults | options)), listen=False) as tracker:
        yield tracker


@pytest.fixture
async def tracker() -> AsyncGenerator[Tracker, None]:
    async with opened() as tracker:
        yield tracker


async def events_of(tracker: Tracker, **members: Any) -> list[dict[str, Any]]:
    async with tracker.query(**members) as answer:
        return [found async for found in answer]


class TestOpening:
    async def test_it_listens(self) -> None:
        """It tells where it listens, and what comes there is what the program sees."""
        settings = Settings(port=0, store="memory:")
        async with open_tracker(settings) as tracker:
            (address,) = tracker.addresses
            assert isinstance(address, Address)
            assert address.port
            async with Running(tracker, settings).client() as client:
                assert await client.ask(ingest(event(type="click"))) == {"type": "ack", "saved": 1}
                assert [found["type"] for found in await events_of(tracker)] == ["click"]
                await tracker.append([event(type="navigation")])
                assert {found["type"] for found in await client.events()} == {"click", "navigation"}
        with pytest.raises(OSError, match="all attempts to connect"):
            await trio.open_tcp_stream(address.host, address.port)

    async def test_serve_gives_a_tracker(self) -> None:
        """``serve`` as a task gives the same object, and returns when it is stopped."""
        async with trio.open_nursery() as nursery:
            tracker: Tracker = await nursery.start(serve, Settings(port=0, store="memory:"))
            assert (await tracker.append([event()])).saved == 1
            assert tracker.addresses[0].port
            tracker.stop()

    async def test_without_listening(self, tracker: Tracker) -> None:
        assert tracker.addresses == ()
        assert not tracker.reload()

    async def test_metrics_address(self) -> None:
        async with open_tracker(Settings(port=0, store="memory:", metrics_address=("127.0.0.1", 0))) as tracker:
            assert tracker.metrics_addresses[0].port

    async def test_an_exception_comes_out_as_it_is(self) -> None:
        """An exception out of the body is not wrapped in a group."""
        with pytest.raises(LookupError, match="mine"):
            async with open_tracker(Settings(port=0, store="memory:")) as tracker:
                await tracker.append([event()])
                raise LookupError("mine")

    async def test_an_exception_during_a_cancellation(self) -> None:
        """An exception comes out as it is, though the program is being cancelled."""
        with trio.CancelScope() as scope:
            with pytest.raises(LookupError, match="mine"):
                async with open_tracker(Settings(port=0, store="memory:")):
                    scope.cancel()
                    raise LookupError("mine")

    async def test_leaving_the_program(self) -> None:
        """``sys.exit`` in the body is no error in a group."""
        with pytest.raises(SystemExit, match="3"):
            async with open_tracker(Settings(port=0, store="memory:")):
                raise SystemExit(3)

    async def test_cancelled(self) -> None:
        """Cancelled, it ends at once, though a client is connected."""
        settings = Settings(port=0, store="memory:")
        with trio.CancelScope() as scope:
            async with open_tracker(settings) as tracker, Running(tracker, settings).client() as client:
                await client.ask(ingest(event()))
                scope.cancel()
                await trio.sleep_forever()
        assert scope.cancelled_caught

    async def test_a_store_that_fails(self, tmp_path: Path) -> None:
        """Where the store cannot go on, the body is cancelled, and the reason comes out."""
        path = tmp_path / "tracker.db"
        with pytest.raises(RuntimeError, match="broken"):
            async with open_tracker(Settings(store=f"sqlite:{path}"), listen=False) as tracker:

                def fails(*_: object) -> None:
                    raise RuntimeError("broken")

                tracker._core.store._timeline.commit = fails  # type: ignore[attr-defined]
                with pytest.raises(UnavailableError):
                    await tracker.append([event()])
                await trio.sleep_forever()

    async def test_port_in_use(self) -> None:
        async with open_tracker(Settings(port=0, store="memory:")) as tracker:
            with pytest.raises(ServeError, match=r"--port: .* is in use"):
                async with open_tracker(Settings(port=tracker.addresses[0].port, store="memory:")):
                    pass

    async def test_a_store_that_is_none(self, tmp_path: Path) -> None:
        (tmp_path / "notes.txt").write_text("no database, but text of some length, so that it is not taken for new\n")
        with pytest.raises(StoreError, match=r"notes\.txt"):
            async with open_tracker(Settings(store=f"sqlite:{tmp_path / 'notes.txt'}"), listen=False):
                pass

    async def test_keys_and_a_hook(self) -> None:
        """Keys in the settings and a program that says what keys allow are one too many."""

        async def authorise(_key: str | None, _caller: object) -> Grant | None:
            return None

        with pytest.raises(ConfigurationError, match="authorise: the settings have keys as well"):
            async with open_tracker(Settings(api_key="s3cret"), hooks=Hooks(authorise=authorise), listen=False):
                pass

    async def test_two_in_one_program(self) -> None:
        """Two trackers do not know of each other."""
        async with opened() as one, opened() as other:
            await one.append([event()])
            assert len(await events_of(one)) == 1
            assert await events_of(other) == []


class TestClosing:
    async def test_stop(self) -> None:
        """Stopped, it finishes what is in hand; the body goes on until it ends."""
        settings = Settings(port=0, store="memory:", drain_timeout_s=5.0)
        async with open_tracker(settings) as tracker, Running(tracker, settings).client() as client:
            await client.send(ingest(event()))
            tracker.stop()
            assert await client.receive() == {"type": "ack", "saved": 1}
            await client.websocket.wait_closed()
            assert client.websocket.close_code == 1001

    async def test_calls_after_it(self) -> None:
        """Once it is closed, each call says so."""
        async with opened() as tracker:
            pass
        with pytest.raises(trio.ClosedResourceError, match="the tracker is closed"):
            await tracker.append([event()])
        with pytest.raises(trio.ClosedResourceError, match="the tracker is closed"):
            await tracker.page()
        with pytest.raises(trio.ClosedResourceError, match="the tracker is closed"):
            async with tracker.subscribe():
                pass
        with pytest.raises(trio.ClosedResourceError, match="the tracker is closed"):
            async with tracker.http(HttpRequest(method="GET", target="/health")):
                pass

    @pytest.mark.usefixtures("autojump_clock")
    async def test_a_call_that_goes_on(self) -> None:
        """A call of another task that does not end in time is ended, and its task is told why."""
        told: list[str] = []

        async def keeps_asking(tracker: Tracker, *, task_status: trio.TaskStatus[None]) -> None:
            try:
                async with tracker.query() as answer:
                    assert answer.total == 1
                    task_status.started()
                    await trio.sleep_forever()
            except trio.ClosedResourceError as error:
                told.append(str(error))

        async with trio.open_nursery() as nursery:
            async with opened(drain_timeout_s=1.0) as tracker:
                await tracker.append([event()])
                await nursery.start(keeps_asking, tracker)
        assert told == ["the tracker was closed meanwhile"]

    async def test_subscribers_elsewhere(self) -> None:
        """Cancelled, it ends the subscriptions of other tasks as well."""
        ended = []

        async def consume(tracker: Tracker, *, task_status: trio.TaskStatus[None]) -> None:
            async with tracker.subscribe() as events:
                task_status.started()
                ended.append([found async for found in events])

        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                with trio.CancelScope() as scope:
                    async with opened() as tracker:
                        await nursery.start(consume, tracker)
                        scope.cancel()
                        await trio.sleep_forever()
        assert ended == [[]]

    async def test_append_at_the_end(self) -> None:
        """What another task appends while the tracker closes is saved, or the task is told that it is not."""
        outcomes: list[object] = []
        for step in range(12):
            async with trio.open_nursery() as nursery:
                async with opened() as tracker:

                    async def append(tracker: Tracker = tracker) -> None:
                        try:
                            outcomes.append(await tracker.append([event()]))
                        except trio.ClosedResourceError:
                            outcomes.append(None)

                    nursery.start_soon(append)
                    for _ in range(step):
                        await trio.lowlevel.checkpoint()
        assert len(outcomes) == 12
        assert {found for found in outcomes if found is not None} == {Saved(1, 0, (), 0)}

    async def test_cancelled_at_every_step(self, tmp_path: Path) -> None:
        """Wherever the program is cancelled, batches are kept whole or not at all, and what was appended is kept."""
        for step in count(1):
            settings = Settings(store=f"sqlite:{tmp_path / f'{step}.db'}")
            done: list[int] = []
            with trio.CancelScope() as scope, AtStep(step, scope.cancel, trio.lowlevel.current_task()):
                async with open_tracker(settings, listen=False) as tracker, tracker.subscribe() as events:
                    for number in range(3):
                        await tracker.append([event(sessionId=str(number)), event(sessionId=str(number))])
                        done.append(number)
                    await anext(events)
                    async with tracker.query(limit=1) as answer:
                        await anext(answer.__aiter__())
                    async with tracker.http(HttpRequest(method="GET", target="/_tracker")) as response:
                        await response.read()
            async with open_tracker(settings, listen=False) as tracker:
                found = [found["sessionId"] for found in await events_of(tracker)]
            assert {number: found.count(str(number)) for number in done} == dict.fromkeys(done, 2)
            assert all(found.count(name) == 2 for name in found), "half of a batch"
            if not scope.cancelled_caught:
                assert step > 20
                return


class TestAppend:
    async def test_forms(self, tracker: Tracker) -> None:
        """Events are mappings or their text; text is kept byte for byte (X-BYTES-1)."""
        spelled = json.dumps(event(id="x", payload={"n": 1}), indent=1).replace('"n": 1', '"n": 1.50e0')
        assert await tracker.append([event(type="click"), spelled, json.dumps(event()).encode()]) == Saved(3, 0, (), 0)
        async with tracker.http(HttpRequest(method="GET", target="/_tracker")) as response:
            assert spelled.encode() in await response.read()

    async def test_any_iterable(self, tracker: Tracker) -> None:
        assert (await tracker.append(event() for _ in range(3))).saved == 3
        assert await tracker.append([]) == Saved(0, 0, (), 0)

    async def test_ids(self, tracker: Tracker) -> None:
        """Ids are filled in, and one that is given is stored once (ID-1, X-DUP-1, X-DUP-2)."""
        assert await tracker.append([event(id="a"), event(), event(id="a")]) == Saved(3, 1, (), 0)
        found = [stored["id"] for stored in await events_of(tracker)]
        assert len(found) == len(set(found)) == 2
        assert "a" in found

    async def test_rejections(self, tracker: Tracker) -> None:
        """The valid ones are saved, the others are named (INGEST-2, X-REJECT-1)."""
        saved = await tracker.append([event(), event(meta=...), event(level="loud"), event()])
        assert (saved.saved, saved.rejections) == (2, 2)
        assert [(found.index, found.reason) for found in saved.rejected] == [
            (1, "events[1].meta: missing"),
            (2, "events[2].level: expected one of debug, info, warn, error"),
        ]

    async def test_many_rejections(self, tracker: Tracker) -> None:
        """The first 1,000 are listed, and all are counted (X-REJECT-2)."""
        saved = await tracker.append([event(meta=...)] * 1_500)
        assert (len(saved.rejected), saved.rejections) == (1_000, 1_500)

    @pytest.mark.parametrize(
        ("wrong", "told"),
        [
            ({1, 2}, r"events\[1\]: no JSON: expected a mapping or JSON text, not set"),
            (event(payload={"at": {1}}), r"events\[1\]: no JSON: Object of type set is not JSON serializable"),
            (event(payload={"n": float("nan")}), r"events\[1\]: no JSON: Out of range float"),
            ('{"type":', r"events\[1\]: no JSON: Expecting value"),
            (b"\xff", r"events\[1\]: no JSON: 'utf-8' codec"),
            (5, r"events\[1\]: no JSON: expected a mapping or JSON text, not int"),
        ],
    )
    async def test_no_json(self, tracker: Tracker, wrong: Any, told: str) -> None:
        """What is no JSON is the program's fault, and nothing of the call is saved."""
        with pytest.raises(EventError, match=told):
            await tracker.append([event(), wrong])
        assert await events_of(tracker) == []

    @pytest.mark.parametrize("one", [event(), json.dumps(event()), b"{}"])
    async def test_one_in_place_of_several(self, tracker: Tracker, one: Any) -> None:
        with pytest.raises(EventError, match=r"append: expected a list of events, not one (dict|str|bytes)"):
            await tracker.append(one)

    async def test_an_event_that_holds_itself(self, tracker: Tracker) -> None:
        circular = event()
        circular["payload"]["self"] = circular
        with pytest.raises(EventError, match=r"events\[0\]: no JSON: (Circular|nested too deep)"):
            await tracker.append([circular])

    async def test_depth(self, tracker: Tracker) -> None:
        """What is JSON, but nested too deep for a frame, is rejected (FRAME-10)."""
        deep: dict[str, Any] = {}
        for _ in range(200):
            deep = {"d": deep}
        saved = await tracker.append([event(payload=deep), event()])
        assert (saved.saved, [found.index for found in saved.rejected]) == (1, [0])

    async def test_lone_surrogates(self, tracker: Tracker) -> None:
        """Text that was cut inside an emoji is kept (FRAME-8)."""
        await tracker.append([event(payload={"text": "cut \ud83d"})])
        assert (await events_of(tracker))[0]["payload"] == {"text": "cut \ud83d"}

    async def test_an_outage(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """While nothing can be saved it waits, and returns when it is saved (ACK-7)."""
        disk = Disk(monkeypatch)
        async with opened(store=f"sqlite:{tmp_path / 'tracker.db'}") as tracker, trio.open_nursery() as nursery:
            disk.protect()
            results: list[Saved] = []

            async def append() -> None:
                results.append(await tracker.append([event(payload={"text": "x" * 30_000})]))

            nursery.start_soon(append)
            while tracker._core.store.outage is None:
                await trio.sleep(0.01)
            assert results == []
            disk.unprotect()
            while not results:
                await trio.sleep(0.01)
            assert results == [Saved(1, 0, (), 0)]


class TestQuery:
    async def test_order_and_total(self, tracker: Tracker) -> None:
        """Newest first; ``total`` counts all, whatever the page (QUERY-5, RESP-2)."""
        times = [f"2026-11-23T21:05:{second:02}.000Z" for second in range(10)]
        await tracker.append([event(timestamp=time) for time in times])
        async with tracker.query(limit=3, page=2) as answer:
            assert (answer.total, answer.next_cursor) == (10, "2026-11-23T21:05:09.000Z")
            assert [found["timestamp"] async for found in answer] == times[6:3:-1]

    async def test_filters(self, tracker: Tracker) -> None:
        await tracker.append(
            [event(userId="ann", type="click"), event(userId="bob"), event(userId="ann", level="warn", groupId="g")]
        )
        assert len(await events_of(tracker, user_id="ann")) == 2
        assert len(await events_of(tracker, user_id="ann", level="warn", group_id="g", type="click")) == 1
        assert await events_of(tracker, app_id="other") == []
        assert len(await events_of(tracker, search="BUY", session_id="sess_1")) == 3

    async def test_moments(self, tracker: Tracker) -> None:
        """Moments are text or datetimes with a zone (QUERY-2, QUERY-3, FILTER-2)."""
        await tracker.append([event(timestamp=f"2026-11-23T21:05:{second:02}.000Z") for second in range(3)])
        at = datetime(2026, 11, 23, 22, 5, 1, tzinfo=timezone(timedelta(hours=1)))
        assert len(await events_of(tracker, since=at, until=at)) == 1
        assert len(await events_of(tracker, since="2026-11-23T21:05:01Z")) == 2
        assert len(await events_of(tracker, after=at.astimezone(UTC))) == 1

    @pytest.mark.parametrize(
        ("members", "told"),
        [
            ({"since": "yesterday"}, "since: expected an RFC 3339 timestamp"),
            ({"until": datetime(2026, 11, 23)}, "until: expected a datetime with a time zone"),
            ({"level": "loud"}, "level: expected one of debug, info, warn, error"),
            ({"limit": -1}, "limit: expected a whole number from 0"),
            ({"page": 0}, "page: expected a whole number from 1"),
            ({"type": 5}, "type: expected a string"),
            ({"limit": "ten", "page": 0}, "limit: .*; page: "),
        ],
    )
    async def test_wrong_members(self, tracker: Tracker, members: dict[str, Any], told: str) -> None:
        with pytest.raises(ConfigurationError, match=told):
            await events_of(tracker, **members)

    async def test_blocks(self, tracker: Tracker) -> None:
        """Events that lie in blocks come like those that do not, each once."""
        for start in range(0, 6_000, 1_000):
            await tracker.append([event(payload={"n": n}) for n in range(start, start + 1_000)])
        assert [found["payload"]["n"] for found in await events_of(tracker)] == list(range(5_999, -1, -1))

    async def test_what_comes_meanwhile(self, tracker: Tracker) -> None:
        """An answer is of the moment at which it was asked for; who stops reading it leaves nothing behind."""
        await tracker.append([event() for _ in range(2_000)])
        async with tracker.query() as answer:
            first = await anext(answer.__aiter__())
            await tracker.append([event()])
            assert answer.total == 2_000
            assert first["id"]
        assert len(await events_of(tracker)) == 2_001

    async def test_pages(self, tracker: Tracker) -> None:
        await tracker.append([event(payload={"n": n}) for n in range(5)])
        page = await tracker.page(limit=2, page=3, app_id="demo")
        assert ([found["payload"]["n"] for found in page.events], page.total, page.page, page.limit) == ([0], 5, 3, 2)
        past = await tracker.page(limit=2, page=4)
        assert (past.events, past.total) == ([], 5)
        assert (await tracker.page(user_id="nobody")).next_cursor is None


class TestSubscribe:
    async def test_order(self, tracker: Tracker) -> None:
        """What is saved from now on comes, in the order of saving, whoever saved it (X-SUB-1)."""
        await tracker.append([event(payload={"n": -1})])
        async with tracker.subscribe() as events:
            for n in range(5):
                await tracker.append([event(payload={"n": n}, timestamp=f"2026-11-23T21:05:0{9 - n}Z")])
            assert [(await anext(events))["payload"]["n"] for _ in range(5)] == list(range(5))
            assert events.dropped == 0

    async def test_apps(self, tracker: Tracker) -> None:
        async with tracker.subscribe(apps=["shop"]) as events:
            await tracker.append([event(appId="blog"), event(appId="shop", type="click")])
            assert (await anext(events))["appId"] == "shop"

    async def test_one_app_in_place_of_several(self, tracker: Tracker) -> None:
        with pytest.raises(ConfigurationError, match="apps: expected several names"):
            async with tracker.subscribe(apps="shop"):
                pass

    async def test_who_is_slow(self) -> None:
        """What comes faster than it is taken is dropped beyond the bound, and counted (X-SUB-2)."""
        async with opened(max_push_bytes=2_000) as tracker, tracker.subscribe() as events:
            for n in range(10):
                await tracker.append([event(payload={"n": n, "text": "x" * 500})])
            first = await anext(events)
            assert first["payload"]["n"] == 0
            seen = 1
            await tracker.append([event(payload={"n": "last"})])
            while (await anext(events))["payload"]["n"] != "last":
                seen += 1
            assert seen < 10
            assert events.dropped == 10 - seen

    async def test_the_end(self, tracker: Tracker) -> None:
        """It ends when the tracker stops, after what was saved before."""
        async with tracker.subscribe() as events:
            await tracker.append([event(payload={"n": 1})])
            tracker.stop()
            assert [found["payload"]["n"] async for found in events] == [1]
        async with tracker.subscribe() as events:
            assert [found async for found in events] == []

    async def test_the_bound_of_subscriptions(self) -> None:
        async with opened(max_subscriptions=1) as tracker, tracker.subscribe():
            with pytest.raises(FrameError, match="max_subscriptions"):
                async with tracker.subscribe():
                    pass
        async with opened(max_subscriptions=1) as tracker:
            for _ in range(3):
                async with tracker.subscribe():
                    pass


class TestHttp:
    async def test_ingest_and_read(self, tracker: Tracker) -> None:
        body = json.dumps({"events": [event(type="click")]}).encode()
        post = HttpRequest(method="POST", target="/_tracker/events", body=body)
        async with tracker.http(post) as response:
            assert (response.status, json.loads(await response.read())) == (200, {"type": "ack", "saved": 1})
            assert ("Content-Type", "application/json") in response.headers
        async with tracker.http(HttpRequest(method="GET", target="/_tracker?type=click&limit=5")) as response:
            assert json.loads(await response.read())["total"] == 1
        async with tracker.http(HttpRequest(method="HEAD", target="/_tracker")) as response:
            assert (response.status, await response.read()) == (200, b"")

    async def test_who_does_not_read(self, tracker: Tracker) -> None:
        """A response that nobody reads gives its place for answers back."""
        for _ in range(100):
            async with tracker.http(HttpRequest(method="GET", target="/_tracker", address="192.0.2.1")):
                pass

    @pytest.mark.parametrize(
        ("request_", "status", "code"),
        [
            (HttpRequest(method="GET", target="/nowhere"), 404, "not_found"),
            (HttpRequest(method="BREW", target="/_tracker"), 405, "method_not_allowed"),
            (HttpRequest(method="POST", target="/_tracker/events", body=b"}{"), 400, "bad_json"),
            (HttpRequest(method="POST", target="/_tracker/events", body=b" " * 2_000), 413, "too_large"),
            (HttpRequest(method="GET", target="/_tracker?since=x"), 400, "bad_query"),
            (
                HttpRequest(method="GET", target="/_tracker", headers=EVIL),
                403,
                "forbidden",
            ),
            (HttpRequest(method="GET", target="/_tracker", headers={"X-A": "b\nc"}), 400, "bad_request"),
            (HttpRequest(method="GET", target="/_tracker", headers={"X-Ä": "b"}), 400, "bad_request"),
            (HttpRequest(method="GET", target="/_tracker/ws"), 426, "upgrade_required"),
            (HttpRequest(method="GET", target="/_tracker", headers={"Host": "evil.example:80"}), 403, "forbidden"),
        ],
    )
    async def test_what_is_wrong(self, request_: HttpRequest, status: int, code: str) -> None:
        async with opened(max_frame_bytes=1_024) as tracker, tracker.http(request_) as response:
            assert (response.status, json.loads(await response.read())["code"]) == (status, code)

    @pytest.mark.parametrize("address", ["unknown:x", "192.0.2.1:5", "", "unix", "::ffff:192.0.2.1"])
    async def test_addresses(self, tracker: Tracker, address: str) -> None:
        """Whatever a program tells of the address, the request is answered."""
        request = HttpRequest(method="GET", target="/_tracker", address=address)
        async with tracker.http(request) as response:
            assert response.status == 200

    async def test_keys_and_grants(self) -> None:
        """A request shows its key, unless the program says what it may do (HTTP-6, HTTP-7)."""
        read = HttpRequest(method="GET", target="/_tracker", headers={"X-Tracker-Key": "s3cret"})
        bare = HttpRequest(method="GET", target="/_tracker", headers=EVIL)
        sender = Grant(name="page", scopes=frozenset({Scope.INGEST}))
        async with opened(api_key="s3cret", origins=("https://office.example",)) as tracker:
            for request, grant, status in (
                (read, None, 200),
                (HttpRequest(method="GET", target="/_tracker"), None, 401),
                (bare, None, 403),
                (bare, Grant(name="mine"), 200),
                (bare, sender, 403),
            ):
                async with tracker.http(request, grant=grant) as response:
                    assert response.status == status

    async def test_apps_of_a_grant(self, tracker: Tracker) -> None:
        """A grant for some apps sees and sends events of no others (X-SCOPE-4, X-SCOPE-5)."""
        await tracker.append([event(appId="shop"), event(appId="blog")])
        grant = Grant(name="shop", apps=frozenset({"shop"}))
        body = json.dumps({"events": [event(appId="blog")]}).encode()
        async with tracker.http(HttpRequest(method="GET", target="/_tracker"), grant=grant) as response:
            assert json.loads(await response.read())["total"] == 1
        post = HttpRequest(method="POST", target="/_tracker/events", body=body)
        async with tracker.http(post, grant=grant) as response:
            assert json.loads(await response.read())["rejected"][0]["index"] == 0
