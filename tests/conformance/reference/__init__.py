"""A server of the tracker protocol that is made to be broken: a small method for each decision, all in memory.

    server              one port for both, and how it is run
    ├── http            requests and answers, CORS
    ├── websocket       handshake and connections
    │   └── wire        RFC 6455 and 7692, in bytes
    ├── frames          what a message means, and what answers it
    ├── access          what keys are for, and where pages come from
    ├── store           events, queries, pages
    ├── events          which events are valid
    │   └── timestamps
    └── json_text       JSON as it was written

Each class inherits from the one below it, so that a subclass of ``Reference`` can override whatever it wants.
"""

from tests.conformance.reference.server import Reference, Urls, running

__all__ = ["Reference", "Urls", "running"]
