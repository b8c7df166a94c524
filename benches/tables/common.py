"""What all tables share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Part = Mapping[str, Any]
# By name, what each step of a run measured.
Parts = Mapping[str, Any]

WIRE_HZ = 8000


def kilohertz(pair: Sequence[int]) -> str:
    return " to ".join(f"{rate / 1000:g}" for rate in pair)


def good_enough(parts: Parts) -> dict[tuple[str, int, int], bool]:
    rows = parts.get("quality", {}).get("pairs", ())
    return {(row["who"], *row["pair"]): row["good_enough"] for row in rows}
