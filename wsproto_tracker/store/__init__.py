"""Where events are kept: the contract (``contract.py``), and the stores that fulfil it.

::

    engine, queue   the store: a task that writes what waits, queries that read; trio ends here
    ├── timeline    what the one writer changes
    │   ├── sealing, maintenance    which blocks come and which go
    │   └── block, run              how events are packed
    ├── reading     what a query sees
    ├── damage      blocks that are not as they were written
    └── database    the SQLite file; loading, connection, schema

    memory          a plain list, the oracle of the tests
"""

from wsproto_tracker.store.checksum import combine_crc32
from wsproto_tracker.store.connection import Durability
from wsproto_tracker.store.contract import (
    Answer,
    Appended,
    Chunk,
    Commit,
    EventStore,
    OnCommitted,
    OnStored,
    Outage,
    Receipt,
    StoreStatus,
)
from wsproto_tracker.store.engine import TimelineStore, open_timeline
from wsproto_tracker.store.memory import MemoryStore
from wsproto_tracker.store.run import crc32, deflated, inflate
from wsproto_tracker.store.timeline import Capacity

__all__ = [
    "Answer",
    "Appended",
    "Capacity",
    "Chunk",
    "Commit",
    "Durability",
    "EventStore",
    "MemoryStore",
    "OnCommitted",
    "OnStored",
    "Outage",
    "Receipt",
    "StoreStatus",
    "TimelineStore",
    "combine_crc32",
    "crc32",
    "deflated",
    "inflate",
    "open_timeline",
]
