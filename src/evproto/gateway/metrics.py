"""What is counted, for Prometheus.

A registry of its own, so that two servers in one process count apart. Charger
identities are never labels: there are too many of them. Nor is anything else
that a charger says: what its protocol does not know counts as ``unknown``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from evproto.gateway.events import Event
from evproto.gateway.outbox import Counts, Observer, OutboxError, Stored
from evproto.gateway.sink import SinkError

__all__ = ["CONTENT_TYPE", "Metrics", "OutboxObserver"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_FAST = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_SLOW = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 90.0)

_UNKNOWN = "unknown"
_OUTCOMES = ("stored", "repeated", "conflict", "not_stored", "confirmed")


class Metrics:
    """The counters of one server."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        # Memory, processor time, open files: what runs out first.
        ProcessCollector(registry=registry)
        self._messages: dict[tuple[str, bool], dict[str, int]] = {}
        self._frame_names: Mapping[int, str] = {}
        registry.register(_Messages(self._message_counts))
        # Two whole numbers per frame type: cheaper than labels, and this is the hot path.
        self.frames = ([0] * 256, [0] * 256)
        """Frames received and sent, by frame type."""
        registry.register(_Frames(self.frames))
        self.bad_frames = Counter(
            "evproto_bad_frames", "Stretches of bytes that were no frame", ["error"], registry=registry
        )
        self.not_served = Counter(
            "evproto_frames_not_served",
            "Frames that nobody was logged in for, or may send",
            registry=registry,
        )
        self.logins = Counter(
            "evproto_logins",
            "Chargers at the door, by what became of them",
            ["protocol", "outcome"],
            registry=registry,
        )
        self.records = Counter(
            "evproto_records",
            "Transaction records: stored, repeated, conflict, not_stored (alarm!), and confirmed",
            ["protocol", "outcome"],
            registry=registry,
        )
        self.commands = Counter(
            "evproto_commands",
            "Commands that ended, by how",
            ["protocol", "name", "state"],
            registry=registry,
        )
        self.command_seconds = Histogram(
            "evproto_command_seconds",
            "From taking a command to its end",
            ["protocol"],
            buckets=_SLOW,
            registry=registry,
        )
        self.requests = Counter(
            "evproto_http_requests", "Requests of the API", ["method", "status"], registry=registry
        )
        self.store_seconds = Histogram(
            "evproto_store_seconds",
            "From handing an event to the outbox until it is on the disk",
            buckets=_FAST,
            registry=registry,
        )
        self.store_failures = Counter(
            "evproto_store_failures",
            "Transactions of the outbox that failed (alarm!)",
            ["cause"],
            registry=registry,
        )
        self.delivered = Counter(
            "evproto_delivered", "Events that a sink has taken", ["sink"], registry=registry
        )
        self.sink_failures = Counter(
            "evproto_sink_failures", "Calls of a sink that failed", ["sink"], registry=registry
        )
        self.dead_letters = Counter(
            "evproto_dead_letters", "Events that became dead letters", ["sink"], registry=registry
        )
        self.expired = Counter(
            "evproto_expired",
            "Events that grew too old for a sink; never records",
            ["sink"],
            registry=registry,
        )

    def know(self, protocol: str, messages: Iterable[str]) -> None:
        """A protocol is served, and these are its messages; may be called again with more."""
        names = (_UNKNOWN, *messages)
        for received in (True, False):
            counts = self._messages.setdefault((protocol, received), {})
            for name in names:
                counts.setdefault(name, 0)
        for outcome in _OUTCOMES:
            # There from the start, so that an alarm on them can be written and tested.
            self.records.labels(protocol, outcome)
        self.command_seconds.labels(protocol)

    def know_frames(self, names: Mapping[int, str]) -> None:
        """What the frame types of YKC are called; :attr:`frames` counts as its messages then."""
        self._frame_names = names
        self.know("ykc", names.values())

    def message(self, protocol: str, received: bool, name: str) -> None:
        """Count a message. Cheap, whatever the name is: one that the protocol does not know is ``unknown``.

        Args:
            protocol: as :attr:`Adapter.protocol` has it.
            received: whether it came from a charger.
            name: as :meth:`know` was told.
        """
        counts = self._messages.get((protocol, received))
        if counts is None:
            counts = self._messages[protocol, received] = {_UNKNOWN: 0}
        counts[name if name in counts else _UNKNOWN] += 1

    def login(self, protocol: str, outcome: str) -> None:
        """Count a charger at the door: ``accepted``, ``refused``, or ``waiting``."""
        self.logins.labels(protocol, outcome).inc()

    def record(self, protocol: str, outcome: str) -> None:
        """Count a record: ``stored``, ``repeated``, ``conflict``, ``not_stored`` or ``confirmed``."""
        self.records.labels(protocol, outcome).inc()

    def watch(self, name: str, text: str, value: Callable[[], float]) -> None:
        """Show a value that is asked for when it is needed."""
        Gauge(name, text, registry=self.registry).set_function(value)

    def watch_total(self, name: str, text: str, value: Callable[[], float]) -> None:
        """Show what somebody else counts."""
        self.registry.register(_Total(name, text, value))

    def watch_by(self, name: str, text: str, label: str, values: Callable[[], Mapping[str, float]]) -> None:
        """Show values, by what a label says, that are asked for when they are needed."""
        self.registry.register(_Values(name, text, label, values))

    def watch_outbox(self, counts: Callable[[], Counts]) -> None:
        """Show the state of an outbox."""
        self.registry.register(_Outbox(counts))

    def text(self) -> bytes:
        """Everything, in the text format of Prometheus."""
        return generate_latest(self.registry)

    def _message_counts(self) -> Iterator[tuple[str, bool, str, int]]:
        """Protocol, whether received, name, how many; what there was none of is left out."""
        for (protocol, received), counts in list(self._messages.items()):
            for name, count in list(counts.items()):
                if count:
                    yield protocol, received, name, count
        for received, frames in zip((True, False), self.frames, strict=True):
            named: dict[str, int] = {}
            for kind, count in enumerate(frames):
                if count:
                    name = self._frame_names.get(kind, _UNKNOWN)
                    named[name] = named.get(name, 0) + count
            for name, count in named.items():
                yield "ykc", received, name, count


