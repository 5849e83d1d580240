"""The tracker as an ASGI application, served by Hypercorn on trio: WebSocket and HTTP, at the same paths as by itself.

pip install hypercorn
python examples/hypercorn_trio.py [PORT]
"""

import sys

import trio
from hypercorn.config import Config
from hypercorn.trio import serve

from wsproto_tracker import Settings, TrackerError, open_tracker


async def main(port: int) -> None:
    settings = Settings(port=port, store="memory:")
    config = Config()
    config.bind = [f"127.0.0.1:{settings.port}"]
    config.websocket_max_message_size = settings.max_frame_bytes
    async with open_tracker(settings, listen=False) as tracker, trio.open_nursery() as nursery:
        (address,) = await nursery.start(serve, tracker.asgi, config)
        print(f"wsEndpoint: ws{address.removeprefix('http')}/_tracker/ws", flush=True)


if __name__ == "__main__":
    try:
        trio.run(main, int(sys.argv[1]) if sys.argv[1:] else 4242)
    except* (TrackerError, ValueError, OSError) as group:
        problem: BaseException = group
        while isinstance(problem, BaseExceptionGroup):
            problem = problem.exceptions[0]
        sys.exit(f"{sys.argv[0]}: {problem}")
    except* KeyboardInterrupt:
        pass
