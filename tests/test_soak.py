"""The soak in its short form, and that it finds what it looks for.

``python -m bench soak --minutes 30`` is the long form.
"""

import random
import re
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable

import attrs
import pytest
import trio

from bench.soak.clients import HttpDashboard, WebSocketDashboard
from bench.soak.judging import check_store, judge_memory
from bench.soak.ledger import Ledger
from bench.soak.proxy import Proxy
from bench.soak.serving import Life
from bench.soak.tally import Tally
from tests.support import ROOT, Running

MINUTES = "0.75"


def test_short_soak() -> None:
    """Through kills, stops, a full disk and a bad network: what is acked is there once, and memory is flat (ACK-5)."""
    command = [sys.executable, "-m", "bench", "soak", "--minutes", MINUTES]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=115)
    print(ended.stdout)
    assert (ended.returncode, ended.stderr) == (0, "")
    found = re.findall(r"^\| ([^|]+) \| ([0-9,]+) \|$", ended.stdout, re.MULTILINE)
    counts = {what: int(count.replace(",", "")) for what, count in found}
    assert counts["promises broken"] == 0
    assert counts["events acked"] > 1000
    assert all(counts[what] > 0 for what in ("SIGKILL", "SIGTERM", "full disk", "polls of dashboards"))
    assert any(f"connections {trouble}" in counts for trouble in ("cut", "cut in the middle of a frame", "refused"))


async def store(server: Running, *events: str) -> None:
    """Have these stored, each text as one batch."""
    async with server.client() as client:
        for text in events:
            assert (await client.ask(f'{{"type":"ingest","events":[{text}]}}'))["type"] == "ack"


class TestStore:
    """What the store holds is compared with what was sent and acked."""

    async def test_sound(self, server: Running) -> None:
        """What is acked and stored, and what is not acked and stored or not, is as it may be."""
        ledger, tally = Ledger(1), Tally()
        acked, unacked, _lost = (ledger.batch(has_ids=has_ids) for has_ids in (True, False, False))
        ledger.ack(acked)
        await store(server, acked.events, unacked.events, acked.events)  # with ids, once more is no harm
        await check_store(server.address.port, ledger, tally)
        assert tally.violations == {}
        assert tally.counts["events stored"] == len(acked.marks) + len(unacked.marks)
        assert tally.counts["events acked"] == len(acked.marks)

    async def test_lost(self, server: Running) -> None:
        """An acked event that is not there is found."""
        ledger, tally = Ledger(2), Tally()
        ledger.ack(batch := ledger.batch(has_ids=False))
        await check_store(server.address.port, ledger, tally)
        assert tally.violations == {"what is acked is stored": len(batch.marks)}

    async def test_twice(self, server: Running) -> None:
        """An event that is there twice is found, acked or not."""
        ledger, tally = Ledger(3), Tally()
        batch = ledger.batch(has_ids=False)
        await store(server, batch.events, batch.events)
        await check_store(server.address.port, ledger, tally)
        assert tally.violations == {"nothing is stored twice": len(batch.marks)}

    async def test_changed(self, server: Running) -> None:
        """An event that is not as it was sent is found."""
        ledger, tally = Ledger(4), Tally()
        ledger.ack(batch := ledger.batch(has_ids=True))
        await store(server, batch.events.replace('"appId": "shop"', '"appId": "shoq"', 1))
        await check_store(server.address.port, ledger, tally)
        assert tally.violations == {"an event is stored as it was sent": 1}

    async def test_never_sent(self, server: Running) -> None:
        """An event that nobody sent is found."""
        ledger, tally = Ledger(5), Tally()
        await store(server, ledger.batch(has_ids=False).events.replace('"mark": 0', '"mark": 1000000', 1))
        await check_store(server.address.port, ledger, tally)
        assert tally.violations == {"nothing is stored that was not sent": 1}


