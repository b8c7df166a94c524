"""Calls in real time, from a process of their own.

    python -m load.generator --url URL --calls N ...

Prints the records of its calls as JSON when they are over. `--begin` is on the machine's monotonic
clock, which all its processes share.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import sys
from typing import Any
from urllib.parse import urlsplit

import signals

from .caller import Caller
from .calls import CallProtocol, plan, presses
from .echoes import Echoes, speech
from .vitals import spread


async def call(url: str, wire: bytes, number: int, times: dict[str, Any], lags: list[float]) -> Any:
    loop = asyncio.get_running_loop()
    await asyncio.sleep(times["begin"] - loop.time())
    length = times["hang_up_at"] - times["begin"]
    caller = Caller(wire, presses(number, length), times["hang_up_at"])
    address = urlsplit(url)
    try:
        _, protocol = await loop.create_connection(
            lambda: CallProtocol(url, caller, lags), address.hostname, address.port
        )
    except OSError as error:
        print(f"call {number}: {error}", file=sys.stderr)
        return None
    await protocol.over.wait()
    return caller


async def run(options: argparse.Namespace) -> dict[str, Any]:
    times = plan(options.calls, options.gap, options.plateau, options.begin)
    length = times[0]["hang_up_at"] - times[0]["begin"]
    wire = signals.ulaw_codes(speech(length + 15)).tobytes()
    mine = list(enumerate(times))[options.share :: options.shares]
    # What is made while calls run is kept until they are over: nothing to collect.
    gc.collect()
    gc.freeze()
    gc.disable()
    lags: list[float] = []
    callers = await asyncio.gather(*(call(options.url, wire, *one, lags) for one in mine))
    echoes = Echoes(wire)
    return {
        "calls": [caller.record(echoes) for caller in callers if caller is not None],
        "lag_ms": spread(lags),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--calls", type=int, required=True)
    parser.add_argument("--gap", type=float, required=True, help="seconds between their beginnings")
    parser.add_argument("--plateau", type=float, required=True, help="seconds with all of them")
    parser.add_argument("--begin", type=float, required=True)
    parser.add_argument("--share", type=int, default=0, help="which of")
    parser.add_argument("--shares", type=int, default=1, help="so many generators this is")
    parser.add_argument("--cores", type=int, nargs="*")
    options = parser.parse_args()
    if options.cores:
        os.sched_setaffinity(0, options.cores)
    json.dump(asyncio.run(run(options)), sys.stdout)


if __name__ == "__main__":
    main()
