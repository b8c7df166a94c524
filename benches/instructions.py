"""Compare the instruction counts of the audio core's hot paths with the recorded counts.

On a shared machine, times cannot show a change of a few per cent. Instruction counts by valgrind
are the same in every run. The record, `instructions.json`, is valid for one compiler: another
compiler can produce other counts from the same source.

    make bench-instr                    compare; fails if a count is more than 5 % above the record
    make bench-instr ACCEPT=--accept    replace the record with the counts of this run
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

# Maximum relative change of a count. A larger increase fails the comparison. A larger decrease is
# marked in the output, so that the record can be replaced.
LIMIT = Fraction(5, 100)

_COMMAND = (
    *("cargo", "bench", "--quiet", "--locked", "--package", "audiohook-audio"),
    *("--bench", "instructions", "--", "--output-format=json"),
)


def compiler_version() -> str:
    """Return name and version of the Rust compiler."""
    process = subprocess.run(["rustc", "--version"], capture_output=True, text=True, check=True)
    return process.stdout.strip()


def count_instructions() -> dict[str, int]:
    """Run the benchmarks; return the instruction count of each.

    Raises:
        SystemExit: The benchmarks printed no counts.
    """
    process = subprocess.run(_COMMAND, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    summaries = [json.loads(line) for line in process.stdout.splitlines() if line.startswith("{")]
    if not summaries:
        raise SystemExit("the benchmarks printed no instruction counts: " + " ".join(_COMMAND))
    return {_name(summary): _instructions(summary) for summary in summaries}


def _name(summary: dict[str, Any]) -> str:
    return "{group} {function_name} {id}".format_map(summary)


def _instructions(summary: dict[str, Any]) -> int:
    """Return the count of this run; gungraun also reports the count of the previous run."""
    (profile,) = (p for p in summary["profiles"] if p["tool"] == "Callgrind")
    metric = profile["data"]["total"]["metrics"]["Ir"]
    return int(metric["values"]["new"])


def compare(counts: dict[str, int], recorded: dict[str, int]) -> tuple[list[str], int]:
    """Compare counts with the recorded counts.

    Args:
        counts: Instructions of each benchmark in this run.
        recorded: Instructions of each benchmark on record.

    Returns:
        Lines to print, and the number of benchmarks that fail: above the limit, missing from this
        run, or missing from the record.
    """
    lines, failures = [], 0
    for name in sorted(counts.keys() | recorded.keys()):
        new, old = counts.get(name), recorded.get(name)
        if new is None or old is None:
            status = "missing from this run" if new is None else f"{new:>9,}, not on record"
            failures += 1
            lines.append(f"{name:40} {status}  <- FAILS")
            continue
        change = Fraction(new, old) - 1
        failures += change > LIMIT
        mark = "  <- FAILS" if change > LIMIT else "  <- better" if change < -LIMIT else ""
        lines.append(f"{name:40} {old:>9,} -> {new:>9,} {float(change):+7.1%}{mark}")
    return lines, failures


def main() -> int:
    """Count, compare or record, and print the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--accept", action="store_true", help="replace the recorded counts")
    accept = parser.parse_args().accept
    counts, rustc = count_instructions(), compiler_version()
    if accept:
        RECORD.write_text(json.dumps({"compiler": rustc, "instructions": counts}, indent=1) + "\n")
        print(f"recorded {len(counts)} benchmarks in {RECORD.relative_to(ROOT)}")
        return 0
    record = json.loads(RECORD.read_text())
    lines, failures = compare(counts, record["instructions"])
    print("\n".join(lines))
    if record["compiler"] != rustc:
        print(f"\nThe record was made with {record['compiler']}; this is {rustc}.")
    if failures:
        print(
            f"\n{failures} of {len(lines)} benchmarks are more than {float(LIMIT):.0%} above the "
            "record, or missing from this run or the record. To accept the new counts, run "
            "`make bench-instr ACCEPT=--accept` and give the reason in the commit."
        )
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
