"""Where a server's CPU goes, by sampling it from outside while calls run."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from .steps import finish, generate, running

_GAP = 0.15
_SECONDS = 20
_PER_SECOND = 200
_MARGIN = 2.0
_START_SECONDS = 3.0
_FUNCTIONS = 12

# Whose a function is, by a part of its file's path; the first that fits.
LAYERS = (
    ("pipecat_genesys", "pipecat-genesys"),
    ("/pipecat/", "Pipecat"),
    ("/benches/", "the bot"),
    ("/asyncio/", "event loop"),
    ("/selectors.py", "event loop"),
    ("uvloop", "event loop"),
    ("/uvicorn/", "WebSocket"),
    ("/websockets/", "WebSocket"),
    ("/starlette/", "WebSocket"),
    ("/fastapi/", "WebSocket"),
)
OTHER = "other"
"""The standard library, soxr, numpy."""


def profile(kind: str, count: int) -> dict[str, Any]:
    """Watch a server while it has so many calls.

    Args:
        kind: The server.
        count: How many calls.

    Returns:
        CPU in ms per call and second, the share of each layer and of the busiest functions, in %.
        A function has what is spent in itself and in what it calls of C.
    """
    cores = sorted(os.sched_getaffinity(0))
    with running(kind, cores[-1]) as server, tempfile.TemporaryDirectory() as folder:
        warm = {"gap": 0.1, "plateau": 3.0, "begin": time.monotonic() + _START_SECONDS}
        finish(generate(server, 2, **warm, shares=1))
        server.vitals("tune")
        begin = time.monotonic() + _START_SECONDS
        plateau = _SECONDS + 4 * _MARGIN
        callers = generate(server, count, gap=_GAP, plateau=plateau, begin=begin, shares=1)
        time.sleep(max(0.0, begin + count * _GAP + _MARGIN - time.monotonic()))
        before = server.vitals()
        stacks = _sampled(server.pid, Path(folder) / "stacks", cores[:-1] or cores)
        after = server.vitals()
        finish(callers)
    used = after["cpu_seconds"] - before["cpu_seconds"]
    layers, functions = shares(stacks)
    return {
        "kind": kind,
        "calls": count,
        "cpu_ms_per_call_second": 1000 * used / (after["at"] - before["at"]) / count,
        "layers_percent": layers,
        "functions_percent": functions,
    }


def _sampled(pid: int, path: Path, cores: list[int]) -> str:
    """Stacks and how often each was seen, a line each, as py-spy writes them."""
    spy = Path(sys.executable).with_name("py-spy")
    subprocess.run(
        [
            *("taskset", "--cpu-list", ",".join(map(str, cores)), spy, "record", "--nonblocking"),
            *(f"--pid={pid}", f"--duration={_SECONDS}", f"--rate={_PER_SECOND}"),
            *("--format=raw", "--full-filenames", f"--output={path}"),
        ],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return path.read_text(encoding="utf-8")


def shares(stacks: str) -> tuple[dict[str, float], dict[str, float]]:
    """What each layer and the busiest functions had of the samples, in %."""
    layers: Counter[str] = Counter()
    functions: Counter[str] = Counter()
    for line in stacks.splitlines():
        stack, _, count = line.rpartition(" ")
        leaf = stack.rpartition(";")[2]
        layer = next((name for part, name in LAYERS if part in leaf), OTHER)
        layers[layer] += int(count)
        name, _, place = leaf.partition(" (")
        file = place.rpartition(":")[0].rpartition("/")[2]
        functions[f"{layer}: {name} ({file})"] += int(count)
    total = layers.total()
    return (
        {name: 100 * count / total for name, count in layers.most_common()},
        {name: 100 * count / total for name, count in functions.most_common(_FUNCTIONS)},
    )
