"""The confidence intervals of paired differences."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

MODULE = runpy.run_path(str(Path(__file__).parents[2] / "benches" / "paired_differences.py"))


@pytest.mark.parametrize(
    ("count", "expected"), [(5, None), (6, (1, 6)), (8, (1, 8)), (9, (2, 8)), (15, (4, 12))]
)
def test_the_interval_of_the_median_has_the_ranks_of_the_sign_test(
    count: int, expected: tuple[float, float] | None
) -> None:
    differences = list(reversed(range(1, count + 1)))
    assert MODULE["interval_of_median"](differences) == expected


def test_a_limit_is_met_or_exceeded_only_by_the_whole_interval() -> None:
    assert "met" in MODULE["shown"]([1, 1, 2, 2, 2, 2.9], "%", 3.0)
    assert "above the limit" in MODULE["shown"]([3.1, 4, 4, 4, 5, 6], "%", 3.0)
    assert "open" in MODULE["shown"]([1, 2, 2, 2, 2, 4], "%", 3.0)
