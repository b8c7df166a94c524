"""How many calls at once each server holds on one core; keeps the results, dated.

    python -m load              all servers, in real time, step by step; wants a quiet machine
    python -m load --virtual    on a virtual clock: for any machine
    python -m load --profile    where the CPU goes, with as many calls as the first of --steps
    python -m load --quick      two calls of a few seconds: does it still work?

From `benches`. Exits with 1 if ours lost anything of what a caller said; never because it was slow.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import cpuinfo
import report
import run as benchmarks
from rich.console import Console

from . import KINDS, ON_UVLOOP
from .figures import failures
from .profiling import profile
from .steps import step
from .tables import tables

HERE = Path(__file__).resolve().parent
STEPS = (10, 25, 50, 75, 100, 125, 150, 175, 200, 250, 300, 350, 400)
# A step that fails may have met something that was not the server's fault.
_TRIES = 2


def virtual_step(kind: str, count: int, *, gap: float, plateau: float) -> dict[str, Any]:
    """A step on the virtual clock, in a process of its own."""
    command = [sys.executable, "-m", "load.virtual", kind, f"--calls={count}"]
    done = subprocess.run(
        [*command, f"--gap={gap}", f"--plateau={plateau}"],
        cwd=HERE.parent,
        stdout=subprocess.PIPE,
        check=True,
    )
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


def ramp(options: argparse.Namespace, console: Console) -> Iterator[dict[str, Any]]:
    """The figures of every step; a server that has failed one takes no part in the next."""
    for number in range(options.runs):
        for row in one_ramp(options, console):
            yield row | {"run": number}


def one_ramp(options: argparse.Namespace, console: Console) -> Iterator[dict[str, Any]]:
    standing = list(options.kinds)
    smallest: dict[str, dict[str, Any]] = {}
    measure = virtual_step if options.virtual else step
    for count in options.steps:
        for kind in list(standing):
            for attempt in range(_TRIES):
                row = measure(kind, count, gap=options.gap, plateau=options.plateau)
                row["failures"] = failures(row, smallest.setdefault(kind, row))
                said = "; ".join(row["failures"]) or "held"
                console.print(
                    f"{kind}, {count} calls: {row['cpu_percent']:.0f} % of the core, echo p99 "
                    f"{row['echo_ms'].get('p99', 0):.0f} ms: {said}",
                    highlight=False,
                )
                if not row["failures"] or attempt == _TRIES - 1:
                    break
            yield row
            if row["failures"]:
                standing.remove(kind)


def profiles(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Where the CPU of each server goes."""
    for kind in options.kinds:
        yield profile(kind, options.steps[0])


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--virtual", action="store_true")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--quick", action="store_true", help="writes no results")
    parser.add_argument("--kinds", nargs="+", choices=KINDS + ON_UVLOOP, default=KINDS)
    parser.add_argument("--steps", nargs="+", type=int, default=STEPS)
    parser.add_argument("--gap", type=float, default=0.15, help="seconds from call to call")
    parser.add_argument("--plateau", type=float, default=30.0, help="seconds with all calls")
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--output", type=Path, help="write the results to this folder")
    options = parser.parse_args()
    if options.quick:
        options.steps, options.gap, options.plateau = [2], 0.1, 6.0
    return options


def main() -> int:
    options = parse()
    output: Path | None = options.output or (None if options.quick else benchmarks.RESULTS)
    # Who pays for log lines would be a matter of taste.
    os.environ["LOGURU_AUTOINIT"] = "False"
    console = Console(width=None if sys.stdout.isatty() else 250)
    mode = "profile" if options.profile else "virtual" if options.virtual else "real"
    file = f"{date.today().isoformat()}-{'profile' if options.profile else 'load'}.json"
    path = None if output is None else output / file
    run: dict[str, Any] = {"commits": {}, "problems": {}, "parts": {}}
    if path is not None and path.exists():
        run = json.loads(path.read_text())
    subject = "Where the CPU goes" if options.profile else "Calls at once"
    run["title"] = f"{subject}, {date.today().isoformat()}"
    command = f"python -m load{'' if mode == 'real' else f' --{mode}'}"
    load = benchmarks.load_average()
    run["facts"] = report.environment(cpuinfo.get_cpu_info(), command, load)
    run["commits"][mode] = benchmarks.commit()
    run["parts"][mode] = rows = []
    for row in profiles(options) if options.profile else ramp(options, console):
        rows.append(row)
        problems = run["problems"].setdefault(mode, [])
        delivered = row.get("delivered_percent", 100)
        if row["kind"].startswith("ours") and delivered < 99.99:
            problems.append(f"{row['kind']} lost caller audio: {delivered:.2f} % delivered")
        if path is not None:
            # After every step: a run takes long.
            report.save(run, path)
    for table in tables(run["parts"]).values():
        table.show(console)
    if path is not None:
        text = report.document(run, list(tables(run["parts"]).values()))
        path.with_suffix(".md").write_text(text, encoding="utf-8")
        console.print(f"written: {os.path.relpath(path.with_suffix(''))}.md and .json")
    problems = run["problems"].get(mode, [])
    for problem in problems:
        console.print(f"[bold red]wrong:[/bold red] {problem}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
