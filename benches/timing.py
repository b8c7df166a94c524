"""The clock of all timings, and whether the run is a smoke test."""

from __future__ import annotations

import os
import time

QUICK = os.environ.get("BENCH_QUICK") == "1"
"""Whether the run is a smoke test, whose times are not valid."""

# The clock measures the CPU time of this thread. Wall time would include interruptions by other
# threads, and a long batch is interrupted more often than a short batch. Wall time is used only if
# the resolution of the CPU time is too low.
_CPU_CLOCK_IS_FINE = time.get_clock_info("thread_time").resolution <= 1e-6
clock_ns = time.thread_time_ns if _CPU_CLOCK_IS_FINE else time.perf_counter_ns


def clock_seconds() -> float:
    """Return the time of `clock_ns` in seconds, because pytest-benchmark expects seconds."""
    return clock_ns() / 1e9
