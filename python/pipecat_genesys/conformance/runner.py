"""Runs checks against a server, several at a time, and detects when the server crashes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from pipecat_genesys.simulator import ConnectFailedError

from .check import Check, Schedule
from .errors import CheckFailedError, CheckSkippedError, ConnectionLostError
from .target import Target

_CONCURRENCY = 8
_CHECK_TIMEOUT = 60.0
_RECONNECT_INTERVAL = 0.25


class Outcome(StrEnum):
    """The outcome of a check."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The result of one check.

    Attributes:
        check: The check.
        outcome: Whether the check passed, failed or was skipped.
        detail: What the server did wrong, or why the check was skipped; empty for a passed check.
        seconds: Duration of the check.
    """

    check: Check
    outcome: Outcome
    detail: str = ""
    seconds: float = 0.0


async def run_checks(
    target: Target,
    checks: Iterable[Check],
    *,
    concurrency: int = _CONCURRENCY,
    on_result: Callable[[CheckResult], None] = lambda _: None,
) -> list[CheckResult]:
    """Run checks against a server.

    The run begins with one plain call. If the server does not accept the plain call, the first
    check fails with the reason and all other checks are skipped.

    If the server crashes, the check that caused the crash fails, and the run continues when the
    server accepts connections again. The remaining checks are skipped if the server does not accept
    connections within `Timeouts.restart`.

    Cancellation stops the running checks and closes their connections.

    Args:
        target: The server.
        checks: The checks; checks that do not apply to the server's mode are left out.
        concurrency: Number of checks that run at a time. Most checks use one connection, a few
            use two.
        on_result: Called with each final result.

    Returns:
        The results, in the order of the checks.
    """
    applicable = [check for check in checks if target.mode in check.modes]
    run = _Run(target, concurrency, on_result)
    try:
        await run.run_all(applicable)
    finally:
        await target.cancel_recorded_calls()
    return [run.results[check.id] for check in applicable]


@dataclass(frozen=True, slots=True)
class _Attempt:
    """One execution of a check.

    Attributes:
        result: The result.
        lost: Whether the check failed because its connection failed or was lost. Another check, or
            the number of connections, may be the cause.
        refused: Whether the server refused the connection with an HTTP status.
    """

    result: CheckResult
    lost: bool = False
    refused: bool = False


class _Run:
    """One run of checks.

    Attributes:
        results: The final results, by id of the check.
    """

    def __init__(
        self, target: Target, concurrency: int, on_result: Callable[[CheckResult], None]
    ) -> None:
        self.results: dict[str, CheckResult] = {}
        self._target = target
        self._concurrency = concurrency
        self._on_result = on_result
        self._previous: CheckResult | None = None
        self._died_after: str | None = None

    async def run_all(self, checks: Sequence[Check]) -> None:
        """Run the checks and fill `results`."""
        runnable = []
        for check in checks:
            if check.signed and self._target.secret is None:
                self._skip(check, "the check needs the client secret")
            else:
                runnable.append(check)
        if not runnable:
            return
        problem = await self._problem_with_plain_call()
        if problem is not None:
            first, *others = runnable
            self._finish(CheckResult(first, Outcome.FAILED, problem))
            for check in others:
                self._skip(check, "not run, because the server does not accept a plain call")
            return
        waiting = [check for check in runnable if check.schedule is Schedule.FIRST]
        waiting += [check for check in runnable if check.schedule is Schedule.CONCURRENT]
        while waiting and self._died_after is None:
            lost, waiting = await self._run_concurrently(waiting)
            await self._repeat(lost)
        alone = [check for check in runnable if check.schedule is Schedule.ALONE]
        for check in [*waiting, *alone]:
            self._finish(await self._run_alone(check))

    async def _problem_with_plain_call(self) -> str | None:
        """Place a call. Return why it failed, or None if the server accepts the call."""
        try:
            async with self._target.open_call() as connection:
                await connection.send("close", {"reason": "end"})
        except (CheckFailedError, ConnectFailedError) as error:
            return str(error)
        return None

    async def _run_concurrently(
        self, checks: Sequence[Check]
    ) -> tuple[list[_Attempt], list[Check]]:
        """Run checks until all are done or the server has crashed.

        Returns:
            A pair of lists: the attempts that lost their connection, and the checks that were not
            started.
        """
        lost: list[_Attempt] = []
        waiting = list(checks)
        is_alive = True

        async def work() -> None:
            nonlocal is_alive
            while waiting and is_alive:
                attempt = await self._attempt(waiting.pop(0))
                if attempt.lost:
                    lost.append(attempt)
                    is_alive = await self._target.is_alive()
                else:
                    self._finish(attempt.result)

        async with asyncio.TaskGroup() as group:
            for _ in range(self._concurrency):
                group.create_task(work())
        return lost, waiting

    async def _repeat(self, attempts: Sequence[_Attempt]) -> None:
        """Repeat the checks that lost their connection, one at a time, to find the cause."""
        suspects = [attempt.result for attempt in attempts if not attempt.refused]
        names = ", ".join(result.check.id for result in suspects)
        if suspects and not await self._wait_until_alive():
            self._died_after = names
            detail = f"the server crashed while these checks ran: {names}"
            self._finish(replace(suspects[0], detail=detail))
            attempts = [one for one in attempts if one.result is not suspects[0]]
            suspects = []
        repeated = [await self._run_alone(attempt.result.check) for attempt in attempts]
        if suspects and all(result.outcome is not Outcome.FAILED for result in repeated):
            # The server did not crash again, but the report must contain the first crash.
            lost = suspects[0]
            detail = f"{lost.detail}; this happened once, while these checks ran: {names}"
            repeated = [
                replace(lost, detail=detail) if result.check is lost.check else result
                for result in repeated
            ]
        for result in repeated:
            self._finish(result)

    async def _run_alone(self, check: Check) -> CheckResult:
        """Run a check while no other check runs; the check fails if the server crashes."""
        if self._died_after is None and not await self._wait_until_alive():
            self._blame_previous()
        if self._died_after is not None:
            reason = f"not run, because the server crashed after {self._died_after}"
            return CheckResult(check, Outcome.SKIPPED, reason)
        result = (await self._attempt(check)).result
        if not await self._target.is_alive():
            result = _died(result)
        self._previous = result
        return result

    def _blame_previous(self) -> None:
        """Record that the server crashed after the previous check, and make that check fail."""
        previous = self._previous
        self._died_after = "the plain call" if previous is None else previous.check.id
        if previous is not None and previous.outcome is not Outcome.FAILED:
            self.results[previous.check.id] = _died(previous)

    async def _wait_until_alive(self) -> bool:
        """Wait until the server accepts connections; return False after `Timeouts.restart`."""
        deadline = time.monotonic() + self._target.timeouts.restart
        while not await self._target.is_alive():
            if time.monotonic() >= deadline:
                return False
            await asyncio.sleep(_RECONNECT_INTERVAL)
        return True

    async def _attempt(self, check: Check) -> _Attempt:
        begin = time.monotonic()
        outcome, detail = Outcome.PASSED, ""
        lost = refused = False
        try:
            await asyncio.wait_for(check.run(self._target), _CHECK_TIMEOUT)
        except CheckSkippedError as reason:
            outcome, detail = Outcome.SKIPPED, str(reason)
        except CheckFailedError as failure:
            outcome, detail = Outcome.FAILED, str(failure)
            lost = isinstance(failure, ConnectionLostError)
        except ConnectFailedError as failure:
            outcome, detail = Outcome.FAILED, str(failure)
            lost, refused = True, failure.status is not None
        except TimeoutError:
            outcome, detail = Outcome.FAILED, f"the check did not end within {_CHECK_TIMEOUT:g} s"
        except Exception as error:
            # The other checks must run even if this check raised an exception because of an
            # unexpected message.
            cause = f"{type(error).__name__}: {error}"
            outcome, detail = Outcome.FAILED, f"the check could not read the server's data: {cause}"
        result = CheckResult(check, outcome, detail, time.monotonic() - begin)
        return _Attempt(result, lost, refused)

    def _skip(self, check: Check, reason: str) -> None:
        self._finish(CheckResult(check, Outcome.SKIPPED, reason))

    def _finish(self, result: CheckResult) -> None:
        self.results[result.check.id] = result
        if result.outcome is not Outcome.SKIPPED:
            self._previous = result
        self._on_result(result)


def _died(result: CheckResult) -> CheckResult:
    detail = "the server crashed: it accepts no connections after this check"
    if result.detail:
        detail += f"; {result.detail}"
    return replace(result, outcome=Outcome.FAILED, detail=detail)
