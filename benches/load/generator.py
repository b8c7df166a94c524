"""The load generator: makes calls in real time, in a separate process.

    python -m load.generator --url URL --calls N --gap S --plateau S --begin T

Prints the measurements of its calls as JSON when all calls are finished. `--begin` is a time of the
system's monotonic clock, which all processes share.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import sys
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import signals
from signals import WIRE_RATE, speech_band_noise

from .call_protocol import CallProtocol
from .caller import Caller
from .echo_detection import EchoDetector
from .process_stats import percentiles_ms

_SPARE_SECONDS = 15


@dataclass(frozen=True)
class Schedule:
    """Times of the calls of a step; seconds on a monotonic clock.

    The calls begin one after the other, run together, and hang up in the order of their beginnings.

    Attributes:
        calls: Number of calls.
        gap: Seconds between the beginnings of two calls.
        plateau: Seconds during which all calls run.
        begin: Time of the beginning of the first call.
    """

    calls: int
    gap: float
    plateau: float
    begin: float

    @property
    def call_seconds(self) -> float:
        """Length of each call."""
        return self.gap * self.calls + self.plateau

    def begin_of(self, number: int) -> float:
        """Return the time at which a call begins."""
        return self.begin + number * self.gap

    def key_press_of(self, number: int) -> float:
        """Return the time at which a caller presses a key, in seconds since `open`."""
        return 0.5 * self.call_seconds + 0.05 * (number % 20)


async def run_call(
    url: str, wire: bytes, schedule: Schedule, number: int, lags: list[float]
) -> Caller | None:
    """Run a call to its end; return None if the connection failed."""
    loop = asyncio.get_running_loop()
    begin = schedule.begin_of(number)
    await asyncio.sleep(begin - loop.time())
    caller = Caller(wire, [schedule.key_press_of(number)], begin + schedule.call_seconds)
    address = urlsplit(url)
    try:
        _, protocol = await loop.create_connection(
            lambda: CallProtocol(url, caller, lags), address.hostname, address.port
        )
    except OSError as error:
        print(f"call {number}: {error}", file=sys.stderr)
        return None
    await protocol.closed.wait()
    return caller


async def run_calls(url: str, schedule: Schedule) -> dict[str, Any]:
    """Run all calls; return their measurements and the generator's own delay."""
    samples = round((schedule.call_seconds + _SPARE_SECONDS) * WIRE_RATE)
    wire = signals.ulaw_codes(speech_band_noise(samples)).tobytes()
    # Disable garbage collection. All objects of the calls are kept until the end, so a collection
    # would not free memory, but would delay the calls.
    gc.collect()
    gc.freeze()
    gc.disable()
    lags: list[float] = []
    callers = await asyncio.gather(
        *(run_call(url, wire, schedule, number, lags) for number in range(schedule.calls))
    )
    detector = EchoDetector(wire)
    return {
        "calls": [caller.record(detector) for caller in callers if caller is not None],
        "lag_ms": percentiles_ms(lags),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--calls", type=int, required=True)
    parser.add_argument(
        "--gap", type=float, required=True, help="seconds between the starts of two calls"
    )
    parser.add_argument(
        "--plateau", type=float, required=True, help="seconds during which all calls run"
    )
    parser.add_argument(
        "--begin",
        type=float,
        required=True,
        help="start of the first call, in seconds on the monotonic clock",
    )
    parser.add_argument("--cores", type=int, nargs="*", help="cores to run on")
    options = parser.parse_args()
    if options.cores:
        os.sched_setaffinity(0, options.cores)
    schedule = Schedule(options.calls, options.gap, options.plateau, options.begin)
    json.dump(asyncio.run(run_calls(options.url, schedule)), sys.stdout)


if __name__ == "__main__":
    main()
