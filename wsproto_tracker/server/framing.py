"""Where messages begin and end in the bytes that a WebSocket client sends (RFC 6455, section 5.2).

The WebSocket library tells of a message when it is complete. What is on its way has to be known before, to bound its
memory and its time, so this reads the frames' heads along, and nothing else of them.

And the library makes objects of all frames in what it is given, before it can wait for anything: an empty one is 6
bytes on the wire and 170 in memory. So it is given a few at a time.
"""

from collections.abc import Iterator
from itertools import islice

__all__ = ["FRAME_BYTES", "FrameCutter", "MessageMeter"]

FRAME_BYTES = 256
"""What a frame of a message counts besides its payload: its object, its places in queues and lists, rounded up."""

_MAX_FRAMES = 32  # at a time: more than ordinary traffic has in 64 KiB, and a fraction of what an idle connection takes
_FIN = 0x80
_CONTROL = 0x08
_MASKED = 0x80
_MASK_BYTES = 4
_LENGTH_BYTES = {126: 2, 127: 8}


class MessageMeter:
    """Follows the frames of one client."""

    def __init__(self) -> None:
        self._head = bytearray()
        self._remaining: int | None = None  # of the payload; None within a head
        self._is_control = False
        self._ends_message = False

    def feed(self, data: bytes | bytearray) -> Iterator[tuple[int, int, bool]]:
        """Yield, for each frame, where in the data it ends, what it takes, and whether a message ends with it.

        It takes what came of its payload, and ``FRAME_BYTES`` when its head has come. A control frame takes nothing,
        for it is dealt with at once. Behind the last there may be the beginning of a head.
        """
        position = 0
        while position < len(data):
            takes = 0
            if self._remaining is None:
                position = self._read_head(data, position)
                if self._remaining is None:
                    return
                takes = FRAME_BYTES
            count = min(self._remaining, len(data) - position)
            position += count
            takes += count
            is_over = self._remaining == count
            self._remaining = None if is_over else self._remaining - count
            if self._is_control:
                yield position, 0, False
            else:
                yield position, takes, is_over and self._ends_message

    def _read_head(self, data: bytes | bytearray, position: int) -> int:
        """Read on in the head; returns where it ends, or the data."""
        while missing := self._head_bytes - len(self._head):
            part = data[position : position + missing]
            self._head += part
            position += len(part)
            if len(part) < missing:
                return position
        first, second = self._head[:2]
        length = second & ~_MASKED
        size_bytes = _LENGTH_BYTES.get(length, 0)
        self._remaining = int.from_bytes(self._head[2 : 2 + size_bytes], "big") if size_bytes else length
        self._is_control = bool(first & _CONTROL)
        self._ends_message = bool(first & _FIN)
        self._head.clear()
        return position

    @property
    def _head_bytes(self) -> int:
        """How long the head is, as far as it is known."""
        if len(self._head) < 2:
            return 2
        second = self._head[1]
        return 2 + _LENGTH_BYTES.get(second & ~_MASKED, 0) + (_MASK_BYTES if second & _MASKED else 0)


class FrameCutter:
    """Cuts what came of one client into pieces of a few frames, and keeps what was not asked for yet."""

    def __init__(self) -> None:
        self._meter = MessageMeter()
        self._data: bytes | bytearray = b""
        self._start = 0
        self._frames: Iterator[tuple[int, int, bool]] = iter(())

    @property
    def left_bytes(self) -> int:
        """How much is left to be cut."""
        return len(self._data) - self._start

    def put(self, data: bytes | bytearray) -> None:
        """Take what came next; only when nothing is left."""
        self._data, self._start = data, 0
        self._frames = self._meter.feed(data)

    def cut(self) -> tuple[bytes | bytearray, list[tuple[int, bool]]]:
        """The next piece, and what each frame of it takes, and whether a message ends with it."""
        frames = list(islice(self._frames, _MAX_FRAMES))
        stop = frames[-1][0] if len(frames) == _MAX_FRAMES else len(self._data)
        piece = self._data[self._start : stop]
        if stop == len(self._data):
            self.put(b"")  # what was given out is not held
        else:
            self._start = stop
        return piece, [(takes, ends) for _, takes, ends in frames]
