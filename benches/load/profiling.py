"""The CPU time of a server by layer and function; py-spy samples the process during calls."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from .steps import (
    START_SECONDS,
    finish_generator,
    running_server,
    server_and_generator_cores,
    sleep_until,
    start_generator,
    warm_up,
)

_GAP_SECONDS = 0.15
_SAMPLED_SECONDS = 20
_SAMPLES_PER_SECOND = 200
_MARGIN_SECONDS = 2.0
_BUSIEST_FUNCTIONS = 12

# Each pair has a part of a file path and the name of a layer. A function belongs to the layer of
# the first pair whose part is in the path of the function's file.
LAYERS = (
    ("pipecat_genesys", "pipecat-genesys"),
    ("/pipecat/", "Pipecat"),
    ("/benches/", "bot"),
    ("/asyncio/", "event loop"),
    ("/selectors.py", "event loop"),
    ("uvloop", "event loop"),
    ("/uvicorn/", "WebSocket"),
    ("/websockets/", "WebSocket"),
    ("/starlette/", "WebSocket"),
    ("/fastapi/", "WebSocket"),
)
OTHER_LAYER = "other"
"""Layer of all other functions: the standard library, soxr and numpy."""


def profile(server: str, bot: str, loop: str, calls: int) -> dict[str, Any]:
    """Profile a server with a number of simultaneous calls.

    Args:
        server: Name of the server.
        bot: Name of the bot.
        loop: Name of the event loop.
        calls: Number of calls.

    Returns:
        CPU time in ms per call and second, and the shares of the layers and of the busiest
        functions in %. C code counts for the Python function that calls it.
    """
    _, other_cores = server_and_generator_cores()
    with (
        running_server(server, bot, loop) as process,
        tempfile.TemporaryDirectory() as folder,
    ):
        warm_up(process.port, bot)
        process.stats("tune")
        begin = time.monotonic() + START_SECONDS
        plateau = _SAMPLED_SECONDS + 4 * _MARGIN_SECONDS
        ramp = calls * _GAP_SECONDS
        generator = start_generator(
            process.port, calls, bot=bot, ramp=ramp, plateau=plateau, begin=begin
        )
        sleep_until(begin + ramp + _MARGIN_SECONDS)
        before = process.stats()
        stacks = _sample(process.pid, Path(folder) / "stacks", other_cores)
        after = process.stats()
        finish_generator(generator)
    cpu_seconds = after["cpu_seconds"] - before["cpu_seconds"]
    layers, functions = _shares(stacks)
    return {
        "server": server if loop == "asyncio" else f"{server}+{loop}",
        "bot": bot,
        "calls": calls,
        "cpu_ms_per_call_second": 1000 * cpu_seconds / (after["at"] - before["at"]) / calls,
        "layers_percent": layers,
        "functions_percent": functions,
    }


def _sample(pid: int, path: Path, cores: list[int]) -> str:
    """Return py-spy's raw output: on each line a stack and the number of its samples."""
    py_spy = Path(sys.executable).with_name("py-spy")
    subprocess.run(
        [
            *("taskset", "--cpu-list", ",".join(map(str, cores))),
            *(py_spy, "record", "--nonblocking", f"--pid={pid}"),
            *(f"--duration={_SAMPLED_SECONDS}", f"--rate={_SAMPLES_PER_SECOND}"),
            *("--format=raw", "--full-filenames", f"--output={path}"),
        ],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return path.read_text(encoding="utf-8")


def _shares(stacks: str) -> tuple[dict[str, float], dict[str, float]]:
    """Return the shares of all layers and of the busiest functions in %."""
    layers: Counter[str] = Counter()
    functions: Counter[str] = Counter()
    for line in stacks.splitlines():
        stack, _, count = line.rpartition(" ")
        function = stack.rpartition(";")[2]
        layer = next((name for part, name in LAYERS if part in function), OTHER_LAYER)
        layers[layer] += int(count)
        name, _, location = function.partition(" (")
        file = location.rpartition(":")[0].rpartition("/")[2]
        functions[f"{layer}: {name} ({file})"] += int(count)
    total = layers.total()
    return (
        {name: 100 * count / total for name, count in layers.most_common()},
        {name: 100 * count / total for name, count in functions.most_common(_BUSIEST_FUNCTIONS)},
    )
