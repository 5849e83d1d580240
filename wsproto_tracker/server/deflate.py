"""permessage-deflate (RFC 7692) that takes ``Deflated`` fragments as they are; an extension for ``websockets``.

Such a message refers to nothing before it, so no context is taken over from one message to the next, and the other
side is told so (``server_no_context_takeover``). What is short is sent as it is, which the RFC leaves to the sender.
"""

from collections.abc import Sequence
from typing import Any

from websockets.extensions.base import Extension
from websockets.extensions.permessage_deflate import PerMessageDeflate, ServerPerMessageDeflateFactory
from websockets.frames import Frame, Opcode
from websockets.headers import parse_extension
from websockets.http11 import Response
from websockets.typing import ExtensionParameter

from wsproto_tracker.server.coding import Deflated

__all__ = ["BlockDeflateFactory", "takes_blocks"]

_FULL_WINDOW_BITS = 15
_SMALL_WINDOW_BITS = 12  # for what clients send; it saves memory of idle connections
_SHORT_BYTES = 256
_END = b"\x00"  # with the four bytes that the other side adds: an empty stored block (RFC 7692, 7.2.2)
_DATA = (Opcode.TEXT, Opcode.BINARY, Opcode.CONT)


class BlockDeflate(PerMessageDeflate):
    """One connection's extension. A message is either ``Deflated`` in all its fragments, or in none."""

    _passes = False

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
    """Negotiates the extension."""

    def __init__(self, **options: Any) -> None:
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
