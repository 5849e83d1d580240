"""The smallest program with a tracker in it: it listens, prints what is saved, and stops with Ctrl-C.

python examples/minimal.py [PORT]
"""

import sys

import trio

from wsproto_tracker import Settings, TrackerError, open_tracker


async def main(port: int) -> None:
    settings = Settings(port=port, store="memory:")
    async with open_tracker(settings) as tracker:
        print(f"wsEndpoint: ws://{tracker.addresses[0]}{settings.base_path}/ws", flush=True)
        async with tracker.subscribe() as events:
            async for event in events:
                print(event["timestamp"], event["type"], event["payload"], flush=True)


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
