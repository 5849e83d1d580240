"""Where events are kept: the contract (``contract.py``), and the stores that fulfil it."""

from wsproto_tracker.store.contract import Answer, Appended, Chunk, EventStore, OnStored, Receipt
from wsproto_tracker.store.memory import MemoryStore

__all__ = ["Answer", "Appended", "Chunk", "EventStore", "MemoryStore", "OnStored", "Receipt"]
