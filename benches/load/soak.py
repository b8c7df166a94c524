"""An hour of calls that come and go: does memory grow, does anybody hear a hole?

    python -m load.soak [--calls 50] [--minutes 60]

`pipecat-genesys serve` on one core, callers on the others; every minute a row. Writes
`results/<date>-soak.json` and `.md`. Exits with 1 if a call was not held to its end, the bot's
speech had a hole, caller audio was lost, memory grew by more than 2 %, or something is left when
all have hung up.
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

import cpuinfo
import psutil
import report
import run as benchmarks
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console

from .figures import memory_growth
from .steps import stolen_seconds
from .tables import soak

_BENCHES = Path(__file__).resolve().parents[1]
_MOST_GROWTH = 0.02
_SAMPLE_SECONDS = 5.0
_SETTLING_SECONDS = 10.0
_UNDERRUNS, _LIMITED = "audiohook_underruns_total", "audiohook_rate_limited_total"


class Served:
    """The server's process, seen from outside."""

    def __init__(self, core: int, loop: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        script = Path(sys.executable).with_name("pipecat-genesys")
        self.process = subprocess.Popen(
            [
                *(script, "serve", "load.desk:app", f"--port={self.port}", f"--loop={loop}"),
                "--drain-seconds=20",
            ],
            cwd=_BENCHES,
            env=os.environ | {"LOGURU_AUTOINIT": "False"},
        )
        os.sched_setaffinity(self.process.pid, {core})
        self._seen = psutil.Process(self.process.pid)

    def ready(self) -> None:
        """Wait until it takes calls."""
        while self.process.poll() is None:
            try:
                self.page("readyz")
            except OSError:
                time.sleep(0.2)
            else:
                return
        raise RuntimeError("the server ended before it took a call; what it said is above")

    def page(self, name: str) -> str:
        """What it answers."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/{name}", timeout=10) as answer:
            text: str = answer.read().decode()
            return text

    def state(self) -> dict[str, float]:
        """What it and the system say of it."""
        used = self._seen.cpu_times()
        state: dict[str, float] = json.loads(self.page("state"))
        return state | {
            "rss_mb": self.rss_mb(),
            "descriptors": self._seen.num_fds(),
            "cpu_seconds": used.user + used.system,
        }

    def rss_mb(self) -> float:
        """Its memory."""
        return float(self._seen.memory_info().rss) / 1e6

    def counters(self) -> dict[str, float]:
        """The metrics, labels left out."""
        found: dict[str, float] = {}
        for family in text_string_to_metric_families(self.page("metrics")):
            for sample in family.samples:
                found[sample.name] = found.get(sample.name, 0.0) + sample.value
        return found

    def stop(self) -> int:
        """Tell it to go; its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


def _read(visitors: subprocess.Popen[str], lines: queue.Queue[str]) -> None:
    """All that they say, and an empty line when they are gone."""
    assert visitors.stdout is not None
    for line in visitors.stdout:
        lines.put(line)
    lines.put("")


def minutes(server: Served, visitors: subprocess.Popen[str], core: int) -> Iterator[dict[str, Any]]:
    """A row whenever the visitors have something to say."""
    before, stolen, at = server.state(), stolen_seconds(core), time.monotonic()
    memory: list[float] = []
    lines: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_read, args=(visitors, lines)).start()
    while True:
        memory.append(server.rss_mb())
        try:
            line = lines.get(timeout=_SAMPLE_SECONDS)
        except queue.Empty:
            continue
        if not line:
            return
        now, taken, then = server.state(), stolen_seconds(core), time.monotonic()
        counters = server.counters()
        yield json.loads(line) | {
            "rss_mb": statistics.median(memory),
            "descriptors": now["descriptors"],
            "tasks": now["tasks"],
            "cpu_percent": 100 * (now["cpu_seconds"] - before["cpu_seconds"]) / (then - at),
            "stolen_percent": 100 * (taken - stolen) / (then - at),
            "underruns": counters.get(_UNDERRUNS, 0.0),
            "rate_limited": counters.get(_LIMITED, 0.0),
            "gc_longest_ms": now["gc_longest_ms"],
            "gc_spare_ms": now["gc_spare_ms"],
        }
        before, stolen, at, memory = now, taken, then, []


