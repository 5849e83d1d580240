"""What ``send`` and ``import`` share: events go from a file to a server, in order, each once however often it is tried.

A batch goes when the one before it is acked. So what is acked is always a beginning of the file, also where a server
refuses a batch for now (LIMIT-6), and events of equal timestamps keep their order (QUERY-6).
"""

import json
import re
from collections import deque
from contextlib import aclosing
from typing import Any
from uuid import UUID, uuid5

import attrs
import trio

from wsproto_tracker.cli.reporting import Reporter
from wsproto_tracker.cli.source import MAX_LINE_BYTES, Line, Source, Unreadable
from wsproto_tracker.client import Client, Rejected
from wsproto_tracker.client.options import Options
from wsproto_tracker.errors import ClientError, DeliveryError, EventError, ForbiddenError, WrongKeyError
from wsproto_tracker.protocol import json_text

__all__ = ["Demands", "Feeding", "Ids", "NoEvent", "event_of"]

_BATCH_EVENTS = 500
_WINDOW_EVENTS = 8 * _BATCH_EVENTS  # read ahead of the acks
_WINDOW_BYTES = 16 * 1024 * 1024
_FRAME_BYTES = 4 * 1024 * 1024  # which every server takes (LIMIT-1)
_LOOK_S = 0.25
_TURN_LINES = 100  # after which the tasks that send have their turn

_NAMESPACE = UUID("6f6bd6f5-21f6-5a4c-9c5c-3e1a1c7b9a52")
_KEY_BITS = 64
_PLACE = re.compile(r"events\[\d+\](?:\.|: )")
_KINDS = {list: "an array", str: "a string", bool: "a boolean", int: "a number", float: "a number"}


class NoEvent(Exception):  # noqa: N818 - the word that the messages use
    """A line that holds no event; the message says what is wrong with it, in words that repeat nothing of it."""


class Ids:
    """Ids for events that have none: the same for the same events, so that a second run sends nothing new.

    An id is a UUID of version 5 of the event's JSON, and of how many events with the same JSON came before it. So it
    does not depend on line numbers: lines may be repaired, removed and added between two runs.
    """

    def __init__(self) -> None:
        self._seen: set[int] = set()  # a part of each id: where two share it, ids are still different
        self._again: dict[int, int] = {}

    def __call__(self, event: dict[str, Any]) -> str:
        text = json.dumps({name: event[name] for name in event if name != "id"}, sort_keys=True, separators=(",", ":"))
        first = uuid5(_NAMESPACE, text)
        key = first.int & ((1 << _KEY_BITS) - 1)
        if key not in self._seen:
            self._seen.add(key)
            return str(first)
        self._again[key] = self._again.get(key, 0) + 1
        return str(uuid5(_NAMESPACE, f"{text} {self._again[key]}"))


def event_of(line: Line) -> dict[str, Any]:
    """The JSON object on a line.

    :raises NoEvent: where there is none, or it has an ``id`` that is none.
    """
    if line.text is None:
        raise NoEvent(f"longer than {MAX_LINE_BYTES} bytes; expected one event a line")
    try:
        event = json_text.loads(line.text.decode())
    except UnicodeDecodeError:
        raise NoEvent("not UTF-8") from None
    except json.JSONDecodeError as error:
        raise NoEvent(f"not JSON: {error.msg.lower()}, column {error.colno}") from None
    except ValueError as error:
        raise NoEvent(f"not JSON: {error}") from None
    except RecursionError:
        raise NoEvent("nested too deep") from None
    if not isinstance(event, dict):
        raise NoEvent(f"expected an event, which is a JSON object, not {_KINDS.get(type(event), 'null')}")
    if not isinstance(event.get("id", ""), str):
        raise NoEvent("id: expected a string")
    return event


@attrs.frozen
class Demands:
    """In what the commands differ.

    :ivar needs_ids: whether a line without an id is wrong.
    :ivar is_strict: whether it ends at the first line that is wrong.
    :ivar patience_s: how long no ack may come before it gives up.
    """

    needs_ids: bool
    is_strict: bool
    patience_s: float


