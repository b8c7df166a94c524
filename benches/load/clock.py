"""An event loop whose clock is the CPU time used."""

from __future__ import annotations

import asyncio
import contextlib
import selectors
import statistics
import time
from collections import deque
from collections.abc import Iterator
from typing import Any
from unittest import mock

PIECE_SECONDS = 0.0004
"""What the piece takes on the core whose seconds are counted."""

# The speed is the median of so many measurements, made so often.
_PIECES = 9
_CALIBRATION_SECONDS = 0.2
# How long threads may take to wake a loop that has no timer.
_PATIENCE_SECONDS = 5.0


class VirtualClock:
    """CPU time of this thread, in seconds of a core of a set speed, plus what was skipped.

    How fast the core is, is measured again and again by a piece of Python that is always the same:
    on a shared machine it changes from second to second, by a third and more.
    """

    def __init__(self) -> None:
        self._thread_time = time.thread_time
        self._pieces: deque[float] = deque(maxlen=_PIECES)
        self._rate = 1.0
        self._busy = 0.0
        self._skipped = 0.0
        self._since = self._thread_time()
        for _ in range(_PIECES):
            self.calibrate()

    def busy(self) -> float:
        """CPU time used."""
        return self._busy + (self._thread_time() - self._since) * self._rate

    def now(self) -> float:
        """What time it is."""
        return self.busy() + self._skipped

    def skip(self, seconds: float) -> None:
        """Let time pass in which nothing is done."""
        self._skipped += seconds

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """Do something that takes no time."""
        self._busy = self.busy()
        self._since = self._thread_time()
        try:
            yield
        finally:
            self._since = self._thread_time()

    def calibrate(self) -> None:
        """Measure how fast the core is; takes no time."""
        with self.stopped():
            began = self._thread_time()
            _piece()
            self._pieces.append(self._thread_time() - began)
            self._rate = PIECE_SECONDS / statistics.median(self._pieces)

    async def keep_calibrated(self) -> None:
        """Do so several times a second."""
        while True:
            await asyncio.sleep(_CALIBRATION_SECONDS)
            self.calibrate()

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


def _piece() -> None:
    kept: dict[int, list[int]] = {}
    total = 0
    for number in range(3000):
        total += number
        kept[number & 63] = [total]


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
