"""``MemoryStore`` passes the contract kit."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from tests.store_contract import StoreContract
from wsproto_tracker.store import EventStore, MemoryStore, OnCommitted, OnStored


class TestMemoryStore(StoreContract):
    @asynccontextmanager
    async def open_store(
        self,
        max_events: int = 1000,
        on_stored: OnStored = lambda _events: None,
        on_committed: OnCommitted = lambda _commit: None,
    ) -> AsyncGenerator[EventStore, None]:
        yield MemoryStore(max_events, on_stored, on_committed)
