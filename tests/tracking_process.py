"""A program that tracks events with a spool, and says of each that it is tracked; tests kill it.

``python -m tests.tracking_process URL APP SPOOL FIRST COUNT`` tracks the numbers from FIRST on and ends when all of
them are acked.
"""

import os
import random
import sys
from pathlib import Path
from typing import Any

import trio

from wsproto_tracker import open_client

PAUSE_EVERY = 10


def data_of(number: int) -> dict[str, Any]:
    """The data of an event, by its number."""
    chance = random.Random(number)
    return {
        "n": number,
        "text": "".join(map(chr, chance.choices(range(32, 0x2FFF), k=chance.randrange(200)))),
        "x": [1.5],
    }


async def main(url: str, app: str, spool: Path, first: int, count: int) -> None:
    async with open_client(
        url,
        app_id=app,
        spool=spool,
        flush_interval_s=0.01,
        backoff_min_s=0.01,
        backoff_max_s=0.1,
        wait_for_server=False,
        close_timeout_s=60.0,
    ) as client:
        for number in range(first, first + count):
            event_id = client.track("counted", data_of(number))
            os.write(1, f"{number} {event_id}\n".encode())
            if number % PAUSE_EVERY == 0:
                await trio.sleep(0.005)


if __name__ == "__main__":
    url, app, spool, first, count = sys.argv[1:]
    trio.run(main, url, app, Path(spool), int(first), int(count))
