"""Measure the cost of the recorder: CPU time for a call, and the delay of replies.

    python measure_recorder.py                         100 calls, all settings; 15 minutes
    python measure_recorder.py --settings off masked   one setting, with twice as many rounds
    python measure_recorder.py --calls 25 --minutes 4 --plateau 12

Run it from `benches` on an otherwise idle machine with two cores. One process of `pipecat-genesys
serve` on the last core handles all calls, because the CPU times of two processes with the same
setting differ by several per cent. In each round, the settings of the recorder take turns, so that
a change of the machine's speed affects all of them. Each setting is compared with the first setting
of the same round. The table has the median of these differences and a confidence interval of the
median of at least 95 %, which does not depend on the distribution of the differences. Six rounds
are the least that give an interval. A limit is met if the whole interval is below it, and exceeded
if the whole interval is above it; otherwise more rounds are needed. No round starts that would
exceed `--minutes`. The exit status is 1 if calls are not completed. More CPU time than the limit of
3 % is marked and is not an error.

CPU time is in ms per second of a call. Nearly all CPU time of the threads is used by the recorder's
thread.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil
from load import steps
from paired_differences import shown
from rich.console import Console
from rich.table import Table

SETTINGS = ("off", "flight recorder", "masked", "recorded")
_DROPPED = "audiohook_recording_dropped_messages_total"
_LIMIT_PERCENT = 3.0
_BENCHES = Path(__file__).resolve().parent
_COMMAND = "import sys; from pipecat_genesys.cli import main; sys.exit(main())"
_START_SECONDS = 60


class RecordingServer:
    """A process of `pipecat-genesys serve` on the last core.

    Args:
        folder: Folder for temporary files.
    """

    def __init__(self, folder: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        core, _ = steps.server_and_generator_cores()
        self._popen = subprocess.Popen(
            [
                *(sys.executable, "-c", _COMMAND, "serve", "recorder_bot:app"),
                *("--port", str(self.port)),
            ],
            cwd=_BENCHES,
            env=os.environ | {"TMPDIR": folder},
            stderr=subprocess.DEVNULL,
        )
        self.process = psutil.Process(self._popen.pid)
        self.process.cpu_affinity([core])
        self._wait_until_ready()

    def _wait_until_ready(self) -> None:
        until = time.monotonic() + _START_SECONDS
        while time.monotonic() < until:
            with suppress(OSError):
                self._request("readyz")
                return
            time.sleep(0.2)
        raise RuntimeError("the server did not start")

    def _request(self, page: str, method: str = "GET") -> str:
        url = f"http://127.0.0.1:{self.port}/{quote(page)}"
        with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=10) as body:
            return str(body.read().decode())

    def select(self, setting: str) -> None:
        """Select the setting of the recorder for the calls that begin afterwards."""
        self._request(f"setting/{setting}", "POST")

    def cpu_seconds(self) -> tuple[float, float]:
        """Return the CPU time of the event loop's thread, and that of all other threads."""
        of_loop = of_others = 0.0
        for task in Path(f"/proc/{self.process.pid}/task").iterdir():
            seconds = int((task / "schedstat").read_text().split()[0]) / 1e9
            if task.name == str(self.process.pid):
                of_loop = seconds
            else:
                of_others += seconds
        return of_loop, of_others

    def metric(self, name: str) -> float:
        """Return the sum of the samples of a metric."""
        lines = self._request("metrics").splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(name))

    def stop(self) -> None:
        self._popen.terminate()
        try:
            self._popen.wait(30)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()


@contextmanager
def running() -> Iterator[RecordingServer]:
    with tempfile.TemporaryDirectory() as folder:
        server = RecordingServer(folder)
        try:
            yield server
        finally:
            server.stop()


