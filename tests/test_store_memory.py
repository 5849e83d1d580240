"""``MemoryStore`` passes the contract kit."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from tests.store_contract import StoreContract
from wsproto_tracker.store import EventStore, MemoryStore, OnStored


class TestMemoryStore(StoreContract):
    @asynccontextmanager
    async def open_store(
        self, max_events: int = 1000, on_stored: OnStored = lambda _events: None
    ) -> AsyncGenerator[EventStore, None]:
        yield MemoryStore(max_events, on_stored)
