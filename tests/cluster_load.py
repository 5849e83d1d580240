"""Writers and readers at the trackers of a cluster, and a ledger of what has to be there because it was acked."""

import json
import random
import re
from collections import Counter
from collections.abc import Sequence

import attrs
import trio
from websockets.exceptions import InvalidHandshake, InvalidMessage, WebSocketException

from tests.cluster_support import TrackerProcess
from tests.support import Client, event
from wsproto_tracker.protocol.timestamps import format_instant

NOW = 1_764_000_000_000_000
IN_FLIGHT = 4
BATCHES_A_CONNECTION = 60
PATIENCE_S = (1.0, 3.0, 8.0, 20.0)
PAUSE_S = 0.06
READ_PAUSE_S = 0.03
MARK = re.compile(rb'"mark": ?([0-9]+)')
FAILURES = (OSError, trio.TooSlowError, WebSocketException, InvalidHandshake, InvalidMessage)


@attrs.frozen
class SentBatch:
    """A batch as it is sent.

    :ivar user: the userId of its events, which no other batch has.
    :ivar has_ids: whether all of its events have ids, so that it can be sent again.
    """

    user: str
    marks: range
    has_ids: bool
    text: str


@attrs.define
class Ledger:
    """What was sent in a run, and what is known of it. An event is told by its mark, a number in its payload.

    :ivar app: of all its events.
    :ivar first: the first mark of the run.
    :ivar acked: what has to be there, by the last ack's order.
    :ivar refused: of which a tracker has said that it is not kept.
    :ivar unknown: what may be there.
    """

    app: str
    first: int
    chance: random.Random
    sent: int = 0
    acked: set[int] = attrs.field(factory=set)
    acked_batches: list[SentBatch] = attrs.field(factory=list)
    refused: set[int] = attrs.field(factory=set)
    unknown: list[SentBatch] = attrs.field(factory=list)
    counts: Counter[str] = attrs.field(factory=Counter)

    def batch(self) -> SentBatch:
        """A new batch: most of its events of now, some late, some at the same instant."""
        first = self.first + self.sent
        marks = range(first, first + self.chance.randint(1, 12))
        self.sent += len(marks)
        has_ids = self.chance.random() < 0.5
        user = f"batch-{first}"
        events = [event(id=f"m{mark}" if has_ids else "", userId=user, **self._members(mark)) for mark in marks]
        return SentBatch(user, marks, has_ids, json.dumps({"type": "ingest", "events": events}))

    def _members(self, mark: int) -> dict[str, object]:
        late_by = self.chance.choice([0] * 9 + [self.chance.randint(1, 500)])
        return {
            "timestamp": format_instant(NOW + (mark - late_by) // 3 * 1000),
            "appId": self.app,
            "level": self.chance.choice(["info", "warn", "error"]),
            "payload": {"mark": mark, "text": self.chance.choice(["Buy", "Sell"]) * self.chance.randint(1, 100)},
        }

    def ack(self, batch: SentBatch) -> None:
        self.acked.update(batch.marks)
        self.acked_batches.append(batch)

    @property
    def may_be_there(self) -> set[int]:
        """What was sent, and of which nobody has said that it is not kept."""
        return set(range(self.first, self.first + self.sent)) - self.refused

    def check(self, tracker: str, body: bytes) -> None:
        """What a tracker has: everything that was acked, nothing twice, and nothing else but what may be there."""
        found = Counter(map(int, MARK.findall(body)))
        assert sorted(mark for mark, count in found.items() if count > 1) == [], f"{tracker} has these twice"
        assert sorted(self.acked - found.keys()) == [], f"{tracker} lacks these, which were acked"
        assert sorted(found.keys() & self.refused) == [], f"{tracker} has these, which were refused"
        assert sorted(found.keys() - self.may_be_there) == [], f"{tracker} has these, which nobody has sent"

    # --- writers

    async def write(self, trackers: Sequence[TrackerProcess], stopped: trio.Event) -> None:
        """Send batches to one tracker after the other, by WebSocket mostly, until it is told to stop."""
        while not stopped.is_set():
            tracker = self.chance.choice(trackers)
            if self.chance.random() < 0.2:
                await self._post(tracker)
            else:
                await self._connect(tracker, stopped)
            await trio.sleep(PAUSE_S)

    async def _connect(self, tracker: TrackerProcess, stopped: trio.Event) -> None:
        waiting: list[SentBatch] = []
        patience_s = self.chance.choice(PATIENCE_S)
        try:
            async with tracker.running.client(open_timeout=3, close_timeout=1) as client:
                for _ in range(self.chance.randint(1, BATCHES_A_CONNECTION)):
                    if stopped.is_set():
                        break
                    waiting.append(self._again() or self.batch())
                    with trio.fail_after(patience_s):
                        await client.send(waiting[-1].text)
                        while len(waiting) > self.chance.randrange(IN_FLIGHT):
                            await self._take(client, waiting)
                    await trio.sleep(self.chance.uniform(0, 2 * PAUSE_S))
                with trio.fail_after(patience_s):
                    while waiting:
                        await self._take(client, waiting)
        except* FAILURES:
            self.counts["connections lost"] += 1
        finally:
            self.unknown += waiting

    async def _take(self, client: Client, waiting: list[SentBatch]) -> None:
        answer = json.loads(await client.websocket.recv())
        if answer["type"] == "error":
            assert answer["code"] == "unavailable", answer
            self.counts["late acks"] += 1
            return
        assert (answer["type"], answer["saved"]) == ("ack", len(waiting[0].marks)), answer
        self.ack(waiting.pop(0))

    def _again(self) -> SentBatch | None:
        """One that was not acked, and can be sent again; what was saved of it all the same is noticed by its ids."""
        if self.chance.random() < 0.5:
            for number, batch in enumerate(self.unknown):
                if batch.has_ids:
                    self.counts["sent again"] += 1
                    return self.unknown.pop(number)
        return None

    async def _post(self, tracker: TrackerProcess) -> None:
        batch = self.batch()
        answer = await tracker.ask("/ingest", body=batch.text.encode())
        if answer is not None and answer.status == 200:
            assert answer.json()["saved"] == len(batch.marks)
            self.ack(batch)
        elif answer is not None and b"nothing of this was" in answer.body:
            self.refused.update(batch.marks)
        else:
            self.unknown.append(batch)

    # --- readers

    async def read(self, trackers: Sequence[TrackerProcess], stopped: trio.Event) -> None:
        """Ask any tracker for what any tracker has acked, until it is told to stop."""
        while not stopped.is_set():
            await trio.sleep(READ_PAUSE_S)
            if self.acked_batches:
                await self._read(self.chance.choice(trackers))

    async def _read(self, tracker: TrackerProcess) -> None:
        """An answer that does not say that it may be behind holds what was acked before it was asked for."""
        acked, batch = len(self.acked), self.chance.choice(self.acked_batches[-5:])
        about_all = self.chance.random() < 0.5
        asked: dict[str, object] = {"limit": 0} if about_all else {"userId": batch.user}
        answer = await tracker.ask("/events", {"appId": self.app, **asked})
        if answer is None or answer.status != 200:
            self.counts["reads without an answer"] += 1
            return
        found = answer.json()
        if found.get("behind"):
            self.counts["reads that may be behind"] += 1
            return
        self.counts["reads that have all"] += 1
        if about_all:
            assert acked <= found["total"] <= len(self.may_be_there), f"{tracker.name}: {acked} acked, {found}"
        else:
            marks = sorted(map(int, MARK.findall(answer.body)))
            assert marks == list(batch.marks), f"{tracker.name} shows {marks}; acked was {batch.marks}"
