"""Logs refused connections, with a limited number of lines per second."""

from __future__ import annotations

import asyncio

from loguru import logger

# Maximum number of lines per second. Anybody can cause refusals, and a line takes about 100 us, so
# that without a limit a flood of requests delays the running calls and fills the log.
_LINES_PER_SECOND = 20


class RefusalLog:
    """Logs at most 20 refused connections per second, and the number of the others."""

    def __init__(self) -> None:
        """Create an object that has logged nothing yet."""
        self._lines = 0
        self._omitted = 0
        # Lines are counted for one second from the first refused connection. This is the event loop
        # whose timer ends that second; None if no second is being counted.
        self._timed_by: asyncio.AbstractEventLoop | None = None

    def add(self, address: str, reason: str, detail: str, correlation_id: str = "") -> None:
        """Log that a connection is refused.

        Args:
            address: Address of the peer.
            reason: The label of the reason in the metrics, or "http" if the request is refused
                before the application is called.
            detail: The reason in words.
            correlation_id: Correlation ID of the upgrade request; "" if it has no valid one.
        """
        loop = asyncio.get_running_loop()
        # The event loop of the last line may have ended before the second was over.
        if self._timed_by is not loop:
            self._lines = self._omitted = 0
            self._timed_by = loop
            loop.call_later(1.0, self._second_over)
        self._lines += 1
        if self._lines > _LINES_PER_SECOND:
            self._omitted += 1
            return
        logger.bind(correlation_id=correlation_id).warning(
            f"connection from {address} refused ({reason}): {detail}"
        )

    def _second_over(self) -> None:
        if self._omitted:
            logger.warning(f"{self._omitted} more connections were refused within a second")
        self._timed_by = None
