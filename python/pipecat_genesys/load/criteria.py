"""The limits of a load test, and the comparison of a result with the limits."""

from __future__ import annotations

from dataclasses import dataclass

from .results import LoadResult

_OPENED_RULE = "open_timeout"


@dataclass(frozen=True, slots=True, kw_only=True)
class Criteria:
    """Limits of a load test. All calls must be completed, without an error 429.

    Attributes:
        max_opened_seconds: Longest time from `open` to `opened`; Genesys ends a call after 5 s.
        max_underruns_per_minute: The test fails if the bots' audio has this number of gaps, or
            more, per minute of a call. Gaps of less than 20 ms are not counted.
        max_missing_share: Largest part of the expected replies that may be missing. An echo is not
            found if its delay changes during the measured 50 ms, for example after a key press.
        max_delay_ms: Largest 99th percentile of the delay of the bot's replies; None for no limit.
        max_lag_ms: Largest 99th percentile of the delay of this process's timers. Above this limit,
            the callers were too slow, and the result is not valid.
    """

    max_opened_seconds: float = 5.0
    max_underruns_per_minute: float = 1.0
    max_missing_share: float = 0.1
    max_delay_ms: float | None = None
    max_lag_ms: float = 20.0

    def is_valid(self, result: LoadResult) -> bool:
        """Return whether the callers were fast enough for the result to describe the server."""
        return (result.lag_ms.p99 or 0.0) <= self.max_lag_ms


def find_failures(result: LoadResult, criteria: Criteria) -> list[str]:
    """Return one text for each limit that a result exceeds; an empty list if the server passed.

    Args:
        result: The measurements.
        criteria: The limits.
    """
    failures = []
    refused = result.calls - result.connected
    if refused:
        failures.append(f"{refused} connections failed")
    if result.connected > result.completed:
        failures.append(f"{result.connected - result.completed} calls not completed")
    if errors := sum(result.script_errors.values()):
        failures.append(f"{errors} scripts failed")
    if result.rate_limited:
        failures.append(f"{result.rate_limited} errors 429")
    late = result.broken_rules.get(_OPENED_RULE, 0)
    opened = result.opened_ms.worst or 0.0
    if late or opened > 1000 * criteria.max_opened_seconds:
        failures.append(f"opened after {opened / 1000:.1f} s" if not late else f"{late} not opened")
    if result.underruns_per_minute >= criteria.max_underruns_per_minute:
        failures.append(f"{result.underruns_per_minute:.1f} underruns per call-minute")
    expected = result.replies + result.replies_missing
    if result.replies_missing > criteria.max_missing_share * expected:
        failures.append(f"{result.replies_missing} of {expected} replies missing")
    delay = result.delay_ms.p99
    if criteria.max_delay_ms is not None and delay is not None and delay > criteria.max_delay_ms:
        failures.append(f"delay p99 {delay:.0f} ms, above {criteria.max_delay_ms:.0f} ms")
    return failures
