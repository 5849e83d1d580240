"""A dashboard that polls: ``python -m bench.dashboard PORT CODING``, the latter ``deflate`` or ``plain``.

It asks for everything each second, until it is ended.
"""

import sys
import time

from bench.client import Connection, query

POLL_S = 1.0

connection = Connection(int(sys.argv[1]), deflate=sys.argv[2] == "deflate")
sys.stdout.write("ready\n")
sys.stdout.flush()
while True:
    before = time.perf_counter()
    connection.ask(query())
    time.sleep(max(POLL_S - (time.perf_counter() - before), 0))
