"""What a server counts, as Prometheus reads it. ``docs/metrics.md`` has the table.

A server has a registry of its own, so that several in one process do not meet. What labels say comes from closed sets,
never from a client. What is counted once a frame is a method here; what can be looked up is, when it is asked for.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import TypeVar

import attrs
import trio
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from wsproto_tracker.errors import ErrorCode
from wsproto_tracker.protocol.events import Cause
from wsproto_tracker.protocol.frames import INCOMING
from wsproto_tracker.protocol.session import REFUSED
from wsproto_tracker.server.budget import Budget
from wsproto_tracker.server.coding import Coding
from wsproto_tracker.server.push import Hub
from wsproto_tracker.store import Appended, Commit, EventStore

__all__ = ["CONTENT_TYPE", "FRAME_TYPES", "Metrics", "Transport"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""The format that every Prometheus reads."""

FRAME_TYPES = ("ingest", *sorted(INCOMING), REFUSED)

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_EVENTS = (1, 10, 25, 100, 250, 1_000, 2_500, 10_000, 25_000, 100_000)


class Transport(StrEnum):
    """What a connection is for."""

    HTTP = "http"  # also before the first request has told
    WEBSOCKET = "websocket"
    METRICS = "metrics"  # to the address that has nothing else


_Instrument = TypeVar("_Instrument", Counter, Gauge)
_Value = TypeVar("_Value", bound=str)


class Metrics:
    """The instruments of one server."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry(auto_describe=False)
        transports = tuple(Transport)
        self._open = _by(
            Gauge, "tracker_open_connections", "Connections that are open.", "transport", transports, registry
        )
        self._connections = _by(
            Counter,
            "tracker_connections_total",
            "Connections: of WebSocket since they opened, of HTTP after they ended.",
            "transport",
            transports,
            registry,
        )
        self._requests = Counter(
            "tracker_http_requests_total", "HTTP requests that were answered.", ["status"], registry=registry
        )
        self._frames = _by(
            Counter, "tracker_frames_total", "Messages of WebSocket clients.", "type", FRAME_TYPES, registry
        )
        self._saved = Counter("tracker_events_saved_total", "Events that were stored and acked.", registry=registry)
        self._duplicates = Counter(
            "tracker_events_duplicate_total", "Events that were acked and had been stored before.", registry=registry
        )
        self._rejected = _by(
            Counter,
            "tracker_events_rejected_total",
            "Events that were rejected, by the first member that is wrong; event: all of it.",
            "reason",
            tuple(Cause),
            registry,
        )
        self._errors = _by(
            Counter,
            "tracker_errors_total",
            "Errors that clients were told; internal: faults of the server, which they are not.",
            "code",
            tuple(ErrorCode),
            registry,
        )
        self._ack_seconds = Histogram(
            "tracker_ack_seconds",
            "From when a batch has come in until its ack is ready to go.",
            buckets=_SECONDS,
            registry=registry,
        )
        self._commit_seconds = Histogram(
            "tracker_commit_seconds",
            "What a transaction takes that saves batches, until it is on disk.",
            buckets=_SECONDS,
            registry=registry,
        )
        self._commit_events = Histogram(
            "tracker_commit_events", "Events that a transaction stores.", buckets=_EVENTS, registry=registry
        )
        self._query_seconds = Histogram(
            "tracker_query_seconds",
            "From when a query is taken up until its answer begins.",
            buckets=_SECONDS,
            registry=registry,
        )
        self._answer_seconds = Histogram(
            "tracker_answer_seconds",
            "From when a query is taken up until the system has its whole answer; slow readers take long.",
            buckets=_SECONDS,
            registry=registry,
        )
        self._answer_bytes = _by(
            Counter,
            "tracker_answer_bytes_total",
            "Answers to queries, as they were sent.",
            "coding",
            [_name(coding) for coding in Coding],
            registry,
        )
        self._pending_replies = Gauge(
            "tracker_pending_replies", "Frames that wait for their answer, or for its turn.", registry=registry
        )
        self._readings = _Readings()
        registry.register(self._readings)
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=registry)

    def opened(self, transport: Transport) -> None:
        """A connection was accepted."""
        self._open[transport].inc()

    def upgraded(self) -> None:
        """A connection of HTTP has become one of WebSocket."""
        self._open[Transport.HTTP].dec()
        self._open[Transport.WEBSOCKET].inc()
        self._connections[Transport.WEBSOCKET].inc()

    def closed(self, transport: Transport) -> None:
        """A connection is over."""
        self._open[transport].dec()
        if transport is not Transport.WEBSOCKET:
            self._connections[transport].inc()

    def requested(self, status: int) -> None:
        """A request is being answered with this status, which is one of ours."""
        self._requests.labels(str(status)).inc()

    def received(self, frame_type: str, replies: int) -> None:
        """A message has come; it is one of ``FRAME_TYPES``, and so many replies to it wait now."""
        self._frames[frame_type].inc()
        self._pending_replies.inc(replies)

    def replied(self, count: int = 1) -> None:
        """Replies wait no more."""
        self._pending_replies.dec(count)

    def failed(self, code: ErrorCode) -> None:
        """A peer is told of an error."""
        self._errors[code].inc()

    def acked(self, appended: Appended, causes: Mapping[Cause, int], seconds: float) -> None:
        """A batch is kept, and its ack is ready."""
        self._ack_seconds.observe(seconds)
        self._saved.inc(appended.stored)
        if appended.duplicates:
            self._duplicates.inc(appended.duplicates)
        for cause, count in causes.items():
            self._rejected[cause].inc(count)

    def committed(self, commit: Commit) -> None:
        """A store has kept batches."""
        self._commit_seconds.observe(commit.seconds)
        self._commit_events.observe(commit.events)

    def answer_began(self, seconds: float) -> None:
        """The first piece of an answer is there."""
        self._query_seconds.observe(seconds)

    def answer_goes(self, coding: Coding, count: int) -> None:
        """So many bytes of an answer are being sent."""
        self._answer_bytes[_name(coding)].inc(count)

    def answer_ended(self, seconds: float) -> None:
        """All of an answer was taken by the system."""
        self._answer_seconds.observe(seconds)

    async def text(self, store: EventStore, hub: Hub, budget: Budget) -> bytes:
        """All of it, in Prometheus' text format."""
        self._readings.families = tuple(_read(store, hub, budget))
        return await trio.to_thread.run_sync(generate_latest, _WithoutCreated(self._registry))  # it looks into /proc


