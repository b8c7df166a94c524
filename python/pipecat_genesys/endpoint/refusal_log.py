"""Logs refused connections, with a limited number of lines per second."""

from __future__ import annotations

import asyncio

from loguru import logger
from starlette.websockets import WebSocket

from pipecat_genesys.auth.request import is_uuid

# Maximum number of lines per second. Anybody can cause refusals, and a line takes about 100 us, so
# that without a limit a flood of requests delays the running calls and fills the log.
_LINES_PER_SECOND = 20
# Header of the upgrade request. Genesys's support uses its value to find a call.
_CORRELATION_HEADER = "audiohook-correlation-id"


class RefusalLog:
    """Logs at most 20 refused connections per second, and the number of the others."""

    def __init__(self) -> None:
        """Create an object that has logged nothing yet."""
        self._lines = 0
        self._omitted = 0
        # The event loop whose timer ends the current second; None if nothing was logged in it.
        self._timed_by: asyncio.AbstractEventLoop | None = None

    def add(self, websocket: WebSocket, reason: str, detail: str) -> None:
        """Log that a connection is refused.

        Args:
            websocket: The connection.
            reason: The label of the reason in the metrics.
            detail: The reason in words.
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
        address = websocket.client.host if websocket.client else "unknown"
        logger.bind(correlation_id=correlation_id(websocket)).warning(
            f"connection from {address} refused ({reason}): {detail}"
        )

    def _second_over(self) -> None:
        if self._omitted:
            logger.warning(f"{self._omitted} more connections were refused within a second")
        self._timed_by = None


def correlation_id(websocket: WebSocket) -> str:
    """Return the correlation ID of an upgrade request, or "" if it has no valid one."""
    value = websocket.headers.get(_CORRELATION_HEADER, "")
    return value if is_uuid(value) else ""
