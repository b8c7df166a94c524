"""The clock of all timings, and whether the run is a smoke test."""

from __future__ import annotations

import os
import time

QUICK = os.environ.get("BENCH_QUICK") == "1"
"""Whether the run is a smoke test, in which the times mean nothing."""

# CPU time of this thread: a long batch is interrupted more often than a short one, and wall time
# would count that. Where the clock of CPU time is too coarse, wall time is used.
_CPU_CLOCK_IS_FINE = time.get_clock_info("thread_time").resolution <= 1e-6
clock_ns = time.thread_time_ns if _CPU_CLOCK_IS_FINE else time.perf_counter_ns


def clock_seconds() -> float:
    """Return the same clock in seconds, as pytest-benchmark expects it."""
    return clock_ns() / 1e9
