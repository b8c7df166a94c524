"""Tests of the check of instruction counts: which differences fail, and what the check prints."""

import runpy
from pathlib import Path

compare = runpy.run_path(str(Path(__file__).parents[2] / "benches" / "instructions.py"))["compare"]


def compared(counts: dict[str, int], recorded: dict[str, int]) -> tuple[str, int]:
    lines, failures = compare(counts, recorded)
    return "\n".join(lines), failures


def test_an_increase_of_five_per_cent_passes_and_any_more_fails() -> None:
    assert compared({"a": 105_000}, {"a": 100_000})[1] == 0
    text, failures = compared({"a": 105_001, "b": 7}, {"a": 100_000, "b": 7})
    assert failures == 1
    assert "100,000 ->   105,001   +5.0%  <- FAILS" in text
    assert text.count("FAILS") == 1


def test_a_decrease_is_shown_and_passes() -> None:
    text, failures = compared({"a": 90}, {"a": 100})
    assert failures == 0
    assert "-10.0%  <- better" in text


def test_a_benchmark_without_a_counterpart_fails() -> None:
    text, failures = compared({"new": 1}, {"old": 1})
    assert failures == 2
    assert "missing from this run" in text
    assert "not on record" in text
