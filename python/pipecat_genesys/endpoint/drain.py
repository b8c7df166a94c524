"""What SIGTERM does: nobody is cut off.

uvicorn closes every WebSocket the moment it sees the signal. So the endpoint sees it first, and
passes it on when its calls are over.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from loguru import logger

Handler = Callable[[int, FrameType | None], Any] | int | None


@contextmanager
def drained_on_sigterm(drain: Callable[[], Awaitable[None]]) -> Iterator[None]:
    """Drain on SIGTERM, and only then do what SIGTERM would have done.

    A second SIGTERM is not kept waiting. Outside of the main thread Python has no signals, and
    this does nothing.

    Args:
        drain: Ends the calls.
    """
    if threading.current_thread() is not threading.main_thread():
        logger.warning("not in the main thread: SIGTERM will cut calls off; call drain() yourself")
        yield
        return
    loop = asyncio.get_running_loop()
    before: Handler = signal.getsignal(signal.SIGTERM)
    draining: list[asyncio.Task[None]] = []

    def pass_on() -> None:
        signal.signal(signal.SIGTERM, before)
        signal.raise_signal(signal.SIGTERM)

    async def drain_first() -> None:
        try:
            await drain()
        finally:
            pass_on()

    def begin() -> None:
        if draining:
            pass_on()
        else:
            draining.append(loop.create_task(drain_first()))

    def on_sigterm(_number: int, _frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(begin)

    signal.signal(signal.SIGTERM, on_sigterm)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGTERM) is on_sigterm:
            signal.signal(signal.SIGTERM, before)
