"""How much memory the settings allow, part by part: what ``wsproto-tracker limits`` prints.

Each bound is what its part takes at the worst, when hostile clients use all of it; in most it is far from used. The
constants were measured (``bench``, ``tests/test_hostile.py``) and are rounded up.
"""

from collections.abc import Iterator

import attrs

from wsproto_tracker.server.budget import RECEIVE_BYTES
from wsproto_tracker.server.streams import HELD_BYTES
from wsproto_tracker.settings import Settings

__all__ = ["Bound", "bounds"]

_KIB = 1024
_MIB = 1024 * 1024

_BASE_BYTES = 64 * _MIB  # the interpreter, the libraries, what is known of a million sealed events
_CONNECTION_BYTES = 128 * _KIB  # tasks, buffers, parsers and TLS of one that is idle, and its deflate window
_RECEIVED_COPIES = 2  # the text of a message, and the events cut out of it
_DECODED_FACTOR = 32  # the worst that JSON can become: lists in a list
_ANSWER_BYTES = 3 * _MIB  # a piece, a block, its text
_OPEN_BYTES = 32 * _MIB  # events that are not sealed yet, while they are being sealed (store/block.py)


@attrs.frozen
class Bound:
    """What one part may take.

    :ivar why: how it comes about, with the settings that decide it by their names.
    """

    what: str
    max_bytes: int
    why: str


def bounds(settings: Settings) -> Iterator[Bound]:
    """The bounds of all parts."""
    yield Bound("the process itself", _BASE_BYTES, "about")
    # What it reads while others use up the room, and acks that it does not take, or its request's head before.
    per_connection = _CONNECTION_BYTES + RECEIVE_BYTES + max(HELD_BYTES, settings.max_head_bytes)
    yield Bound(
        "connections",
        settings.max_connections * per_connection,
        f"max_connections, each {per_connection // _KIB} KiB with max_head_bytes",
    )
    yield Bound(
        "messages and bodies that come in",
        _RECEIVED_COPIES * (settings.max_receiving_bytes + 2 * settings.max_frame_bytes),
        "max_receiving_bytes and two of max_frame_bytes, twice",
    )
    yield Bound(
        "one message that is being decoded",
        _DECODED_FACTOR * settings.max_frame_bytes,
        f"max_frame_bytes, {_DECODED_FACTOR} times at the worst",
    )
    yield Bound(
        "events on their way to the disk",
        settings.max_uncommitted_bytes + settings.max_frame_bytes,
        "max_uncommitted_bytes and one of max_frame_bytes",
    )
    yield Bound("events that are not sealed yet", _OPEN_BYTES, "about")
    yield Bound("answers", settings.max_queries * _ANSWER_BYTES, f"max_queries, each {_ANSWER_BYTES // _MIB} MiB")
    yield Bound(
        "pushes that wait for slow readers",
        settings.max_subscriptions * settings.max_push_bytes,
        "max_subscriptions, each max_push_bytes",
    )
