"""Several trackers with one answer: a store that is built from a stream of NATS JetStream. Needs the extra ``cluster``.

::

    store           what queries and batches come to; see there for how they flow
    ├── outbox      batches into the stream
    ├── inbox       the stream into the node's own timeline
    ├── local       the node's own file, and whether it goes with the stream
    ├── bridge      the thread of the NATS client; trio ends here
    │   └── link    the client: publishes, and is made anew when anything is wrong
    │       └── pulling     the messages of the stream, without a gap
    └── message, url, checks, errors

    erasing         for those who have no node
"""

from collections.abc import Generator
from contextlib import contextmanager

from wsproto_tracker.errors import ConfigurationError

__all__ = ["needing_nats"]


@contextmanager
def needing_nats() -> Generator[None, None, None]:
    """Import what needs the NATS client: an extra, and half a second for those who have no cluster.

    :raises ConfigurationError: if it is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "nats":
            raise
        message = "store: a cluster needs the NATS client; install it with: pip install 'wsproto-tracker[cluster]'"
        raise ConfigurationError(message) from None
