"""What a fleet has done so far: counters and latencies, of one process or of several."""

from __future__ import annotations

from collections import Counter
from typing import Any

from evproto.simulate.latency import Latencies

__all__ = ["Kind", "Statistics", "spelled"]

Kind = int | str
"""What is counted apart: a frame type of YKC, or an action."""


class Statistics:
    """Counts; to be added up, and to be said as plain values.

    Attributes:
        counts: by name: ``connected`` (how often), ``logins``, ``logins refused``,
            ``connections lost``, ``connections failed``, ``records made``, ``records
            confirmed``, ``records illegal``, ``bytes sent``, ``bytes received``,
            ``bad frames``, ``heartbeats missed`` and more.
        sent, received: messages by frame type, or by action.
        faults: faults put on the wire, by kind.
        latencies: time from a message to its answer, by the message's kind.
        unanswered: messages whose answer never came, by kind.
        lateness: how late the simulator itself came to what was due. Answers
            are seen as late as that: where it is long, it is not the server
            that was measured.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.sent: Counter[Kind] = Counter()
        self.received: Counter[Kind] = Counter()
        self.faults: Counter[str] = Counter()
        self.latencies: dict[Kind, Latencies] = {}
        self.unanswered: Counter[Kind] = Counter()
        self.lateness = Latencies()

    def answered(self, kind: Kind, seconds: float) -> None:
        """A message got its answer."""
        latencies = self.latencies.get(kind)
        if latencies is None:
            latencies = self.latencies[kind] = Latencies()
        latencies.add(seconds)

    def merge(self, other: Statistics) -> None:
        """Add those of another process."""
        self.counts.update(other.counts)
        self.sent.update(other.sent)
        self.received.update(other.received)
        self.faults.update(other.faults)
        self.unanswered.update(other.unanswered)
        self.lateness.merge(other.lateness)
        for kind, latencies in other.latencies.items():
            if kind in self.latencies:
                self.latencies[kind].merge(latencies)
            else:
                self.latencies[kind] = Latencies.of(latencies.state())

    def state(self) -> dict[str, Any]:
        """All of it as plain values, to be sent to another process."""
        return {
            "counts": dict(self.counts),
            "sent": dict(self.sent),
            "received": dict(self.received),
            "faults": dict(self.faults),
            "unanswered": dict(self.unanswered),
            "latencies": {kind: one.state() for kind, one in self.latencies.items()},
            "lateness": self.lateness.state(),
        }

    @classmethod
    def of(cls, state: dict[str, Any]) -> Statistics:
        """What :meth:`state` gave."""
        made = cls()
        for name in ("counts", "sent", "received", "faults", "unanswered"):
            getattr(made, name).update(state[name])
        made.lateness = Latencies.of(state["lateness"])
        made.latencies = {kind: Latencies.of(one) for kind, one in state["latencies"].items()}
        return made

    def plain(self) -> dict[str, Any]:
        """For JSON: see :func:`spelled`, latencies in milliseconds."""
        return {
            "counts": {name.replace(" ", "_"): count for name, count in sorted(self.counts.items())},
            "sent": _named(self.sent),
            "received": _named(self.received),
            "faults": dict(sorted(self.faults.items())),
            "answers": {
                spelled(kind): {"count": one.count, "unanswered": self.unanswered[kind], **_times(one)}
                for kind, one in sorted(self._all_answers().items(), key=lambda one: spelled(one[0]))
            },
            "lateness": _times(self.lateness),
        }

    def _all_answers(self) -> dict[Kind, Latencies]:
        """Also the kinds of which not one was answered."""
        return {kind: self.latencies.get(kind) or Latencies() for kind in {*self.latencies, *self.unanswered}}


def spelled(kind: Kind) -> str:
    """A frame type as 0x03, an action as it is called."""
    return kind if isinstance(kind, str) else f"0x{kind:02X}"


def _named(counter: Counter[Kind]) -> dict[str, int]:
    return {spelled(kind): count for kind, count in sorted(counter.items(), key=lambda one: spelled(one[0]))}


def _times(latencies: Latencies) -> dict[str, float]:
    times = {
        "mean_ms": latencies.mean,
        "p50_ms": latencies.quantile(0.5),
        "p90_ms": latencies.quantile(0.9),
        "p99_ms": latencies.quantile(0.99),
        "max_ms": latencies.maximum,
    }
    return {name: round(seconds * 1e3, 3) for name, seconds in times.items()}
