"""The token bucket: what it lets through, and that it is exact at its own rate."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pipecat_genesys.simulator import MessageBudget

RATES = st.floats(0.1, 100)
BURSTS = st.integers(1, 100)
GAPS = st.lists(st.floats(0, 5), max_size=200)


@settings(deadline=None)
@given(RATES, BURSTS, GAPS)
def test_no_window_sees_more_than_the_burst_and_the_rate(
    rate: float, burst: int, gaps: list[float]
) -> None:
    bucket = MessageBudget(rate, burst)
    now, passed = 50.0, []
    for gap in gaps:
        now += gap
        if bucket.take(now):
            passed.append(now)
    for first in range(len(passed)):
        for last in range(first, len(passed)):
            most = burst + rate * (passed[last] - passed[first])
            assert last - first + 1 <= most + 1e-3


@settings(deadline=None)
@given(RATES, BURSTS, st.integers(1, 500))
def test_a_sender_exactly_at_the_rate_is_never_refused(rate: float, burst: int, count: int) -> None:
    bucket = MessageBudget(rate, burst)
    assert all(bucket.take(1e6 + index / rate) for index in range(count))


@settings(deadline=None)
@given(RATES, BURSTS)
def test_the_burst_is_there_at_once_and_again_after_a_rest(rate: float, burst: int) -> None:
    bucket = MessageBudget(rate, burst)
    for start in (0.0, 1.001 * burst / rate, 10 * burst / rate):
        assert all(bucket.take(start) for _ in range(burst))
        assert not bucket.take(start)


@settings(deadline=None)
@given(RATES, BURSTS, GAPS)
def test_wait_time_is_just_long_enough(rate: float, burst: int, gaps: list[float]) -> None:
    bucket = MessageBudget(rate, burst)
    now = 0.0
    for gap in gaps:
        now += gap
        bucket.take(now)
    while bucket.take(now):
        pass
    wait = bucket.wait_time(now)
    assert 0 < wait <= 1 / rate
    assert bucket.level(now + wait / 2) < 1
    assert bucket.take(now + wait)


def test_a_refusal_costs_nothing_and_shows_in_the_lowest_level() -> None:
    bucket = MessageBudget(1, 2)
    assert bucket.lowest == 2
    assert [bucket.take(0.0) for _ in range(3)] == [True, True, False]
    assert bucket.level(0.0) == 0
    assert bucket.lowest == -1
    assert bucket.take(1.0)


def test_time_that_runs_backwards_is_no_time() -> None:
    bucket = MessageBudget(1, 1)
    assert bucket.take(10.0)
    assert not bucket.take(5.0)
    assert not bucket.take(10.5)
    assert bucket.take(11.0)


@pytest.mark.parametrize(("rate", "burst"), [(0, 1), (-1, 1), (1, 0)])
def test_a_bucket_that_never_fills_is_refused(rate: float, burst: float) -> None:
    with pytest.raises(ValueError, match="positive"):
        MessageBudget(rate, burst)
