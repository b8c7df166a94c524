"""A wrapper of an asyncio transport that closes within a limited time."""

from __future__ import annotations

import asyncio

# Maximum time in seconds until the peer has read the last data. Without this limit, a peer that
# reads no data would keep the socket and its file descriptor open.
_CLOSE_SECONDS = 5.0
# Limits for data that is discarded after the last answer. Closing a socket that has unread data
# resets the connection, and the peer may then lose the answer.
_DISCARD_SECONDS = 1.0
_DISCARD_BYTES = 2**18


class ConnectionSocket:
    """An asyncio transport that closes within a limited time.

    Unlike with a transport of asyncio, reading can be paused when it is already paused, and resumed
    when it is not paused.

    Attributes:
        transport: The transport, of asyncio or uvloop.
        is_discarding: Whether received data must be discarded, because `finish` was called.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        """Wrap a transport.

        Args:
            transport: A connected transport.
            loop: The event loop of the transport.
        """
        self.transport = transport
        self.is_discarding = False
        self._loop = loop
        self._is_reading = True
        self._discarded = 0
        self._deadline: asyncio.TimerHandle | None = None

    @property
    def is_closing(self) -> bool:
        """Whether nothing more can be written."""
        return self.is_discarding or self.transport.is_closing()

    def pause_reading(self) -> None:
        """Stop reading. This method has no effect if reading is paused."""
        if self._is_reading:
            self._is_reading = False
            self.transport.pause_reading()

    def stop_reading(self) -> None:
        """Stop reading even if other code has resumed `transport` directly.

        `pause_reading` would have no effect then, because this object does not know that reading
        was resumed. Call this method only when data has just arrived, which shows that the
        transport is reading.
        """
        self._is_reading = False
        self.transport.pause_reading()

    def resume_reading(self) -> None:
        """Continue reading, if reading is paused and the transport is not closing."""
        if not self._is_reading and not self.transport.is_closing():
            self._is_reading = True
            self.transport.resume_reading()

    def write(self, data: bytes) -> None:
        """Write data. If the socket is closing, the data is discarded."""
        if data and not self.is_closing:
            self.transport.write(data)

    def finish(self) -> None:
        """Close the connection so that the peer can read all data that was written before.

        The sending direction is closed when the data is sent. Received data is discarded. The
        socket is closed when the peer closes its direction, after 256 KB of received data, or after
        1 s. If written data is not sent yet when `finish` is called, the limit is 5 s.
        """
        if self.is_closing:
            return
        if not self.transport.can_write_eof():
            # With TLS, one direction alone cannot be closed.
            self.close()
            return
        try:
            self.transport.write_eof()
        except OSError:
            # The peer has reset the connection, which the transport has not noticed yet.
            self.abort()
            return
        self.is_discarding = True
        is_flushed = self.transport.get_write_buffer_size() == 0
        self._abort_after(_DISCARD_SECONDS if is_flushed else _CLOSE_SECONDS)
        self.resume_reading()

    def discard(self, size: int) -> None:
        """Count received bytes that are discarded, and abort the connection at the limit."""
        self._discarded += size
        if self._discarded > _DISCARD_BYTES:
            self.abort()

    def close(self) -> None:
        """Close the socket when all written data has been sent, at the latest after 5 s."""
        self.transport.close()
        if not self.is_discarding:
            self._abort_after(_CLOSE_SECONDS)

    def abort(self) -> None:
        """Close the socket immediately. Written data that has not been sent is lost."""
        self.transport.abort()

    def closed(self) -> None:
        """Release the transport and the timer. Call this method when the connection is lost."""
        if hasattr(self.transport, "_read_ready_cb"):
            # This attribute of asyncio's transport refers to a method of the transport. Replace it,
            # because only a garbage collection would free the reference cycle. The method is not
            # needed after the connection is lost.
            self.transport._read_ready_cb = _do_nothing
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _abort_after(self, seconds: float) -> None:
        if self._deadline is None:
            self._deadline = self._loop.call_later(seconds, self.abort)


def _do_nothing() -> None:
    return
