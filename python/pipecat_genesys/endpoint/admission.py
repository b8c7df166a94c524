"""Limits the number of calls, and the number of connections that are being authenticated."""

from __future__ import annotations

import asyncio
from enum import StrEnum
from typing import Generic, TypeVar

from pipecat_genesys.errors import PipecatGenesysError

# Maximum number of connections that are authenticated at the same time. Each takes up to 100 KB.
# During a flood, at most 50 of them wait for their refusal; the others are in progress.
_MAX_HANDSHAKES = 150


_Call = TypeVar("_Call")


class Refused(StrEnum):
    """The reason why a connection is refused with HTTP 503. The values are labels of a metric."""

    FULL = "full"
    """The limit of calls is reached."""
    DRAINING = "draining"
    """The server is about to stop."""
    HANDSHAKES = "handshakes"
    """Too many connections are being authenticated, because of a flood or a slow replay store."""


class NoRoomError(PipecatGenesysError):
    """A call cannot be accepted.

    Attributes:
        reason: The reason for the refusal.
    """

    def __init__(self, reason: Refused) -> None:
        super().__init__(reason.value)
        self.reason = reason


class Admission(Generic[_Call]):
    """Counts and limits running calls and authentications. Uses no clock and no sockets.

    Attributes:
        max_calls: Maximum number of simultaneous calls.
        calls: The running calls.
        draining: Whether the server is about to stop. ``/readyz`` then answers 503.
        closed: Whether new calls are refused.
    """

    def __init__(self, max_calls: int) -> None:
        """Create an object that counts no calls yet.

        Args:
            max_calls: Maximum number of simultaneous calls.
        """
        self.max_calls = max_calls
        self.calls: set[_Call] = set()
        self.draining = False
        self.closed = False
        self._handshakes = 0
        self._empty = asyncio.Event()
        self._empty.set()

    @property
    def refusal(self) -> Refused | None:
        """The reason why a call would be refused now, or None."""
        if self.closed:
            return Refused.DRAINING
        return Refused.FULL if len(self.calls) >= self.max_calls else None

    def begin_handshake(self) -> Refused | None:
        """Count a connection that is being authenticated, unless it must be refused.

        Returns:
            The reason for the refusal. None if the connection is counted; the caller of this method
            must then call `end_handshake` after the authentication.
        """
        refusal = self.refusal
        if refusal is None and self._handshakes >= _MAX_HANDSHAKES:
            return Refused.HANDSHAKES
        if refusal is None:
            self._handshakes += 1
        return refusal

    def end_handshake(self) -> None:
        """Stop counting a connection, because its authentication has ended."""
        self._handshakes -= 1

    def enter(self, call: _Call) -> None:
        """Add a call. `leave` removes the call.

        Raises:
            NoRoomError: If the call is refused. `NoRoomError.reason` is the reason.
        """
        refusal = self.refusal
        if refusal is not None:
            raise NoRoomError(refusal)
        self.calls.add(call)
        self._empty.clear()

    def leave(self, call: _Call) -> None:
        """Remove a call."""
        self.calls.discard(call)
        if not self.calls:
            self._empty.set()

    async def empty(self) -> None:
        """Wait until no call runs. Cancelling the wait has no effect on the calls."""
        await self._empty.wait()
