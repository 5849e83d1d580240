"""At the end: what is in the store beside what was sent and acked, and whether memory was flat."""

import json
from collections.abc import Sequence
from statistics import median

import attrs

from bench.soak.http_client import HttpClient
from bench.soak.ledger import Ledger
from bench.soak.serving import Life
from bench.soak.tally import Tally

__all__ = ["Memory", "check_store", "judge_memory"]

_SHORT_LIFE_S = 2.0  # too short to tell of memory
_ALLOWED_SHARE = 0.1
_ALLOWED_MB = 10.0


async def check_store(port: int, ledger: Ledger, tally: Tally) -> None:
    """Read all that is stored, directly, and compare it with what was sent and acked."""
    found = bytearray(ledger.sent_count)
    client = HttpClient(port)
    for window in ledger.windows():
        response = await client.request("GET", f"/_tracker?since={window.since}&until={window.until}")
        for event in json.loads(response.body)["events"]:
            mark = event["payload"]["mark"]
            if mark >= len(found):
                tally.violated("nothing is stored that was not sent", mark)
                continue
            found[mark] = min(found[mark] + 1, 2)
            if not ledger.is_as_sent(mark, event):
                tally.violated("an event is stored as it was sent", mark)
    await client.aclose()
    for mark, count in enumerate(found):
        if count > 1:
            tally.violated("nothing is stored twice", mark)
        elif count == 0 and ledger.is_acked(mark):
            tally.violated("what is acked is stored", mark)
    stored = len(found) - found.count(0)
    tally.counts["events sent"] = len(found)
    tally.counts["events acked"] = ledger.acked_count
    tally.counts["events stored"] = stored
    tally.counts["events stored without an ack (over WebSocket, which sends nothing again)"] = (
        stored - ledger.acked_count
    )


@attrs.frozen
class Memory:
    """The most that processes of the server took, in megabytes: medians of a third of them each.

    :ivar allowed: what the last third may take.
    """

    middle: float
    last: float
    allowed: float


def judge_memory(lives: Sequence[Life], tally: Tally) -> Memory | None:
    """Compare the last third of the processes with the third before it; ``None`` where there were too few."""
    peaks = [life.most_mb for life in lives if life.seconds >= _SHORT_LIFE_S]
    third = len(peaks) // 3
    if third == 0:
        return None
    middle, last = median(peaks[-2 * third : -third]), median(peaks[-third:])
    memory = Memory(middle, last, middle * (1 + _ALLOWED_SHARE) + _ALLOWED_MB)
    if last > memory.allowed:
        tally.violated("memory is flat", f"{last:.1f} MB after {middle:.1f} MB")
    return memory
