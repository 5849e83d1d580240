"""What one ingested event costs, step by step: each step alone, in this process, on the processor's clock.

In the server they alternate, and find less in the processor's caches: there the sum of them is larger.
"""

import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from websockets.protocol import OPEN, SERVER, Protocol

from bench.client import frames_of
from wsproto_tracker.protocol.decoding import read_frame
from wsproto_tracker.protocol.events import Batch, Event
from wsproto_tracker.protocol.ids import new_id
from wsproto_tracker.store import Capacity
from wsproto_tracker.store.block import Shape
from wsproto_tracker.store.database import Database
from wsproto_tracker.store.timeline import Timeline

__all__ = ["cost_of_steps"]

_GROUP = 64  # frames that are committed together, as under load
_READ_BYTES = 64 * 1024


def cost_of_steps(texts: Sequence[bytes], frame_events: int) -> dict[str, float]:
    """Processor time in microseconds an event, for each step on its way to the disk."""
    frames = frames_of(texts, frame_events)
    seconds: dict[str, float] = defaultdict(float)

    def timed(step: str, work: Callable[[], object]) -> None:
        before = time.process_time()
        work()
        seconds[step] += time.process_time() - before

    messages: list[str] = []
    timed("frame", lambda: messages.extend(_messages(frames)))
    timed("decode", lambda: _do(messages, lambda text: read_frame(text, None)))
    timed("id", lambda: _do(texts, lambda _text: new_id()))
    batches: list[list[Event]] = []
    timed("validate", lambda: batches.extend(_events_of(text) for text in messages))
    seconds["validate"] -= seconds["decode"] + seconds["id"]
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        database = Database(Path(directory) / "store.db")
        try:
            timeline = Timeline(database, Capacity(max_events=100_000_000), Shape())
            for start in range(0, len(batches), _GROUP):
                group = batches[start : start + _GROUP]
                timed("commit", partial(timeline.commit, group))
                if timeline.sealing_is_due:
                    timed("seal", timeline.seal)
        finally:
            database.close()
    return {step: used / len(texts) * 1e6 for step, used in seconds.items()}


def _messages(frames: Sequence[bytes]) -> list[str]:
    """The texts of WebSocket frames, read as they come from a socket."""
    protocol = Protocol(SERVER, state=OPEN, max_size=None)
    stream = b"".join(frames)
    found: list[str] = []
    for start in range(0, len(stream), _READ_BYTES):
        protocol.receive_data(stream[start : start + _READ_BYTES])
        found += (str(event.data, "utf-8") for event in protocol.events_received() if hasattr(event, "data"))
    return found


def _do(items: Sequence[object], function: Callable[..., object]) -> None:
    for item in items:
        function(item)


def _events_of(text: str) -> list[Event]:
    batch = read_frame(text, new_id)
    assert isinstance(batch, Batch)
    return list(batch.events)
