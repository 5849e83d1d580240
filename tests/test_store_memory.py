"""``MemoryStore`` passes the contract kit."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from tests.store_contract import StoreContract
from wsproto_tracker.store import EventStore, MemoryStore


class TestMemoryStore(StoreContract):
    @asynccontextmanager
    async def open_store(self, max_events: int = 1000) -> AsyncGenerator[EventStore, None]:
        store = MemoryStore(max_events)
        yield store
        await store.aclose()
