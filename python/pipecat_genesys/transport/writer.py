"""The one place from which anything goes to the socket, in order.

Messages get their numbers when they are put here, so the order of the queue is the order of the
numbers. Text is not held up by audio: audio is put here only when it is due, a message at a time.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable

Write = Callable[[str | bytes], Awaitable[None]]


class Writer:
    """Sends messages one after the other. A socket that is gone takes them silently.

    Attributes:
        gone: Whether the socket is.
        waits_since: Since when, on the monotonic clock, the socket has not taken a message; None
            if it took them all.
        on_idle: Called when it has.
    """

    def __init__(self, write: Write) -> None:
        """Create a writer.

        Args:
            write: Sends one message; raises when the socket is gone.
        """
        self._write = write
        self._queue: deque[str | bytes] = deque()
        self._news = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self.gone = False
        self.waits_since: float | None = None
        self.on_idle: Callable[[], None] = lambda: None

    @property
    def audio_waits(self) -> int:
        """Bytes of audio that are waiting for the socket."""
        return sum(len(message) for message in self._queue if isinstance(message, bytes))

    def put(self, message: str | bytes) -> None:
        """Queue a message."""
        if not self.gone:
            self._queue.append(message)
            self._idle.clear()
            self._news.set()

    def drop_audio(self) -> None:
        """Forget the audio that is not on the socket."""
        self._queue = deque(message for message in self._queue if isinstance(message, str))

    async def flushed(self) -> None:
        """Wait until everything is on the socket."""
        await self._idle.wait()

    async def run(self) -> None:
        """Send, until cancelled or the socket is gone."""
        try:
            while True:
                while self._queue:
                    self.waits_since = time.monotonic()
                    await self._write(self._queue.popleft())
                self.waits_since = None
                self._idle.set()
                self._news.clear()
                self.on_idle()
                await self._news.wait()
        except Exception:
            # Whatever the server's way of saying so: nobody listens. The receiver sees it too.
            self.gone = True
        finally:
            self._queue.clear()
            self.waits_since = None
            self._idle.set()
