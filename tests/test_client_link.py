"""One connection: what was sent in part is followed by nothing, and leaving takes no longer than it may."""

import random
from functools import partial

import trio
from websockets.http11 import Request
from websockets.server import ServerProtocol

from tests.client_support import Peer, keeping, scripted
from wsproto_tracker.client.link import open_link
from wsproto_tracker.client.options import ClientOptions

LARGE = random.Random(1).randbytes(20_000_000).hex().encode()  # more than buffers between two sockets hold


def options(url: str) -> ClientOptions:
    return ClientOptions(url=url, app_id="shop")


async def test_nothing_follows_a_frame_that_was_sent_in_part() -> None:
    """A cancelled send leaves half a frame; a close frame after it would be read as its other half, so none comes."""
    received = bytearray()
    may_read, is_over = trio.Event(), trio.Event()

    async def handle(stream: trio.SocketStream) -> None:
        protocol = ServerProtocol()
        protocol.receive_data(await stream.receive_some())
        (request,) = protocol.events_received()
        assert isinstance(request, Request)
        protocol.send_response(protocol.accept(request))
        await stream.send_all(b"".join(protocol.data_to_send()))
        await may_read.wait()
        try:
            async for data in stream:
                received.extend(data)
        except trio.BrokenResourceError:
            pass
        is_over.set()

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, handle, 0, host="127.0.0.1"))
        url = f"ws://127.0.0.1:{listeners[0].socket.getsockname()[1]}/"
        async with open_link(options(url)) as link:
            with trio.move_on_after(0.2):
                await link.send(LARGE)
            assert link.is_torn
            may_read.set()
        with trio.fail_after(10):
            await is_over.wait()
        nursery.cancel_scope.cancel()
    assert len(received) < len(LARGE)
    assert received[-8:-6] != b"\x88\x82", "this is a close frame"


async def test_a_connection_is_closed_properly() -> None:
    """A connection that is in order is closed with 1000."""
    codes: list[int | None] = []

    async def converse(peer: Peer) -> None:
        try:
            await keeping(peer)
        finally:
            codes.append(peer.websocket.close_code)

    async with scripted(converse) as url:
        async with open_link(options(url)) as link:
            await link.send(b'{"type":"ingest","events":[]}')
            await link.receive()
        while not codes:
            await trio.sleep(0.01)
    assert codes == [1000]
