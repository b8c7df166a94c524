"""The delay of refusals, for a limited number of requests at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from weakref import WeakKeyDictionary

# Maximum number of refusals that are delayed at the same time. A request that waits needs up to
# 100 KB of memory in the server, and its sender needs no key.
MAX_DELAYED = 50


class RefusalDelay:
    """Delays refusals until a given time.

    If too many refusals of an event loop wait, the oldest of them is not delayed any longer,
    whatever its reason.
    """

    def __init__(self) -> None:
        """Create an object that delays no refusal yet."""
        # The events that end the delays, the oldest first.
        self._delayed: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[asyncio.Event, None]] = (
            WeakKeyDictionary()
        )

    @asynccontextmanager
    async def until(self, due: float) -> AsyncIterator[None]:
        """Delay an exception of the block. A cancellation is not delayed, and ends the delay.

        Args:
            due: Time of the event loop at which the delay ends.
        """
        try:
            yield
        except Exception:
            await self._wait(due)
            raise

    async def _wait(self, due: float) -> None:
        delayed = self._delayed.setdefault(asyncio.get_running_loop(), {})
        is_over = asyncio.Event()
        delayed[is_over] = None
        if len(delayed) > MAX_DELAYED:
            oldest = next(iter(delayed))
            del delayed[oldest]
            oldest.set()
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(due):
                    await is_over.wait()
        finally:
            delayed.pop(is_over, None)