def left_over(server: Served, idle: dict[str, float]) -> dict[str, float]:
    """By how much there is more of what is counted than before the first call."""
    patience = time.monotonic() + _SETTLING_SECONDS
    while True:
        # The connection over which this is asked may itself still be there.
        last = server.state()
        left = {what: last[what] - idle[what] for what in ("descriptors", "tasks")}
        if max(left.values()) <= 0 or time.monotonic() > patience:
            return left
        time.sleep(0.2)


def problems(rows: list[dict[str, Any]], heard: float, left: dict[str, float]) -> list[str]:
    """What was not as it must be.

    Args:
        rows: The minutes.
        heard: Seconds of caller audio that the bots have heard.
        left: What is left, as of :func:`left_over`.
    """
    calls, held = sum(row["calls"] for row in rows), sum(row["held"] for row in rows)
    holes = [hole for row in rows for hole in row["holes_ms"]]
    spoken = sum(row["spoken_seconds"] for row in rows)
    found = []
    if not calls or held < calls:
        found.append(f"{calls - held} of {calls} calls not held to the end")
    if any(row["broken_rules"] for row in rows):
        found.append(
            f"rules broken: {[row['broken_rules'] for row in rows if row['broken_rules']]}"
        )
    if holes:
        found.append(f"{len(holes)} holes in what callers heard, {max(holes)} ms at most")
    if abs(heard - spoken) > 1e-6 * spoken:
        found.append(f"{spoken:.3f} s said, {heard:.3f} s heard")
    growth = memory_growth(rows)
    if growth is not None and growth > _MOST_GROWTH:
        found.append(f"memory grew by {100 * growth:.1f} %")
    found += [f"{count:g} {what} left" for what, count in left.items() if count > 0]
    return found


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--calls", type=int, default=50)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--loop", choices=("asyncio", "uvloop"), default="asyncio")
    parser.add_argument("--output", type=Path, default=benchmarks.RESULTS)
    options = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 250)
    command = f"python -m load.soak --calls {options.calls} --minutes {options.minutes:g}"
    facts = report.environment(cpuinfo.get_cpu_info(), command, benchmarks.load_average())
    commit = benchmarks.commit()
    cores = sorted(os.sched_getaffinity(0))
    core, others = cores[-1], cores[:-1] or cores
    server = Served(core, options.loop)
    rows = []
    try:
        server.ready()
        # The first page makes what later ones share.
        server.counters()
        idle = server.state()
        visitors = subprocess.Popen(
            [
                *(sys.executable, "-m", "load.visitors", f"--calls={options.calls}"),
                f"--url=ws://127.0.0.1:{server.port}/audiohook",
                *(f"--seconds={60 * options.minutes}", "--cores", *map(str, others)),
            ],
            cwd=_BENCHES,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            for row in minutes(server, visitors, core):
                rows.append(row)
                console.print_json(json.dumps(row), indent=None)
        finally:
            visitors.kill()
            visitors.wait()
        found = problems(rows, server.state()["heard_seconds"], left_over(server, idle))
    finally:
        status = server.stop()
    if status:
        found.append(f"exit status {status}")
    run = {
        "title": f"Soak, {date.today().isoformat()}",
        "facts": facts,
        "commits": {"soak": commit},
        "problems": {"soak": found},
        "parts": {"soak": rows},
    }
    path = options.output / f"{date.today().isoformat()}-soak.json"
    report.save(run, path)
    text = report.document(run, list(soak(run["parts"]).values()))
    path.with_suffix(".md").write_text(text, encoding="utf-8")
    for problem in found:
        console.print(f"[bold red]wrong:[/bold red] {problem}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
