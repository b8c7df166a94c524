"""Schedule of a load test: calls start one by one, run at the same time, and end one by one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadPlan:
    """Number and times of the calls, in seconds.

    Attributes:
        calls: Number of simultaneous calls.
        ramp: Time over which the calls begin. The time is divided into intervals of equal length,
            one for each call, and each call begins at a random time in its interval. Every caller
            sends a packet every 200 ms. If the calls began at regular times, many of them would
            send their packets at the same times, unlike independent callers.
        duration: Time for which all calls run together.
        ramp_down: Time over which the calls end, in the order in which they began; None for `ramp`,
            so that all calls take the same time.

    Raises:
        ValueError: If a number is out of range.
    """

    calls: int
    ramp: float
    duration: float
    ramp_down: float | None = None

    def __post_init__(self) -> None:
        if self.calls < 1:
            raise ValueError(f"the number of calls is {self.calls}; it must be 1 or more")
        if not (self.ramp >= 0 and math.isfinite(self.ramp)):
            raise ValueError(f"the ramp is {self.ramp} s; it must be a finite number, 0 or more")
        if not (self.duration > 0 and math.isfinite(self.duration)):
            raise ValueError(
                f"the duration is {self.duration} s; it must be a finite number above 0"
            )

        down = self.ramp_down
        if down is not None and not (down >= 0 and math.isfinite(down)):
            raise ValueError(f"the ramp down is {down} s; it must be a finite number, 0 or more")

    @property
    def longest_call_seconds(self) -> float:
        """Length of the longest call."""
        return max(self.end_of(number) - self.begin_of(number) for number in (0, self.calls - 1))

    def begin_of(self, number: int) -> float:
        """Return the time from the beginning of the test to the beginning of a call."""
        return self.ramp * self._part(number)

    def end_of(self, number: int) -> float:
        """Return the time from the beginning of the test to the end of a call."""
        down = self.ramp if self.ramp_down is None else self.ramp_down
        return self.ramp + self.duration + down * self._part(number)

    def _part(self, number: int) -> float:
        """Return the share of the ramp after which a call begins; it is the same in every test."""
        return (number + Random(number).random()) / self.calls  # noqa: S311  # a schedule
