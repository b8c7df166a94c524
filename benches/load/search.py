"""Finds the number of calls that a server holds: larger steps until one fails, then bisection."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from .effort import Effort, next_calls, rounded
from .steps import run_step, running_server, warm_up

SMALLEST_CALLS = 10
"""Number of calls of the first step. Its delay is the reference for the later ones."""

# Part of the core that a server is expected to use when it fails, in %.
_EXPECTED_PERCENT = 60.0
# Time in which a server recovers from a failed step, in seconds.
_RECOVERY_SECONDS = 5.0


def search(
    server: str, bot: str, loop: str, effort: Effort, report: Callable[[dict[str, Any]], None]
) -> Iterator[dict[str, Any]]:
    """Yield the row of each step with a server, in the order in which they were measured.

    Args:
        server: Name of the server.
        bot: Name of the bot.
        loop: Name of the event loop.
        effort: How exactly the number of calls is found.
        report: Called with each row, also with those of attempts that are repeated.
    """
    with running_server(server, bot, loop) as process:
        warm_up(process.port, bot)
        process.stats("tune")
        results: dict[int, bool] = {}
        smallest_delay_ms: float | None = None
        calls: int | None = SMALLEST_CALLS
        first = SMALLEST_CALLS
        while calls is not None:
            for _ in range(effort.attempts):
                row = run_step(
                    process,
                    calls,
                    ramp=effort.ramp(calls),
                    plateau=effort.plateau,
                    ramp_down=effort.ramp_down,
                    smallest_delay_ms=smallest_delay_ms,
                )
                report(row)
                if not row["failures"]:
                    break
                time.sleep(_RECOVERY_SECONDS)
            yield row
            if not results:
                smallest_delay_ms = row["echo_ms"].get("p99")
                expected = calls * _EXPECTED_PERCENT / max(row["cpu_percent"], 0.1)
                first = max(2 * SMALLEST_CALLS, rounded(expected * effort.first_part))
            results[calls] = not row["failures"]
            calls = next_calls(first, results, effort)
