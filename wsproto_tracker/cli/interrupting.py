"""Ctrl-C and what else ends a command, for those that talk to a server."""

import signal
from types import FrameType, TracebackType
from typing import Any, Self

import trio

__all__ = ["Endings", "until_interrupted"]

_OTHERS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))


class Endings:
    """While it is entered, SIGTERM and SIGHUP do what Ctrl-C does, whatever that is at the moment; and Ctrl-C works.

    A shell has Ctrl-C ignored for what a script runs in the background. Then trio would ignore it as well, and SIGTERM
    could not go its way.

    :ivar status: the exit status that is due where it was interrupted: 128, and the number of the signal.
    """

    def __init__(self) -> None:
        self.status = 128 + signal.SIGINT
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        self._before[signal.SIGINT] = signal.signal(signal.SIGINT, signal.default_int_handler)
        for number in _OTHERS:
            if signal.getsignal(number) == signal.SIG_DFL:  # nohup has SIGHUP ignored
                self._before[number] = signal.signal(number, self._end)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _end(self, number: int, frame: FrameType | None) -> None:
        self.status = 128 + number
        interrupt = signal.getsignal(signal.SIGINT)  # Python's, or of trio, or of who waits for it
        if callable(interrupt):
            interrupt(signal.SIGINT, frame)


async def until_interrupted() -> None:
    """Wait for Ctrl-C: as a task beside others it ends them at a checkpoint, never in the middle of a step.

    :raises KeyboardInterrupt: when it comes.
    """
    with trio.open_signal_receiver(signal.SIGINT) as signals:
        await anext(signals)
    raise KeyboardInterrupt
