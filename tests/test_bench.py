"""The benchmarks run, and what they measure with looks like what pages send."""

import json
import subprocess
import sys

from bench.events import TYPES, made_up
from tests.support import ROOT
from wsproto_tracker.protocol.events import Event, new_id, read_event


def test_made_up_events() -> None:
    """Events are valid, of all types and of the sizes of recorded ones, no two alike, the same for the same seed."""
    texts = list(made_up(2000))
    assert texts == list(made_up(2000))
    assert texts != list(made_up(2000, seed=2))
    assert len(set(texts)) == len(texts)
    events = [read_event(text, 0, new_id) for text in texts]
    assert all(isinstance(event, Event) for event in events)
    assert {event.envelope.type for event in events if isinstance(event, Event)} == set(TYPES)
    assert 500 < sum(map(len, texts)) / len(texts) < 870


def test_quick() -> None:
    """``--quick`` goes through every workload, and ``--json`` prints what a program can read."""
    command = [sys.executable, "-m", "bench", "--quick", "--json"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, timeout=100)
    rows = json.loads(ended.stdout)["rows"]
    assert {row["workload"].split()[0] for row in rows} == {"restart", "memory"}
    assert all(row["ours"] > 0 and row["theirs"] > 0 for row in rows)