def _by(
    instrument: type[_Instrument],
    name: str,
    meaning: str,
    label: str,
    values: Iterable[_Value],
    registry: CollectorRegistry,
) -> dict[_Value, _Instrument]:
    """An instrument for each value of a label, so that all of them are there from the start."""
    family = instrument(name, meaning, [label], registry=registry)
    return {value: family.labels(value) for value in values}


def _name(coding: Coding) -> str:
    return coding.name.lower()


def _read(store: EventStore, hub: Hub, budget: Budget) -> Iterable[Metric]:
    """What is looked up, and not counted."""
    status = store.status()
    yield GaugeMetricFamily(
        "tracker_receiving_bytes", "Memory for messages and bodies that come in or are handled.", budget.used_bytes
    )
    yield GaugeMetricFamily(
        "tracker_uncommitted_bytes", "Memory for events on their way to the disk.", status.uncommitted_bytes
    )
    yield GaugeMetricFamily("tracker_subscriptions", "Connections that new events are pushed to.", hub.subscriptions)
    yield GaugeMetricFamily("tracker_push_waiting_bytes", "Pushes that wait for their readers.", hub.waiting_bytes)
    yield CounterMetricFamily(
        "tracker_push_dropped_events_total", "Events that were not pushed to a reader that is too slow.", hub.dropped
    )
    yield GaugeMetricFamily(
        "tracker_store_writable", "1 where the last attempt to save went well, 0 in an outage.", store.outage is None
    )
    yield GaugeMetricFamily("tracker_store_events", "Events that queries can find, about.", status.events)
    yield GaugeMetricFamily("tracker_store_blocks", "Sealed blocks.", status.blocks)
    yield GaugeMetricFamily(
        "tracker_store_bytes", "What the events take: deflated in blocks, the newest as text.", status.stored_bytes
    )
    yield GaugeMetricFamily(
        "tracker_store_file_bytes",
        "What the file took when something was last written, without its log.",
        status.file_bytes,
    )
    yield CounterMetricFamily(
        "tracker_store_evicted_events_total",
        "Events that have gone to make room or by their age, since the store was made.",
        status.evicted,
    )
    yield GaugeMetricFamily("tracker_store_damages", "Parts of the file that are damaged.", status.damages)
    yield GaugeMetricFamily(
        "tracker_store_complete", "0 where other nodes of the cluster may have more events.", not store.why_incomplete
    )
    yield GaugeMetricFamily(
        "tracker_store_position", "The message of the cluster's stream that was applied last.", status.position
    )


class _Readings(Collector):
    """What was looked up last: on the event loop, for it changes there; it is written out in a thread."""

    families: tuple[Metric, ...] = ()

    def collect(self) -> Iterable[Metric]:
        return self.families


@attrs.frozen
class _WithoutCreated(Collector):
    """Leaves out when each counter was made: in this format, that would be another metric for each of them."""

    registry: CollectorRegistry

    def collect(self) -> Iterable[Metric]:
        for family in self.registry.collect():
            family.samples = [sample for sample in family.samples if not sample.name.endswith("_created")]
            yield family
