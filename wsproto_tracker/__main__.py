"""The command ``wsproto-tracker``, which is ``python -m wsproto_tracker`` as well.

Loading a command takes the better part of a second, and whoever stops it meanwhile should not see where it was. So
this module imports nothing else of the package before it is ready for a Ctrl-C.
"""

import os
import signal
import sys
from typing import TextIO

__all__ = ["main"]

_INTERRUPTED = 130


def main() -> int:
    """Run a command; its exit status. Before it begins and after its end, Ctrl-C has nothing to undo, and is quiet."""
    signal.signal(signal.SIGINT, lambda *_: os._exit(_INTERRUPTED))
    if sys.stdout is None:
        sys.stdout = _opened(1, os.O_RDONLY)  # so printing fails, which is told
    if sys.stderr is None:
        sys.stderr = _opened(2, os.O_WRONLY)
    from wsproto_tracker.cli import main as run

    return run()


def _opened(number: int, flags: int) -> TextIO:
    """A stream in place of one that is closed; or the next file or socket would get its number, and be printed into."""
    fd = os.open(os.devnull, flags)
    if fd != number:
        os.dup2(fd, number)
        os.close(fd)
    return open(number, "w", encoding="utf-8", closefd=False)


if __name__ == "__main__":
    sys.exit(main())
