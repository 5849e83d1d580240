"""A program that serves WebSocket by trio-websocket already, and has the tracker at one of its paths.

python examples/beside_trio_websocket.py [PORT]
"""

import sys

import trio
from trio_websocket import ConnectionClosed, WebSocketRequest, serve_websocket

from wsproto_tracker import Settings, Tracker, TrackerError, open_tracker


async def route(tracker: Tracker, request: WebSocketRequest) -> None:
    match request.path:
        case "/_tracker/ws":
            await tracker.handle(request)
        case "/echo":
            await echo(request)
        case _:
            await request.reject(404, body=b"there is something at /_tracker/ws and /echo\n")


async def echo(request: WebSocketRequest) -> None:
    websocket = await request.accept()
    try:
        while True:
            await websocket.send_message(await websocket.get_message())
    except ConnectionClosed:
        pass


async def main(port: int) -> None:
    settings = Settings(port=port, store="memory:")
    async with open_tracker(settings, listen=False) as tracker, trio.open_nursery() as nursery:

        async def handler(request: WebSocketRequest) -> None:
            await route(tracker, request)

        async def serve(*, task_status: trio.TaskStatus[object]) -> None:
            await serve_websocket(
                handler,
                "127.0.0.1",
                settings.port,
                ssl_context=None,
                max_message_size=settings.max_frame_bytes,  # the plugin sends large frames after an outage
                task_status=task_status,
            )

        server = await nursery.start(serve)
        print(f"wsEndpoint: ws://127.0.0.1:{server.port}/_tracker/ws", flush=True)


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
