"""The client: sends events of a Python program as the plugin sends those of a page, and asks for what is stored.

::

    client.py         what a program sees
    delivery.py       one connection that sends, takes acks, and comes back
    asking.py         one for queries;  subscription.py: one for each subscription
    link.py           a connection, and every way in which it can fail
    outbox.py         what waits and what is in flight;  spool.py: the same on disk
    incoming.py, paging.py, events.py, ids.py, backoff.py, options.py

Everything that is decided is decided without I/O, in ``outbox``, ``incoming``, ``paging`` and ``events``.
"""

from wsproto_tracker.client.client import Client, Stats, open_client
from wsproto_tracker.client.options import Rejected
from wsproto_tracker.client.subscription import Subscription

__all__ = ["Client", "Rejected", "Stats", "Subscription", "open_client"]
