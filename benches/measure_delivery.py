"""How much of what the caller says reaches the pipeline, packets arriving as networks let them.

Prints JSON. Five calls of a minute of 200 ms packets, sent on time; each packet takes a random
while to arrive (fixed seeds, 5 ms on average, never overtaking). The clock is virtual: pipecat's
resampler, which empties itself when calls are more than 0.2 s apart, is shown the arrival times
instead of waiting for them. Ours looks at no clock.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Sequence
from itertools import pairwise
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pipecat.audio.resamplers.soxr_stream_resampler as pipecat_resampler
import signals
from lanes import RATES, drive, never_clearing, open_serializer
from signals import WIRE_RATE

CALLS = 5
PACKET_SECONDS = 0.2
NETWORK_SECONDS = 0.005


def arrivals(packets: int, seed: int) -> list[float]:
    """When each packet of one call is there."""
    rng = random.Random(seed)
    times: list[float] = []
    for number in range(packets):
        arrival = number * PACKET_SECONDS + rng.expovariate(1 / NETWORK_SECONDS)
        times.append(max(arrival, times[-1] if times else 0.0))
    return times


def delivered(who: str, rate: int, times: Sequence[float], **params: Any) -> float:
    """Percent of the caller's audio that came out as frames."""
    clock = SimpleNamespace(now=0.0)
    fake = SimpleNamespace(time=lambda: clock.now)
    packet_bytes = round(WIRE_RATE * PACKET_SECONDS)
    wire = signals.ulaw_codes(signals.tone(WIRE_RATE, 1)).tobytes()
    wire *= round(len(times) * PACKET_SECONDS) + 1
    samples = 0
    with mock.patch.object(pipecat_resampler, "time", fake):
        serializer = open_serializer(who, rate, **params)
        for packet, clock.now in zip(signals.cut(wire, packet_bytes), times, strict=False):
            received = drive(serializer.deserialize(packet))
            samples += len(received.audio) // 2 if received else 0
    return 100 * samples / (rate * len(times) * PACKET_SECONDS)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="of each call (default 60)")
    packets = round(parser.parse_args().seconds / PACKET_SECONDS)
    calls = [arrivals(packets, seed) for seed in range(CALLS)]
    tuned = never_clearing("pipecat")
    rows: list[dict[str, Any]] = []
    for rate in RATES:
        row: dict[str, Any] = {"rate": rate}
        row["ours"] = [delivered("ours", rate, times) for times in calls]
        row["pipecat"] = [delivered("pipecat", rate, times) for times in calls]
        if tuned:
            row["pipecat_tuned"] = [delivered("pipecat", rate, times, **tuned) for times in calls]
        rows.append(row)
    problems = [f"delivery: {row}" for row in rows if set(row["ours"]) != {100.0}]
    gaps = [later - time for times in calls for time, later in pairwise(times)]
    late = sum(gap > PACKET_SECONDS for gap in gaps) / len(gaps)
    json.dump({"rows": rows, "late_percent": 100 * late, "problems": problems}, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
