"""Connections that can be cut: ports that stay free, and a proxy between two ends of a TCP connection."""

import random
import socket
from contextlib import ExitStack

FIRST_PORT, LAST_PORT = 12_000, 32_000


def free_ports(count: int) -> list[int]:
    """Ports of the loopback on which nothing listens.

    They are below those that the system gives to outgoing connections, so that none of these takes a port while
    who listens there is being restarted.
    """
    ports: list[int] = []
    with ExitStack() as stack:
        while len(ports) < count:
            port = random.randint(FIRST_PORT, LAST_PORT)
            probe = stack.enter_context(socket.socket())
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            ports.append(port)
    return ports
