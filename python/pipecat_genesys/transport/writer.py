"""A queue of messages, which a task sends to the socket in order.

Messages get their sequence numbers when they are queued, so the order of the queue is the order of
the numbers. Audio does not delay text, because audio is queued only when the audio is due, one
message at a time.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable

from pipecat_genesys.protocol import WireMessage

from .observer import MessageTap


class Writer:
    """Sends queued messages one after the other.

    Attributes:
        is_closed: Whether the socket is closed or lost; messages are then discarded.
        blocked_since: Time on the monotonic clock at which sending of the current message began;
            None if no message is being sent.
        queued_audio_bytes: Bytes of audio in the queue, without the message that is being sent.
        on_idle: Called whenever the socket has taken all messages.
    """

    def __init__(
        self,
        send_text: Callable[[str], Awaitable[None]],
        send_bytes: Callable[[bytes], Awaitable[None]],
        tap: MessageTap | None = None,
    ) -> None:
        """Create a writer.

        Args:
            send_text: Sends one text message; raises when the socket is closed or lost.
            send_bytes: Sends one binary message; raises when the socket is closed or lost.
            tap: Called with each message that was sent.
        """
        self._send_text = send_text
        self._send_bytes = send_bytes
        self._tap = tap
        self._queue: deque[WireMessage | bytes] = deque()
        self._queued = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self.is_closed = False
        self.blocked_since: float | None = None
        self.queued_audio_bytes = 0
        self.on_idle: Callable[[], None] = lambda: None

    def put(self, message: WireMessage | bytes) -> None:
        """Queue a message."""
        if not self.is_closed:
            self._queue.append(message)
            if isinstance(message, bytes):
                self.queued_audio_bytes += len(message)
            self._idle.clear()
            self._queued.set()

    def drop_audio(self) -> None:
        """Discard the audio that the socket has not taken."""
        self._queue = deque(message for message in self._queue if not isinstance(message, bytes))
        self.queued_audio_bytes = 0

    async def flushed(self) -> None:
        """Wait until the socket has accepted all messages, or is closed or lost."""
        await self._idle.wait()

    async def run(self) -> None:
        """Send messages until the task is cancelled, or the socket is closed or lost."""
        try:
            while True:
                while self._queue:
                    self.blocked_since = time.monotonic()
                    message = self._queue.popleft()
                    if isinstance(message, bytes):
                        self.queued_audio_bytes -= len(message)
                        await self._send_bytes(message)
                    else:
                        await self._send_text(message.text)
                    if self._tap is not None:
                        self._tap.sent(message, time.monotonic())
                self.blocked_since = None
                self._idle.set()
                self._queued.clear()
                self.on_idle()
                await self._queued.wait()
        except Exception:
            # ASGI servers raise different exceptions for a lost socket. The task that reads the
            # socket handles the loss.
            self.is_closed = True
        finally:
            self._queue.clear()
            self.queued_audio_bytes = 0
            self.blocked_since = None
            self._idle.set()
