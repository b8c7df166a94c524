"""Share of the caller's audio that reaches the pipeline when packets arrive with jitter.

Prints JSON. Each of five calls lasts a minute. Packets of 200 ms are sent on time and arrive after
a random delay: 5 ms on average, fixed seeds, never out of order. The clock is simulated. pipecat's
resampler reads the arrival times from the simulated clock and discards its state when two packets
are more than 0.2 s apart. Our serializer reads no clock.
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
from competitors import RATES
from serializers import LOSSLESS, opened_serializer, run_coroutine
from signals import WIRE_RATE

CALLS = 5
PACKET_SECONDS = 0.2
MEAN_NETWORK_SECONDS = 0.005


def arrival_times(packets: int, seed: int) -> list[float]:
    """Return the arrival time of each packet of a call, in seconds."""
    rng = random.Random(seed)
    times: list[float] = []
    for number in range(packets):
        arrival = number * PACKET_SECONDS + rng.expovariate(1 / MEAN_NETWORK_SECONDS)
        times.append(max(arrival, times[-1] if times else 0.0))
    return times


def delivered_percent(name: str, rate: int, times: Sequence[float], **params: Any) -> float:
    """Return the percentage of a call's audio that the serializer returned in frames."""
    now = SimpleNamespace(seconds=0.0)
    clock = SimpleNamespace(time=lambda: now.seconds)
    packet_bytes = round(WIRE_RATE * PACKET_SECONDS)
    wire = signals.ulaw_codes(signals.tone(WIRE_RATE, 1)).tobytes()
    wire *= round(len(times) * PACKET_SECONDS) + 1
    samples = 0
    with mock.patch.object(pipecat_resampler, "time", clock):
        serializer = opened_serializer(name, rate, **params)
        for packet, now.seconds in zip(signals.split(wire, packet_bytes), times, strict=False):
            received = run_coroutine(serializer.deserialize(packet))
            samples += len(received.audio) // 2 if received else 0
    return 100 * samples / (rate * len(times) * PACKET_SECONDS)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="length of each call in seconds")
    packets = round(parser.parse_args().seconds / PACKET_SECONDS)
    calls = [arrival_times(packets, seed) for seed in range(CALLS)]
    rows = [
        {
            "rate": rate,
            "ours": [delivered_percent("ours", rate, times) for times in calls],
            "pipecat": [delivered_percent("pipecat", rate, times) for times in calls],
            "pipecat_tuned": [
                delivered_percent("pipecat", rate, times, **LOSSLESS) for times in calls
            ],
        }
        for rate in RATES
    ]
    problems = [f"delivery: {row}" for row in rows if set(row["ours"]) != {100.0}]
    gaps = [later - time for times in calls for time, later in pairwise(times)]
    late = sum(gap > PACKET_SECONDS for gap in gaps) / len(gaps)
    json.dump({"rows": rows, "late_percent": 100 * late, "problems": problems}, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
