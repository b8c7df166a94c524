"""Tests of the aggregation of calls, and of each limit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from pipecat_genesys.load import Criteria, LoadResult, Percentiles, find_failures
from pipecat_genesys.load.delays import Delays
from pipecat_genesys.load.results import CallRecord, aggregate


def record(**values: Any) -> CallRecord:
    """Return the record of a call of one minute; `values` replace its fields."""
    defaults: dict[str, Any] = {
        "completed": True,
        "seconds": 60.0,
        "spoken_samples": 480_000,
        "opened": [0.01],
        "pong": [0.002, 0.004],
        "closed": [0.003],
        "barge_in": [],
        "gaps": [],
        "key_presses": [],
        "broken_rules": {},
        "delays": Delays([(float(at), 0.3) for at in range(10)], 0),
    }
    return CallRecord(**(defaults | values))


def result(*records: CallRecord, calls: int | None = None, settles: bool = False) -> LoadResult:
    count = len(records) if calls is None else calls
    return aggregate(count, records, {}, [0.001], settles=settles)


def test_percentiles_are_in_ms_and_empty_without_values() -> None:
    assert Percentiles.of([]) == Percentiles(0, None, None, None, None)
    found = Percentiles.of(value / 1000 for value in range(101))
    assert (found.count, found.worst) == (101, 100)
    assert (found.p50, found.p95, found.p99) == pytest.approx((50, 95, 99))


def test_calls_that_keep_every_limit_pass() -> None:
    passed = result(record(), record())
    assert find_failures(passed, Criteria(max_delay_ms=300.1)) == []
    assert (passed.completed, passed.replies, passed.replies_missing) == (2, 20, 0)
    assert passed.spoken_seconds == 120
    assert passed.pong_ms.count == 4


@pytest.mark.parametrize(
    ("values", "failure"),
    [
        ({"completed": False}, "1 calls not completed"),
        ({"script_error": "no answer"}, "1 scripts failed"),
        ({"broken_rules": {"binary_rate": 2}}, "2 errors 429"),
        ({"broken_rules": {"open_timeout": 1}}, "1 not opened"),
        ({"opened": [5.1]}, "opened after 5.1 s"),
        ({"gaps": [(1.0, 0.02), (9.0, 0.3)]}, "1.0 underruns per call-minute"),
        ({"delays": Delays([(0.0, 0.3)] * 3, 4)}, "4 of 17 replies missing"),
        ({"delays": Delays([(0.0, 0.9)] * 90, 0)}, "delay p99 900 ms, above 500 ms"),
    ],
)
def test_each_exceeded_limit_is_named(values: dict[str, Any], failure: str) -> None:
    failed = result(record(), record(**values))
    assert find_failures(failed, Criteria(max_delay_ms=500)) == [failure]


def test_connections_that_failed_are_named() -> None:
    assert find_failures(result(record(), calls=3), Criteria()) == ["2 connections failed"]


def test_gaps_while_an_echo_settles_and_inaudible_gaps_do_not_count() -> None:
    gaps = [(1.0, 0.1), (20.0, 0.019), (31.0, 0.1), (40.0, 0.1)]
    echo = result(record(gaps=gaps, key_presses=[30.0]), settles=True)
    assert (echo.underruns, echo.early_underruns) == (1, 2)
    # The measured time is one minute, without 7 s at the beginning and 5 s after the key press.
    assert echo.underruns_per_minute == pytest.approx(60 / 48)
    assert echo.clicks_per_minute == pytest.approx(60 / 48)
    assert result(record(gaps=gaps)).underruns == 3


def test_the_drift_is_the_growth_of_the_delay_during_a_call() -> None:
    delays = Delays([(float(at), 0.3 + at / 100) for at in range(10)], 0)
    assert result(record(delays=delays)).delay_drift_ms == pytest.approx(70)


def test_a_result_is_not_valid_if_the_callers_were_late() -> None:
    passed = result(record())
    assert Criteria().is_valid(passed)
    late = replace(passed, lag_ms=Percentiles.of([0.021]))
    assert not Criteria().is_valid(late)
