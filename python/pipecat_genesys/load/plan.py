"""The times of the calls: they begin one after the other, run together, and end in order."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadPlan:
    """Number and times of the calls, in seconds.

    Attributes:
        calls: Number of simultaneous calls.
        ramp: Time over which the calls begin, at equal intervals.
        duration: Time for which all calls run together. After this time, the calls end in the order
            in which they began, so that each call takes `ramp` + `duration`.

    Raises:
        ValueError: If a number is out of range.
    """

    calls: int
    ramp: float
    duration: float

    def __post_init__(self) -> None:
        if self.calls < 1:
            raise ValueError(f"the number of calls is {self.calls}; it must be 1 or more")
        if not (self.ramp >= 0 and math.isfinite(self.ramp)):
            raise ValueError(f"the ramp is {self.ramp} s; it must be 0 s or more")
        if not (self.duration > 0 and math.isfinite(self.duration)):
            raise ValueError(f"the duration is {self.duration} s; it must be more than 0 s")

    @property
    def call_seconds(self) -> float:
        """Length of each call."""
        return self.ramp + self.duration

    def begin_of(self, number: int) -> float:
        """Return the time from the beginning of the first call to the beginning of a call."""
        return self.ramp * number / self.calls
