"""How late the audio is: what the filter delays, plus what the resampler holds back.

Prints JSON. Content delay is the lag at which the output correlates best with the signal computed
for the output's rate; what is held back is what has gone in less what has come out, after each
packet. Neither depends on how fast the machine is.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

import numpy as np
import signals
from lanes import DIRECTIONS, RATES, Direction, drive, frame, never_clearing, open_serializer
from signals import WIRE_RATE

_TOLERANCE_MS = 0.01


def measure(who: str, direction: Direction, rate: int, packet_ms: int, seconds: int) -> Any:
    """Run one stream through a fresh serializer; delays in ms."""
    inbound = direction == "in"
    in_rate, out_rate = (WIRE_RATE, rate) if inbound else (rate, WIRE_RATE)
    serializer = open_serializer(who, rate, **never_clearing(who))
    pcm = np.tile(signals.noise(in_rate), seconds)
    out: list[np.ndarray] = []
    held: list[float] = []
    packets = _packets(pcm, inbound, rate, packet_ms)
    for number, packet in enumerate(packets, 1):
        if inbound:
            received = drive(serializer.deserialize(packet))
            out.append(signals.pcm_samples(received.audio if received else b""))
        else:
            out.append(signals.ulaw_samples(drive(serializer.serialize(packet)) or b""))
        held.append(number * packet_ms - sum(map(len, out)) * 1000 / out_rate)
    content, likeness = signals.lag(np.concatenate(out), out_rate)
    assert likeness > 0.99, f"{who} {direction} {rate}: not the signal that went in ({likeness})"
    return {
        "content": content * 1000,
        "held_mean": sum(held) / len(held),
        "held_max": max(held),
        "total_mean": content * 1000 + sum(held) / len(held),
        "total_max": content * 1000 + max(held),
    }


def _packets(pcm: signals.Samples, inbound: bool, rate: int, packet_ms: int) -> list[Any]:
    if inbound:
        return signals.cut(signals.ulaw_codes(pcm).tobytes(), WIRE_RATE * packet_ms // 1000)
    pieces = signals.cut(signals.pcm_bytes(pcm), rate * packet_ms // 500)
    return [frame(piece, rate) for piece in pieces]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=20, help="audio per stream (default 20)")
    seconds: int = parser.parse_args().seconds
    rows, problems = [], []
    for direction in DIRECTIONS:
        for rate in RATES:
            for packet_ms in (20, 200):
                case = (direction, rate, packet_ms)
                ours = measure("ours", *case, seconds)
                pipecat = measure("pipecat", *case, seconds)
                rows.append({"case": case, "ours": ours, "pipecat": pipecat})
                due = signals.delay_ms(WIRE_RATE, rate)
                if abs(ours["content"] - due) > _TOLERANCE_MS or ours["held_max"] != 0:
                    problems.append(f"delay {case}: ours is not {due} ms: {ours}")
    json.dump({"rows": rows, "problems": problems}, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
