"""Reads through another tracker than the one that takes events: of all that was acked, or of what is there at once."""

import multiprocessing
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from itertools import islice
from statistics import quantiles

import attrs

from bench import client
from bench.cluster.servers import NatsServers
from bench.cluster.trackers import FILE, Reader, new_stream, node, settle, trackers
from bench.events import made_up
from bench.subjects import OURS, Started
from bench.workloads import Figures, Plan, in_turn

__all__ = ["reads"]

_FRAME_EVENTS = 25
_READ_EVENTS = 100
_MOST_EVENTS = 1_000_000  # that one tracker is sent
_LOAD_RATE = 200  # frames a second
_PAUSE_S = 0.01  # between two reads under load, so that they are no load themselves
_IDLE, _LOADED, _ACKED = "idle", f"at {_LOAD_RATE * _FRAME_EVENTS:,} events/s", "right after an ack"


@attrs.frozen
class _Way:
    """One tracker takes events, and one is asked."""

    name: str
    taking: Started
    reading: Started


def reads(plan: Plan, servers: NatsServers) -> Iterator[Figures]:
    """Time of a read of the newest events: idle, under load, and after an ack; and whether what was acked is in it."""
    filling, loading = (plan.events(events) // _FRAME_EVENTS for events in (100_000, 25_000))  # frames
    count = max(int(200 * plan.part), 20)
    events = _Events()
    stream = new_stream()
    seconds: dict[str, dict[str, list[list[float]]]] = defaultdict(lambda: defaultdict(list))
    behind: dict[str, list[float]] = defaultdict(list)
    acked: Counter[int] = Counter()  # events by port
    subjects = [node(servers, stream), node(servers, stream), node(servers, stream, read="local"), OURS]
    with trackers(subjects) as found:
        first, latest, local, file = found
        ways = [_Way("latest", first, latest), _Way("local", first, local), _Way(FILE, file, file)]
        for taking in (first, file):
            client.ingest(taking.port, events.frames(taking.port, filling), connections=1, in_flight=8)
            acked[taking.port] += filling * _FRAME_EVENTS
        settle(found)
        for run in range(plan.runs):
            for way in in_turn(ways, run):
                with Reader(way.reading.port) as reader:
                    seconds[_IDLE][way.name].append([_timed(reader)[0] for _ in range(count)])
                    frames = events.frames(way.taking.port, loading)
                    seconds[_LOADED][way.name].append(_under_load(reader, way.taking.port, frames))
                    acked[way.taking.port] += loading * _FRAME_EVENTS
                    frames = events.frames(way.taking.port, count)
                    took, lacking = _after_acks(reader, way.taking.port, frames, acked)
                    seconds[_ACKED][way.name].append(took)
                    behind[way.name].append(lacking * 100)
    for when, by_way in seconds.items():
        told = f"cluster, {_READ_EVENTS} newest events through another tracker (--read latest), {when}"
        cuts = {name: [quantiles(values, n=100) for values in runs] for name, runs in by_way.items()}
        yield Figures(f"{told}: median", "ms", {name: [cut[49] * 1000 for cut in runs] for name, runs in cuts.items()})
        yield Figures(f"{told}: p99", "ms", {name: [cut[98] * 1000 for cut in runs] for name, runs in cuts.items()})
    yield Figures(f"cluster, reads (--read latest) {_ACKED} that lack what was acked", "%", dict(behind))


class _Events:
    """Events for trackers, each later than those that the same tracker had before: the newest are in the last block."""

    def __init__(self) -> None:
        self._coming: dict[int, Iterator[bytes]] = defaultdict(lambda: made_up(_MOST_EVENTS))

    def frames(self, port: int, count: int) -> list[bytes]:
        return client.frames_of(list(islice(self._coming[port], count * _FRAME_EVENTS)), _FRAME_EVENTS)


def _timed(reader: Reader) -> tuple[float, int]:
    """Read; seconds, and how many events there are."""
    before = time.perf_counter()
    count = reader.read(_READ_EVENTS)
    return time.perf_counter() - before, count


def _under_load(reader: Reader, port: int, frames: Sequence[bytes]) -> list[float]:
    """Read again and again while another process sends."""
    load = multiprocessing.Process(target=client.paced, args=(port, frames), kwargs={"per_second": _LOAD_RATE})
    load.start()
    taken = []
    while load.is_alive():
        taken.append(_timed(reader)[0])
        time.sleep(_PAUSE_S)
    load.join()
    if load.exitcode != 0:
        raise RuntimeError("the load ended too early")
    return taken


def _after_acks(reader: Reader, port: int, frames: Sequence[bytes], acked: Counter[int]) -> tuple[list[float], float]:
    """Read as soon as a frame is acked, for each frame; seconds, and the share of answers that lack some of it."""
    connection = client.Connection(port)
    taken, lacking = [], 0
    for frame in frames:
        connection.exchange(frame)
        acked[port] += _FRAME_EVENTS
        seconds, count = _timed(reader)
        taken.append(seconds)
        lacking += count < acked[port]
    connection.socket.close()
    return taken, lacking / len(frames)
