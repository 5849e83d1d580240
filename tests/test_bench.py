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
    assert {json.loads(event.text)["type"] for event in events if isinstance(event, Event)} == set(TYPES)
    assert 500 < sum(map(len, texts)) / len(texts) < 870


def test_quick() -> None:
    """``--quick`` goes through workloads in little time, and ``--json`` prints what a program can read."""
    command = [sys.executable, "-m", "bench", "--quick", "--json", "window", "restart", "growth"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, timeout=100)
    figures = json.loads(ended.stdout)["figures"]
    names = {found["workload"].split(" ")[0] for found in figures}
    assert names == {"window", "memory", "restart", "10,000"}
    assert all(len(values) >= 1 for found in figures for values in found["values"].values())


def test_wrong_use() -> None:
    """A workload that there is none of is told of, with those that there are."""
    ended = subprocess.run([sys.executable, "-m", "bench", "windows"], cwd=ROOT, capture_output=True, check=False)
    assert ended.returncode == 2
    assert b"windows: no such workload; there are ingest, latency, window" in ended.stderr
