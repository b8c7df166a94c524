"""Measure how many calls one core holds with each server; write results with today's date.

    python -m load              every server, bot and event loop; 2 to 3 hours
    python -m load --quick      coarse steps, on uvloop, fewer servers with the echo bot; 10 minutes
    python -m load --profile    CPU time by layer and function, with --calls
    python -m load --smoke      two calls of a few seconds with each server

Run it from `benches`, on an otherwise idle machine with two cores. The exit status is 1 if one of
our servers lost caller audio. A small capacity is not an error.
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

from . import BOTS, COMPARED_SERVERS, LOOPS, QUICK_ECHO_SERVERS, SERVERS, is_tested
from .effort import FULL, QUICK
from .profiling import profile
from .search import search
from .steps import run_step, running_server, warm_up
from .tables import make_load_tables

_SMOKE_CALLS, _SMOKE_RAMP, _SMOKE_PLATEAU = 2, 0.2, 8.0
_LOWEST_DELIVERED_PERCENT = 99.99
# Width of output that is not a terminal, in characters: enough for the widest table.
_WIDTH = 250


def combinations(options: argparse.Namespace) -> Iterator[tuple[str, str, str]]:
    """Yield the server, bot and event loop of each search."""
    for bot in options.bots:
        for loop in options.loops:
            few = options.quick and bot == "echo"
            default = QUICK_ECHO_SERVERS if few else COMPARED_SERVERS
            for server in options.servers or default:
                if is_tested(server, bot):
                    yield server, bot, loop


def load_test(options: argparse.Namespace, console: Console) -> Iterator[dict[str, Any]]:
    """Yield the result of each step."""

    def show(row: dict[str, Any]) -> None:
        console.print(
            f"{row['bot']}, {row['server']}, {row['loop']}, {row['calls']} calls: "
            f"{row['cpu_percent']:.0f} % of the core, delay p99 {row['echo_ms'].get('p99', 0):.0f} "
            f"ms, longest collection {row['gc_longest_ms']:.0f} ms: "
            f"{'; '.join(row['failures']) or 'passed'}",
            highlight=False,
        )

    for server, bot, loop in combinations(options):
        if options.smoke:
            with running_server(server, bot, loop) as process:
                warm_up(process.port, bot)
                process.stats("tune")
                row = run_step(process, _SMOKE_CALLS, ramp=_SMOKE_RAMP, plateau=_SMOKE_PLATEAU)
            show(row)
            yield row
        else:
            yield from search(server, bot, loop, QUICK if options.quick else FULL, show)


def profiles(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield the profile of each server."""
    for server, bot, loop in combinations(options):
        yield profile(server, bot, loop, options.calls)


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--profile", action="store_true", help="measure CPU time by layer instead")
    parser.add_argument("--quick", action="store_true", help="coarse steps, by default on uvloop")
    parser.add_argument("--smoke", action="store_true", help="two calls; writes no results")
    parser.add_argument("--servers", nargs="+", choices=SERVERS)
    parser.add_argument("--bots", nargs="+", choices=BOTS, default=BOTS)
    parser.add_argument("--loops", nargs="+", choices=LOOPS)
    parser.add_argument("--calls", type=int, default=25, help="number of calls of a profile")
    parser.add_argument("--output", type=Path, help="write the results to this folder")
    options = parser.parse_args()
    options.loops = options.loops or (("uvloop",) if options.quick else LOOPS)
    return options


def main() -> int:
    options = parse_options()
    output: Path | None = options.output or (None if options.smoke else report.RESULTS)
    # Disable the log, so that the CPU time does not include log lines.
    os.environ["LOGURU_AUTOINIT"] = "False"
    console = Console(width=None if sys.stdout.isatty() else _WIDTH)
    step = "profile" if options.profile else "load"
    title = "CPU time by layer" if options.profile else "Calls at once"
    command = " ".join(["python -m load", *sys.argv[1:]])
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
        is_passed_by_ours = row["server"].startswith("ours") and not row.get("failures")
        if is_passed_by_ours and delivered < _LOWEST_DELIVERED_PERCENT:
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
