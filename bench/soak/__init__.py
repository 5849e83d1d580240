"""``python -m bench soak``: mixed load through a bad network, on a server that is killed and whose disk fails.

::

    senders, dashboards ──▶ proxy ──▶ server, in a process of its own, on a file
                              ▲           ▲
                              └─ troubles ┘

Batches go two ways. Over WebSocket they go as the plugin sends them: without ids, and never again. Of these, what was
acked has to be in the store once, and nothing twice. Over HTTP they go with ids, again and again until they are acked,
for with ids that is harmless (X-DUP-1): all of these have to be there once. So nothing is ever allowed to be twice.
"""

from bench.soak.command import command_line, main

__all__ = ["command_line", "main"]
