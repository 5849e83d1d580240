"""What the hooks of a program do to keys and to events, and what becomes of a hook that fails."""

import logging
from collections.abc import Iterator
from typing import Any

import attrs
import msgspec
import trio

from wsproto_tracker.access import ANYBODY, Grant
from wsproto_tracker.errors import ErrorCode, FrameError
from wsproto_tracker.hooks import Caller, Hooks, OnEvent
from wsproto_tracker.protocol import json_text
from wsproto_tracker.protocol.events import (
    MAX_LISTED_REJECTIONS,
    Batch,
    Cause,
    Event,
    Rejection,
    read_event,
)
from wsproto_tracker.protocol.ids import new_id
from wsproto_tracker.server.peer import Peer

__all__ = ["Hooked"]

_log = logging.getLogger("wsproto_tracker.hooks")

_RETRY_S = 5.0


@attrs.frozen
class Hooked:
    """Calls the hooks, each within its time.

    :ivar max_event_bytes: how large the text of an event may be afterwards.
    """

    hooks: Hooks
    max_event_bytes: int

    @property
    def authorises(self) -> bool:
        """Whether the program says what keys allow."""
        return self.hooks.authorise is not None

    async def authorise(self, key: str | None, peer: Peer) -> Grant | None:
        """What the program lets this key do, ``None`` for a wrong one; a grant for pages of other origins is empty.

        :raises FrameError: ``internal``, if the hook failed.
        """
        if self.hooks.authorise is None:
            return ANYBODY
        try:
            with trio.fail_after(self.hooks.timeout_s):
                grant = await self.hooks.authorise(key, Caller(address=peer.address, origin=peer.origin))
            if not isinstance(grant, Grant | None):
                raise TypeError(f"authorise returned {type(grant).__name__}; expected a Grant or None")
        except Exception:  # the program's fault, whatever it is
            _log.exception("the hook authorise failed", extra={"address": peer.address})
            message = "the key could not be checked; try again later"
            raise FrameError(ErrorCode.INTERNAL, message, retry_after_s=_RETRY_S) from None
        return grant if grant is None or grant.takes(peer.origin) else grant.without_scopes()

    async def apply(self, batch: Batch, caller: Caller) -> Batch:
        """The batch after the hook has seen every event of it that is valid."""
        if self.hooks.on_event is None:
            return batch
        kept: list[Event] = []
        rejected: list[Rejection] = list(batch.rejected)
        causes = dict(batch.causes)
        for index, event in zip(_indexes(batch), batch.events, strict=True):
            await trio.lowlevel.checkpoint()  # a hook need not wait for anything, and a batch may be large (CONN-7)
            found = await self._apply(self.hooks.on_event, event, index, caller)
            if isinstance(found, Event):
                kept.append(found)
            else:
                rejected.append(found)
                causes[found.cause] = causes.get(found.cause, 0) + 1
        rejected.sort(key=lambda rejection: rejection.index)
        return Batch(tuple(kept), tuple(rejected[:MAX_LISTED_REJECTIONS]), causes)

    async def _apply(self, hook: OnEvent, event: Event, index: int, caller: Caller) -> Event | Rejection:
        try:
            with trio.fail_after(self.hooks.timeout_s):
                data = json_text.loads(event.text.decode())
                before = json_text.dumps(data)
                after = await hook(data, caller)
                if after is None:
                    return Rejection(index, f"events[{index}]: this server does not take it", Cause.DROPPED)
                return self._changed(event, before, after)
        except Exception:  # the program's fault, whatever it is
            _log.exception("the hook on_event failed", extra={"address": caller.address})
            return Rejection(index, f"events[{index}]: this server failed on it", Cause.FAILED)

    def _changed(self, event: Event, before: bytes, after: dict[str, Any]) -> Event:
        """The event as the hook returned it; in the bytes that came, if it is as it was.

        :raises ValueError: if it is no valid event any more.
        """
        if not isinstance(after, dict):
            raise TypeError(f"on_event returned {type(after).__name__}; expected the event or None")
        text = json_text.dumps(after if after.get("id") == event.id else {**after, "id": event.id})
        if text == before:
            return event
        if len(text) > self.max_event_bytes:
            raise ValueError(f"on_event returned an event of more than {self.max_event_bytes} bytes")
        found = read_event(text, 0, new_id)
        if isinstance(found, Rejection):
            raise ValueError(f"on_event returned what is no event: {found.reason.removeprefix('events[0].')}")
        return msgspec.structs.replace(found, has_given_id=event.has_given_id)


def _indexes(batch: Batch) -> Iterator[int]:
    """Where each event of a batch stood in its frame, as far as the rejections that are listed tell."""
    rejected = {rejection.index for rejection in batch.rejected}
    count = len(batch.events) + len(rejected)
    return (index for index in range(count) if index not in rejected)
