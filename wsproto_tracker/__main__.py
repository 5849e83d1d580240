"""The command ``wsproto-tracker``, which is ``python -m wsproto_tracker`` as well.

Loading a command takes the better part of a second, and whoever stops it meanwhile should not see where it was. So
this module imports nothing else of the package before it is ready for a Ctrl-C.
"""

import os
import signal
import sys

__all__ = ["main"]

_INTERRUPTED = 130


def main() -> int:
    """Run a command; its exit status. Before it begins and after its end, Ctrl-C has nothing to undo, and is quiet."""
    signal.signal(signal.SIGINT, lambda *_: os._exit(_INTERRUPTED))
    from wsproto_tracker.cli import main as run

    return run()


if __name__ == "__main__":
    sys.exit(main())
