"""Ctrl-C, for commands that talk to a server."""

import signal

import trio

__all__ = ["until_interrupted"]


async def until_interrupted() -> None:
    """Wait for Ctrl-C: as a task beside others it ends them at a checkpoint, never in the middle of a step.

    :raises KeyboardInterrupt: when it comes.
    """
    with trio.open_signal_receiver(signal.SIGINT) as signals:
        await anext(signals)
    raise KeyboardInterrupt
