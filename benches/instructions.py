"""Compares the instructions that the audio core's hot paths take with those on record.

Time on a shared machine says little about a change of a few per cent; instructions, counted by
valgrind, are the same on every run. The record, `instructions.json`, holds for one compiler:
another one may count differently for the same source.

    make bench-instr                    compare; fails if anything got worse
    make bench-instr ACCEPT=--accept    take what is counted now as the new record
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
RECORD = Path(__file__).with_suffix(".json")

# More than this is a change for the worse; less than its opposite is worth a new record.
LIMIT = Fraction(5, 100)

_COMMAND = (
    *("cargo", "bench", "--quiet", "--locked", "--package", "audiohook-audio"),
    *("--bench", "instructions", "--", "--output-format=json"),
)


def compiler() -> str:
    """Return the compiler's name and version, as it tells them."""
    told = subprocess.run(["rustc", "--version"], capture_output=True, text=True, check=True)
    return told.stdout.strip()


def count() -> dict[str, int]:
    """Run the benchmarks and return the instructions of each."""
    run = subprocess.run(_COMMAND, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    summaries = [json.loads(line) for line in run.stdout.splitlines() if line.startswith("{")]
    if not summaries:
        raise SystemExit("no benchmark told its figures: " + " ".join(_COMMAND))
    return {_name(summary): _instructions(summary) for summary in summaries}


def _name(summary: dict[str, Any]) -> str:
    return "{group} {function_name} {id}".format_map(summary)


def _instructions(summary: dict[str, Any]) -> int:
    """Return what callgrind counted: a lone value, or the newer of two that were compared."""
    (profile,) = (p for p in summary["profiles"] if p["tool"] == "Callgrind")
    metric = profile["data"]["total"]["metrics"]["Ir"]
    return int(metric["values"]["new"])


def compare(now: dict[str, int], before: dict[str, int]) -> tuple[list[str], int]:
    """Compare counts with those on record.

    Args:
        now: Instructions by benchmark.
        before: The same, as recorded.

    Returns:
        Lines to print, and how many benchmarks fail: too slow, missing, or without a record.
    """
    lines, failures = [], 0
    for name in sorted(now.keys() | before.keys()):
        new, old = now.get(name), before.get(name)
        if new is None or old is None:
            verdict = "is gone" if new is None else f"{new:>9,} instructions, none on record"
            failures += 1
            lines.append(f"{name:40} {verdict}  <- FAILS")
            continue
        change = Fraction(new, old) - 1
        worse = change > LIMIT
        failures += worse
        mark = "  <- FAILS" if worse else "  <- better" if change < -LIMIT else ""
        lines.append(f"{name:40} {old:>9,} -> {new:>9,} {float(change):+7.1%}{mark}")
    return lines, failures


def main() -> int:
    """Run, compare, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--accept", action="store_true", help="write the record anew")
    accept = parser.parse_args().accept
    now, rustc = count(), compiler()
    if accept:
        RECORD.write_text(json.dumps({"compiler": rustc, "instructions": now}, indent=1) + "\n")
        print(f"{len(now)} benchmarks on record in {RECORD.relative_to(ROOT)}")
        return 0
    record = json.loads(RECORD.read_text())
    lines, failures = compare(now, record["instructions"])
    print("\n".join(lines))
    if record["compiler"] != rustc:
        print(f"\nThe record is of {record['compiler']}, this is {rustc}.")
    if failures:
        print(
            f"\n{failures} of {len(lines)} benchmarks take over {float(LIMIT):.0%} more than on "
            "record, or have no pair. If that is meant: make bench-instr ACCEPT=--accept, and "
            "commit the record with the reason."
        )
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
