"""Several trackers with one answer: a store that is built from a stream of NATS JetStream. Needs the extra ``cluster``.

::

    store           what queries and batches come to; see there for how they flow
    ├── outbox      batches into the stream
    ├── inbox       the stream into the node's own timeline
    ├── local       the node's own file, and whether it goes with the stream
    ├── bridge      the thread of the NATS client; trio ends here
    │   └── link    the client: publishes, pulls, and is made anew when anything is wrong
    └── message, url, checks, errors
"""
