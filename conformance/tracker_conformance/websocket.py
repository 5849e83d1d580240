"""A WebSocket client that records, and frames of RFC 6455 that need not be right."""

import json
import os
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import attrs
import h11
import trio
import trio_websocket
from wsproto.utilities import LocalProtocolError

from tracker_conformance.connections import GONE, Connection, Refused, connect_compressed, connect_plain, headers_of
from tracker_conformance.model import Facts
from tracker_conformance.recorder import Recorder
from tracker_conformance.transcript import Transcript

__all__ = ["BINARY", "CONTINUATION", "PING", "TEXT", "UnreachableError", "WebSocket", "frame", "opened"]

CONTINUATION, TEXT, BINARY, PING = 0x0, 0x1, 0x2, 0x9
_BYTES_IN_TIME = 1 << 20  # of a message, for which there is as much time as for an answer
_LEAVE_S = 0.5  # for the closing handshake, of which most checks say nothing
_FAILURES = (trio_websocket.ConnectionRejected, LocalProtocolError, h11.LocalProtocolError)


class UnreachableError(Exception):
    """There is no server where the suite was pointed at."""


def frame(opcode: int, payload: bytes, *, is_last: bool = True, claimed: int | None = None) -> bytes:
    """One frame of RFC 6455 as a client sends it.

    :param claimed: the length that its head tells, where that is not the length it has.
    """
    size = len(payload) if claimed is None else claimed
    first = opcode | (0x80 if is_last else 0)
    if size < 126:
        head = struct.pack("!BB", first, 0x80 | size)
    elif size < 1 << 16:
        head = struct.pack("!BBH", first, 0xFE, size)
    else:
        head = struct.pack("!BBQ", first, 0xFF, size)
    mask = os.urandom(4)
    repeated = (mask * (len(payload) // 4 + 1))[: len(payload)]
    masked = int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")
    return head + mask + masked.to_bytes(len(payload), "big")


@attrs.define(eq=False)
class WebSocket:
    """One connection of a check. Whatever the server does is recorded, and nothing of it raises.

    :ivar number: which of the check's connections, from 1.
    """

    number: int
    recorder: Recorder
    _connection: Connection | None
    _acks_due: int = 0

    async def send(self, message: Any) -> None:
        """Send a text message: a string as it is, anything else as JSON. Bytes go as a binary message."""
        if not isinstance(message, str | bytes):
            message = json.dumps(message)
        shown = message if isinstance(message, str) else _shown(message)
        self.recorder.add("send", self.number, shown, **({"binary": True} if isinstance(message, bytes) else {}))
        if self._connection is not None:
            await self._within_time(self._connection.send, message)

    async def send_raw(self, data: bytes, what: str) -> None:
        """Send bytes that need not be right, told of as ``what``."""
        self.recorder.add("send", self.number, what, raw=True)
        if self._connection is not None:
            await self._within_time(self._connection.stream.send_all, data)

    async def _within_time(self, send: Callable[[Any], Awaitable[None]], data: str | bytes) -> None:
        """Send; where the server does not read, that is recorded, and the rest is not sent."""
        seconds = self.recorder.target.happens_s * (1 + len(data) / _BYTES_IN_TIME)
        with trio.move_on_after(seconds) as scope, suppress(*GONE):
            await send(data)
        if scope.cancelled_caught:
            self.recorder.add("waited", self.number, f"the server to read; it did not within {seconds:g} s")
            await self.drop()

    async def ingest(self, *events: Any, **members: Any) -> None:
        """Send an ``ingest`` frame and wait for its ack."""
        await self.send_ingest(*events, **members)
        await self.until_acked()

    async def send_ingest(self, *events: Any, **members: Any) -> None:
        """Send an ``ingest`` frame."""
        self._acks_due += 1
        await self.send({"type": "ingest", "events": events, **members})

    async def until_acked(self, count: int | None = None) -> None:
        """Wait for as many acks, or for those of all that ``send_ingest`` sent."""
        due = self._acks_due if count is None else count
        await self.until(lambda seen: len(seen.of_type("ack", self.number)) >= due, f"{due} acks")

    async def query(self, req_id: str, **members: Any) -> None:
        """Send an ``events:query`` and wait for what answers it."""
        await self.send({"type": "events:query", "reqId": req_id, "query": members})
        await self.until_answered(req_id)

    async def until_answered(self, req_id: str) -> None:
        """Wait for any frame with a ``reqId``."""
        await self.until(
            lambda seen: any(found.get("reqId") == req_id for found in seen.frames(self.number)),
            f'an answer with reqId "{req_id}"',
        )

    async def until_type(self, name: str, count: int = 1) -> None:
        """Wait for so many frames of a type."""
        await self.until(lambda seen: len(seen.of_type(name, self.number)) >= count, f"{count} x {name}")

    async def until_closed(self) -> None:
        """Wait until the server closes."""
        await self.until(lambda _seen: False, "a close")

    async def until_refused(self) -> None:
        """Wait until the server closes, or shows by an answer that it will not."""
        answers = ("auth_ok", "ack", "events:response")
        await self.until(lambda seen: any(seen.of_type(name, self.number) for name in answers), "a close")

    async def until(self, condition: Callable[[Transcript], bool], what: str) -> None:
        """Wait for something that must happen, or for the end of the connection; a wait in vain is recorded."""
        await self.recorder.until(
            lambda: self.is_closed or condition(self._seen), what, self.number, self.recorder.target.happens_s
        )

    def has_received(self, name: str) -> bool:
        """Whether a frame of a type has come."""
        return bool(self._seen.of_type(name, self.number))

    @property
    def _seen(self) -> Transcript:
        return Transcript(self.recorder.entries, Facts("", has_key=False))

    @property
    def is_closed(self) -> bool:
        """Whether it was never opened, or is closed."""
        return any(
            entry.kind in ("close", "refused") and entry.connection == self.number for entry in self.recorder.entries
        )

    async def quiet(self, scale: float = 1.0) -> None:
        """Leave time for what must not happen."""
        await trio.sleep(self.recorder.target.quiet_s * scale)

    async def drop(self) -> None:
        """Vanish: no close frame."""
        if self._connection is not None:
            self.recorder.add("close", self.number, own=True, reason="dropped")
            await trio.aclose_forcefully(self._connection.stream)

    async def close(self) -> None:
        """Close, as a client does that is done; the server's close frame may follow."""
        if self._connection is not None and not self.is_closed:
            self.recorder.add("close", self.number, own=True)
            with trio.move_on_after(_LEAVE_S, shield=True), suppress(*GONE):
                await self._connection.close()


@asynccontextmanager
async def opened(
    url: str, number: int, recorder: Recorder, *, deflate: bool = False, headers: dict[str, str] | None = None
) -> AsyncIterator[WebSocket]:
    """Open a connection that records, and close it at the end.

    :raises UnreachableError: if nobody listens.
    """
    async with trio.open_nursery() as nursery:
        websocket = None
        with trio.move_on_after(recorder.target.happens_s):
            websocket = await nursery.start(_converse, url, number, recorder, deflate, headers or {})
        if websocket is None:
            recorder.add("waited", number, "an answer to the handshake; none came")
            websocket = _refused(number, recorder, Refused(None, {}))
        try:
            yield websocket
        finally:
            await websocket.close()
            nursery.cancel_scope.cancel()


async def _converse(
    url: str,
    number: int,
    recorder: Recorder,
    deflate: bool,
    headers: dict[str, str],
    *,
    task_status: trio.TaskStatus[WebSocket],
) -> None:
    """Hold a connection, until it is cancelled."""
    is_open = False
    try:
        async with AsyncExitStack() as stack:
            try:
                found = await (connect_compressed if deflate else connect_plain)(
                    url, stack, headers, recorder.target.ca
                )
            except OSError as error:
                raise UnreachableError(f"{recorder.target.redacted(url)}: {error}") from None
            if isinstance(found, Refused):
                task_status.started(_refused(number, recorder, found))
                return
            connection, shown = found
            is_open = True
            recorder.add("open", number, deflated=connection.is_deflated, headers=shown)
            task_status.started(WebSocket(number, recorder, connection))
            await _read(number, recorder, connection)
            await trio.sleep_forever()
    except* _FAILURES as failed:  # trio-websocket reads in a task of its own, so that it fails there
        cause = _first(failed)
        if is_open:
            recorder.add("close", number, code=None, reason=f"the client gave up: {cause}")
        elif isinstance(cause, trio_websocket.ConnectionRejected):
            found = Refused(cause.status_code, headers_of(cause.headers or ()))
            task_status.started(_refused(number, recorder, found))
        else:
            task_status.started(_refused(number, recorder, Refused(None, {})))


def _first(error: BaseException) -> BaseException:
    return _first(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error


def _refused(number: int, recorder: Recorder, refused: Refused) -> WebSocket:
    recorder.add("refused", number, status=refused.status, headers=refused.headers)
    return WebSocket(number, recorder, None)


async def _read(number: int, recorder: Recorder, connection: Connection) -> None:
    """Record what comes until the connection ends."""
    try:
        while True:
            message = await connection.receive()
            if isinstance(message, str):
                recorder.add("receive", number, message)
            else:
                recorder.add("receive", number, _shown(message), binary=True)
    except GONE:
        code, reason = connection.how_closed()
        recorder.add("close", number, code=code, reason=reason)


def _shown(message: bytes) -> str:
    return f"{len(message)} bytes: {message[:100].hex(' ')}"
