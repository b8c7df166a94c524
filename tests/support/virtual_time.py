"""An event loop with a virtual clock: a sleep of 500 ms ends at once and moves the clock 500 ms."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

_T = TypeVar("_T")


class _Selector(selectors.DefaultSelector):  # type: ignore[misc, valid-type]
    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(0)
        if not ready and timeout:
            self._loop.now += timeout
        elif not ready and timeout is None:
            raise AssertionError("deadlock: every task waits, and none of them for a timer")
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """Runs tasks that wait for timers and for each other, and for nothing outside the process.

    Attributes:
        now: The time in seconds that `time` returns.
    """

    def __init__(self) -> None:
        self.now = 1000.0
        super().__init__(_Selector(self))

    def time(self) -> float:
        """Return the virtual time in seconds."""
        return self.now


def run(main: Coroutine[Any, Any, _T]) -> _T:
    """Run a coroutine on a `VirtualLoop` and return its result."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)
