"""The trio shells: one listener in front, the HTTP shim, WebSocket conversations, push; the tracker for programs."""

from wsproto_tracker.server.app import open_tracker, serve
from wsproto_tracker.server.hosted import WebSocket
from wsproto_tracker.server.listening import Address
from wsproto_tracker.server.mounted import HttpRequest, HttpResponse
from wsproto_tracker.server.tracker import Answer, Saved, SavedEvents, Tracker

__all__ = [
    "Address",
    "Answer",
    "HttpRequest",
    "HttpResponse",
    "Saved",
    "SavedEvents",
    "Tracker",
    "WebSocket",
    "open_tracker",
    "serve",
]
