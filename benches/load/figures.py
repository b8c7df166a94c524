"""What a step's calls and vitals amount to, and whether the server held them."""

from __future__ import annotations

import statistics
from collections import Counter
from typing import Any

import numpy as np

from .vitals import spread

# What counts as held: an echo later by no more than so much than in the smallest step, fewer holes
# than so many in a minute of a call, and nearly all of it heard. (Of pipecat's chunks of 200 ms
# the echo of the moment in which a call begins anew is not found again.)
MOST_GROWTH_MS = 200.0
MOST_UNDERRUNS = 1.0
MOST_MISSING = 0.1
OPEN_SECONDS = 5.0
RATES = ("binary_rate", "text_rate", "pause_rate", "resume_rate")


def row(kind: str, count: int, calls: list[dict[str, Any]], heard_seconds: float) -> dict[str, Any]:
    """The figures of N calls at once; times in ms.

    Args:
        kind: The server.
        count: N.
        calls: Their records; of a connection that failed there is none.
        heard_seconds: How much of what they said their bots have heard.
    """

    def all_of(what: str) -> list[float]:
        return [value for call in calls for value in call[what]]

    echoes = [late for call in calls for _, late in call["echo"]]
    minutes = max(sum(call["settled_seconds"] for call in calls) / 60, 1e-9)
    spoken = sum(call["spoken_seconds"] for call in calls)
    broken: Counter[str] = Counter()
    for call in calls:
        broken.update(call["broken_rules"])
    late = sum(seconds > OPEN_SECONDS for seconds in all_of("opened")) + broken["open_timeout"]
    return {
        "kind": kind,
        "calls": count,
        "held": sum(call["held"] for call in calls),
        "opened_ms": spread(all_of("opened")),
        "pong_ms": spread(all_of("pong")),
        "closed_ms": spread(all_of("closed")),
        "barge_in_ms": spread(all_of("barge_in")),
        "echo_ms": spread(echoes),
        "echo_drift_ms": _drift(calls),
        "marks": len(echoes),
        "marks_missing": sum(call["marks_missing"] for call in calls),
        "delivered_percent": 100 * heard_seconds / spoken if spoken else 0.0,
        "underruns_per_minute": sum(call["underruns"] for call in calls) / minutes,
        "early_underruns_per_call": sum(call["early_underruns"] for call in calls) / count,
        "clicks_per_minute": sum(call["clicks"] for call in calls) / minutes,
        "rate_limited": sum(broken[rule] for rule in RATES),
        "late_opened": late,
        "broken_rules": dict(broken),
    }


def _drift(calls: list[dict[str, Any]]) -> float:
    """By how much a call's echo is later at its end than at its beginning, in ms; the median."""
    drifts = [
        1000 * (np.median([late for _, late in echo[-3:]]) - np.median([d for _, d in echo[:3]]))
        for call in calls
        if len(echo := call["echo"]) >= 6
    ]
    return float(np.median(drifts)) if drifts else 0.0


def failures(row: dict[str, Any], smallest: dict[str, Any]) -> list[str]:
    """What says that the server does not hold so many calls; nothing if it does.

    Args:
        row: A step's figures.
        smallest: Those of the smallest step, with the same server.
    """
    found = []
    if row["rate_limited"]:
        found.append(f"{row['rate_limited']} errors 429")
    if row["late_opened"]:
        found.append(f"{row['late_opened']} late opened")
    if row["underruns_per_minute"] >= MOST_UNDERRUNS:
        found.append(f"{row['underruns_per_minute']:.1f} underruns per call-minute")
    if not row["echo_ms"]:
        found.append("no echo")
    elif smallest["echo_ms"]:
        growth = row["echo_ms"]["p99"] - smallest["echo_ms"]["p99"]
        if growth >= MOST_GROWTH_MS:
            found.append(f"echo p99 {growth:.0f} ms later")
    if row["marks_missing"] > MOST_MISSING * (row["marks"] + row["marks_missing"]):
        found.append(f"{row['marks_missing']} echoes missing")
    if row["held"] < row["calls"]:
        found.append(f"{row['calls'] - row['held']} calls not held to the end")
    return found


# What a process takes while it has all its calls for the first time is no growth.
_WARM_MINUTES = 10


def memory_growth(rows: list[dict[str, Any]]) -> float | None:
    """From the ten minutes after the first ten to the last ten; None of less than half an hour.

    The last row is of a server from which the calls go away.
    """
    memory = [row["rss_mb"] for row in rows[_WARM_MINUTES:-1]]
    if len(memory) < 2 * _WARM_MINUTES:
        return None
    early, late = memory[:_WARM_MINUTES], memory[-_WARM_MINUTES:]
    return statistics.median(late) / statistics.median(early) - 1
