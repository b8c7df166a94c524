"""A soak: makes short calls for an hour; checks memory, audio, and leaked descriptors and tasks.

    python -m load.soak [--calls 50] [--minutes 60]

`pipecat-genesys serve` runs on one core, and the callers run on the other cores. Writes a row for
each minute to `results/<date>-soak.json` and `.md`. The exit status is 1 if a call was not
completed, a protocol rule was broken, callers heard a gap, caller audio was lost, memory grew by
more than 2 %, or descriptors or tasks are left over after the last call.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import psutil
import report
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console

from .aggregate import memory_growth
from .steps import server_and_generator_cores, stolen_seconds
from .tables import make_soak_tables

_BENCHES = Path(__file__).resolve().parents[1]
_MOST_MEMORY_GROWTH = 0.02
_MEMORY_SAMPLE_SECONDS = 5.0
_SETTLING_SECONDS = 10.0
_STOP_SECONDS = 60
_UNDERRUNS, _RATE_LIMITED = "audiohook_underruns_total", "audiohook_rate_limited_total"
# Width of output that is not a terminal, in characters: enough for the widest table.
_WIDTH = 250


class SoakServer:
    """A process that serves the bot of the soak.

    Args:
        core: Core to run on.
        loop: Event loop, `asyncio` or `uvloop`.
    """

    def __init__(self, core: int, loop: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        script = Path(sys.executable).with_name("pipecat-genesys")
        self.process = subprocess.Popen(
            [
                *(script, "serve", "load.soak_bot:app", f"--port={self.port}", f"--loop={loop}"),
                "--drain-seconds=20",
            ],
            cwd=_BENCHES,
            env=os.environ | {"LOGURU_AUTOINIT": "False"},
        )
        os.sched_setaffinity(self.process.pid, {core})
        self._process_info = psutil.Process(self.process.pid)

    def wait_until_ready(self) -> None:
        """Wait until the server accepts calls.

        Raises:
            RuntimeError: The process ended.
        """
        while self.process.poll() is None:
            try:
                self._get("readyz")
            except OSError:
                time.sleep(0.2)
            else:
                return
        raise RuntimeError("the server ended before it accepted a call, see its output above")

    def _get(self, path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/{path}", timeout=10) as answer:
            text: str = answer.read().decode()
            return text

    def state(self) -> dict[str, float]:
        """Return the bot's own statistics, and memory, descriptors and CPU time of its process."""
        used = self._process_info.cpu_times()
        state: dict[str, float] = json.loads(self._get("state"))
        return state | {
            "rss_mb": self.rss_mb(),
            "descriptors": self._process_info.num_fds(),
            "cpu_seconds": used.user + used.system,
        }

    def rss_mb(self) -> float:
        """Return the resident memory in MB."""
        return float(self._process_info.memory_info().rss) / 1e6

    def metrics(self) -> dict[str, float]:
        """Return the Prometheus metrics by name, summed over their labels."""
        totals: dict[str, float] = {}
        for family in text_string_to_metric_families(self._get("metrics")):
            for sample in family.samples:
                totals[sample.name] = totals.get(sample.name, 0.0) + sample.value
        return totals

    def stop(self) -> int:
        """Send SIGTERM; return the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(_STOP_SECONDS)


def _forward_lines(callers: subprocess.Popen[str], lines: queue.Queue[str]) -> None:
    """Put the output of the callers' process into a queue, and an empty line at its end."""
    assert callers.stdout is not None
    for line in callers.stdout:
        lines.put(line)
    lines.put("")


def minutes(
    server: SoakServer, callers: subprocess.Popen[str], core: int
) -> Iterator[dict[str, Any]]:
    """Yield a row for each line of the callers' process."""
    before, stolen, at = server.state(), stolen_seconds(core), time.monotonic()
    memory: list[float] = []
    lines: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_forward_lines, args=(callers, lines)).start()
    while True:
        memory.append(server.rss_mb())
        try:
            line = lines.get(timeout=_MEMORY_SAMPLE_SECONDS)
        except queue.Empty:
            continue
        if not line:
            return
        now, stolen_now, at_now = server.state(), stolen_seconds(core), time.monotonic()
        metrics = server.metrics()
        yield json.loads(line) | {
            "rss_mb": statistics.median(memory),
            "descriptors": now["descriptors"],
            "tasks": now["tasks"],
            "cpu_percent": 100 * (now["cpu_seconds"] - before["cpu_seconds"]) / (at_now - at),
            "stolen_percent": 100 * (stolen_now - stolen) / (at_now - at),
            "underruns": metrics.get(_UNDERRUNS, 0.0),
            "rate_limited": metrics.get(_RATE_LIMITED, 0.0),
            "gc_longest_ms": now["gc_longest_ms"],
            "gc_margin_ms": now["gc_margin_ms"],
        }
        before, stolen, at, memory = now, stolen_now, at_now, []


