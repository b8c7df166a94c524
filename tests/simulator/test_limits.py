"""Tests of `MessageBudget`: how many messages it accepts, and at which times."""

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
def test_no_window_has_more_messages_than_burst_and_rate_allow(
    rate: float, burst: int, gaps: list[float]
) -> None:
    budget = MessageBudget(rate, burst)
    now, passed = 50.0, []
    for gap in gaps:
        now += gap
        if budget.take(now):
            passed.append(now)
    for first in range(len(passed)):
        for last in range(first, len(passed)):
            most = burst + rate * (passed[last] - passed[first])
            assert last - first + 1 <= most + 1e-3


@settings(deadline=None)
@given(RATES, BURSTS, st.integers(1, 500))
def test_sender_exactly_at_the_rate_is_never_refused(rate: float, burst: int, count: int) -> None:
    budget = MessageBudget(rate, burst)
    assert all(budget.take(1e6 + index / rate) for index in range(count))


@settings(deadline=None)
@given(RATES, BURSTS)
def test_burst_is_available_at_once_and_again_after_a_pause(rate: float, burst: int) -> None:
    budget = MessageBudget(rate, burst)
    for start in (0.0, 1.001 * burst / rate, 10 * burst / rate):
        assert all(budget.take(start) for _ in range(burst))
        assert not budget.take(start)


@settings(deadline=None)
@given(RATES, BURSTS, GAPS)
def test_token_is_available_after_wait_time_and_not_before(
    rate: float, burst: int, gaps: list[float]
) -> None:
    budget = MessageBudget(rate, burst)
    now = 0.0
    for gap in gaps:
        now += gap
        budget.take(now)
    while budget.take(now):
        pass
    wait = budget.wait_time(now)
    assert 0 < wait <= 1 / rate
    assert budget.level(now + wait / 2) < 1
    assert budget.take(now + wait)


def test_refused_message_takes_no_token_and_makes_the_lowest_level_negative() -> None:
    budget = MessageBudget(1, 2)
    assert budget.lowest == 2
    assert [budget.take(0.0) for _ in range(3)] == [True, True, False]
    assert budget.level(0.0) == 0
    assert budget.lowest == -1
    assert budget.take(1.0)


def test_time_before_the_previous_one_adds_no_tokens() -> None:
    budget = MessageBudget(1, 1)
    assert budget.take(10.0)
    assert not budget.take(5.0)
    assert not budget.take(10.5)
    assert budget.take(11.0)


@pytest.mark.parametrize(("rate", "burst"), [(0, 1), (-1, 1), (1, 0)])
def test_budget_needs_a_positive_rate_and_a_burst_of_one(rate: float, burst: float) -> None:
    with pytest.raises(ValueError, match="positive"):
        MessageBudget(rate, burst)
