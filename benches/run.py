"""Run every Python benchmark and write the results, dated.

python benches/run.py            about five minutes, for a machine that does nothing else
python benches/run.py --quick    seconds, and timings that mean nothing: does it still work?

Exits with 1 if any result was wrong; never because something was slow.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any

import report
from rich.console import Console

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"


class Runner:
    """Runs the steps, each in a process of its own, and remembers what failed."""

    def __init__(self, quick: bool, console: Console) -> None:
        self.console = console
        self.problems: list[str] = []
        self._begin = time.monotonic()
        # No logger, so that no competitor pays for log lines.
        self._environment = {**os.environ, "LOGURU_AUTOINIT": "False"}
        self._environment["BENCH_QUICK"] = "1" if quick else "0"

    def step(self, text: str) -> None:
        """Say what comes next."""
        elapsed = time.monotonic() - self._begin
        self.console.print(f"[bold]{elapsed:4.0f} s  {text}[/bold]", highlight=False)

    def timings(self, records: Path) -> dict[str, Any]:
        """The pytest-benchmark part; its records."""
        done = self._run(
            *("-m", "pytest", "benches", "--quiet", "--capture=no", "-p", "no:cacheprovider"),
            # Instead of the test suite's own paths and of its --benchmark-skip.
            *("--override-ini=addopts=", "--override-ini=pythonpath=benches"),
            *("--import-mode=importlib", "--benchmark-only", "--benchmark-quiet"),
            f"--benchmark-json={records}",
        )
        if done.returncode:
            self.problems.append("time per packet: see pytest's report")
        text = records.read_text() if records.exists() else ""
        empty: dict[str, Any] = {"benchmarks": []}
        return json.loads(text) if text else empty

    def measure(self, script: str, *arguments: str) -> dict[str, Any] | None:
        """One of the scripts; what it printed, or None if it failed."""
        done = self._run(f"benches/measure_{script}.py", *arguments, stdout=subprocess.PIPE)
        if done.returncode:
            self.problems.append(f"{script} {' '.join(arguments)}: failed")
            return None
        measured: dict[str, Any] = json.loads(done.stdout)
        self.problems += measured["problems"]
        return measured

    def rust(self, home: Path) -> None:
        """Criterion's benchmarks of the core; their files go to ``home``."""
        command = ["cargo", "bench", "--quiet", "--locked", "--package", "audiohook-audio", "--"]
        done = subprocess.run(
            [*command, "--quiet", "--warm-up-time=0.3", "--measurement-time=1"],
            cwd=HERE.parent,
            env={**self._environment, "CRITERION_HOME": str(home)},
            stdout=subprocess.DEVNULL,
            check=False,
        )
        if done.returncode:
            self.problems.append("the Rust core: see cargo's output")

    def _run(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=HERE.parent,
            env=self._environment,
            text=True,
            check=False,
            **options,
        )


def load_average() -> str:
    """How busy the machine is already."""
    return f"{os.getloadavg()[0]:.2f}" if hasattr(os, "getloadavg") else "unknown"


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a smoke test; writes no results")
    parser.add_argument("--output", type=Path, help="write the results to this folder")
    parser.add_argument("--records", type=Path, help="keep pytest-benchmark's JSON in this file")
    return parser.parse_args()


def main() -> int:
    options = parse()
    quick: bool = options.quick
    output: Path | None = options.output or (None if quick else RESULTS)
    # Wide enough for the widest table where the output is not a terminal.
    console = Console(width=None if sys.stdout.isatty() else 160)
    load = load_average()
    runner = Runner(quick, console)
    with tempfile.TemporaryDirectory() as scratch:
        runner.step("time per packet (pytest-benchmark)")
        records = runner.timings((options.records or Path(scratch) / "records.json").absolute())
    tables = [*report.times(records["benchmarks"]), report.control(records["benchmarks"])]
    runner.step("delay")
    if delay := runner.measure("delay", *(["--seconds=4"] if quick else [])):
        tables.append(report.delay(delay))
    runner.step("caller audio delivered")
    if delivery := runner.measure("delivery", *(["--seconds=10"] if quick else [])):
        tables.append(report.delivery(delivery))
    runner.step("memory")
    count = ["--count=50"] if quick else []
    ours, theirs = (runner.measure("memory", who, *count) for who in ("ours", "pipecat"))
    if ours and theirs:
        tables.append(report.memory(ours, theirs))
    if not quick:
        runner.step("the Rust core (criterion)")
        with tempfile.TemporaryDirectory() as scratch:
            runner.rust(Path(scratch))
            tables.append(report.rust(Path(scratch)))
    runner.step("done")

    for table in tables:
        table.show(console)
    today = date.today().isoformat()
    command = "python benches/run.py" + (" --quick" if quick else "")
    title = f"Benchmarks, {today}" + (" (quick: the times mean nothing)" if quick else "")
    facts = report.environment(records, command, load)
    if output:
        output.mkdir(parents=True, exist_ok=True)
        path = output / f"{today}.md"
        path.write_text(report.document(title, facts, runner.problems, tables), encoding="utf-8")
        console.print(f"written: {os.path.relpath(path)}")
    for problem in runner.problems:
        console.print(f"[bold red]wrong:[/bold red] {problem}")
    return 1 if runner.problems else 0


if __name__ == "__main__":
    sys.exit(main())
