"""One connection to a server: opened, with its key shown, and every way in which it can fail told in our words."""

import json
import logging
import math
import ssl
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager

import trio
from websockets.exceptions import ConnectionClosed, InvalidMessage, InvalidStatus, WebSocketException
from websockets.trio.client import ClientConnection, connect

from wsproto_tracker.client.events import USER_AGENT
from wsproto_tracker.client.incoming import AuthOk, Error, Incoming, Violation, read_frame
from wsproto_tracker.client.options import ClientOptions
from wsproto_tracker.errors import ConnectError, ErrorCode, ForbiddenError, NotATrackerError, WrongKeyError

__all__ = ["AnswerTooLarge", "Link", "Lost", "open_link"]

_CLOSE_TIMEOUT_S = 1.0
_LARGE_BYTES = 256 * 1024  # reading so much takes some milliseconds
_COME_BACK = frozenset((408, 425, 429, 500, 502, 503, 504))  # of HTTP: it may work later
_POLICY_VIOLATION = 1008
_TOO_LARGE = 1009

_log = logging.getLogger("wsproto_tracker.client.websocket")
_log.setLevel(logging.WARNING)  # in more detail it would tell of keys and events


class Lost(Exception):  # noqa: N818 - the word that the messages use
    """There is no connection for now, and another may come about.

    :param retry_after_s: when to come back, where the server said so.
    :param is_too_large: whether the server closed it for a message that is too large (CLOSE-3).
    """

    def __init__(self, reason: str, retry_after_s: float = 0.0, *, is_too_large: bool = False) -> None:
        super().__init__(reason)
        self.retry_after_s = retry_after_s
        self.is_too_large = is_too_large


class AnswerTooLarge(Lost):
    """What the server sent is larger than ``max_answer_bytes``."""


class Link:
    """An open connection; ``open_link`` makes it.

    :ivar is_torn: whether a frame may be sent in part, so that nothing can follow it, not even a close frame.
    """

    def __init__(self, websocket: ClientConnection, options: ClientOptions) -> None:
        self._websocket = websocket
        self._options = options
        self.is_torn = False

    async def send(self, frame: bytes) -> None:
        """Send a frame.

        :raises Lost: where the connection is closed.
        :raises WrongKeyError: where it is closed for the key (CLOSE-1).
        """
        self.is_torn = True
        try:
            await self._websocket.send(frame, text=True)
        except ConnectionClosed as closed:
            raise self._why(closed) from None
        self.is_torn = False

    async def receive(self) -> Incoming:
        """Wait for the next frame.

        :raises Lost: where the connection is closed.
        :raises WrongKeyError: where the key is refused.
        :raises NotATrackerError: where what came is no frame.
        """
        try:
            message = await self._websocket.recv()
        except ConnectionClosed as closed:
            raise self._why(closed) from None
        try:
            if len(message) < _LARGE_BYTES:
                frame = read_frame(message)
            else:
                frame = await trio.to_thread.run_sync(read_frame, message)
        except Violation as violation:
            raise NotATrackerError(f"{self._options.address}: {violation}") from None
        if isinstance(frame, Error) and frame.is_unauthorized:
            raise wrong_key(self._options)
        return frame

    async def authenticate(self) -> None:
        """Show the key, where there is one, and wait until it is accepted: so nothing goes to what is no tracker.

        :raises ForbiddenError: where it is right, and not for here (X-SCOPE-6).
        """
        if self._options.api_key is None:
            return  # AUTH-6
        await self.send(json.dumps({"type": "auth", "key": self._options.api_key}).encode())
        with trio.move_on_after(self._options.connect_timeout_s):
            while True:
                frame = await self.receive()
                if isinstance(frame, AuthOk):
                    return
                if isinstance(frame, Error):
                    self._refuse_auth(frame)
        raise Lost(f"no auth_ok came within {self._options.connect_timeout_s:g} s; is this a tracker?")

    def _refuse_auth(self, error: Error) -> None:
        if error.code == ErrorCode.FORBIDDEN:
            raise ForbiddenError(f"{self._options.address}: the key is right, but not for clients without its origin")
        if error.code in (ErrorCode.RATE_LIMITED, ErrorCode.UNAVAILABLE):
            raise Lost("too many keys were tried of late", error.retry_after_s)
        raise NotATrackerError(f"{self._options.address}: it answered auth with {error.name}; a tracker says auth_ok")

    def _why(self, closed: ConnectionClosed) -> Exception:
        if closed.rcvd is None or closed.rcvd_then_sent is False:
            if closed.sent is not None and closed.sent.code == _TOO_LARGE:
                return AnswerTooLarge(f"an answer is larger than max_answer_bytes={self._options.max_answer_bytes}")
            return Lost("the connection broke" if closed.sent is None else "the server did not answer pings")
        if closed.rcvd.code == _POLICY_VIOLATION:
            return wrong_key(self._options)
        is_too_large = closed.rcvd.code == _TOO_LARGE
        return Lost(f"the server closed the connection with {closed.rcvd.code}", is_too_large=is_too_large)


