"""Tests that the search of the load test finds the number of calls that a server holds."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

effort = runpy.run_path(str(Path(__file__).parents[2] / "benches" / "load" / "effort.py"))
FULL, QUICK, next_calls = effort["FULL"], effort["QUICK"], effort["next_calls"]


def searched(capacity: int, first: int, effort: Any) -> dict[int, bool]:
    """Return each number of calls that a search tries, and whether the server held the calls."""
    results = {10: capacity >= 10}
    while (calls := next_calls(first, results, effort)) is not None:
        assert calls not in results
        results[calls] = calls <= capacity
    return results


@pytest.mark.parametrize("capacity", [7, 15, 99, 100, 101, 423])
@pytest.mark.parametrize("first", [20, 100, 500])
def test_a_full_search_finds_the_capacity_to_a_tenth(capacity: int, first: int) -> None:
    results = searched(capacity, first, FULL)
    held = max((calls for calls, passed in results.items() if passed), default=0)
    failed = min(calls for calls, passed in results.items() if not passed)
    assert held <= capacity < failed
    assert failed <= max(held * 1.1, held + 10)
    assert len(results) <= FULL.most_steps


def test_a_quick_search_has_four_steps_at_most() -> None:
    assert list(searched(1000, 100, QUICK)) == [10, 100, 160, 255]
    assert list(searched(120, 100, QUICK)) == [10, 100, 160, 130]
    assert list(searched(80, 100, QUICK)) == [10, 100, 55, 80]
    assert list(searched(30, 40, QUICK)) == [10, 40, 25, 30]


def test_a_search_ends_if_the_first_step_fails() -> None:
    assert list(searched(0, 20, FULL)) == [10, 5]


def test_a_step_with_callers_that_were_too_slow_is_tried_again() -> None:
    assert QUICK.attempts_of(["2 errors 429"]) == 1
    assert QUICK.attempts_of(["callers too slow: lag p99 30 ms"]) == 2
    assert QUICK.attempts_of(["2 errors 429", "callers too slow: lag p99 30 ms"]) == 1
    assert FULL.attempts_of(["2 errors 429"]) == 2
