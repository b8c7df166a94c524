"""Settings of a search for the number of calls that a server holds, and choice of the next step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

TOO_SLOW = "callers too slow"
"""Beginning of the failure text of a step that is not valid."""

# Steps are multiples of this number of calls.
_UNIT = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """Settings of a search: how long its steps are, and how exact its result is.

    Attributes:
        plateau: Seconds during which all calls of a step run.
        call_gap: Seconds between the starts of two calls.
        longest_ramp: Longest time over which the calls of a step begin, in seconds.
        ramp_down: Seconds over which the calls end; None for the time over which they began.
        first_part: Calls of the second step, as a part of the number at which the server is
            expected to fail according to the CPU time of the first step.
        growth: Ratio of a step to the step before it, while no step has failed.
        precision: Maximum relative difference between the smallest failed step and the largest
            passed step at the end of the search.
        attempts: Number of times that a step is tried. A step can fail for a reason outside the
            server.
        most_steps: Limit of the number of steps.
    """

    plateau: float
    call_gap: float
    longest_ramp: float
    ramp_down: float | None
    first_part: float
    growth: float
    precision: float
    attempts: int
    most_steps: int

    def attempts_of(self, failures: Sequence[str]) -> int:
        """Return the number of attempts for a step that failed.

        A step that failed only because the callers were too slow shows nothing about the server,
        so such a step is tried twice at least.
        """
        is_valid = not all(failure.startswith(TOO_SLOW) for failure in failures)
        return self.attempts if is_valid else max(2, self.attempts)

    def ramp(self, calls: int) -> float:
        """Return the seconds over which the calls of a step begin."""
        return min(calls * self.call_gap, self.longest_ramp)


FULL = Effort(
    plateau=30.0,
    call_gap=0.2,
    longest_ramp=40.0,
    ramp_down=None,
    first_part=0.5,
    growth=2.0,
    precision=0.1,
    attempts=2,
    most_steps=12,
)
QUICK = Effort(
    plateau=7.0,
    call_gap=0.2,
    longest_ramp=12.0,
    ramp_down=3.0,
    first_part=1.5,
    growth=1.6,
    precision=0.5,
    attempts=1,
    most_steps=4,
)


def next_calls(first: int, results: dict[int, bool], effort: Effort) -> int | None:
    """Return the number of calls of the next step, or None if the search is finished.

    Args:
        first: Number of calls of the first step of the search.
        results: For each number of calls that was tried, whether the server passed.
        effort: The limits of the search.
    """
    if len(results) >= effort.most_steps:
        return None
    passed = max((calls for calls, is_passed in results.items() if is_passed), default=0)
    failed = min((calls for calls, is_passed in results.items() if not is_passed), default=None)
    if failed is None:
        return max(first, rounded(passed * effort.growth)) if passed else first
    if failed <= passed * (1 + effort.precision) or failed - passed <= _UNIT:
        return None
    middle = rounded((passed + failed) / 2)
    return middle if passed < middle < failed else None


def rounded(calls: float) -> int:
    """Return the nearest number of calls that a step can have."""
    return max(_UNIT, round(calls / _UNIT) * _UNIT)
