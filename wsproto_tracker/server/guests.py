"""What the tasks of a program do with the tracker; it is over before the store is closed."""

from collections.abc import Generator
from contextlib import contextmanager

import trio

__all__ = ["Guests"]


class Guests:
    """Calls that are being carried out for a program, in tasks of its own."""

    def __init__(self) -> None:
        self._scopes: set[trio.CancelScope] = set()
        self._left = trio.lowlevel.ParkingLot()
        self._is_over = False

    @contextmanager
    def guest(self) -> Generator[None, None, None]:
        """Be one of them.

        :raises trio.ClosedResourceError: if the tracker is closed, or while this goes on.
        """
        if self._is_over:
            raise trio.ClosedResourceError("the tracker is closed")
        with trio.CancelScope() as scope:
            self._scopes.add(scope)
            try:
                yield
            finally:
                self._scopes.discard(scope)
                self._left.unpark_all()
        if scope.cancelled_caught:
            raise trio.ClosedResourceError("the tracker was closed meanwhile")

    async def wait_none(self) -> None:
        """Wait until there are none."""
        while self._scopes:
            await self._left.park()

    def end(self) -> None:
        """Cancel all of them, and let none come."""
        self._is_over = True
        for scope in self._scopes:
            scope.cancel()
