"""How many calls there may be, and whether there may be more."""

from __future__ import annotations

import asyncio
from enum import StrEnum
from typing import Any

from pipecat_genesys.errors import PipecatGenesysError

# A refusal takes half a second, so this many strangers a second and more are a flood; each costs
# some kilobytes while it waits.
_MAX_HANDSHAKES = 1000


class Refused(StrEnum):
    """Why a connection gets HTTP 503; a closed list, for counters."""

    FULL = "full"
    """As many calls run as there may be."""
    DRAINING = "draining"
    """The server is about to stop."""
    HANDSHAKES = "handshakes"
    """Too many connections are being authenticated at once; a flood, or a replay store that is
    slow."""


class NoRoomError(PipecatGenesysError):
    """A call cannot be taken.

    Attributes:
        reason: Why.
    """

    def __init__(self, reason: Refused) -> None:
        super().__init__(reason.value)
        self.reason = reason


class Admission:
    """Who may come in. No clock and no sockets.

    Attributes:
        max_calls: Most calls at once.
        calls: Those that run.
        draining: Whether the server is about to stop, and says so.
        closed: Whether no more calls are taken.
    """

    def __init__(self, max_calls: int) -> None:
        """Create it.

        Args:
            max_calls: Most calls at once.
        """
        self.max_calls = max_calls
        self.calls: set[Any] = set()
        self.draining = False
        self.closed = False
        self._handshakes = 0
        self._empty = asyncio.Event()
        self._empty.set()

    @property
    def refusal(self) -> Refused | None:
        """Why a call would be refused now; None if it would not."""
        if self.closed:
            return Refused.DRAINING
        return Refused.FULL if len(self.calls) >= self.max_calls else None

    def begin_handshake(self) -> Refused | None:
        """Let somebody show who they are, unless it would be in vain.

        Returns:
            Why not; None if `end_handshake` is to follow.
        """
        refusal = self.refusal
        if refusal is None and self._handshakes >= _MAX_HANDSHAKES:
            return Refused.HANDSHAKES
        if refusal is None:
            self._handshakes += 1
        return refusal

    def end_handshake(self) -> None:
        """Take note that it is over."""
        self._handshakes -= 1

    def enter(self, call: Any) -> None:
        """Take a call in; `leave` is to follow.

        Raises:
            NoRoomError: If it cannot be.
        """
        refusal = self.refusal
        if refusal is not None:
            raise NoRoomError(refusal)
        self.calls.add(call)
        self._empty.clear()

    def leave(self, call: Any) -> None:
        """Take note that a call is over."""
        self.calls.discard(call)
        if not self.calls:
            self._empty.set()

    async def empty(self) -> None:
        """Wait until no call runs."""
        await self._empty.wait()
