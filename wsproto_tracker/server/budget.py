"""Memory for what is coming in: it is counted for each connection, and bounded for all of them together.

Where all of it is used, whoever would take more in waits before it reads on (LIMIT-3). Nobody waits for ever: what was
taken in is let go of when it is handled, and of those that wait in the middle of something the first may always go on,
until nothing is counted of it any more. The first part of what each connection holds is counted apart, so that those
who send little do not wait for those who send much.

Of the part for large messages one address has a share, so that it cannot use up what others need; there too the first
that waits may always go on. It waits for its share before it waits for the part itself, and the first of all goes on
whatever its share: so the first of all waits for nobody, and the first of a share for nobody but those before it.

Whose peer stalls in the middle of a message is not to keep others waiting for longer than a message may take, but who
is not read from cannot be told from who stalls. So a little is read from everybody, room or not, and time runs while
it is; who has sent that little waits, and its time stands still, for it is the server then that does not read.
"""

from weakref import WeakValueDictionary

import attrs
import trio

__all__ = ["RECEIVE_BYTES", "Account", "Budget", "Held"]

RECEIVE_BYTES = 64 * 1024
"""How much is read at once. A read that began while there was room may end when there is none."""

_SMALL_BYTES = 64 * 1024
_LITTLE_BYTES = 4 * 1024
_SHARES = 4  # so many addresses together can use up the part for large messages, and no fewer