def wrong_key(options: ClientOptions) -> WrongKeyError:
    """What is said of a key that is refused (AUTH-3, AUTH-5)."""
    advice = (
        "it needs a key; set api_key" if options.api_key is None else "it does not know this api_key; set the right one"
    )
    return WrongKeyError(f"{options.address}: {advice}")


@asynccontextmanager
async def open_link(options: ClientOptions) -> AsyncGenerator[Link, None]:
    """Connect, show the key, and close at the end, within a second whatever the server does.

    :raises Lost: where that fails, and may work later.
    :raises ConnectError: where TLS fails, which it would again.
    :raises NotATrackerError: where something else answers.
    :raises WrongKeyError: where the key is refused.
    :raises ForbiddenError: where the key is not for here.
    """
    with trio.CancelScope() as closing:
        async with AsyncExitStack() as stack:
            dialing = connect(
                options.url,
                ssl=options.ssl_context,
                proxy=None,
                user_agent_header=USER_AGENT,
                open_timeout=options.connect_timeout_s,
                close_timeout=_CLOSE_TIMEOUT_S,
                ping_interval=options.ping_interval_s,
                ping_timeout=options.ping_timeout_s,
                max_size=options.max_answer_bytes,
                logger=_log,
            )
            try:
                link = Link(await stack.enter_async_context(dialing), options)
            except (OSError, trio.BrokenResourceError, WebSocketException, ValueError) as error:
                raise _why_not(error, options) from error
            try:
                await link.authenticate()
                yield link
            except BaseException:
                closing.cancel()  # there is nothing to wait for
                raise
            closing.deadline = -math.inf if link.is_torn else trio.current_time() + _CLOSE_TIMEOUT_S


def _why_not(error: Exception, options: ClientOptions) -> Exception:
    """What a connection that did not come about means."""
    cause = error.__cause__
    if isinstance(error, ssl.SSLError) or isinstance(cause, ssl.SSLError):
        told = cause if isinstance(cause, ssl.SSLError) else error
        reason = getattr(told, "verify_message", "") or getattr(told, "reason", "") or "no details"
        advice = "give an ssl_context that trusts its certificate, or use ws:// where it has none"
        return ConnectError(f"{options.address}: TLS failed ({reason}); {advice}")
    if isinstance(error, InvalidStatus):
        return _why_status(error, options)
    if isinstance(error, TimeoutError):
        return Lost(f"nothing answered within {options.connect_timeout_s:g} s")
    is_early_end = isinstance(error, InvalidMessage) and isinstance(cause, EOFError)
    if is_early_end or isinstance(error, ConnectionClosed):
        return Lost("the connection broke before the handshake was done")
    if isinstance(error, OSError):
        return Lost(f"cannot connect: {_reason_of(error)}")
    if isinstance(error, trio.BrokenResourceError):
        return Lost("the connection broke before TLS was ready")
    expected = "expected a WebSocket server; is the port right, and ws:// or wss://?"
    return NotATrackerError(f"{options.address}: what answers speaks no WebSocket; {expected}")


def _reason_of(error: OSError) -> str:
    """The reason in the words of the system; trio puts those of several addresses into a group."""
    causes = [error, *getattr(error.__cause__, "exceptions", [error.__cause__])]
    reasons = [cause.strerror for cause in causes if isinstance(cause, OSError) and cause.strerror]
    return reasons[-1].lower() if reasons else str(error)


def _why_status(error: InvalidStatus, options: ClientOptions) -> Exception:
    status = error.response.status_code
    if status in _COME_BACK:
        retry_after = error.response.headers.get("Retry-After", "")
        seconds = float(retry_after) if retry_after.isdecimal() and len(retry_after) < 10 else 0.0
        return Lost(f"the server answered HTTP {status}", seconds)
    advice = {
        401: "a proxy in front of it wants a login",
        403: "the server lets nobody in by this name or from here; see its --origins",
        404: "there is no WebSocket at this path; the endpoint ends in /ws, such as /_tracker/ws",
    }.get(status, "expected 101, as a WebSocket endpoint answers, such as /_tracker/ws; is the path right?")
    return NotATrackerError(f"{options.address}: it answered HTTP {status}; {advice}")
