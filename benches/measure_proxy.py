"""Measure the delay that the inspector's proxy adds to a call.

    python measure_proxy.py                          50 calls, 5 rounds; 3 minutes
    python measure_proxy.py --calls 10 --rounds 1 --seconds 5

Run it from `benches` on an otherwise idle machine with two cores. Each call sends a frame of 200 ms
of audio in real time, and the server sends it back. Rounds with the proxy and rounds without take
turns, so that a change of the machine's speed affects both. A round trip passes the proxy twice. An
added delay above the limit of 2 ms is marked and is not an error.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from pipecat_genesys.simulator import CallParameters, new_call
from rich.console import Console
from rich.table import Table
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve

_LIMIT_MS = 2.0
_FRAME = b"\x7f" * 1600
_FRAME_SECONDS = 0.2


async def run_server() -> None:
    """Accept calls and send back their audio, until the process is terminated."""

    async def echo(socket: ServerConnection) -> None:
        async for message in socket:
            if isinstance(message, bytes):
                await socket.send(message)
            elif (opening := json.loads(message))["type"] == "open":
                media = opening["parameters"]["media"][:1]
                answer = {"version": "2", "type": "opened", "seq": 1, "clientseq": 1}
                answer |= {"id": opening["id"], "parameters": {"media": media}}
                await socket.send(json.dumps(answer))

    async with serve(echo, "127.0.0.1", 0, compression=None, ping_interval=None) as server:
        port = server.sockets[0].getsockname()[1]
        sys.stdout.write(f"ws://127.0.0.1:{port}/audiohook\n")
        sys.stdout.flush()
        await asyncio.get_running_loop().create_future()


def opening(parameters: CallParameters) -> str:
    """Return the `open` message of a call, as JSON text."""
    return json.dumps(
        {
            "version": "2",
            "type": "open",
            "id": parameters.session_id,
            "seq": 1,
            "serverseq": 0,
            "position": "PT0S",
            "parameters": parameters.open_parameters(),
        }
    )


async def place_calls(url: str, calls: int, seconds: float) -> list[float]:
    """Place calls that send their frames at different moments; return the round trips in ms."""
    trips: list[float] = []

    async def place(number: int) -> None:
        parameters = new_call()
        headers = {"Audiohook-Session-Id": parameters.session_id}
        async with connect(
            url, compression=None, ping_interval=None, additional_headers=headers
        ) as socket:
            await socket.send(opening(parameters))
            await socket.recv()
            due = time.monotonic() + _FRAME_SECONDS * number / calls
            for _ in range(round(seconds / _FRAME_SECONDS)):
                due += _FRAME_SECONDS
                await asyncio.sleep(due - time.monotonic())
                begin = time.perf_counter()
                await socket.send(_FRAME)
                await socket.recv()
                trips.append(1000 * (time.perf_counter() - begin))

    gc.disable()
    await asyncio.gather(*(place(number) for number in range(calls)))
    return trips


@contextmanager
def running(pattern: str, *command: str) -> Iterator[str]:
    """Run a program; yield the text of its output that the first group of a pattern matches."""
    process = subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if match := re.search(pattern, line):
                yield match[1]
                break
        else:
            raise RuntimeError(f"{' '.join(command)} has ended")
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(5)
        process.stdout.close()


def measure(url: str, options: argparse.Namespace) -> list[float]:
    """Place calls in a new process; return the round trips in ms."""
    command = [sys.executable, __file__, "--client", url]
    command += ["--calls", str(options.calls), "--seconds", str(options.seconds)]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    trips: list[float] = json.loads(output)
    return trips


def percentile(values: list[float], share: float) -> float:
    """Return a percentile of the values; a `share` of 0.99 is the 99th percentile."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def report(direct: list[float], proxied: list[float]) -> Table:
    """Return the table of the round-trip times without the proxy and with the proxy."""
    table = Table("round trip", "p50 ms", "p99 ms", "p99.9 ms", "frames", box=None)
    for name, values in (("without proxy", direct), ("with proxy", proxied)):
        figures = [f"{percentile(values, share):.2f}" for share in (0.5, 0.99, 0.999)]
        table.add_row(name, *figures, str(len(values)))
    added = [percentile(proxied, s) - percentile(direct, s) for s in (0.5, 0.99, 0.999)]
    mark = "" if added[1] <= _LIMIT_MS else f" (above {_LIMIT_MS:g})"
    table.add_row("added", f"{added[0]:.2f}", f"{added[1]:.2f}{mark}", f"{added[2]:.2f}", "")
    return table


def main() -> None:
    """Run the measurement, or one of its processes: the server, or the client that calls."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--server", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--client", metavar="URL", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.server:
        asyncio.run(run_server())
    elif options.client:
        trips = asyncio.run(place_calls(options.client, options.calls, options.seconds))
        sys.stdout.write(json.dumps(trips))
    else:
        run_rounds(options)


def run_rounds(options: Any) -> None:
    """Measure calls without and with the proxy, in turns, and print the table."""
    direct: list[float] = []
    proxied: list[float] = []
    inspect = ("-c", "from pipecat_genesys.cli import main; main()", "inspect", "--listen", "0")
    with (
        running("(ws://.*)", __file__, "--server") as url,
        running("calls to (ws://[^ ]*)", *inspect, "--to", url) as proxy,
    ):
        for _ in range(options.rounds):
            direct += measure(url, options)
            proxied += measure(proxy, options)
    Console().print(report(direct, proxied))


if __name__ == "__main__":
    main()
