"""``TimelineStore`` passes the contract kit: in memory and on disk, with blocks of common and of tiny size."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.store_contract import StoreContract
from wsproto_tracker.store import Capacity, EventStore, OnStored, open_timeline
from wsproto_tracker.store.block import Shape

TINY = Shape(block_events=4, block_bytes=3_000, open_events=3, open_bytes=4_000, max_rewritten=2)


class TestInMemory(StoreContract):
    shape = Shape()

    @asynccontextmanager
    async def open_store(
        self, max_events: int = 1000, on_stored: OnStored = lambda _events: None
    ) -> AsyncGenerator[EventStore, None]:
        async with open_timeline(None, Capacity(max_events), on_stored=on_stored, shape=self.shape) as store:
            yield store


class TestInMemoryWithTinyBlocks(TestInMemory):
    shape = TINY


class TestOnDisk(StoreContract):
    @asynccontextmanager
    async def open_store(
        self, max_events: int = 1000, on_stored: OnStored = lambda _events: None
    ) -> AsyncGenerator[EventStore, None]:
        with TemporaryDirectory() as directory:
            path = Path(directory, "tracker.db")
            async with open_timeline(path, Capacity(max_events), on_stored=on_stored, shape=TINY) as store:
                yield store