class OutboxObserver(Observer):
    """Counts what an outbox does."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def stored(self, event: Event, stored: Stored, seconds: float) -> None:
        """See :class:`Observer`."""
        self._metrics.store_seconds.observe(seconds)

    def file_failed(self, error: OutboxError) -> None:
        """See :class:`Observer`."""
        self._metrics.store_failures.labels(error.cause).inc()

    def delivered(self, sink: str, count: int) -> None:
        """See :class:`Observer`."""
        self._metrics.delivered.labels(sink).inc(count)

    def sink_failed(self, sink: str, error: SinkError) -> None:
        """See :class:`Observer`."""
        self._metrics.sink_failures.labels(sink).inc()

    def buried(self, sink: str, id: str, reason: str) -> None:
        """See :class:`Observer`."""
        self._metrics.dead_letters.labels(sink).inc()

    def expired(self, sink: str, count: int) -> None:
        """See :class:`Observer`."""
        self._metrics.expired.labels(sink).inc(count)


class _Frames(Collector):
    def __init__(self, frames: tuple[list[int], list[int]]) -> None:
        self._frames = frames

    def collect(self) -> Iterator[Metric]:
        family = CounterMetricFamily(
            "evproto_ykc_frames", "Frames, by direction and frame type", labels=["direction", "type"]
        )
        for direction, counts in zip(("in", "out"), self._frames, strict=True):
            for kind, count in enumerate(counts):
                if count:
                    family.add_metric([direction, f"0x{kind:02X}"], count)
        yield family


class _Messages(Collector):
    def __init__(self, counts: Callable[[], Iterable[tuple[str, bool, str, int]]]) -> None:
        self._counts = counts

    def describe(self) -> Iterable[Metric]:
        return [self._family()]

    def collect(self) -> Iterator[Metric]:
        family = self._family()
        for protocol, received, name, count in self._counts():
            family.add_metric([protocol, "in" if received else "out", name], count)
        yield family

    @staticmethod
    def _family() -> CounterMetricFamily:
        return CounterMetricFamily(
            "evproto_messages",
            "Messages, by protocol, direction and name; unknown: the protocol has none of that name",
            labels=["protocol", "direction", "message"],
        )


class _Total(Collector):
    def __init__(self, name: str, text: str, value: Callable[[], float]) -> None:
        self._about = name, text
        self._value = value

    def describe(self) -> Iterable[Metric]:
        return [CounterMetricFamily(*self._about)]

    def collect(self) -> Iterator[Metric]:
        yield CounterMetricFamily(*self._about, value=self._value())


class _Values(Collector):
    def __init__(self, name: str, text: str, label: str, values: Callable[[], Mapping[str, float]]) -> None:
        self._about = name, text, label
        self._values = values

    def describe(self) -> Iterable[Metric]:
        return [self._family()]

    def collect(self) -> Iterator[Metric]:
        family = self._family()
        for label, value in self._values().items():
            family.add_metric([label], value)
        yield family

    def _family(self) -> GaugeMetricFamily:
        name, text, label = self._about
        return GaugeMetricFamily(name, text, labels=[label])


class _Outbox(Collector):
    def __init__(self, counts: Callable[[], Counts]) -> None:
        self._counts = counts

    def collect(self) -> Iterable[Metric]:
        counts = self._counts()
        healthy = GaugeMetricFamily("evproto_outbox_healthy", "1 if the outbox can be written (alarm on 0!)")
        healthy.add_metric([], float(counts.healthy))
        size = GaugeMetricFamily("evproto_outbox_bytes", "Size of the outbox file and its log")
        size.add_metric([], counts.bytes)
        waiting = GaugeMetricFamily("evproto_outbox_waiting", "Operations that wait for the disk")
        waiting.add_metric([], counts.waiting)
        pending = GaugeMetricFamily(
            "evproto_outbox_pending", "Events that a sink has to come", labels=["sink"]
        )
        dead = GaugeMetricFamily("evproto_outbox_dead", "Dead letters of a sink", labels=["sink"])
        available = GaugeMetricFamily(
            "evproto_sink_available", "1 if the sink could be reached when last tried", labels=["sink"]
        )
        for name, progress in counts.sinks.items():
            pending.add_metric([name], progress.pending)
            dead.add_metric([name], progress.dead)
            available.add_metric([name], float(progress.available))
        return [healthy, size, waiting, pending, dead, available]
