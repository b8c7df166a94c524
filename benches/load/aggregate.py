"""Aggregates the measurements of many calls, and decides whether a server passed a step."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from .process_stats import percentiles_ms

# Limits that a step must not exceed to pass. Some markers may be missing: after an interruption,
# pipecat's 200 ms chunks can shift the echo in the middle of the first marker, which is then not
# found.
MOST_ECHO_GROWTH_MS = 200.0
MOST_UNDERRUNS_PER_MINUTE = 1.0
MOST_MISSING_SHARE = 0.1
MOST_OPENED_SECONDS = 5.0
_RATE_LIMIT_RULES = ("binary_rate", "text_rate", "pause_rate", "resume_rate")
_DRIFT_MARKERS = 3


def aggregate_step(
    server: str, calls: int, records: list[dict[str, Any]], heard_seconds: float
) -> dict[str, Any]:
    """Aggregate the calls of a step; times in ms.

    Args:
        server: Name of the server.
        calls: Number of calls that were started.
        records: Measurements of each call whose connection succeeded.
        heard_seconds: Caller audio that the bots received, in seconds.
    """

    def all_values(key: str) -> list[float]:
        return [value for record in records for value in record[key]]

    echo_delays = [delay for record in records for _, delay in record["echo"]]
    minutes = max(sum(record["settled_seconds"] for record in records) / 60, 1e-9)
    spoken = sum(record["spoken_seconds"] for record in records)
    violations: Counter[str] = Counter()
    for record in records:
        violations.update(record["broken_rules"])
    late_opened = sum(seconds > MOST_OPENED_SECONDS for seconds in all_values("opened"))
    return {
        "server": server,
        "calls": calls,
        "completed": sum(record["completed"] for record in records),
        "opened_ms": percentiles_ms(all_values("opened")),
        "pong_ms": percentiles_ms(all_values("pong")),
        "closed_ms": percentiles_ms(all_values("closed")),
        "barge_in_ms": percentiles_ms(all_values("barge_in")),
        "echo_ms": percentiles_ms(echo_delays),
        "echo_drift_ms": _echo_drift_ms(records),
        "markers": len(echo_delays),
        "markers_missing": sum(record["markers_missing"] for record in records),
        "delivered_percent": 100 * heard_seconds / spoken if spoken else 0.0,
        "underruns_per_minute": sum(record["underruns"] for record in records) / minutes,
        "early_underruns_per_call": sum(record["early_underruns"] for record in records) / calls,
        "clicks_per_minute": sum(record["clicks"] for record in records) / minutes,
        "rate_limited": sum(violations[rule] for rule in _RATE_LIMIT_RULES),
        "late_opened": late_opened + violations["open_timeout"],
        "broken_rules": dict(violations),
    }


def _echo_drift_ms(records: list[dict[str, Any]]) -> float:
    """Return the growth of the echo delay during a call: the median over all calls."""
    drifts = []
    for record in records:
        delays = [delay for _, delay in record["echo"]]
        if len(delays) >= 2 * _DRIFT_MARKERS:
            first, last = delays[:_DRIFT_MARKERS], delays[-_DRIFT_MARKERS:]
            drifts.append(1000 * (statistics.median(last) - statistics.median(first)))
    return statistics.median(drifts) if drifts else 0.0


def step_failures(row: dict[str, Any], smallest: dict[str, Any]) -> list[str]:
    """Return the limits that a step exceeds; an empty list for a passed step.

    Args:
        row: Aggregated step.
        smallest: The step of the same server with the fewest calls; its echo is the reference.
    """
    failures = []
    if row["rate_limited"]:
        failures.append(f"{row['rate_limited']} errors 429")
    if row["late_opened"]:
        failures.append(f"{row['late_opened']} late opened")
    if row["underruns_per_minute"] >= MOST_UNDERRUNS_PER_MINUTE:
        failures.append(f"{row['underruns_per_minute']:.1f} underruns per call-minute")
    if not row["echo_ms"]:
        failures.append("no echo")
    elif smallest["echo_ms"]:
        growth = row["echo_ms"]["p99"] - smallest["echo_ms"]["p99"]
        if growth >= MOST_ECHO_GROWTH_MS:
            failures.append(f"echo p99 {growth:.0f} ms above that of the smallest step")
    if row["markers_missing"] > MOST_MISSING_SHARE * (row["markers"] + row["markers_missing"]):
        failures.append(f"{row['markers_missing']} markers missing")
    if row["completed"] < row["calls"]:
        failures.append(f"{row['calls'] - row['completed']} calls not completed")
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
