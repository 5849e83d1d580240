"""The trio shells around the protocol and the store: one port, an HTTP shim, WebSocket conversations, push."""

from wsproto_tracker.server.app import Address, Server, serve

__all__ = ["Address", "Server", "serve"]
