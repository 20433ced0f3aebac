"""Percentiles from buckets, against percentiles from all the values."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evproto.simulate.latency import Latencies
from evproto.simulate.statistics import Statistics


@given(st.lists(st.floats(0, 5000), min_size=1, max_size=300), st.floats(0, 1))
def test_quantiles_are_right_to_one_per_cent(values: list[float], part: float) -> None:
    latencies = Latencies()
    for value in values:
        latencies.add(value)
    ordered = sorted(values)
    rank = next(index for index in range(len(values)) if index + 1 >= part * len(values))
    assert latencies.quantile(part) == pytest.approx(ordered[rank], rel=0.01, abs=1.1e-6)
    assert latencies.quantile(1.0) == pytest.approx(max(values), rel=0.01, abs=1.1e-6)
    assert latencies.maximum == max(values)
    assert latencies.mean == pytest.approx(sum(values) / len(values))


def test_memory_does_not_grow_with_the_number_of_values() -> None:
    latencies, rng = Latencies(), random.Random(1)
    for _ in range(20_000):
        latencies.add(rng.lognormvariate(-6, 4))
    assert latencies.count == 20_000
    assert len(latencies.state()[0]) < 128 * 40


@given(st.lists(st.floats(0, 100)), st.lists(st.floats(0, 100)))
def test_merged_is_as_if_counted_together(first: list[float], second: list[float]) -> None:
    parts, whole = (Latencies(), Latencies()), Latencies()
    for latencies, values in zip(parts, (first, second), strict=True):
        for value in values:
            latencies.add(value)
            whole.add(value)
    merged = Latencies.of(parts[0].state())
    merged.merge(parts[1])
    assert merged.state()[:2] == whole.state()[:2]
    assert merged.maximum == whole.maximum
    assert merged.quantile(0.5) == whole.quantile(0.5)


def test_statistics_of_several_processes_add_up() -> None:
    one, two = Statistics(), Statistics()
    for statistics, count in ((one, 2), (two, 3)):
        statistics.counts["logins"] += count
        statistics.sent[0x03] += count
        statistics.unanswered[0x31] += 1
        statistics.answered(0x03, count / 1000)
    one.merge(Statistics.of(two.state()))
    plain = one.plain()
    assert plain["counts"] == {"logins": 5}
    assert plain["sent"] == {"0x03": 5}
    assert plain["answers"]["0x03"]["count"] == 2
    assert plain["answers"]["0x03"]["max_ms"] == 3.0
    assert plain["answers"]["0x31"] == {
        "count": 0, "unanswered": 2, "mean_ms": 0.0, "p50_ms": 0.0, "p90_ms": 0.0, "p99_ms": 0.0, "max_ms": 0.0,
    }  # fmt: skip
