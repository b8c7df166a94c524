"""What a server process can tell about itself: CPU, memory, collections, a late event loop."""

from __future__ import annotations

import asyncio
import gc
import time
from typing import Any

import numpy as np
import psutil

_PERIOD = 0.05


class Vitals:
    """Watches the process it is in."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._collections: list[tuple[int, float]] = []
        self._late: list[float] = []
        self._began = 0.0
        gc.callbacks.append(self._on_collection)

    def _on_collection(self, phase: str, info: dict[str, Any]) -> None:
        if phase == "start":
            self._began = time.perf_counter()
        else:
            self._collections.append((info["generation"], time.perf_counter() - self._began))

    async def watch_the_loop(self) -> None:
        """Note by how much a timer is late, again and again."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + _PERIOD
            await asyncio.sleep(_PERIOD)
            self._late.append(max(0.0, loop.time() - due))

    def read(self) -> dict[str, Any]:
        """What there is to say of the time since the last reading."""
        collections, self._collections = self._collections, []
        late, self._late = self._late, []
        full = [seconds for generation, seconds in collections if generation == 2]
        return {
            "at": time.monotonic(),
            "cpu_seconds": time.process_time(),
            "rss_mb": self._process.memory_info().rss / 1e6,
            "gc_count": len(collections),
            "gc_seconds": sum(seconds for _, seconds in collections),
            "gc_longest_ms": 1000 * max((seconds for _, seconds in collections), default=0.0),
            "gc_full": len(full),
            "loop_late_ms": spread(late),
        }


def spread(seconds: list[float]) -> dict[str, float]:
    """p50, p99 and the worst of them, in ms; nothing of nothing."""
    if not seconds:
        return {}
    p50, p99 = np.percentile(seconds, (50, 99))
    return {"p50": 1000 * float(p50), "p99": 1000 * float(p99), "worst": 1000 * max(seconds)}
