"""The server, which counts what is alive in it whenever it reads a line: ``python -m bench.watched FILE``."""

import gc
import json
import sys

import trio

from wsproto_tracker import Settings, serve


async def main() -> None:
    """Serve until the process is ended."""
    async with trio.open_nursery() as nursery:
        server = await nursery.start(serve, Settings(port=0, store=f"sqlite:{sys.argv[1]}"))
        _say(f"ready at http://{server.addresses[0]}/_tracker")
        while await trio.to_thread.run_sync(sys.stdin.readline):
            gc.collect()
            tasks = trio.lowlevel.current_statistics().tasks_living
            _say(json.dumps({"objects": len(gc.get_objects()), "blocks": sys.getallocatedblocks(), "tasks": tasks}))
        nursery.cancel_scope.cancel()


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    trio.run(main)
