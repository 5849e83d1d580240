"""What can be wrong with the stream and its servers."""

from wsproto_tracker.errors import StoreError

__all__ = ["LostError", "UnfitError"]


class LostError(Exception):
    """The stream cannot be reached, or does not answer: another attempt may do. The message says why."""


class UnfitError(StoreError):
    """The stream, its servers or the node's own file are not as they have to be; the message says what to change."""
