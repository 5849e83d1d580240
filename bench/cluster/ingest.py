"""Ingest through one tracker of a cluster, beside the same on a file of its own."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from statistics import quantiles

import attrs

from bench import client
from bench.cluster.servers import NatsServers
from bench.cluster.trackers import FILE, new_stream, node, settle, trackers
from bench.events import made_up
from bench.subjects import OURS, Started
from bench.workloads import Figures, Plan, in_turn

__all__ = ["ingest"]

_FRAME_EVENTS = 25
_THREE, _ONE = "three trackers", "one tracker over the stream"


@attrs.frozen
class _Load:
    """How events come: over some connections, so many frames of each without their acks."""

    connections: int
    in_flight: int
    events: int


_LOADS = (_Load(4, 32, 50_000), _Load(32, 32, 50_000), _Load(1, 1, 10_000))


@attrs.frozen
class _Found:
    """What was measured with one load: for each setup a value a run."""

    rates: dict[str, list[float]] = attrs.field(factory=lambda: defaultdict(list))
    medians: dict[str, list[float]] = attrs.field(factory=lambda: defaultdict(list))
    p99s: dict[str, list[float]] = attrs.field(factory=lambda: defaultdict(list))
    costs: dict[str, list[float]] = attrs.field(factory=lambda: defaultdict(list))


def ingest(plan: Plan, servers: NatsServers) -> Iterator[Figures]:
    """Events a second, time until the ack, and what of the processor each of those takes who do something for it."""
    frames = client.frames_of(list(made_up(plan.events(max(load.events for load in _LOADS)))), _FRAME_EVENTS)
    found: dict[_Load, _Found] = defaultdict(_Found)
    for run in range(plan.runs):
        for name in in_turn([_THREE, _ONE, FILE], run):
            subjects = [OURS] if name == FILE else [node(servers, new_stream())] * (3 if name == _THREE else 1)
            with trackers(subjects) as started:
                client.ingest(started[0].port, frames[: len(frames) // 10], connections=1, in_flight=8)
                for load in _LOADS:
                    some = frames[: plan.events(load.events) // _FRAME_EVENTS]
                    _measure(name, started, servers, load, some, found[load])
    for load, values in found.items():
        told = f"cluster, ingest, {load.connections} x {load.in_flight} frames in flight"
        yield Figures(f"{told} (more is better)", "events/s", values.rates)
        yield Figures(f"{told}: ack, median", "ms", values.medians)
        yield Figures(f"{told}: ack, p99", "ms", values.p99s)
        yield Figures(f"{told}: processor time of the tracker that takes them", "µs/event", values.costs)


def _measure(
    name: str,
    started: Sequence[Started],
    servers: NatsServers,
    load: _Load,
    frames: Sequence[bytes],
    found: _Found,
) -> None:
    """Send frames to the first tracker."""
    events = len(frames) * _FRAME_EVENTS
    settle(started)
    before = [*(tracker.cpu_s for tracker in started), servers.cpu_s]
    done = client.ingest(started[0].port, frames, connections=load.connections, in_flight=load.in_flight)
    settle(started)
    after = [*(tracker.cpu_s for tracker in started), servers.cpu_s]
    cuts = quantiles(done.latencies_s, n=100)
    found.rates[name].append(events / done.seconds)
    found.medians[name].append(cuts[49] * 1000)
    found.p99s[name].append(cuts[98] * 1000)
    own, *others, of_servers = ((end - begin) / events * 1e6 for begin, end in zip(before, after, strict=True))
    found.costs[name].append(own)
    if name == _THREE:
        found.costs["each of the other two"].append(sum(others) / 2)
        found.costs["the NATS servers together"].append(of_servers)