class _Pool:
    """A part of the budget."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.used_bytes = 0
        self.first: Account | None = None  # who may go on though it is full
        self.waiting = trio.lowlevel.ParkingLot()

    def has_room_for(self, account: "Account") -> bool:
        return self.used_bytes < self.max_bytes or self.first is account

    async def wait_for_room(self, account: "Account") -> None:
        while not self.has_room_for(account):
            if self.first is None and account.holds_something:  # others may stay idle for ever
                self.first = account
            else:
                await self.waiting.park()

    def change(self, account: "Account", change: int, *, holds: bool) -> None:
        self.used_bytes += change
        steps_back = self.first is account and not holds
        if steps_back:
            self.first = None
        if (change < 0 or steps_back) and (self.first is None or self.used_bytes < self.max_bytes):
            self.waiting.unpark_all()


class Budget:
    """The memory that messages and bodies may take together, from their first byte until they are handled.

    :param max_bytes: half of it is for the first 64 KiB that each connection holds, half for what is beyond, a quarter
        of that at the most for one address. One connection may exceed each half by one message, one of each address
        its share.
    """

    def __init__(self, max_bytes: int) -> None:
        self.small = _Pool(max_bytes // 2)
        self.large = _Pool(max_bytes // 2)
        self._shares: WeakValueDictionary[str, _Pool] = WeakValueDictionary()  # of those who have a connection

    def share_of(self, group: str) -> _Pool:
        """What there is of the part for large messages for an address, or a network that counts as one."""
        share = self._shares.get(group)
        if share is None:
            share = self._shares[group] = _Pool(self.large.max_bytes // _SHARES)
        return share

    @property
    def used_bytes(self) -> int:
        """What is taken now."""
        return self.small.used_bytes + self.large.used_bytes


@attrs.define
class _Sizes:
    """The sizes of messages that are complete, and of the beginning of the next one."""

    unfinished: int = 0
    _complete: list[int] = attrs.field(factory=list)  # a few at the most, and smaller than a deque

    def add(self, count: int, *, ends: bool) -> None:
        self.unfinished += count
        if ends:
            self._complete.append(self.unfinished)
            self.unfinished = 0

    def take(self) -> int:
        return self._complete.pop(0) if self._complete else 0


@attrs.define(eq=False)
class Account:
    """What one connection holds of a budget: complete messages, and the beginning of the next one.

    :param group: the address that it counts for, as ``group_of`` has it; empty where that is not known.
    :ivar is_in_use: whether there is a conversation, which may handle what came after the peer has gone, and closes it.
    """

    _budget: Budget
    _group: str = ""
    _share: _Pool = attrs.field(init=False)
    _ceiling: int | None = attrs.field(default=None, init=False)  # how far it may go though there is no room
    _came: _Sizes = attrs.field(factory=_Sizes)
    _inflated: _Sizes = attrs.field(factory=_Sizes)
    _bytes: int = 0
    _is_closed: bool = False
    is_in_use: bool = attrs.field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self._share = self._budget.share_of(self._group)

    def belong_to(self, group: str) -> None:
        """Count for another address from now on; only while nothing is counted."""
        self._share = self._budget.share_of(group)

    @property
    def is_within_message(self) -> bool:
        """Whether the beginning of a message has come, and its end has not."""
        return self._came.unfinished > 0

    @property
    def holds_something(self) -> bool:
        """Whether anything is counted."""
        return self._bytes > 0

    async def wait_for_room(self) -> None:
        """Wait until a message may be taken in, or the rest of one."""
        if self._bytes < _SMALL_BYTES:
            await self._budget.small.wait_for_room(self)
        elif self._budget.large.first is not self:
            await self._share.wait_for_room(self)
            await self._budget.large.wait_for_room(self)

    async def wait_to_receive(self) -> int:
        """Wait until more may be read; returns how many bytes: where there is no room, the little that may be."""
        if not self._has_room:
            ceiling = self._bytes + _LITTLE_BYTES  # lower than before where something was let go of: others may have it
            self._ceiling = ceiling if self._ceiling is None else min(self._ceiling, ceiling)
            if self._bytes < self._ceiling:
                return self._ceiling - self._bytes
            await self.wait_for_room()
        self._ceiling = None
        return RECEIVE_BYTES

    @property
    def _has_room(self) -> bool:
        """Whether there would be no wait."""
        if self._bytes < _SMALL_BYTES:
            return self._budget.small.has_room_for(self)
        large = self._budget.large
        return large.first is self or (self._share.has_room_for(self) and large.has_room_for(self))

    def add(self, count: int, *, ends: bool = False) -> None:
        """Count bytes of a message that came; with ``ends`` it is complete."""
        self._came.add(count, ends=ends)
        self._resize(count)

    def add_inflated(self, count: int, ends: bool) -> None:
        """Count what a message takes beyond what came; each that is compressed or may be has to be told of."""
        self._inflated.add(count, ends=ends)
        self._resize(count)

    def take(self) -> "Held":
        """What the first of the complete messages takes; who takes it, lets go of it when it is handled."""
        return Held(self, self._came.take() + self._inflated.take())

    def clear(self) -> None:
        """Let go of everything."""
        self._came = _Sizes()
        self._inflated = _Sizes()
        self._resize(-self._bytes)

    def close(self) -> None:
        """Let go of everything; from now on nothing counts."""
        self.clear()
        self._is_closed = True

    def close_unless_in_use(self) -> None:
        """Close it, for the connection has ended, unless somebody still handles what came."""
        if not self.is_in_use:
            self.close()

    def _resize(self, change: int) -> None:
        if self._is_closed:
            return
        before, self._bytes = self._bytes, max(self._bytes + change, 0)
        small = min(self._bytes, _SMALL_BYTES)
        large = self._bytes - small
        small_before = min(before, _SMALL_BYTES)
        self._budget.small.change(self, small - small_before, holds=small > 0)
        for pool in (self._share, self._budget.large):
            pool.change(self, large - (before - small_before), holds=large > 0)


@attrs.define(eq=False)
class Held:
    """The memory of one message, or of what became of it."""

    _account: Account
    _bytes: int

    def resize(self, size: int) -> None:
        """Count that something of another size takes its place."""
        self._account._resize(size - self._bytes)
        self._bytes = size

    def release(self) -> None:
        """Let go of it; harmless when that is done."""
        self.resize(0)
