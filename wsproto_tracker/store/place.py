"""Where the node of a cluster stands in the stream that its store is built from."""

import attrs

__all__ = ["Place", "Position"]


@attrs.frozen
class Position:
    """The message that was applied last; it is written in one transaction with what came of it.

    :ivar stream: which stream it is: its name, and when it was made.
    :ivar sequence: the message's number in it.
    """

    stream: str
    sequence: int


@attrs.frozen
class Place:
    """Where the batches of one message come from.

    :ivar message_id: what its sender called it; a message that is in the stream twice is applied once.
    :ivar at_s: when the servers took it in, in seconds since 1970.
    :ivar is_news: whether those who asked for new events are told of it; what is read again is none.
    """

    position: Position
    message_id: str
    at_s: int
    is_news: bool
