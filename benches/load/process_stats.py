"""Statistics of the process itself: CPU time, memory, garbage collection, event loop delay."""

from __future__ import annotations

import asyncio
import gc
import time
from typing import Any

import numpy as np
import psutil

_TIMER_SECONDS = 0.05


class ProcessStats:
    """Collects the statistics of this process."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        # Generation, duration, and CPU time of each collection.
        self._collections: list[tuple[int, float, float]] = []
        self._timer_delays: list[float] = []
        self._collection_began = (0.0, 0.0)
        gc.callbacks.append(self._on_collection)

    def _on_collection(self, phase: str, info: dict[str, Any]) -> None:
        now = (time.perf_counter(), time.thread_time())
        if phase == "start":
            self._collection_began = now
        else:
            seconds, cpu_seconds = (
                end - begin for begin, end in zip(self._collection_began, now, strict=True)
            )
            self._collections.append((info["generation"], seconds, cpu_seconds))

    async def watch_event_loop(self) -> None:
        """Record the delay of a repeated timer, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + _TIMER_SECONDS
            await asyncio.sleep(_TIMER_SECONDS)
            self._timer_delays.append(max(0.0, loop.time() - due))

    def read(self) -> dict[str, Any]:
        """Return the total CPU time, the memory, and the statistics since the previous call.

        The statistics are of garbage collections and of the delay of the event loop.
        """
        collections, self._collections = self._collections, []
        delays, self._timer_delays = self._timer_delays, []
        generations = [generation for generation, _, _ in collections]
        by_generation = [generations.count(generation) for generation in range(3)]
        return {
            "at": time.monotonic(),
            "cpu_seconds": time.process_time(),
            "rss_mb": self._process.memory_info().rss / 1e6,
            "gc_count": len(collections),
            "gc_seconds": sum(cpu_seconds for _, _, cpu_seconds in collections),
            "gc_longest_ms": 1000 * max((seconds for _, seconds, _ in collections), default=0.0),
            # The CPU time does not include the time of other processes on the same core.
            "gc_longest_cpu_ms": 1000 * max((cpu for _, _, cpu in collections), default=0.0),
            "gc_by_generation": by_generation,
            "gc_full": by_generation[2],
            "loop_late_ms": percentiles_ms(delays),
        }


def percentiles_ms(seconds: list[float]) -> dict[str, float]:
    """Return median, 99th percentile and maximum in ms; an empty mapping for an empty list."""
    if not seconds:
        return {}
    p50, p99 = np.percentile(seconds, (50, 99))
    return {"p50": 1000 * float(p50), "p99": 1000 * float(p99), "worst": 1000 * max(seconds)}
