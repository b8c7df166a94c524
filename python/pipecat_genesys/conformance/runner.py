"""Runs checks against a server, several at a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum

from pipecat_genesys.simulator import ConnectFailedError

from .check import Check
from .errors import CheckFailedError, CheckSkippedError
from .target import Target

_CONCURRENCY = 6
_CHECK_TIMEOUT = 60.0


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
    detail: str
    seconds: float


async def run_checks(
    target: Target,
    checks: Iterable[Check],
    *,
    concurrency: int = _CONCURRENCY,
    on_result: Callable[[CheckResult], None] = lambda _: None,
) -> list[CheckResult]:
    """Run checks against a server.

    Cancellation stops the running checks and closes their connections.

    Args:
        target: The server.
        checks: The checks; those that do not apply to the server's mode are left out.
        concurrency: Number of checks that run at a time. Most checks use one connection, a few
            use two.
        on_result: Called with each result when its check ends.

    Returns:
        The results, in the order of the checks.
    """
    slots = asyncio.Semaphore(concurrency)

    async def run_one(check: Check) -> CheckResult:
        async with slots:
            result = await _run(target, check)
        on_result(result)
        return result

    applicable = [check for check in checks if target.mode in check.modes]
    return list(await asyncio.gather(*(run_one(check) for check in applicable)))


async def _run(target: Target, check: Check) -> CheckResult:
    begin = time.monotonic()
    outcome, detail = Outcome.PASSED, ""
    if check.signed and target.secret is None:
        outcome, detail = Outcome.SKIPPED, "the check needs the client secret"
    else:
        try:
            await asyncio.wait_for(check.run(target), _CHECK_TIMEOUT)
        except CheckSkippedError as reason:
            outcome, detail = Outcome.SKIPPED, str(reason)
        except (CheckFailedError, ConnectFailedError) as failure:
            outcome, detail = Outcome.FAILED, str(failure)
        except TimeoutError:
            outcome, detail = Outcome.FAILED, f"the check did not end within {_CHECK_TIMEOUT:g} s"
        except Exception as error:
            # A message that the check did not expect must not prevent the other checks.
            cause = f"{type(error).__name__}: {error}"
            outcome, detail = Outcome.FAILED, f"the check could not read the server's data: {cause}"
    return CheckResult(check, outcome, detail, time.monotonic() - begin)
