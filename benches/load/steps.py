"""A step: so many calls at once against one server, in real time."""

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

from .figures import row

_BENCHES = Path(__file__).resolve().parents[1]
# Between the last beginning and the first reading, and between the last reading and the first end.
_MARGIN = 1.0
_START_SECONDS = 3.0


class Server:
    """The server's process, seen from outside."""

    def __init__(self, kind: str, core: int | None) -> None:
        pinned = [] if core is None else [f"--core={core}"]
        # The event loop is the standard library's, unless it is named.
        name, _, loop = kind.partition("+")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "load.server", name, f"--loop={loop or 'asyncio'}", *pinned],
            cwd=_BENCHES,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.pid = self._process.pid
        self.port = int(self._line())

    def vitals(self, what: str = "read") -> dict[str, Any]:
        """What it says of itself, since the reading before."""
        assert self._process.stdin is not None
        print(what, file=self._process.stdin, flush=True)
        vitals: dict[str, Any] = json.loads(self._line())
        return vitals

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def stop(self) -> None:
        """Let it go."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()


@contextmanager
def running(kind: str, core: int | None) -> Iterator[Server]:
    """A server, for a while."""
    server = Server(kind, core)
    try:
        yield server
    finally:
        server.stop()


def generate(
    server: Server, count: int, *, gap: float, plateau: float, begin: float, shares: int
) -> list[subprocess.Popen[str]]:
    """Start the generators of a step."""
    cores = sorted(os.sched_getaffinity(0))
    others = cores[:-1] or cores
    return [
        subprocess.Popen(
            [
                *(sys.executable, "-m", "load.generator"),
                f"--url=ws://127.0.0.1:{server.port}/audiohook",
                *(f"--calls={count}", f"--gap={gap}", f"--plateau={plateau}", f"--begin={begin}"),
                *(f"--share={share}", f"--shares={shares}", "--cores", *map(str, others)),
            ],
            cwd=_BENCHES,
            stdout=subprocess.PIPE,
            text=True,
        )
        for share in range(shares)
    ]


def finish(generators: list[subprocess.Popen[str]]) -> list[dict[str, Any]]:
    """What the generators have to say when they are done."""
    outputs = [generator.communicate()[0] for generator in generators]
    if any(generator.returncode for generator in generators):
        raise RuntimeError("a generator failed; what it said is above")
    return [json.loads(output) for output in outputs]


def step(kind: str, count: int, *, gap: float, plateau: float, shares: int = 1) -> dict[str, Any]:
    """Measure so many calls at once, with a fresh server on the last core.

    Args:
        kind: The server.
        count: How many calls.
        gap: Seconds between their beginnings.
        plateau: Seconds with all of them.
        shares: How many generators they are divided among.
    """
    core = max(os.sched_getaffinity(0))
    with running(kind, core) as server:
        warm = {"gap": 0.1, "plateau": 3.0, "begin": time.monotonic() + _START_SECONDS}
        finish(generate(server, 2, **warm, shares=1))
        idle = server.vitals("tune")
        begin = time.monotonic() + _START_SECONDS
        generators = generate(server, count, gap=gap, plateau=plateau, begin=begin, shares=shares)
        _sleep_until(begin + count * gap + _MARGIN)
        before, stolen = server.vitals(), stolen_seconds(core)
        _sleep_until(begin + count * gap + plateau - _MARGIN)
        after, stolen = server.vitals(), stolen_seconds(core) - stolen
        results = finish(generators)
        last = server.vitals()
    seconds = after["at"] - before["at"]
    used = after["cpu_seconds"] - before["cpu_seconds"]
    figures = row(
        kind,
        count,
        [call for result in results for call in result["calls"]],
        last["heard_seconds"] - idle["heard_seconds"],
    )
    return figures | {
        "cpu_ms_per_call_second": 1000 * used / (seconds * count),
        "cpu_percent": 100 * used / seconds,
        "memory_mb": after["rss_mb"],
        "memory_mb_per_call": (after["rss_mb"] - idle["rss_mb"]) / count,
        "gc_longest_ms": max(part["gc_longest_ms"] for part in (before, after, last)),
        "gc_full": sum(part["gc_full"] for part in (before, after, last)),
        "gc_percent": 100 * after["gc_seconds"] / seconds,
        "loop_late_ms": after["loop_late_ms"],
        "generator_lag_ms": max(
            (result["lag_ms"] for result in results), key=lambda lag: lag.get("p99", 0.0)
        ),
        "stolen_percent": 100 * stolen / seconds,
        "load_average": os.getloadavg()[0],
    }


def _sleep_until(when: float) -> None:
    time.sleep(max(0.0, when - time.monotonic()))


def stolen_seconds(core: int) -> float:
    """Seconds of a core that the machine's other guests have had; 0 where nobody counts."""
    stat = Path("/proc/stat")
    if not stat.exists():
        return 0.0
    for line in stat.read_text().splitlines():
        name, *fields = line.split()
        if name == f"cpu{core}" and len(fields) > 7:
            return int(fields[7]) / os.sysconf("SC_CLK_TCK")
    return 0.0
