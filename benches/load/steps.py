"""One step of a load test: a number of simultaneous calls to one server, in real time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipecat_genesys.load import LoadResult
from pydantic import TypeAdapter

from .aggregate import make_row, step_failures

_BENCHES = Path(__file__).resolve().parents[1]
# Time from the start of the last call to the first reading of the statistics, and from the last
# reading to the first hang-up.
MARGIN_SECONDS = 1.0
START_SECONDS = 2.5
_STOP_SECONDS = 30
_WARM_UP_CALLS, _WARM_UP_RAMP, _WARM_UP_PLATEAU = 2, 0.2, 2.0
_LOAD_RESULT = TypeAdapter(LoadResult)


class ServerProcess:
    """A process that runs `load.server`.

    Args:
        server: Name of the server.
        bot: Name of the bot.
        loop: Name of the event loop.
        core: Core to run on.
    """

    def __init__(self, server: str, bot: str, loop: str, core: int) -> None:
        self.server, self.bot, self.loop = server, bot, loop
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "load.server", server),
                *(f"--bot={bot}", f"--loop={loop}", f"--core={core}"),
            ],
            cwd=_BENCHES,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.pid = self._process.pid
        self.port = int(self._read_line())

    def stats(self, command: str = "read") -> dict[str, Any]:
        """Send a command; return the statistics that the server prints for this command."""
        assert self._process.stdin is not None
        print(command, file=self._process.stdin, flush=True)
        stats: dict[str, Any] = json.loads(self._read_line())
        return stats

    def _read_line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def stop(self) -> None:
        """End the process; kill it if it does not end."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()


@contextmanager
def running_server(server: str, bot: str, loop: str) -> Iterator[ServerProcess]:
    """Run a server on the last core until the context ends."""
    process = ServerProcess(server, bot, loop, server_and_generator_cores()[0])
    try:
        yield process
    finally:
        process.stop()


def server_and_generator_cores() -> tuple[int, list[int]]:
    """Return the core for the server, and the cores for the callers."""
    cores = sorted(os.sched_getaffinity(0))
    return cores[-1], cores[:-1] or cores


def start_generator(
    port: int,
    calls: int,
    *,
    bot: str,
    ramp: float,
    plateau: float,
    begin: float,
    ramp_down: float | None = None,
) -> subprocess.Popen[str]:
    """Start the load generator of a step."""
    _, cores = server_and_generator_cores()
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "load.generator"),
            f"--url=ws://127.0.0.1:{port}/audiohook",
            f"--bot={bot}",
            *(f"--calls={calls}", f"--ramp={ramp}", f"--plateau={plateau}", f"--begin={begin}"),
            f"--ramp-down={ramp if ramp_down is None else ramp_down}",
            *("--cores", *map(str, cores)),
        ],
        cwd=_BENCHES,
        stdout=subprocess.PIPE,
        text=True,
    )


def finish_generator(generator: subprocess.Popen[str]) -> LoadResult:
    """Wait for the load generator; return its measurements.

    Raises:
        RuntimeError: The generator failed.
    """
    output, _ = generator.communicate()
    if generator.returncode:
        raise RuntimeError("the load generator failed, see its output above")
    return _LOAD_RESULT.validate_json(output)


def warm_up(port: int, bot: str) -> None:
    """Make two short calls to a server."""
    finish_generator(
        start_generator(
            port,
            _WARM_UP_CALLS,
            bot=bot,
            ramp=_WARM_UP_RAMP,
            plateau=_WARM_UP_PLATEAU,
            begin=time.monotonic() + START_SECONDS,
        )
    )


def run_step(
    process: ServerProcess,
    calls: int,
    *,
    ramp: float,
    plateau: float,
    ramp_down: float | None = None,
    smallest_delay_ms: float | None = None,
) -> dict[str, Any]:
    """Measure a server with a number of simultaneous calls.

    Args:
        process: The server, which has no calls.
        calls: Number of calls.
        ramp: Seconds over which the calls begin.
        plateau: Seconds during which all calls run.
        ramp_down: Seconds over which the calls end; None for `ramp`.
        smallest_delay_ms: The 99th percentile of the delay in the step of the same server with the
            fewest calls; None if this is that step.
    """
    core, _ = server_and_generator_cores()
    idle = process.stats()
    begin = time.monotonic() + START_SECONDS
    generator = start_generator(
        process.port,
        calls,
        bot=process.bot,
        ramp=ramp,
        plateau=plateau,
        begin=begin,
        ramp_down=ramp_down,
    )
    sleep_until(begin + ramp + MARGIN_SECONDS)
    before, stolen = process.stats(), stolen_seconds(core)
    sleep_until(begin + ramp + plateau - MARGIN_SECONDS)
    after, stolen = process.stats(), stolen_seconds(core) - stolen
    result = finish_generator(generator)
    last = process.stats()
    seconds = after["at"] - before["at"]
    cpu_seconds = after["cpu_seconds"] - before["cpu_seconds"]
    heard_seconds = last["heard_seconds"] - idle["heard_seconds"]
    row = make_row(process.server, process.bot, process.loop, result, heard_seconds)
    return row | {
        "failures": step_failures(result, smallest_delay_ms),
        "cpu_ms_per_call_second": 1000 * cpu_seconds / (seconds * calls),
        "cpu_percent": 100 * cpu_seconds / seconds,
        "memory_mb": after["rss_mb"],
        "memory_mb_per_call": (after["rss_mb"] - idle["rss_mb"]) / calls,
        "gc_longest_ms": max(stats["gc_longest_ms"] for stats in (before, after)),
        "gc_longest_cpu_ms": max(stats["gc_longest_cpu_ms"] for stats in (before, after)),
        "gc_by_generation": after["gc_by_generation"],
        "gc_full": sum(stats["gc_full"] for stats in (before, after)),
        "gc_percent": 100 * after["gc_seconds"] / seconds,
        "loop_late_ms": after["loop_late_ms"],
        "stolen_percent": 100 * stolen / seconds,
        "load_average": os.getloadavg()[0],
    }


def sleep_until(when: float) -> None:
    """Sleep until a time of the monotonic clock."""
    time.sleep(max(0.0, when - time.monotonic()))


def stolen_seconds(core: int) -> float:
    """Return the steal time of a CPU core in seconds; 0 if the system does not report it."""
    stat = Path("/proc/stat")
    if not stat.exists():
        return 0.0
    for line in stat.read_text().splitlines():
        name, *fields = line.split()
        if name == f"cpu{core}" and len(fields) > 7:
            return int(fields[7]) / os.sysconf("SC_CLK_TCK")
    return 0.0
