"""The comparison of instruction counts: what fails, and what is said."""

import runpy
from pathlib import Path

compare = runpy.run_path(str(Path(__file__).parents[2] / "benches" / "instructions.py"))["compare"]


def verdicts(now: dict[str, int], before: dict[str, int]) -> tuple[str, int]:
    lines, failures = compare(now, before)
    return "\n".join(lines), failures


def test_five_per_cent_more_pass_and_anything_beyond_fails() -> None:
    assert verdicts({"a": 105_000}, {"a": 100_000})[1] == 0
    text, failures = verdicts({"a": 105_001, "b": 7}, {"a": 100_000, "b": 7})
    assert failures == 1
    assert "100,000 ->   105,001   +5.0%  <- FAILS" in text
    assert text.count("FAILS") == 1


def test_what_got_better_is_shown_and_passes() -> None:
    text, failures = verdicts({"a": 90}, {"a": 100})
    assert failures == 0
    assert "-10.0%  <- better" in text


def test_a_benchmark_without_its_pair_fails() -> None:
    text, failures = verdicts({"new": 1}, {"old": 1})
    assert failures == 2
    assert "is gone" in text
    assert "none on record" in text
