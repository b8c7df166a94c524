"""Types and helpers that all tables share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]

Results = Mapping[str, Any]
"""The results of each step, by the name of the step."""

WIRE_HZ = 8000


def kilohertz(pair: Sequence[int]) -> str:
    """Format a pair of sample rates in kHz."""
    return " to ".join(f"{rate / 1000:g}" for rate in pair)


def rate_pair(row: Row) -> tuple[int, int]:
    """Return the sample rates of input and output of a row with `direction` and `rate`."""
    return (WIRE_HZ, row["rate"]) if row["direction"] == "in" else (row["rate"], WIRE_HZ)


def libraries_within_limits(results: Results) -> dict[tuple[str, int, int], bool]:
    """Return whether a Python library meets the limits, by name and pair of rates."""
    rows = results.get("quality", {}).get("pairs", ())
    return {(row["resampler"], *row["pair"]): row["meets_limits"] for row in rows}
