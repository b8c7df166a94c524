"""The delay of refusals, for a limited number of requests at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

# Maximum number of refusals that are delayed at the same time. A request that waits needs up to
# 100 KB of memory in the server, and its sender needs no key.
MAX_DELAYED = 50


class RefusalDelay:
    """Delays refusals until a given time.

    If too many refusals wait, the oldest refusal is not delayed any longer, whatever its reason.
    """

    def __init__(self) -> None:
        # The events that end the delays, the oldest first.
        self._delayed: dict[asyncio.Event, None] = {}

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
        is_over = asyncio.Event()
        self._delayed[is_over] = None
        if len(self._delayed) > MAX_DELAYED:
            oldest = next(iter(self._delayed))
            del self._delayed[oldest]
            oldest.set()
        try:
            async with asyncio.timeout_at(due):
                await is_over.wait()
        except TimeoutError:
            pass
        finally:
            self._delayed.pop(is_over, None)
