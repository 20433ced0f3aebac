"""How long answers take: percentiles in bounded memory, however many there are.

Durations are counted in buckets of less than one per cent of their value, as
in an HDR histogram: microseconds up to 256 exactly, then 128 buckets for every
doubling. Histograms of several processes are added up.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

__all__ = ["Latencies"]

_BITS: Final = 7
_LEAST: Final = 1 << (_BITS + 1)


def _bucket(micros: int) -> int:
    if micros < _LEAST:
        return micros
    shift = micros.bit_length() - _BITS - 1
    return (shift << _BITS) + (micros >> shift)


def _middle(bucket: int) -> float:
    """The duration in the middle of a bucket, in microseconds."""
    if bucket < _LEAST:
        return float(bucket)
    shift = (bucket >> _BITS) - 1
    low = (bucket - (shift << _BITS)) << shift
    return low + ((1 << shift) - 1) / 2


class Latencies:
    """Durations in seconds."""

    __slots__ = ("_buckets", "count", "maximum", "total")

    def __init__(self) -> None:
        self._buckets: dict[int, int] = {}
        self.count = 0
        self.total = 0.0
        self.maximum = 0.0

    def add(self, seconds: float) -> None:
        """Count a duration; a negative one counts as none."""
        seconds = max(0.0, seconds)
        bucket = _bucket(int(seconds * 1e6))
        self._buckets[bucket] = self._buckets.get(bucket, 0) + 1
        self.count += 1
        self.total += seconds
        if seconds > self.maximum:
            self.maximum = seconds

    def quantile(self, part: float) -> float:
        """The duration that ``part`` of all do not exceed, to within one per cent; 0 if there are none."""
        wanted = part * self.count
        seen = 0
        for bucket in sorted(self._buckets):
            seen += self._buckets[bucket]
            if seen >= wanted:
                return min(_middle(bucket) / 1e6, self.maximum)
        return self.maximum

    @property
    def mean(self) -> float:
        """The average; 0 if there are none."""
        return self.total / self.count if self.count else 0.0

    def merge(self, other: Latencies) -> None:
        """Count those of another histogram too."""
        for bucket, count in other._buckets.items():
            self._buckets[bucket] = self._buckets.get(bucket, 0) + count
        self.count += other.count
        self.total += other.total
        self.maximum = max(self.maximum, other.maximum)

    def state(self) -> tuple[Mapping[int, int], int, float, float]:
        """All of it as plain values, to be sent to another process."""
        return dict(self._buckets), self.count, self.total, self.maximum

    @classmethod
    def of(cls, state: tuple[Mapping[int, int], int, float, float]) -> Latencies:
        """What :meth:`state` gave."""
        made = cls()
        buckets, made.count, made.total, made.maximum = state
        made._buckets = dict(buckets)
        return made
