"""An event loop with a virtual clock and real sockets, for tests that depend on time.

When no task can run and no socket is readable, the clock jumps to the next timer. A call of ten
seconds over the loopback interface takes a fraction of a second, and every timer is exact to some
microseconds.
"""

from __future__ import annotations

import asyncio
import functools
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

import pipecat_genesys

_P = ParamSpec("_P")
_T = TypeVar("_T")
_IN_FLIGHT = 0.002
"""Real seconds to wait for data on the loopback interface before the clock jumps."""
_STUCK = 10.0
"""Real seconds to wait for a thread or a signal while no timer is scheduled."""
_PASS = 1e-6
"""Virtual seconds that each loop iteration takes. Without this time, a task that waits for less
than the resolution of the clock would wait forever."""
_PACKAGE = pipecat_genesys.__path__[0]


class _Selector(selectors.DefaultSelector):  # type: ignore[misc, valid-type]
    def __init__(self, *, has_sockets: bool) -> None:
        super().__init__()
        self.now = 1000.0
        self._in_flight, self._stuck, self._pass = (
            (_IN_FLIGHT, _STUCK, _PASS) if has_sockets else (0, 0, 0)
        )

    def select(self, timeout: float | None = None) -> list[Any]:
        self.now += self._pass
        ready = super().select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        ready = super().select(self._stuck if timeout is None else self._in_flight)
        if not ready and timeout is None:
            raise RuntimeError("all tasks are waiting, and no timer is scheduled")
        if not ready and timeout is not None:
            self.now += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time is virtual.

    Args:
        has_sockets: Whether tasks wait for sockets, threads or signals. Without such tasks, the
            clock moves to the next timer without a real delay, and all times are exact.
    """

    def __init__(self, *, has_sockets: bool = True) -> None:
        self._virtual = _Selector(has_sockets=has_sockets)
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.now

    def advance(self, seconds: float) -> None:
        """Advance the clock without running tasks, as code that blocks the event loop does."""
        self._virtual.now += seconds


def run(main: Coroutine[Any, Any, _T]) -> _T:
    """Run a coroutine that waits only for timers and tasks, not sockets; return its result."""
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(has_sockets=False)) as runner:
        return runner.run(main)


def virtual_time(test: Callable[_P, Coroutine[Any, Any, None]]) -> Callable[_P, None]:
    """Run an async test in virtual time; fail if a task of the package still runs at the end.

    The code under test must measure time with `loop.time`, and must not use threads.
    """

    @functools.wraps(test)
    def run(*args: _P.args, **kwargs: _P.kwargs) -> None:
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(_checked(test(*args, **kwargs)))

    return run


async def _checked(test: Coroutine[Any, Any, None]) -> None:
    await test
    # During this sleep, tasks of the test's server can end.
    await asyncio.sleep(0)
    coroutines = [task.get_coro() for task in asyncio.all_tasks() if not task.done()]
    files = [getattr(coroutine, "cr_code", None) for coroutine in coroutines]
    left = [code.co_qualname for code in files if code and code.co_filename.startswith(_PACKAGE)]
    assert not left, f"tasks of the package still run after the test: {left}"
