"""Hooks: what a program that embeds the tracker can have done to keys and to events."""

from collections.abc import Awaitable, Callable
from typing import Any

import attrs

from wsproto_tracker.access import Grant
from wsproto_tracker.errors import ConfigurationError

__all__ = ["Authorise", "Caller", "Hooks", "OnEvent"]


@attrs.frozen(kw_only=True)
class Caller:
    """Who sends something.

    :ivar address: its IP address, ``unix``, or what the program gave for a connection of its own; empty for the program
        itself, by ``Tracker.append``.
    :ivar origin: where the page comes from; ``None`` for a client that is no page.
    :ivar name: what its key is called; ``anybody`` where none is needed.
    """

    address: str
    origin: str | None = None
    name: str = ""


Authorise = Callable[[str | None, Caller], Awaitable[Grant | None]]
"""Says what a key allows, or ``None`` for a wrong one; the key is ``None`` where an HTTP request has none."""

OnEvent = Callable[[dict[str, Any], Caller], Awaitable[dict[str, Any] | None]]
"""Gets an event before it is stored, with its id, and returns it, as it was or changed; ``None`` drops it."""


@attrs.frozen(kw_only=True)
class Hooks:
    """What a program wants to have a say in.

    - ``authorise`` takes the place of all configured keys. What it grants holds for the connection, or for one request.
      Where it raises or takes too long, the client hears that the server failed, and may come again.
    - ``on_event`` sees every event that is valid, one after the other. An event that it returns unchanged is stored in
      the bytes that came (X-BYTES-1); its ``id`` stays, whatever is returned. What it drops, what is no valid event any
      more, and what it raises at or takes too long over, is not stored: the sender finds it among the ``rejected`` of
      the ack, the metrics count it, and the log tells of what was raised.

    :param timeout_s: how long each call may take, in seconds.
    :raises ConfigurationError: for a timeout that is none.
    """

    authorise: Authorise | None = attrs.field(default=None)
    on_event: OnEvent | None = attrs.field(default=None)
    timeout_s: float = attrs.field(default=5.0)

    @authorise.validator
    @on_event.validator
    def _check_hook(self, attribute: "attrs.Attribute[Any]", value: object) -> None:
        if value is not None and not callable(value):
            raise ConfigurationError(f"{attribute.name}: expected an async function, not {type(value).__name__}")

    @timeout_s.validator
    def _check_timeout(self, _attribute: "attrs.Attribute[float]", value: float) -> None:
        if not isinstance(value, int | float) or not value > 0:
            raise ConfigurationError(f"timeout_s: expected seconds above 0, not {value!r}")
