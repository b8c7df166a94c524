"""A list of the events of a call for which tasks can wait, and the errors that end a script."""

# The timeout is part of the error message, so it cannot be left to the caller's `asyncio.timeout`.
# ruff: noqa: ASYNC109

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from pipecat_genesys.errors import PipecatGenesysError

from .session.events import Event, Violation
from .session.messages import Capture


class SimulatorError(PipecatGenesysError):
    """Base class of the errors that end a script: the call did not do what the script requires."""


class AwaitTimeoutError(SimulatorError, TimeoutError):
    """The event that the script waited for did not happen in time."""


class CallEndedError(SimulatorError):
    """The call ended before the event that the script waited for."""


_T = TypeVar("_T")
_V = TypeVar("_V", bound=Event)
_E = TypeVar("_E", bound=SimulatorError)


class EventLog:
    """The events of a call, and the tasks that wait for them.

    Args:
        capture: The messages of the call; error messages quote the newest ones.

    Attributes:
        events: All events so far.
        failure: An exception raised on the client's side, or None. Each method that waits raises
            this exception.
        is_over: Whether the call has ended, so that no more events follow.
    """

    def __init__(self, capture: Capture) -> None:
        self.events: list[Event] = []
        self.failure: BaseException | None = None
        self.is_over = False
        self._capture = capture
        self._claimed: set[int] = set()
        self._waiters: list[asyncio.Future[None]] = []

    def notify(self) -> None:
        """Let all waiting tasks check their conditions again."""
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def claim(self, matches: Callable[[Event], bool], since: float) -> Event | None:
        """Return the first matching event that was not returned before.

        Args:
            matches: Called with an event; returns whether it is the wanted event.
            since: Skip events before this time, in seconds since `open`.
        """
        for index, event in enumerate(self.events):
            if index not in self._claimed and event.at >= since and matches(event):
                self._claimed.add(index)
                return event
        return None

    def claim_type(self, kind: type[_V], since: float) -> _V | None:
        """Return the first event of this type that was not returned before, see `claim`."""
        event = self.claim(lambda event: isinstance(event, kind), since)
        return event if isinstance(event, kind) else None

    async def until(self, check: Callable[[], _T | None], what: str, timeout: float | None) -> _T:
        """Wait until `check` returns a value other than None, and return the value.

        Args:
            check: Called now, and again after each change of the call.
            what: Description of the condition, for error messages.
            timeout: Maximum time in seconds, or None to wait until the call ends.

        Raises:
            CallEndedError: If the call ends first.
            AwaitTimeoutError: If `timeout` expires first.
        """
        loop = asyncio.get_running_loop()
        deadline = None if timeout is None else loop.time() + timeout
        while True:
            if self.failure is not None:
                raise self.failure
            if (value := check()) is not None:
                return value
            if self.is_over:
                raise self.error(CallEndedError, f"the call ended while waiting for {what}")
            waiter = loop.create_future()
            self._waiters.append(waiter)
            try:
                async with asyncio.timeout_at(deadline):
                    await waiter
            except TimeoutError:
                text = f"waited {timeout:g} s for {what}"
                raise self.error(AwaitTimeoutError, text) from None

    def error(self, kind: type[_E], text: str) -> _E:
        """Return an error that also lists the violations and the newest messages.

        Args:
            kind: Class of the error.
            text: First line of the error message.
        """
        faults = [f"{e.rule}: {e.message}" for e in self.events if isinstance(e, Violation)]
        last = [str(entry) for entry in self._capture.last(6)]
        lines = [text, *(f"violation {fault}" for fault in faults[:3]), "last messages:", *last]
        return kind("\n  ".join(lines))
