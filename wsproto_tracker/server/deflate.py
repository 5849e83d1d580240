"""permessage-deflate (RFC 7692) that takes ``Deflated`` fragments as they are; an extension for ``websockets``.

Such a message refers to nothing before it, so no context is taken over from one message to the next, and the other
side is told so (``server_no_context_takeover``). What is short is sent as it is, which the RFC leaves to the sender.

Clients do take theirs over: without it their messages would be up to three times as long.
"""

import zlib
from collections.abc import Callable, Sequence
from typing import Any

from websockets.extensions.base import Extension
from websockets.extensions.permessage_deflate import PerMessageDeflate, ServerPerMessageDeflateFactory
from websockets.frames import Frame, Opcode
from websockets.headers import parse_extension
from websockets.http11 import Response
from websockets.typing import BytesLike, ExtensionParameter

from wsproto_tracker.server.coding import Deflated

__all__ = ["BlockDeflateFactory", "takes_blocks"]

_FULL_WINDOW_BITS = 15
_SMALL_WINDOW_BITS = 12  # for what clients send; it saves memory of idle connections
_SHORT_BYTES = 256
_FREE_BYTES = 4 * 1024 * 1024  # LIMIT-1
_END = b"\x00"  # with the four bytes that the other side adds: an empty stored block (RFC 7692, 7.2.2)
OnInflated = Callable[[int, bool], None]
"""Called with a number of bytes, and whether the message ends with them."""

_DATA = (Opcode.TEXT, Opcode.BINARY, Opcode.CONT)


class LeanDeflate(PerMessageDeflate):
    """A connection's extension that keeps no decoder between messages, which takes 7 kB, and its window besides.

    What the next message may refer back to is kept as text. Until something compressed has come, there is none.
    """

    def __init__(self, remote_no_context_takeover: bool, *parameters: Any) -> None:
        super().__init__(True, *parameters)  # or it would make a decoder now, and keep it
        self.remote_no_context_takeover = remote_no_context_takeover
        self._window = b""

    def decode(self, frame: Frame, *, max_size: int | None = None) -> Frame:
        """Decode an incoming frame."""
        is_first = frame.opcode is not Opcode.CONT
        is_deflated = frame.rsv1 if is_first else self.decode_cont_data
        if self.remote_no_context_takeover or frame.opcode not in _DATA or not is_deflated:
            return super().decode(frame, max_size=max_size)
        if is_first:
            self.decoder = zlib.decompressobj(-self.remote_max_window_bits, zdict=self._window)
        decoded = super().decode(frame, max_size=max_size)
        self._keep_end_of(decoded.data)
        if frame.fin:
            del self.decoder
        return decoded

    def _keep_end_of(self, text: BytesLike) -> None:
        size = 1 << self.remote_max_window_bits
        self._window = bytes(text[-size:]) if len(text) >= size else (self._window + text)[-size:]


class BlockDeflate(LeanDeflate):
    """One connection's extension. A message that is sent is either ``Deflated`` in all its fragments, or in none.

    A message that comes may be large or inflate well, but not both: what inflates beyond ``_FREE_BYTES`` may be so many
    times as large as what came (LIMIT-3, CLOSE-3).

    :ivar max_inflate_ratio: how many times.
    """

    _passes = False
    _came_bytes = 0
    _inflated_bytes = 0
    max_inflate_ratio = 0

    def __init__(self, *options: Any) -> None:
        super().__init__(*options)
        self._unreported: list[tuple[int, bool]] = []
        self._report: OnInflated = lambda count, ends: self._unreported.append((count, ends))

    def report_to(self, on_inflated: OnInflated) -> None:
        """Tell from now on, and of what came before, by how many bytes each part of a message became larger."""
        self._report = on_inflated
        for count, ends in self._unreported:
            on_inflated(count, ends)
        self._unreported.clear()

    def decode(self, frame: Frame, *, max_size: int | None = None) -> Frame:
        """Decode an incoming frame.

        :raises PayloadTooBig: if it is too large, or inflates too well.
        """
        if frame.opcode not in _DATA:
            return frame
        if frame.opcode is not Opcode.CONT:
            self._came_bytes = self._inflated_bytes = 0
        self._came_bytes += len(frame.data)
        allowed = max(_FREE_BYTES, self._came_bytes * self.max_inflate_ratio) - self._inflated_bytes
        allowed = max(allowed, 1)  # 0 would be without a bound
        decoded = super().decode(frame, max_size=allowed if max_size is None else min(allowed, max_size))
        self._inflated_bytes += len(decoded.data)
        self._report(len(decoded.data) - len(frame.data), frame.fin)
        return decoded

    def encode(self, frame: Frame) -> Frame:
        """Encode an outgoing frame."""
        if frame.opcode not in _DATA:
            return frame
        is_first = frame.opcode is not Opcode.CONT
        if is_first:
            self._passes = isinstance(frame.data, Deflated)
            if frame.fin and len(frame.data) < _SHORT_BYTES and not self._passes:
                return frame
        if not self._passes:
            return super().encode(frame)
        data = bytes(frame.data) + _END if frame.fin else frame.data
        return Frame(frame.opcode, data, frame.fin, rsv1=is_first)


class BlockDeflateFactory(ServerPerMessageDeflateFactory):
    """Negotiates the extension.

    :param max_inflate_ratio: how many times larger a message over 4 MiB may be than what came.
    """

    def __init__(self, max_inflate_ratio: int, **options: Any) -> None:
        self._max_inflate_ratio = max_inflate_ratio
        super().__init__(server_no_context_takeover=True, client_max_window_bits=_SMALL_WINDOW_BITS, **options)

    def process_request_params(
        self, params: Sequence[ExtensionParameter], accepted_extensions: Sequence[Extension]
    ) -> tuple[list[ExtensionParameter], PerMessageDeflate]:
        """Agree to what a client offers."""
        agreed, plain = super().process_request_params(params, accepted_extensions)
        extension = BlockDeflate(
            plain.remote_no_context_takeover,
            plain.local_no_context_takeover,
            plain.remote_max_window_bits,
            plain.local_max_window_bits,
            plain.compress_settings,
        )
        extension.max_inflate_ratio = self._max_inflate_ratio
        return agreed, extension


def takes_blocks(response: Response | None) -> bool:
    """Whether a connection with this handshake takes blocks as they lie: they refer back as far as deflate can."""
    if response is None:
        return False
    agreed = [
        dict(parameters)
        for header in response.headers.get_all("Sec-WebSocket-Extensions")
        for name, parameters in parse_extension(header)
        if name == PerMessageDeflate.name
    ]
    return any(int(found.get("server_max_window_bits") or _FULL_WINDOW_BITS) == _FULL_WINDOW_BITS for found in agreed)
