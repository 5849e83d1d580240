"""What a check sends with: connections and requests that are recorded, and events that can be told from all others."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import trio

from tracker_conformance import http
from tracker_conformance.model import Facts
from tracker_conformance.recorder import Recorder
from tracker_conformance.target import Target
from tracker_conformance.transcript import Transcript
from tracker_conformance.websocket import WebSocket, opened

__all__ = ["Probe", "window_begin"]

_WINDOW_S = 120
_GAP_S = 10


@attrs.define(eq=False)
class Probe:
    """One check's way to the server.

    :ivar begin: where its window of time begins; no other check of the run has events in it.
    """

    target: Target
    facts: Facts
    begin: datetime
    recorder: Recorder
    _connections: int = attrs.field(default=0, init=False)

    def at(self, seconds: float) -> str:
        """A timestamp so many seconds into the window, with as many digits as it takes, three at least."""
        moment = self.begin + timedelta(seconds=seconds)
        precision = "milliseconds" if moment.microsecond % 1000 == 0 else "microseconds"
        return moment.replace(tzinfo=None).isoformat(timespec=precision) + "Z"

    @property
    def window(self) -> dict[str, str]:
        """The members of a query for the check's window. No event lies at its ends, for they are QUERY-2's affair."""
        return {"since": self.at(-1), "until": self.at(_WINDOW_S)}

    def event(self, label: str, seconds: float = 1.0, /, **members: Any) -> dict[str, Any]:
        """An event as the plugin sends it, with some members changed; ``...`` leaves a member out."""
        marked = self.facts.prefix + label
        plain: dict[str, Any] = {
            "id": "",
            "timestamp": self.at(seconds),
            "level": "info",
            "type": "click",
            "appId": self.target.app_id,
            "sessionId": marked,
            "userId": marked,
            "payload": {"tag": "button", "text": marked, "coordinates": {"x": 5, "y": 7}},
            "meta": {"userAgent": "tracker-conformance", "route": "/", "viewport": "800x600", "language": "en-US"},
        }
        return {name: value for name, value in (plain | members).items() if value is not ...}

    @asynccontextmanager
    async def connect(
        self,
        *,
        auth: bool = True,
        key: str = "",
        deflate: bool | None = None,
        headers: dict[str, str] | None = None,
    ) -> AsyncIterator[WebSocket]:
        """Open a connection; authenticated, where the server has a key.

        :param key: another one than the target's.
        :param deflate: whether it offers permessage-deflate; by default, as the target says.
        """
        deflate = self.target.deflate if deflate is None else deflate
        self._connections += 1
        async with opened(
            self.target.ws_url, self._connections, self.recorder, deflate=deflate, headers=headers
        ) as websocket:
            if auth and self.target.api_key:
                await websocket.send({"type": "auth", "key": key or self.target.api_key})
                await websocket.until_type("auth_ok")
            yield websocket

    def note(self, name: str, value: Any) -> None:
        """Note something for the judge."""
        self.recorder.add("note", 0, name, value=value)

    async def request(
        self, method: str, url: str, body: bytes | None = None, *, auth: bool = True, key: str = "", **options: Any
    ) -> None:
        """Send an HTTP request; with the key, where the server has one, or with another. See ``http.request``."""
        headers = dict(options.pop("headers", {}))
        if auth and self.target.api_key:
            headers.setdefault("X-Tracker-Key", key or self.target.api_key)
        await http.request(self.recorder, method, url, body=body, headers=headers, **options)

    @property
    def seen(self) -> Transcript:
        """What is recorded so far, for a probe that goes on by it."""
        return Transcript(self.recorder.entries, self.facts)

    @property
    def http_url(self) -> str:
        """The URL of the WebSocket, as HTTP has it."""
        return "http" + self.target.ws_url.removeprefix("ws")

    async def handshake(self, url: str, headers: dict[str, str] | None = None) -> None:
        """Ask for a WebSocket over HTTP; the answer is recorded as a response."""
        asked = {
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
            "Sec-WebSocket-Version": "13",
        }
        await self.request("GET", url, auth=False, headers=asked | (headers or {}))

    async def quiet(self, scale: float = 1.0) -> None:
        """Leave time for what must not happen."""
        await trio.sleep(self.target.quiet_s * scale)


def window_begin(number: int, offset_s: int) -> datetime:
    """Where the window of the check with this number begins: before now, and before those of lower numbers.

    :param offset_s: by how much all of a run are earlier, so that those of other runs are elsewhere.
    """
    newest = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=2 * _WINDOW_S + offset_s)
    return newest - timedelta(seconds=(_WINDOW_S + _GAP_S) * number)
