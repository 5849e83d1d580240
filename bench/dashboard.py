"""A dashboard that polls: ``python -m bench.dashboard PORT``. It asks for everything each second, until it is ended."""

import sys
import time

from bench.client import Connection, query

POLL_S = 1.0

connection = Connection(int(sys.argv[1]), deflate=True)
sys.stdout.write("ready\n")
sys.stdout.flush()
while True:
    before = time.perf_counter()
    connection.ask(query())
    time.sleep(max(POLL_S - (time.perf_counter() - before), 0))
