"""Turns the result of a step into a row, and decides whether a server passed the step."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from pipecat_genesys.load import Criteria, LoadResult, Percentiles, find_failures

from .effort import TOO_SLOW

MOST_DELAY_GROWTH_MS = 200.0
"""Maximum growth of the 99th percentile of the delay, compared with the step with the fewest calls,
in ms."""
CRITERIA = Criteria()
"""The other limits of a passed step."""


def make_row(
    server: str, bot: str, loop: str, result: LoadResult, heard_seconds: float
) -> dict[str, Any]:
    """Return the row of a step; times in ms.

    Args:
        server: Name of the server.
        bot: Name of the bot.
        loop: Name of the event loop.
        result: The measurements of the callers.
        heard_seconds: Caller audio that the bots received, in seconds.
    """
    spoken = result.spoken_seconds
    return {
        "server": server,
        "bot": bot,
        "loop": loop,
        "calls": result.calls,
        "completed": result.completed,
        "opened_ms": _times(result.opened_ms),
        "pong_ms": _times(result.pong_ms),
        "closed_ms": _times(result.closed_ms),
        "barge_in_ms": _times(result.barge_in_ms),
        "echo_ms": _times(result.delay_ms),
        "echo_drift_ms": result.delay_drift_ms,
        "markers": result.replies,
        "markers_missing": result.replies_missing,
        "delivered_percent": 100 * heard_seconds / spoken if spoken else 0.0,
        "underruns_per_minute": result.underruns_per_minute,
        "early_underruns_per_call": result.early_underruns / result.calls,
        "clicks_per_minute": result.clicks_per_minute,
        "rate_limited": result.rate_limited,
        "late_opened": result.broken_rules.get("open_timeout", 0),
        "broken_rules": result.broken_rules,
        "generator_lag_ms": _times(result.lag_ms),
    }


def _times(values: Percentiles) -> dict[str, float | None]:
    if not values.count:
        return {}
    return {"p50": values.p50, "p95": values.p95, "p99": values.p99, "worst": values.worst}


def step_failures(result: LoadResult, smallest_delay_ms: float | None) -> list[str]:
    """Return a message for each limit that a step violates; an empty list for a passed step.

    Args:
        result: The measurements of the callers.
        smallest_delay_ms: The 99th percentile of the delay in the step of the same server with the
            fewest calls; None if this is that step.
    """
    failures = find_failures(result, CRITERIA)
    delay = result.delay_ms.p99
    if smallest_delay_ms is not None and delay is not None:
        growth = delay - smallest_delay_ms
        if growth >= MOST_DELAY_GROWTH_MS:
            failures.append(f"delay p99 {growth:.0f} ms above that of the smallest step")
    if not CRITERIA.is_valid(result):
        failures.append(f"{TOO_SLOW}: lag p99 {result.lag_ms.p99:.0f} ms")
    return failures


# A process allocates permanent memory in its first minutes, so the first ten minutes are not
# compared.
_WARM_UP_MINUTES = 10


def memory_growth(rows: Sequence[Mapping[str, Any]]) -> float | None:
    """Return the relative growth of memory in a soak, or None for less than half an hour.

    The growth is from the median of the second ten minutes to the median of the last ten minutes.

    Args:
        rows: One row per minute of the soak. The last row is ignored, because the calls end then.
    """
    memory = [row["rss_mb"] for row in rows[_WARM_UP_MINUTES:-1]]
    if len(memory) < 2 * _WARM_UP_MINUTES:
        return None
    early, late = memory[:_WARM_UP_MINUTES], memory[-_WARM_UP_MINUTES:]
    return statistics.median(late) / statistics.median(early) - 1
