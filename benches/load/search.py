"""Finds the number of calls that a server holds: more calls until a step fails, then bisection."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from .effort import Effort, next_calls, rounded
from .steps import run_step, running_server, warm_up

SMALLEST_CALLS = 10
"""Number of calls of the first step, whose delay is the reference for later steps."""

# CPU usage at which a server is expected to fail, in % of its core.
_EXPECTED_PERCENT = 60.0


def search(
    server: str, bot: str, loop: str, effort: Effort, report: Callable[[dict[str, Any]], None]
) -> Iterator[dict[str, Any]]:
    """Yield the row of each step with a server, in the order in which they were measured.

    Args:
        server: Name of the server.
        bot: Name of the bot.
        loop: Name of the event loop.
        effort: Settings of the search.
        report: Called with each row, also with the rows of attempts that are repeated.
    """
    results: dict[int, bool] = {}
    tries: dict[int, int] = {}
    smallest_delay_ms: float | None = None
    calls: int | None = SMALLEST_CALLS
    first = SMALLEST_CALLS
    while calls is not None:
        # A server that has failed may not recover, so a new server is started after each failed
        # step.
        with running_server(server, bot, loop) as process:
            warm_up(process.port, bot)
            process.stats("tune")
            is_passed = True
            while is_passed and calls is not None:
                row = run_step(
                    process,
                    calls,
                    ramp=effort.ramp(calls),
                    plateau=effort.plateau,
                    ramp_down=effort.ramp_down,
                    smallest_delay_ms=smallest_delay_ms,
                )
                is_passed = not row["failures"]
                tries[calls] = tries.get(calls, 0) + 1
                report(row)
                if not is_passed and tries[calls] < effort.attempts_of(row["failures"]):
                    continue
                yield row
                if not results:
                    smallest_delay_ms = row["echo_ms"].get("p99")
                    expected = calls * _EXPECTED_PERCENT / max(row["cpu_percent"], 0.1)
                    first = max(2 * SMALLEST_CALLS, rounded(expected * effort.first_part))
                results[calls] = is_passed
                calls = next_calls(first, results, effort)