class Feeding:
    """One run.

    :ivar lines: that were read, but for blank ones.
    :ivar rejected: of them, those that hold no event, or one that the server did not take.
    :ivar problem: why not all could be read; empty where it could.
    """

    def __init__(self, source: Source, demands: Demands, reporter: Reporter) -> None:
        self._source = source
        self._demands = demands
        self._reporter = reporter
        self._ids = Ids()
        self._client: Client | None = None
        self._sent: deque[tuple[str, int]] = deque()  # ids and lines of what is not settled
        self._lines: dict[str, int] = {}
        self._settled = 0
        self._window_events = self._window_bytes = 0
        self._reading = trio.CancelScope()
        self._began_s = 0.0
        self.lines = 0
        self.rejected = 0
        self.problem = ""

    @property
    def options(self) -> Options:
        """For the client."""
        return Options(
            batch_size=_BATCH_EVENTS,
            max_batches_in_flight=1,
            max_frame_bytes=_FRAME_BYTES,
            flush_interval_s=1.0,
            connect_timeout_s=5.0,
            on_rejected=self._rejected,
        )

    @property
    def is_connected(self) -> bool:
        """Whether there was a connection yet."""
        return self._client is not None

    @property
    def acked(self) -> int:
        """Events that the server has, those included that it had before."""
        return 0 if self._client is None else self._client.stats.acked

    @property
    def duplicates(self) -> int:
        """Events that it had before."""
        return 0 if self._client is None else self._client.stats.duplicates

    @property
    def is_stopped(self) -> bool:
        """Whether no more is to be read."""
        return self._demands.is_strict and self.rejected > 0

    async def feed(self, client: Client) -> None:
        """Send all of it, and wait until that is settled.

        :raises ClientError: where the server takes no more.
        """
        self._client = client
        self._began_s = trio.current_time()
        if self._source.is_typed:
            self._reporter.tell("reads what you type: one event a line, as JSON; Ctrl-D ends it")
        with self._reporter.progress(self._source.name, self._source.size_bytes, is_wanted=not self._source.is_typed):
            try:
                with self._reading:
                    await self._read(client)
            except Unreadable as unreadable:
                self.problem = f"{self._source.name}: {unreadable}"
            await self._settle(client)

    async def _read(self, client: Client) -> None:
        async with aclosing(self._source.lines()) as chunks:
            async for lines in chunks:
                for line in lines:
                    if self.is_stopped:
                        return
                    if not line.is_blank:
                        self._take(client, line)
                    if self._window_events >= _WINDOW_EVENTS or self._window_bytes >= _WINDOW_BYTES:
                        await self._settle(client)
                    elif line.number % _TURN_LINES == 0:
                        await trio.lowlevel.checkpoint()
                self._show(client)

    def _take(self, client: Client, line: Line) -> None:
        self.lines += 1
        try:
            event = event_of(line)
            if not event.get("id"):
                if self._demands.needs_ids:
                    raise NoEvent("id: missing; export writes one into each line, and send takes events without")
                event["id"] = self._ids(event)
            event_id = client.send(event)
        except (NoEvent, EventError) as error:
            self._wrong(f"line {line.number}", str(error))
            return
        self._sent.append((event_id, line.number))
        self._lines[event_id] = line.number
        self._window_events += 1
        self._window_bytes += len(line.text or b"")

    def _wrong(self, where: str, reason: str, count: int = 1) -> None:
        self.rejected += count
        self._reporter.tell(f"{self._source.name}: {where}: {reason}")
        if self.is_stopped:
            self._reading.cancel()  # it may wait for a line that never comes

    def _rejected(self, rejected: Rejected) -> None:
        """Tell of what the server has not taken."""
        reason = _PLACE.sub("", rejected.reason)
        if rejected.event is not None:
            self._wrong(f"line {self._lines[rejected.event['id']]}", f"rejected: {reason}")
            return
        assert self._client is not None  # noqa: S101 - it is the client's callback
        stats = self._client.stats
        last = self._sent[stats.acked + stats.rejected - self._settled - 1][1]
        where = f"lines {self._sent[0][1]} to {last}"
        self._wrong(where, f"{rejected.count} events of them rejected: {reason}", rejected.count)

    async def _settle(self, client: Client) -> None:
        """Wait until everything that was taken is acked or rejected.

        :raises ClientError: where nothing is for too long.
        """
        waiting, since_s = client.stats.waiting, trio.current_time()
        while True:
            try:
                await client.flush(timeout_s=_LOOK_S)
                break
            except DeliveryError as error:
                now_s, before = trio.current_time(), waiting
                waiting = client.stats.waiting
                if waiting < before:
                    since_s = now_s
                elif now_s - since_s > self._demands.patience_s:
                    reason = str(error).replace(f"after {_LOOK_S:g} s", f"after {self._demands.patience_s:g} s")
                    raise self._given_up(ClientError(reason)) from None
            except (WrongKeyError, ForbiddenError) as error:
                raise self._given_up(error) from None
            self._show(client)
        self._show(client)
        self._window_events = self._window_bytes = 0

    def _given_up(self, error: ClientError) -> ClientError:
        kept = f"{self.acked} events are acked; {self.again}" if self.acked else "nothing is acked"
        return type(error)(f"{error}; {kept}")

    @property
    def again(self) -> str:
        """What to do where not everything was sent."""
        return "run it again: what has arrived is not stored twice"

    def _show(self, client: Client) -> None:
        """Forget what is settled, and move the bar."""
        stats = client.stats
        while self._settled < stats.acked + stats.rejected:
            event_id, number = self._sent.popleft()
            if self._lines[event_id] == number:  # else the same id came again
                del self._lines[event_id]
            self._settled += 1
        rate = stats.acked / max(trio.current_time() - self._began_s, _LOOK_S)
        self._reporter.advance(
            self._source.read_bytes, f"{stats.acked:,} events", f"{rate:,.0f}/s", f"{self.rejected:,} rejected"
        )