def left_over(server: SoakServer, idle: dict[str, float]) -> dict[str, float]:
    """Return how many more descriptors and tasks there are now than before the first call."""
    give_up = time.monotonic() + _SETTLING_SECONDS
    while True:
        # The connection of the previous request may still be counted as open, so the check is
        # repeated.
        state = server.state()
        left = {key: state[key] - idle[key] for key in ("descriptors", "tasks")}
        if max(left.values()) <= 0 or time.monotonic() > give_up:
            return left
        time.sleep(0.2)


def find_problems(
    rows: list[dict[str, Any]], heard_seconds: float, left: dict[str, float]
) -> list[str]:
    """Return the problems of a soak, as messages.

    Args:
        rows: One row per minute of the soak.
        heard_seconds: Caller audio that the bots received, in seconds.
        left: Result of `left_over`.
    """
    calls, completed = sum(row["calls"] for row in rows), sum(row["completed"] for row in rows)
    gaps = [gap for row in rows for gap in row["gaps_ms"]]
    spoken_seconds = sum(row["spoken_seconds"] for row in rows)
    broken_rules = [row["broken_rules"] for row in rows if row["broken_rules"]]
    problems = []
    if not calls or completed < calls:
        problems.append(f"{calls - completed} of {calls} calls not completed")
    if broken_rules:
        problems.append(f"rules broken: {broken_rules}")
    if gaps:
        problems.append(f"callers heard {len(gaps)} gaps, the longest {max(gaps)} ms")
    if abs(heard_seconds - spoken_seconds) > 1e-6 * spoken_seconds:
        problems.append(f"callers sent {spoken_seconds:.3f} s, bots received {heard_seconds:.3f} s")
    growth = memory_growth(rows)
    if growth is not None and growth > _MOST_MEMORY_GROWTH:
        problems.append(f"memory grew by {100 * growth:.1f} %")
    problems += [f"{count:g} {name} left over" for name, count in left.items() if count > 0]
    return problems


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--calls", type=int, default=50, help="number of simultaneous calls")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--loop", choices=("asyncio", "uvloop"), default="asyncio")
    parser.add_argument("--output", type=Path, default=report.RESULTS)
    options = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else _WIDTH)
    command = f"python -m load.soak --calls {options.calls} --minutes {options.minutes:g}"
    facts = report.environment(command)
    commit = report.current_commit()
    core, other_cores = server_and_generator_cores()
    server = SoakServer(core, options.loop)
    rows = []
    try:
        server.wait_until_ready()
        # The first request for metrics allocates objects that later requests reuse.
        server.metrics()
        idle = server.state()
        callers = subprocess.Popen(
            [
                *(sys.executable, "-m", "load.soak_callers", f"--calls={options.calls}"),
                f"--url=ws://127.0.0.1:{server.port}/audiohook",
                *(f"--seconds={60 * options.minutes}", "--cores", *map(str, other_cores)),
            ],
            cwd=_BENCHES,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            for row in minutes(server, callers, core):
                rows.append(row)
                console.print_json(json.dumps(row), indent=None)
        finally:
            callers.kill()
            callers.wait()
        heard_seconds = server.state()["heard_seconds"]
        problems = find_problems(rows, heard_seconds, left_over(server, idle))
    finally:
        status = server.stop()
    if status:
        problems.append(f"the server's exit status is {status}")
    run = {
        "title": f"Soak, {date.today().isoformat()}",
        "facts": facts,
        "commits": {"soak": commit},
        "problems": {"soak": problems},
        "parts": {"soak": rows},
    }
    path = options.output / f"{date.today().isoformat()}-soak.json"
    report.save_results(run, path)
    tables = list(make_soak_tables(run["parts"]).values())
    path.with_suffix(".md").write_text(report.markdown_report(run, tables), encoding="utf-8")
    for problem in problems:
        console.print(f"[bold red]wrong:[/bold red] {problem}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
