"""The workload ``cluster``: trackers over one JetStream stream, beside the same server on a file of its own.

Three NATS servers and all the trackers share this machine, which those of a cluster never do in earnest: what every
tracker does with every event is done three times here. So processor time stands beside the rates, for each by itself.
"""

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench.cluster.ingest import ingest
from bench.cluster.reads import reads
from bench.cluster.replay import replay
from bench.cluster.servers import missing, three_servers
from bench.workloads import Figures, Plan

__all__ = ["cluster", "ingest", "reads", "replay"]


def cluster(plan: Plan) -> Iterator[Figures]:
    """Ingest, reads through another tracker, and how long a new one takes until it has everything."""
    if why_not := missing():
        print(f"without a cluster: {why_not}", file=sys.stderr)
        return
    with tempfile.TemporaryDirectory(prefix="bench-") as name, three_servers(Path(name)) as servers:
        yield from ingest(plan, servers)
        yield from reads(plan, servers)
        yield from replay(plan, servers)
