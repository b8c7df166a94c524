"""Medians of paired differences, with confidence intervals."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

_CONFIDENCE = 0.95


def interval_of_median(differences: Sequence[float]) -> tuple[float, float] | None:
    """Return a confidence interval of the median, or None if there are too few differences.

    The bounds are two of the differences, as in the sign test.
    """
    count, values = len(differences), sorted(differences)
    outside, rank = 0.0, 0
    while rank < count // 2:
        outside += 2 * math.comb(count, rank) / 2**count
        if outside > 1 - _CONFIDENCE:
            break
        rank += 1
    return (values[rank - 1], values[count - rank]) if rank else None


def shown(differences: Sequence[float], unit: str, limit: float | None = None) -> str:
    """Return the median of the differences, its confidence interval, and how it meets the limit."""
    text = f"{statistics.median(differences):+.1f} {unit}"
    interval = interval_of_median(differences)
    if interval is None:
        return text
    low, high = interval
    verdict = ""
    if limit is not None:
        verdict = "; met" if high <= limit else "; above the limit" if low > limit else "; open"
    return f"{text} ({low:+.1f} to {high:+.1f}{verdict})"
