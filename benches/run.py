"""Run the benchmarks; write the results, with today's date, as values (JSON) and tables (Markdown).

    python benches/run.py                    all steps; 15 minutes on an otherwise idle machine
    python benches/run.py --only echo delay  some steps; replaces them in today's files
    python benches/run.py --quick            a smoke test of a minute, without valid times

The exit status is 1 if a result was wrong. A slow result is not an error.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import report
from rich.console import Console
from tables import make_tables

# Width of output that is not a terminal, in characters: enough for the widest table.
_WIDTH = 200


class Runner:
    """Runs each step in a separate process and collects its problems.

    Attributes:
        quick: Whether the run is a smoke test.
        problems: Problems of the current step.
    """

    def __init__(self, quick: bool) -> None:
        self.quick = quick
        self.problems: list[str] = []
        # Disable the log, so that no measured time includes log lines.
        self._environment = {**os.environ, "LOGURU_AUTOINIT": "False"}
        self._environment["BENCH_QUICK"] = "1" if quick else "0"

    def time_with_pytest(self) -> dict[str, list[Any]]:
        """Run pytest-benchmark, and return the `extra_info` of benchmarks with correct output.

        The key "times" has the benchmarks of audio packets; "control" has those of messages.
        """
        with tempfile.TemporaryDirectory() as scratch:
            records = Path(scratch, "records.json")
            status = self._run(
                *("-m", "pytest", "benches", "--quiet", "--capture=no", "-p", "no:cacheprovider"),
                # Replace the pytest options and the import paths that pyproject.toml sets for the
                # tests.
                *("--override-ini=addopts=", "--override-ini=pythonpath=benches"),
                *("--import-mode=importlib", "--benchmark-only", "--benchmark-quiet"),
                f"--benchmark-json={records}",
            ).returncode
            if status:
                self.problems.append("times: pytest failed, see its output above")
            text = records.read_text() if records.exists() else ""
        infos = [record["extra_info"] for record in json.loads(text or "{}").get("benchmarks", ())]
        correct = [info for info in infos if info["correct"]]
        return {
            "times": [info for info in correct if "direction" in info],
            "control": [info for info in correct if "control" in info],
        }

    def measure(self, name: str, *arguments: str) -> dict[str, Any]:
        """Run `measure_NAME.py`; return the printed JSON, or an empty mapping after a failure."""
        process = self._run(f"benches/measure_{name}.py", *arguments, stdout=subprocess.PIPE)
        if process.returncode:
            self.problems.append(f"measure_{name}.py {' '.join(arguments)}: failed")
            return {}
        measured: dict[str, Any] = json.loads(process.stdout)
        self.problems += measured["problems"]
        return measured

    def measure_memory(self) -> dict[str, Any]:
        """Measure the memory of both serializers, each in a separate process."""
        count = ["--count=50"] if self.quick else []
        both = {name: self.measure("memory", name, *count) for name in ("ours", "pipecat")}
        return both if all(both.values()) else {}

    def compare_crates(self) -> dict[str, Any]:
        """Run the comparison with other Rust crates."""
        process = subprocess.run(
            [
                *("cargo", "bench", "--quiet", "--locked", "--package=audiohook-audio"),
                "--bench=comparison",
            ],
            cwd=report.ROOT,
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        if process.returncode:
            self.problems.append("crates: cargo bench failed, see its output above")
            return {}
        measured: dict[str, Any] = json.loads(process.stdout)
        return measured

    def _run(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=report.ROOT,
            env=self._environment,
            text=True,
            check=False,
            **options,
        )


Step = tuple[str, Callable[[], Any]]


def make_steps(runner: Runner) -> dict[str, Step]:
    """Return title and function of each step by name, in the order in which they run."""

    def script(name: str, *quick_arguments: str) -> Callable[[], Any]:
        return lambda: runner.measure(name, *(quick_arguments if runner.quick else ()))

    return {
        "times": ("time per packet and control message", runner.time_with_pytest),
        "crates": ("time per packet beside other Rust crates", runner.compare_crates),
        "delay": ("delay", script("delay", "--seconds=4")),
        "delivery": ("caller audio delivered", script("delivery", "--seconds=10")),
        "memory": ("memory", runner.measure_memory),
        "quality": ("quality", script("quality", "--step=1500")),
        "echo": ("echo over real sockets", script("echo", "--rounds=1", "--packets=3")),
    }


# The compilation of these benchmarks takes minutes, so a smoke test skips them.
SLOW_STEPS = ("crates",)


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = list(make_steps(Runner(quick=True)))
    parser.add_argument("--only", nargs="+", choices=names, metavar="STEP", help=", ".join(names))
    parser.add_argument("--quick", action="store_true", help="a smoke test; writes no results")
    parser.add_argument("--output", type=Path, help="write the results to this folder")
    return parser.parse_args()


def main() -> int:
    options = parse_options()
    quick: bool = options.quick
    output: Path | None = options.output or (None if quick else report.RESULTS)
    console = Console(width=None if sys.stdout.isatty() else _WIDTH)
    today = date.today().isoformat()
    run: dict[str, Any] = {"commits": {}, "problems": {}, "parts": {}}
    if output and options.only and (output / f"{today}.json").exists():
        run = json.loads((output / f"{today}.json").read_text())
    run["facts"] = report.environment("python benches/run.py" + (" --quick" if quick else ""))
    run["title"] = f"Benchmarks, {today}" + (" (quick: the times mean nothing)" if quick else "")

    runner = Runner(quick)
    begin = time.monotonic()
    for name, (title, measure) in make_steps(runner).items():
        if (options.only and name not in options.only) or (quick and name in SLOW_STEPS):
            continue
        elapsed = time.monotonic() - begin
        console.print(f"[bold]{elapsed:4.0f} s  {title}[/bold]", highlight=False)
        runner.problems = []
        run["parts"] |= measure() if name == "times" else {name: measure()}
        run["problems"][name] = runner.problems
        run["commits"][name] = report.current_commit()
    console.print(f"[bold]{time.monotonic() - begin:4.0f} s  finished[/bold]", highlight=False)

    if output:
        # Save the values first, because the tables can be generated from the values later.
        report.save_results(run, (output / today).with_suffix(".json"))
    tables = list(make_tables(run["parts"]).values())
    for table in tables:
        table.show(console)
    if output:
        path = output / today
        text = report.markdown_report(run, tables)
        path.with_suffix(".md").write_text(text, encoding="utf-8")
        console.print(f"written: {os.path.relpath(path)}.md and .json")
    problems = [problem for step in run["problems"].values() for problem in step]
    for problem in problems:
        console.print(f"[bold red]wrong:[/bold red] {problem}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
