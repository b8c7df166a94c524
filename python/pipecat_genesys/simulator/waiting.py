"""Waiting for what happens on a call, with errors that say what was awaited and what came."""

# A wait is told how long it may take, and says so when it fails; a bare cancellation could not.
# ruff: noqa: ASYNC109

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from pipecat_genesys.simulator.capture import Capture
from pipecat_genesys.simulator.errors import AwaitTimeoutError, CallEndedError, SimulatorError
from pipecat_genesys.simulator.events import Event, Violation

_T = TypeVar("_T")
_V = TypeVar("_V", bound=Event)
_E = TypeVar("_E", bound=SimulatorError)


class EventLog:
    """The events of a call, and those who wait for them.

    Args:
        capture: The messages, to be quoted when a wait fails.
    """

    def __init__(self, capture: Capture) -> None:
        self.events: list[Event] = []
        self.failure: BaseException | None = None
        """Something that went wrong on this side; raised by every wait."""
        self.over = False
        """Whether the call has ended, so that nothing more can happen."""
        self._capture = capture
        self._claimed: set[int] = set()
        self._waiters: list[asyncio.Future[None]] = []

    def notify(self) -> None:
        """Let everyone who waits look again."""
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def claim(self, matches: Callable[[Event], bool], since: float) -> Event | None:
        """The first matching event from ``since`` on that was not claimed before."""
        for index, event in enumerate(self.events):
            if index not in self._claimed and event.at >= since and matches(event):
                self._claimed.add(index)
                return event
        return None

    def claim_kind(self, kind: type[_V], since: float) -> _V | None:
        """As :meth:`claim`, by the event's class."""
        event = self.claim(lambda event: isinstance(event, kind), since)
        return event if isinstance(event, kind) else None

    async def until(self, check: Callable[[], _T | None], what: str, timeout: float | None) -> _T:
        """Wait until ``check`` returns something.

        Args:
            check: Looked at now and whenever something has happened.
            what: What it waits for, for the errors.
            timeout: Seconds, None for as long as the call lasts.

        Raises:
            CallEndedError: If the call ends first.
            AwaitTimeoutError: If it takes longer.
        """
        loop = asyncio.get_running_loop()
        deadline = None if timeout is None else loop.time() + timeout
        while True:
            if self.failure is not None:
                raise self.failure
            if (value := check()) is not None:
                return value
            if self.over:
                raise self.error(CallEndedError, f"the call ended while waiting for {what}")
            waiter = loop.create_future()
            self._waiters.append(waiter)
            try:
                async with asyncio.timeout_at(deadline):
                    await waiter
            except TimeoutError:
                words = f"waited {timeout:g} s for {what}"
                raise self.error(AwaitTimeoutError, words) from None

    def error(self, kind: type[_E], what: str) -> _E:
        """An error that says what was awaited, what the server did wrong, and what came last."""
        faults = [f"{e.rule}: {e.message}" for e in self.events if isinstance(e, Violation)]
        last = [str(entry) for entry in self._capture.last(6)]
        lines = [what, *(f"violation {fault}" for fault in faults[:3]), "last messages:", *last]
        return kind("\n  ".join(lines))