def measure(
    server: RecordingServer, setting: str, calls: int, gap: float, plateau: float
) -> dict[str, Any]:
    """Make the calls with one setting of the recorder; return the measurements."""
    core, _ = steps.server_and_generator_cores()
    server.select(setting)
    dropped = server.metric(_DROPPED)
    begin = time.monotonic() + steps.START_SECONDS
    generator = steps.start_generator(
        server.port, calls, bot="echo", ramp=calls * gap, plateau=plateau, begin=begin
    )
    steps.sleep_until(begin + calls * gap + steps.MARGIN_SECONDS)
    before, stolen, at = server.cpu_seconds(), steps.stolen_seconds(core), time.monotonic()
    steps.sleep_until(begin + calls * gap + plateau - steps.MARGIN_SECONDS)
    after, seconds = server.cpu_seconds(), time.monotonic() - at
    stolen = steps.stolen_seconds(core) - stolen
    result = steps.finish_generator(generator)
    loop, threads = (1000 * (y - x) / (seconds * calls) for x, y in zip(before, after, strict=True))
    return {
        "cpu": loop + threads,
        "threads": threads,
        "p50": result.pong_ms.p50 or 0.0,
        "p99": result.pong_ms.p99 or 0.0,
        "completed": result.completed,
        "dropped": server.metric(_DROPPED) - dropped,
        "stolen": 100 * stolen / seconds,
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--calls", type=int, default=100)
    parser.add_argument("--minutes", type=float, default=15.0, help="longest time of the rounds")
    parser.add_argument("--rounds", type=int, default=1000, help="largest number of rounds")
    parser.add_argument(
        "--gap", type=float, default=0.02, help="seconds between the starts of two calls"
    )
    parser.add_argument(
        "--plateau", type=float, default=15.0, help="seconds during which all calls run"
    )
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--json", type=Path, help="write all measurements to this file")
    options = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 120)
    rounds: list[dict[str, dict[str, Any]]] = []
    with running() as server:
        steps.warm_up(server.port, "echo")
        began, longest = time.monotonic(), 0.0
        for number in range(options.rounds):
            round_began = time.monotonic()
            if round_began + longest > began + 60 * options.minutes:
                break
            row = {}
            # Start each round with the next setting, so that no setting is always the first.
            first = number % len(options.settings)
            for setting in options.settings[first:] + options.settings[:first]:
                row[setting] = measure(server, setting, options.calls, options.gap, options.plateau)
                console.print(f"round {number + 1}, {setting}: {json.dumps(row[setting])}")
            rounds.append(row)
            longest = max(longest, time.monotonic() - round_began)
    if options.json:
        options.json.write_text(json.dumps(rounds, indent=1), encoding="utf-8")
    table = Table(title=f"{options.calls} calls, {len(rounds)} rounds, medians")
    headings = (
        "recorder",
        "CPU ms/s",
        "of it, threads",
        "more CPU",
        "pong p50",
        "pong p99",
        "later p99",
        "lost",
    )
    for heading in headings:
        table.add_column(heading)
    problems = []
    for setting in options.settings:
        of_setting = [row[setting] for row in rounds]
        base = options.settings[0]
        more = [100 * (row[setting]["cpu"] / row[base]["cpu"] - 1) for row in rounds]
        later = [row[setting]["p99"] - row[base]["p99"] for row in rounds]
        table.add_row(
            setting,
            f"{statistics.median(one['cpu'] for one in of_setting):.3f}",
            f"{statistics.median(one['threads'] for one in of_setting):.3f}",
            "" if setting == base else shown(more, "%", _LIMIT_PERCENT),
            f"{statistics.median(one['p50'] for one in of_setting):.1f} ms",
            f"{statistics.median(one['p99'] for one in of_setting):.1f} ms",
            "" if setting == base else shown(later, "ms"),
            f"{sum(one['dropped'] for one in of_setting):.0f}",
        )
        if any(one["completed"] < options.calls for one in of_setting):
            problems.append(f"{setting}: not all calls were completed")
    console.print(table)
    for problem in problems:
        console.print(f"[bold red]wrong:[/bold red] {problem}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
