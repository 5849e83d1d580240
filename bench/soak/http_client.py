"""A client for HTTP/1.1 that keeps its connection."""

import gzip
from collections.abc import Sequence

import attrs
import h11
import trio

__all__ = ["HttpClient", "Response"]

_RECEIVE_BYTES = 256 * 1024


@attrs.frozen
class Response:
    """A response; header names in lower case, the body inflated."""

    status: int
    headers: dict[str, str]
    body: bytes


class HttpClient:
    """One connection to a port of the loopback, opened when it is needed and again after it was lost."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._stream: trio.SocketStream | None = None
        self._h11 = h11.Connection(h11.CLIENT)

    async def request(self, method: str, target: str, body: bytes = b"") -> Response:
        """Send a request, return the response.

        :raises OSError: if there is no connection.
        :raises trio.BrokenResourceError: if it is lost.
        :raises h11.RemoteProtocolError: if it ends before the response does.
        """
        is_done = False
        try:
            if self._stream is None:
                self._stream = await trio.open_tcp_stream("127.0.0.1", self._port)
            response = await self._exchange(self._stream, method, target, body)
            is_done = self._h11.our_state is h11.DONE and self._h11.their_state is h11.DONE
            return response
        finally:
            if is_done:
                self._h11.start_next_cycle()
            else:
                await self.aclose()

    async def aclose(self) -> None:
        """Close the connection."""
        if self._stream is not None:
            await trio.aclose_forcefully(self._stream)
        self._stream = None
        self._h11 = h11.Connection(h11.CLIENT)

    async def _exchange(self, stream: trio.SocketStream, method: str, target: str, body: bytes) -> Response:
        headers = [("Host", "localhost"), ("Accept-Encoding", "gzip"), ("Content-Length", str(len(body)))]
        data = self._h11.send(h11.Request(method=method, target=target, headers=headers)) or b""
        data += self._h11.send(h11.Data(data=body)) or b""
        await stream.send_all(data + (self._h11.send(h11.EndOfMessage()) or b""))
        head: h11.Response | None = None
        pieces: list[bytes] = []
        while True:
            event = self._h11.next_event()
            if event is h11.NEED_DATA:
                self._h11.receive_data(await stream.receive_some(_RECEIVE_BYTES))
            elif isinstance(event, h11.Response):
                head = event
            elif isinstance(event, h11.Data):
                pieces.append(bytes(event.data))
            elif isinstance(event, h11.EndOfMessage):
                break
        if head is None:
            raise RuntimeError("h11 ended a message that had no head")
        return _response(head, pieces)


def _response(head: h11.Response, pieces: Sequence[bytes]) -> Response:
    headers = {name.decode(): value.decode() for name, value in head.headers}
    body = b"".join(pieces)
    is_gzipped = headers.get("content-encoding") == "gzip"
    return Response(head.status_code, headers, gzip.decompress(body) if is_gzipped else body)
