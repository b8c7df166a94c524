"""Run the benchmarks and keep the results, dated, as figures (JSON) and as tables (Markdown).

python benches/run.py                  about fifteen minutes, for a machine that does nothing else
python benches/run.py --only gil echo  those steps again, into today's file
python benches/run.py --quick          a minute, and timings that mean nothing: does it still work?

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
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import cpuinfo
import report
from rich.console import Console
from tables import tables

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
# What figures depend on; documents do not.
SOURCES = ("python", "rust", "benches", "Cargo.toml", "Cargo.lock", ":!benches/results")
# The Rust core's own; those of the other programs in benches/rust have other targets.
CRITERION = ("g711", "resample", "directions", "peak")


class Runner:
    """Runs the steps, each in a process of its own, and remembers what failed."""

    def __init__(self, quick: bool, console: Console) -> None:
        self.quick = quick
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

    def timings(self) -> dict[str, list[Any]]:
        """The pytest-benchmark part: what is in each `extra_info`, of packets and of messages."""
        with tempfile.TemporaryDirectory() as scratch:
            records = Path(scratch, "records.json")
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
        infos = [record["extra_info"] for record in json.loads(text or "{}").get("benchmarks", ())]
        correct = [info for info in infos if info["correct"]]
        return {
            "times": [info for info in correct if "direction" in info],
            "control": [info for info in correct if "control" in info],
        }

    def measure(self, script: str, *arguments: str) -> dict[str, Any]:
        """One of the scripts; what it printed, or nothing if it failed."""
        done = self._run(f"benches/measure_{script}.py", *arguments, stdout=subprocess.PIPE)
        if done.returncode:
            self.problems.append(f"{script} {' '.join(arguments)}: failed")
            return {}
        measured: dict[str, Any] = json.loads(done.stdout)
        self.problems += measured["problems"]
        return measured

    def memory(self) -> dict[str, Any]:
        """What one more call costs, ours and pipecat's, a process for each."""
        count = ["--count=50"] if self.quick else []
        both = {who: self.measure("memory", who, *count) for who in ("ours", "pipecat")}
        return both if all(both.values()) else {}

    def peers(self) -> dict[str, Any]:
        """The race with other crates."""
        done = self._cargo("--bench=peers", stdout=subprocess.PIPE)
        return json.loads(done.stdout) if done.returncode == 0 else {}

    def criterion(self) -> dict[str, dict[str, float]]:
        """Median nanoseconds of criterion's benchmarks, by name and length."""
        lengths = {"160": "20 ms", "800": "100 ms", "1600": "200 ms"}
        found: dict[str, dict[str, float]] = {}
        with tempfile.TemporaryDirectory() as home:
            options = ("--quiet", "--warm-up-time=0.3", "--measurement-time=1")
            benches = [f"--bench={name}" for name in CRITERION]
            self._cargo(*benches, "--", *options, home=home, stdout=subprocess.DEVNULL)
            for estimates in Path(home).glob("**/new/estimates.json"):
                case = json.loads((estimates.parent / "benchmark.json").read_text())
                median = json.loads(estimates.read_text())["median"]["point_estimate"]
                length = lengths.get(case["value_str"] or "", case["value_str"] or "200 ms")
                name = f"{case['group_id']} {case['function_id']}"
                found.setdefault(name, {})[length] = median
        return found

    def _cargo(
        self, *arguments: str, home: str = "", **options: Any
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            ["cargo", "bench", "--quiet", "--locked", "--package=audiohook-audio", *arguments],
            cwd=HERE.parent,
            env={**self._environment, "CRITERION_HOME": home},
            text=True,
            check=False,
            **options,
        )
        if done.returncode:
            self.problems.append(f"cargo bench {' '.join(arguments)}: failed")
        return done

    def _run(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=HERE.parent,
            env=self._environment,
            text=True,
            check=False,
            **options,
        )


Step = tuple[str, Callable[[], Any]]


def steps(runner: Runner) -> dict[str, Step]:
    """What is done, in this order: a title, and what measures it."""

    def script(name: str, *quick: str) -> Callable[[], Any]:
        return lambda: runner.measure(name, *(quick if runner.quick else ()))

    return {
        "times": ("time per packet (pytest-benchmark)", runner.timings),
        "peers": ("time per packet, beside other crates", runner.peers),
        "delay": ("delay", script("delay", "--seconds=4")),
        "delivery": ("caller audio delivered", script("delivery", "--seconds=10")),
        "memory": ("memory", runner.memory),
        "quality": ("quality", script("quality", "--step=1500")),
        "gil": ("the GIL", script("gil", "--quick")),
        "echo": ("echo over real sockets", script("echo", "--rounds=1", "--packets=3")),
        "rust": ("the Rust core (criterion)", runner.criterion),
    }


# These compile for minutes.
SLOW_STEPS = ("peers", "rust")


def load_average() -> str:
    """How busy the machine is already."""
    return f"{os.getloadavg()[0]:.2f}" if hasattr(os, "getloadavg") else "unknown"


def commit() -> str:
    """What is measured."""

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments], cwd=HERE.parent, capture_output=True, text=True, check=False
        )
        return done.stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no", "--", *SOURCES)
    known = git("rev-parse", "--short=12", "HEAD") or "unknown"
    return known + (" with uncommitted changes" if changed else "")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = list(steps(Runner(True, Console())))
    parser.add_argument("--only", nargs="+", choices=names, metavar="STEP", help=", ".join(names))
    parser.add_argument("--quick", action="store_true", help="a smoke test; writes no results")
    parser.add_argument("--output", type=Path, help="write the results to this folder")
    return parser.parse_args()


def main() -> int:
    options = parse()
    quick: bool = options.quick
    output: Path | None = options.output or (None if quick else RESULTS)
    # Wide enough for the widest table where the output is not a terminal.
    console = Console(width=None if sys.stdout.isatty() else 200)
    today = date.today().isoformat()
    run: dict[str, Any] = {"commits": {}, "problems": {}, "parts": {}}
    if output and options.only and (output / f"{today}.json").exists():
        run = json.loads((output / f"{today}.json").read_text())
    command = "python benches/run.py" + (" --quick" if quick else "")
    run["facts"] = report.environment(cpuinfo.get_cpu_info(), command, load_average())
    run["title"] = f"Benchmarks, {today}" + (" (quick: the times mean nothing)" if quick else "")

    runner = Runner(quick, console)
    for name, (title, measure) in steps(runner).items():
        if name not in (options.only or steps(runner)) or (quick and name in SLOW_STEPS):
            continue
        runner.step(title)
        runner.problems = []
        run["parts"] |= measure() if name == "times" else {name: measure()}
        run["problems"][name] = runner.problems
        run["commits"][name] = commit()
    runner.step("done")

    if output:
        # The figures first: tables can be made again.
        report.save(run, (output / today).with_suffix(".json"))
    for table in tables(run["parts"]).values():
        table.show(console)
    if output:
        path = output / today
        text = report.document(run, list(tables(run["parts"]).values()))
        path.with_suffix(".md").write_text(text, encoding="utf-8")
        console.print(f"written: {os.path.relpath(path)}.md and .json")
    problems = [problem for part in run["problems"].values() for problem in part]
    for problem in problems:
        console.print(f"[bold red]wrong:[/bold red] {problem}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
