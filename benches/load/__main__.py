"""Measure the capacity of each server in calls on one core; write results with today's date.

    python -m load              all servers, step by step; 30 minutes on an otherwise idle machine
    python -m load --profile    CPU time by layer and function, with the first number of --steps
    python -m load --quick      a smoke test: two calls of a few seconds

Run it from `benches`. The exit status is 1 if one of our servers lost caller audio. A small
capacity is not an error.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import report
from rich.console import Console

from . import SERVERS, SERVERS_ON_UVLOOP
from .aggregate import step_failures
from .profiling import profile
from .steps import run_step
from .tables import make_load_tables

STEPS = (10, 25, 50, 75, 100, 125, 150, 175, 200, 250, 300, 350, 400)
# A step can fail for a reason outside the server, so a failed step is repeated once.
_ATTEMPTS = 2
_LOWEST_DELIVERED_PERCENT = 99.99
# Width of output that is not a terminal, in characters: enough for the widest table.
_WIDTH = 250


def load_test(options: argparse.Namespace, console: Console) -> Iterator[dict[str, Any]]:
    """Yield the result of each step. A server is not tested further after a failed step."""
    for run in range(options.runs):
        remaining = list(options.servers)
        smallest: dict[str, dict[str, Any]] = {}
        for calls in options.steps:
            for server in list(remaining):
                for _ in range(_ATTEMPTS):
                    row = run_step(server, calls, gap=options.gap, plateau=options.plateau)
                    row["failures"] = step_failures(row, smallest.setdefault(server, row))
                    console.print(
                        f"{server}, {calls} calls: {row['cpu_percent']:.0f} % of the core, echo "
                        f"p99 {row['echo_ms'].get('p99', 0):.0f} ms: "
                        f"{'; '.join(row['failures']) or 'passed'}",
                        highlight=False,
                    )
                    if not row["failures"]:
                        break
                yield row | {"run": run}
                if row["failures"]:
                    remaining.remove(server)


def profiles(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield the profile of each server."""
    for server in options.servers:
        yield profile(server, options.steps[0])


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--profile", action="store_true", help="profile instead of a load test")
    parser.add_argument("--quick", action="store_true", help="a smoke test; writes no results")
    parser.add_argument(
        "--servers", nargs="+", choices=SERVERS + SERVERS_ON_UVLOOP, default=SERVERS
    )
    parser.add_argument("--steps", nargs="+", type=int, default=STEPS, help="numbers of calls")
    parser.add_argument(
        "--gap", type=float, default=0.15, help="seconds between the starts of two calls"
    )
    parser.add_argument(
        "--plateau", type=float, default=30.0, help="seconds during which all calls run"
    )
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--output", type=Path, help="write the results to this folder")
    options = parser.parse_args()
    if options.quick:
        options.steps, options.gap, options.plateau = [2], 0.1, 8.0
    return options


def main() -> int:
    options = parse_options()
    output: Path | None = options.output or (None if options.quick else report.RESULTS)
    # Disable the log, so that the CPU time does not include log lines.
    os.environ["LOGURU_AUTOINIT"] = "False"
    console = Console(width=None if sys.stdout.isatty() else _WIDTH)
    step = "profile" if options.profile else "load"
    title = "CPU time by layer" if options.profile else "Calls at once"
    command = "python -m load" + (" --profile" if options.profile else "")
    rows: list[dict[str, Any]] = []
    problems: list[str] = []
    run: dict[str, Any] = {
        "title": f"{title}, {date.today().isoformat()}",
        "facts": report.environment(command),
        "commits": {step: report.current_commit()},
        "problems": {step: problems},
        "parts": {step: rows},
    }
    path = None if output is None else output / f"{date.today().isoformat()}-{step}.json"
    for row in profiles(options) if options.profile else load_test(options, console):
        rows.append(row)
        delivered = row.get("delivered_percent", 100)
        if row["server"].startswith("ours") and delivered < _LOWEST_DELIVERED_PERCENT:
            problems.append(f"{row['server']} lost caller audio: {delivered:.2f} % delivered")
        if path is not None:
            # Save the results after every step, because a run takes a long time.
            report.save_results(run, path)
    tables = list(make_load_tables(run["parts"]).values())
    for table in tables:
        table.show(console)
    if path is not None:
        text = report.markdown_report(run, tables)
        path.with_suffix(".md").write_text(text, encoding="utf-8")
        console.print(f"written: {os.path.relpath(path.with_suffix(''))}.md and .json")
    for problem in problems:
        console.print(f"[bold red]wrong:[/bold red] {problem}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
