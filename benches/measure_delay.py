"""Delay of the audio in both serializers: the filter's lag, and audio that is held back.

Prints JSON. The lag is the time shift at which the output correlates best with the test signal
computed for the output's rate. The audio held back is the duration of all input minus the duration
of all output, after each packet. Neither value depends on the speed of the machine.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

import numpy as np
import signals
from competitors import DIRECTIONS, RATES, Direction
from serializers import LOSSLESS, opened_serializer, output_frame, run_coroutine
from signals import WIRE_RATE

_PACKETS_MS = (20, 200)
_TOLERANCE_MS = 0.01
_LOWEST_CORRELATION = 0.99


def measure(name: str, direction: Direction, rate: int, packet_ms: int, seconds: int) -> Any:
    """Pass one stream through a new serializer; return the delays in milliseconds."""
    inbound = direction == "in"
    in_rate, out_rate = (WIRE_RATE, rate) if inbound else (rate, WIRE_RATE)
    serializer = opened_serializer(name, rate, **LOSSLESS)
    samples = np.tile(signals.repeating_noise(in_rate), seconds)
    out: list[np.ndarray] = []
    held: list[float] = []
    for number, packet in enumerate(_packets(samples, inbound, rate, packet_ms), 1):
        if inbound:
            received = run_coroutine(serializer.deserialize(packet))
            out.append(signals.pcm_samples(received.audio if received else b""))
        else:
            out.append(signals.ulaw_samples(run_coroutine(serializer.serialize(packet)) or b""))
        held.append(number * packet_ms - sum(map(len, out)) * 1000 / out_rate)
    lag, correlation = signals.measure_lag(np.concatenate(out), out_rate)
    assert correlation > _LOWEST_CORRELATION, (
        f"{name} {direction} {rate}: the output is not the test signal (correlation {correlation})"
    )
    return {
        "content": lag * 1000,
        "held_mean": sum(held) / len(held),
        "held_max": max(held),
        "total_mean": lag * 1000 + sum(held) / len(held),
        "total_max": lag * 1000 + max(held),
    }


def _packets(samples: signals.Samples, inbound: bool, rate: int, packet_ms: int) -> list[Any]:
    if inbound:
        wire = signals.ulaw_codes(samples).tobytes()
        return signals.split(wire, WIRE_RATE * packet_ms // 1000)
    packets = signals.split(signals.pcm_bytes(samples), rate * packet_ms // 500)
    return [output_frame(packet, rate) for packet in packets]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=20, help="seconds of audio in each stream")
    seconds: int = parser.parse_args().seconds
    rows, problems = [], []
    for direction in DIRECTIONS:
        for rate in RATES:
            for packet_ms in _PACKETS_MS:
                case = (direction, rate, packet_ms)
                ours = measure("ours", *case, seconds)
                pipecat = measure("pipecat", *case, seconds)
                rows.append({"case": case, "ours": ours, "pipecat": pipecat})
                expected = signals.delay_ms(WIRE_RATE, rate)
                if abs(ours["content"] - expected) > _TOLERANCE_MS or ours["held_max"] != 0:
                    problems.append(f"delay {case}: ours is not {expected} ms: {ours}")
    json.dump({"rows": rows, "problems": problems}, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
