"""Puts checks to a server, several at a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum

from pipecat_genesys.simulator import ConnectFailedError

from .checking import BrokenRule, Check, NotApplicable
from .target import Target

AT_ONCE = 6
"""Checks at a time. A check has one connection, a few have two."""
_LONGEST = 60.0


class Outcome(StrEnum):
    """How a check ended."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Result:
    """What a check found.

    Attributes:
        check: Which.
        outcome: How it ended.
        detail: What was wrong, or why it was skipped.
        seconds: How long it took.
    """

    check: Check
    outcome: Outcome
    detail: str
    seconds: float


async def run(
    target: Target,
    checks: Iterable[Check],
    *,
    at_once: int = AT_ONCE,
    progress: Callable[[Result], None] = lambda _: None,
) -> list[Result]:
    """Put checks to a server.

    Args:
        target: The server.
        checks: Which; those that do not fit its mode are left out.
        at_once: How many at a time.
        progress: Called with each result as it comes.

    Returns:
        The results, in the order of the checks.
    """
    slots = asyncio.Semaphore(at_once)

    async def one(check: Check) -> Result:
        async with slots:
            result = await _run(target, check)
        progress(result)
        return result

    chosen = [check for check in checks if target.mode in check.modes]
    return list(await asyncio.gather(*(one(check) for check in chosen)))


async def _run(target: Target, check: Check) -> Result:
    begin = time.monotonic()
    outcome, detail = Outcome.PASSED, ""
    if check.signed and target.secret is None:
        outcome, detail = Outcome.SKIPPED, "needs the client secret"
    else:
        try:
            await asyncio.wait_for(check.run(target), _LONGEST)
        except NotApplicable as reason:
            outcome, detail = Outcome.SKIPPED, str(reason)
        except (BrokenRule, ConnectFailedError) as broken:
            outcome, detail = Outcome.FAILED, str(broken)
        except TimeoutError:
            outcome, detail = Outcome.FAILED, f"not done within {_LONGEST:g} s"
        except Exception as error:
            # A server may send what no check thought of; the others are none the worse for it.
            what = f"{type(error).__name__}: {error}"
            outcome, detail = Outcome.FAILED, f"what came could not be judged ({what})"
    return Result(check, outcome, detail, time.monotonic() - begin)