@pytest.mark.parametrize("dashboard", [HttpDashboard, WebSocketDashboard])
async def test_acked_and_not_shown(
    server: Running, dashboard: Callable[..., HttpDashboard | WebSocketDashboard]
) -> None:
    """A dashboard notices that what was acked is not in its answer (ACK-3)."""
    ledger, tally, ending = Ledger(6), Tally(), trio.Event()
    shown, hidden = ledger.batch(has_ids=False), ledger.batch(has_ids=False)
    await store(server, shown.events)
    for batch in (shown, hidden):
        ledger.ack(batch)
    client = dashboard(server.address.port, random.Random(1), ledger, tally, ending)
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.run)
            while not tally.counts["polls of dashboards"]:
                await trio.sleep(0.01)
            ending.set()
    assert tally.violations == {"what is acked is in every answer after it": 1}


def test_memory() -> None:
    """Memory that grows from one process to the next is found; a process that hardly lived tells nothing."""

    def judged(peaks: list[float]) -> Tally:
        tally = Tally()
        lives = [Life(0.0, 0, most_mb=peak, seconds=20.0) for peak in peaks]
        judge_memory([*lives, Life(0.0, 0, most_mb=900.0, seconds=1.0)], tally)
        return tally

    assert judged([40, 55, 60, 58, 57, 61, 60, 63, 58]).violations == {}
    assert judged([40, 50, 60, 70, 80, 90, 100, 110, 120]).violations == {"memory is flat": 1}


@attrs.frozen
class Link:
    """A connection through a proxy: one end, the other, and what is between."""

    client: trio.SocketStream
    server: trio.SocketStream
    proxy: Proxy


@pytest.fixture
async def link(nursery: trio.Nursery) -> AsyncGenerator[Link, None]:
    """A connection through a proxy, over which a byte has gone."""
    accepted, servers = trio.open_memory_channel[trio.SocketStream](0)

    async def hand_over(stream: trio.SocketStream) -> None:
        await accepted.send(stream)
        await trio.sleep_forever()

    listeners: list[trio.SocketListener] = await nursery.start(trio.serve_tcp, hand_over, 0)
    proxy = Proxy(random.Random(2))
    proxy.target = listeners[0].socket.getsockname()[1]
    await nursery.start(proxy.run)
    with trio.fail_after(20):
        client = await trio.open_tcp_stream("127.0.0.1", proxy.port)
        async with client, await servers.receive() as server:
            await client.send_all(b"?")
            assert await server.receive_some() == b"?"
            yield Link(client, server, proxy)


class TestProxy:
    """The network in between."""

    async def test_both_ways(self, link: Link) -> None:
        """What is sent arrives, and so does the end of it."""
        await link.server.send_all(b"!")
        assert await link.client.receive_some() == b"!"
        await link.client.send_eof()
        assert await link.server.receive_some() == b""
        await link.server.send_all(b"still")
        assert await link.client.receive_some() == b"still"

    async def test_cut(self, link: Link) -> None:
        """Both ends notice that the connection is reset."""
        link.proxy.cut()
        for end in (link.client, link.server):
            with pytest.raises(trio.BrokenResourceError):
                await end.receive_some()

    async def test_torn(self, link: Link) -> None:
        """Part of what is sent arrives, before the reset."""
        link.proxy.tear()
        await link.client.send_all(bytes(1000))
        received = 0
        with pytest.raises(trio.BrokenResourceError):
            while data := await link.server.receive_some():
                received += len(data)
        assert received < 1000

    async def test_stalled(self, link: Link) -> None:
        """Nothing arrives while it stalls; all of it does afterwards."""
        link.proxy.stall()
        await link.client.send_all(b"late")
        with trio.move_on_after(0.2) as scope:
            await link.server.receive_some()
        assert scope.cancelled_caught
        link.proxy.go_on()
        assert await link.server.receive_some() == b"late"

    async def test_refused(self, link: Link) -> None:
        """New connections are reset."""
        link.proxy.refuses = True
        async with await trio.open_tcp_stream("127.0.0.1", link.proxy.port) as client:
            with pytest.raises(trio.BrokenResourceError):
                await client.receive_some()
