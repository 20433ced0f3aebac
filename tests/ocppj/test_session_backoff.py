"""The waiting times before a reconnect, against the figures of part 4, section 5.4, worked out by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evproto.ocppj.backoff import Backoff


def test_the_wait_doubles_so_many_times_and_then_stays() -> None:
    backoff = Backoff(wait_minimum=30, random_range=10, repeat_times=3)
    assert [backoff.next(0.0) for _ in range(6)] == [30, 60, 120, 240, 240, 240]


def test_the_random_part_is_new_each_time_and_is_not_doubled() -> None:
    backoff = Backoff(wait_minimum=30, random_range=10, repeat_times=2)
    assert [backoff.next(random) for random in (0.5, 0.25, 0.0, 0.9)] == [35, 62.5, 120, 129]


def test_success_begins_anew() -> None:
    backoff = Backoff(wait_minimum=2, random_range=0, repeat_times=5)
    assert [backoff.next(0.9), backoff.next(0.9)] == [2, 4]
    backoff.reset()
    assert backoff.failures == 0
    assert backoff.next(0.9) == 2


def test_no_repeat_is_a_constant_wait() -> None:
    backoff = Backoff(wait_minimum=7, random_range=1, repeat_times=0)
    assert [backoff.next(0.0) for _ in range(4)] == [7, 7, 7, 7]


@given(
    st.integers(0, 600),
    st.integers(0, 600),
    st.integers(0, 12),
    st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=40),
)
def test_it_stays_within_what_the_document_allows(
    minimum: int, span: int, repeats: int, randoms: list[float]
) -> None:
    backoff = Backoff(minimum, span, repeats)
    wait = float(minimum)
    for attempt, random in enumerate(randoms):
        if 0 < attempt <= repeats:
            wait += wait
        assert wait <= backoff.next(random) <= wait + span


@pytest.mark.parametrize(
    "wrong",
    [
        {"wait_minimum": -1},
        {"random_range": float("inf")},
        {"repeat_times": -1},
        {"wait_minimum": float("nan")},
    ],
)
def test_wrong_settings_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Backoff(**wrong)  # type: ignore[arg-type]
