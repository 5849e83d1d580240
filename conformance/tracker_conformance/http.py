"""HTTP requests that are recorded, each on a connection of its own; they may be wrong on purpose."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any
from urllib.parse import urlencode, urlsplit

import attrs
import h11
import trio

from tracker_conformance.recorder import Recorder
from tracker_conformance.tls import tls_context

__all__ = ["request", "with_parameters"]

_SWITCHING = 101
_CHUNK_BYTES = 64 * 1024
_PATIENCE = 8  # as a factor of the quiet time
_GONE = (trio.BrokenResourceError, trio.ClosedResourceError)


async def request(
    recorder: Recorder,
    method: str,
    url: str,
    *,
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
    claimed_bytes: int | None = None,
    ends_early: bool = True,
    expects_continue: bool = False,
) -> None:
    """Send a request and record it, and the response; status 0 where none came. Informational ones are noted.

    :param body: what is sent behind the head; with it comes a ``Content-Length``.
    :param claimed_bytes: what ``Content-Length`` tells, where that is not the length of the body.
    :param ends_early: whether, with ``claimed_bytes``, the connection is closed for sending after the body.
    :param expects_continue: whether the body waits for the server's 100; it is sent without, too, after a while, but
        not after a final status. What came before it is recorded as ``before_body``.
    """
    parts = urlsplit(url)
    sent = {"Host": parts.netloc.rpartition("@")[2], "Connection": "close"} | (headers or {})
    if body is not None:
        sent["Content-Length"] = str(len(body) if claimed_bytes is None else claimed_bytes)
    if expects_continue:
        sent["Expect"] = "100-continue"
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in sent.items())]
    shown = (body or b"").decode("utf-8", "replace")
    recorder.add("request", 0, shown, method=method, url=url, headers=sent)
    response: dict[str, Any] = {"status": 0, "headers": {}, "informational": []}
    exchange = _Exchange(
        _encoded("\r\n".join([*lines, "", ""])),
        body or b"",
        ends_early=ends_early and claimed_bytes is not None,
        patience_s=_PATIENCE * recorder.target.quiet_s if expects_continue else 0.0,
        linger_s=recorder.target.quiet_s if method == "HEAD" else 0.0,
        response=response,
    )
    with trio.move_on_after(recorder.target.happens_s) as scope:
        try:
            async with _connected(url, recorder.target.ca) as stream:
                await exchange.run(stream, method)
        except OSError as error:
            response["problem"] = f"{type(error).__name__}: {error}"
    if scope.cancelled_caught:
        recorder.add("waited", 0, f"the end of the response to {method} {url}; it did not come")
    recorder.add("response", 0, exchange.received.decode("utf-8", "replace"), **response)


def with_parameters(url: str, parameters: Mapping[str, object]) -> str:
    """A URL with more parameters."""
    return f"{url}{'&' if '?' in url else '?'}{urlencode(parameters)}"


@attrs.define(eq=False)
class _Exchange:
    """One request and its response.

    :ivar patience_s: how long the body waits for an answer to the head, at most.
    :ivar linger_s: how long to wait for what should not follow the response.
    :ivar response: what is known of it; it grows as the response comes.
    """

    head: bytes
    body: bytes
    ends_early: bool
    patience_s: float
    linger_s: float
    response: dict[str, Any]
    received: bytearray = attrs.field(factory=bytearray, init=False)
    _is_held: bool = attrs.field(init=False)
    _is_answered: trio.Event = attrs.field(factory=trio.Event, init=False)

    def __attrs_post_init__(self) -> None:
        self._is_held = self.patience_s > 0

    async def run(self, stream: trio.abc.Stream, method: str) -> None:
        """Send and receive side by side, until the response has ended."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._send, stream)
            try:
                await self._receive(stream, method)
            except (OSError, *_GONE, h11.RemoteProtocolError) as error:
                self.response["problem"] = f"{type(error).__name__}: {error}"
            nursery.cancel_scope.cancel()

    async def _send(self, stream: trio.abc.Stream) -> None:
        with suppress(*_GONE):
            if self._is_held:
                await stream.send_all(self.head)
                with trio.move_on_after(self.patience_s):
                    await self._is_answered.wait()
                self._is_held = False
                if not self.response["status"]:
                    await stream.send_all(self.body)
            else:
                await stream.send_all(self.head + self.body)
            if self.ends_early and isinstance(stream, trio.SocketStream):
                await stream.send_eof()

    def _answer(self, status: int) -> None:
        if self._is_held:
            self.response.setdefault("before_body", status)
        self._is_answered.set()

    async def _receive(self, stream: trio.abc.Stream, method: str) -> None:
        parser = h11.Connection(h11.CLIENT)
        asked = [("Host", "x")]
        if b"\r\nUpgrade: " in self.head:
            asked += [("Connection", "upgrade"), ("Upgrade", "websocket")]
        parser.send(h11.Request(method=method, target="/", headers=asked))  # so that it knows what it reads
        parser.send(h11.EndOfMessage())
        while True:
            event = parser.next_event()
            if event is h11.NEED_DATA:
                parser.receive_data(bytes(await stream.receive_some(_CHUNK_BYTES)))
            elif isinstance(event, h11.InformationalResponse):
                self.response["informational"].append(event.status_code)
                if event.status_code == _SWITCHING:  # it is the last one
                    self.response["status"] = event.status_code
                self._answer(event.status_code)
            elif isinstance(event, h11.Response):
                self.response["status"] = event.status_code
                self.response["headers"] = _joined(event.headers)
                self._answer(event.status_code)
            elif isinstance(event, h11.Data):
                self.received += event.data
            else:  # the end
                break
        if self.linger_s:
            self.received += parser.trailing_data[0]
            with trio.move_on_after(self.linger_s):
                while data := await stream.receive_some(_CHUNK_BYTES):
                    self.received += data


def _encoded(head: str) -> bytes:
    try:
        return head.encode("latin-1")  # as browsers do
    except UnicodeEncodeError:
        return head.encode()


def _joined(headers: Any) -> dict[str, str]:
    found: dict[str, str] = {}
    for raw_name, raw_value in headers:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        found[name] = f"{found[name]}, {value}" if name in found else value
    return found


@asynccontextmanager
async def _connected(url: str, ca: str) -> AsyncIterator[trio.abc.Stream]:
    parts = urlsplit(url)
    is_secure = parts.scheme == "https"
    stream: trio.abc.Stream = await trio.open_tcp_stream(parts.hostname or "", parts.port or (443 if is_secure else 80))
    if is_secure:
        stream = trio.SSLStream(stream, tls_context(ca), server_hostname=parts.hostname, https_compatible=True)
    try:
        yield stream
    finally:
        await trio.aclose_forcefully(stream)
