"""An event loop whose clock is the CPU time used."""

from __future__ import annotations

import asyncio
import contextlib
import selectors
import time
from collections.abc import Iterator
from typing import Any
from unittest import mock

# How long threads may take to wake a loop that has no timer.
_PATIENCE_SECONDS = 5.0


class VirtualClock:
    """CPU time of this thread, less what was excused, plus what was skipped; in seconds."""

    def __init__(self) -> None:
        self._thread_time = time.thread_time
        self._excused = self._thread_time()
        self._skipped = 0.0

    def busy(self) -> float:
        """CPU time used, less what was excused."""
        return self._thread_time() - self._excused

    def now(self) -> float:
        """What time it is."""
        return self.busy() + self._skipped

    def skip(self, seconds: float) -> None:
        """Let time pass in which nothing is done."""
        self._skipped += seconds

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """Do something that takes no time."""
        began = self._thread_time()
        try:
            yield
        finally:
            self._excused += self._thread_time() - began

    @contextlib.contextmanager
    def everywhere(self) -> Iterator[None]:
        """Make it the clock of everybody who asks `time`."""

        def in_ns() -> int:
            return int(1e9 * self.now())

        with contextlib.ExitStack() as stack:
            for name in ("monotonic", "perf_counter", "time"):
                stack.enter_context(mock.patch.object(time, name, self.now))
                stack.enter_context(mock.patch.object(time, f"{name}_ns", in_ns))
            yield


class _Selector(selectors.DefaultSelector):  # type: ignore[misc, valid-type]
    """Does not wait: the clock jumps."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if not ready and timeout is None:
            ready = super().select(_PATIENCE_SECONDS)
            if not ready:
                raise RuntimeError("nothing is left to do and no timer runs: the calls are stuck")
        elif not ready and timeout:
            self._clock.skip(timeout)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop on such a clock."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__(_Selector(clock))
        self.clock = clock

    def time(self) -> float:
        """The virtual time."""
        return self.clock.now()
