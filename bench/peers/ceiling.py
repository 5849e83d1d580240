"""The ceiling: a bare ``websockets.trio`` server that acks every message, and reads and stores none of them."""

import sys
from functools import partial

import trio
from websockets.exceptions import ConnectionClosed
from websockets.trio.server import ServerConnection, serve

ACK = b'{"type":"ack","saved":25}'


async def converse(websocket: ServerConnection) -> None:
    """Ack what comes."""
    try:
        while True:
            await websocket.recv(decode=False)
            await websocket.send(ACK, text=True)
    except ConnectionClosed:
        return


async def main() -> None:
    """Serve until the process is ended."""
    async with trio.open_nursery() as nursery:
        start = partial(serve, converse, host="127.0.0.1", port=0, ping_interval=None, max_size=None)
        server = await nursery.start(start)
        port = server.listeners[0].socket.getsockname()[1]
        sys.stdout.write(f"ready at http://127.0.0.1:{port}/_tracker\n")
        sys.stdout.flush()


trio.run(main)
