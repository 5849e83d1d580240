"""The client against the real server with little room: limits cost time or single events, never others."""

import random
from pathlib import Path

import pytest
import trio

from tests.client_support import opened, stored, track
from tests.store_support import Disk
from tests.support import event, running
from wsproto_tracker import Rejected
from wsproto_tracker.access import Key
from wsproto_tracker.client.outbox import Outbox
from wsproto_tracker.store import engine


def numbers(events: list[dict[str, object]]) -> list[object]:
    return [found["payload"]["data"]["n"] for found in events]  # type: ignore[index]


async def test_a_server_that_takes_small_frames_only() -> None:
    """Batches over the server's limit become smaller; one event over it is rejected, and told (CLOSE-3)."""
    rejected: list[Rejected] = []
    async with running(max_frame_bytes=3_000) as server:
        async with opened(server.ws_url, on_rejected=rejected.append) as client:
            track(client, *range(100))
            client.track("counted", {"n": 100, "large": random.Random(1).randbytes(5_000).hex()})
            track(client, *range(101, 200))
        assert numbers(await stored(server)) == [number for number in range(200) if number != 100]
    assert [told.event and told.event["payload"]["data"]["n"] for told in rejected] == [100]
    assert client.stats.acked == 199


async def test_a_server_that_takes_so_many_events_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes too fast is told ``rate_limited``, kept, and sent again when the server says (LIMIT-6)."""
    too_much = 0
    put_back = Outbox.put_back

    def counting(outbox: Outbox) -> None:
        nonlocal too_much
        too_much += 1
        put_back(outbox)

    monkeypatch.setattr(Outbox, "put_back", counting)
    count = 2_200  # ten seconds of the rate may come at once
    async with running(keys=(Key(key="k", name="k", rate=200),), max_rate_delay_s=0.01) as server:
        async with opened(server.ws_url, api_key="k", batch_size=50) as client:
            track(client, *range(count))
            await client.flush()
            assert (client.stats.acked, client.stats.rejected, client.stats.reconnects) == (count, 0, 0)
        assert numbers(await stored(server, "k")) == list(range(count))
    assert too_much > 0


async def test_a_server_that_takes_small_events_only() -> None:
    """An event over the server's limit is rejected by its index, and the others of its batch are saved (LIMIT-5)."""
    rejected: list[Rejected] = []
    async with running(max_event_bytes=1_024) as server:
        async with opened(server.ws_url, on_rejected=rejected.append) as client:
            track(client, 0)
            client.track("counted", {"n": 1, "large": "x" * 2_000})
            track(client, 2)
        assert numbers(await stored(server)) == [0, 2]
    (told,) = rejected
    assert "larger than the 1024 bytes" in told.reason


async def test_a_server_whose_disk_is_full(tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the server cannot save, events wait; when it can, they are acked, without being sent again (X-LATE-1)."""
    monkeypatch.setattr(engine, "_RETRY_S", 0.02)
    async with running(store=f"sqlite:{tmp_path / 'tracker.db'}") as server:
        async with opened(server.ws_url) as client:
            disk.fill()
            for number in range(30):
                client.send(event(payload={"data": {"n": number, "x": random.Random(number).randbytes(9_000).hex()}}))
            while not client._delivery._is_late:
                await trio.sleep(0.01)
            disk.free()
            await client.flush()
            assert (client.stats.acked, client.stats.duplicates, client.stats.reconnects) == (30, 0, 0)
        assert numbers(await stored(server)) == list(range(30))
