"""A live consumer beside the server: it counts what is saved by type, prints a line a second, and says what it missed.

::

    python examples/live_consumer.py [PORT]
"""

import sys
from collections import Counter

import trio

from wsproto_tracker import SavedEvents, Settings, TrackerError, open_tracker


async def count(events: SavedEvents, seen: Counter[str]) -> None:
    async for event in events:
        seen[event["type"]] += 1


async def main(port: int) -> None:
    settings = Settings(port=port, store="memory:")
    seen: Counter[str] = Counter()
    async with open_tracker(settings) as tracker, tracker.subscribe() as events, trio.open_nursery() as nursery:
        print(f"wsEndpoint: ws://{tracker.addresses[0]}{settings.base_path}/ws", flush=True)
        nursery.start_soon(count, events, seen)
        while True:
            await trio.sleep(1)
            told = ", ".join(f"{number} {type_}" for type_, number in seen.most_common()) or "nothing"
            print(f"{told}; {events.dropped} missed", flush=True)
            seen.clear()


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
