"""What the trackers of a cluster write into their stream, and read from it.

A message is one byte, the version of its form, and then a raw deflate of MessagePack. A message without content marks a
place. A form changes only together with its version, so that an older tracker notices what it cannot read.
"""

from collections.abc import Sequence

import msgspec

from wsproto_tracker.protocol import json_text
from wsproto_tracker.protocol.events import Event
from wsproto_tracker.store import deflated, inflate

__all__ = ["Batches", "BrokenMessageError", "Content", "Erasure", "NewerMessageError", "decode", "encode"]

_VERSION = 1
_MAX_TEXT_BYTES = 256 * 1024 * 1024  # what a message may hold; one that is larger comes from nobody

_MAX_NAMES_CHARS = 512  # of app and id; longer ones are not written beside the text, which has them
_WrittenEvent = tuple[tuple[bytes, bytes] | None, bool, int, bytes]  # app and id, and the other members of an ``Event``


class BrokenMessageError(Exception):
    """A message that no tracker wrote."""


class NewerMessageError(Exception):
    """A message that a newer release wrote."""


class Batches(msgspec.Struct, frozen=True):
    """Events to store.

    :ivar batches: each with a number by which its sender knows it again.
    """

    batches: Sequence[tuple[int, Sequence[Event]]]


class Erasure(msgspec.Struct, frozen=True):
    """Events to erase: those of a user, of an app, or of a user in an app, which stand before this message."""

    user: str | None
    app: str | None


Content = Batches | Erasure


class _Written(msgspec.Struct, frozen=True, omit_defaults=True):
    batches: list[tuple[int, list[_WrittenEvent]]] | None = None
    erasure: tuple[bytes | None, bytes | None] | None = None


_DECODER = msgspec.msgpack.Decoder(_Written)


def encode(content: Content) -> bytes:
    """The message that holds this."""
    if isinstance(content, Batches):
        written = _Written(
            batches=[
                (
                    number,
                    [(_names(event), event.has_given_id, event.instant, event.text) for event in events],
                )
                for number, events in content.batches
            ]
        )
    else:
        written = _Written(erasure=(_optional(content.user), _optional(content.app)))
    return bytes((_VERSION,)) + deflated(msgspec.msgpack.encode(written))


def decode(message: bytes) -> Content:
    """What a message holds.

    :raises NewerMessageError: if a newer release wrote it.
    :raises BrokenMessageError: if it is none of ours.
    """
    if message[0] > _VERSION:
        raise NewerMessageError(f"version {message[0]}, and this release reads up to {_VERSION}")
    try:
        written = _DECODER.decode(inflate(message[1:], _MAX_TEXT_BYTES))
        if written.batches is not None:
            return Batches(
                [(number, [_event(written_event) for written_event in events]) for number, events in written.batches]
            )
        if written.erasure is not None:
            user, app = (None if name is None else _str(name) for name in written.erasure)
            return Erasure(user, app)
    except Exception as error:  # zlib's and isal's have no common class
        raise BrokenMessageError(str(error)) from None
    raise BrokenMessageError("it holds nothing")


def _event(written: _WrittenEvent) -> Event:
    names, has_given_id, instant, text = written
    if names is None:
        data = json_text.loads(text.decode())
        return Event(data["appId"], data["id"], has_given_id, instant, text)
    return Event(_str(names[0]), _str(names[1]), has_given_id, instant, text)


def _names(event: Event) -> tuple[bytes, bytes] | None:
    if len(event.app) + len(event.id) > _MAX_NAMES_CHARS:
        return None
    return _bytes(event.app), _bytes(event.id)


def _bytes(name: str) -> bytes:
    return name.encode("utf-8", "surrogatepass")  # JSON may hold lone surrogates


def _optional(name: str | None) -> bytes | None:
    return None if name is None else _bytes(name)


def _str(name: bytes) -> str:
    return name.decode("utf-8", "surrogatepass")
