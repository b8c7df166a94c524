"""The statistics of `measure_recorder.py`."""

from __future__ import annotations

import measure_recorder
import pytest


@pytest.mark.parametrize(
    ("count", "expected"), [(5, None), (6, (1, 6)), (8, (1, 8)), (9, (2, 8)), (15, (4, 12))]
)
def test_the_interval_of_the_median_has_the_ranks_of_the_sign_test(
    count: int, expected: tuple[float, float] | None
) -> None:
    differences = list(reversed(range(1, count + 1)))
    assert measure_recorder.interval_of_median(differences) == expected


def test_a_limit_is_met_or_exceeded_only_by_the_whole_interval() -> None:
    assert "met" in measure_recorder.shown([1, 1, 2, 2, 2, 2.9], "%", 3.0)
    assert "above the limit" in measure_recorder.shown([3.1, 4, 4, 4, 5, 6], "%", 3.0)
    assert "open" in measure_recorder.shown([1, 2, 2, 2, 2, 4], "%", 3.0)
