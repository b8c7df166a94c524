"""Resident memory of one more call, in a process that does nothing else.

Prints JSON. Each serializer receives `open` and handles three packets in each direction, so that
all memory of a call is allocated. No serializer is deleted before the measurement. The memory of
the first call, which includes shared tables and code that is loaded on first use, is not counted.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
from pathlib import Path
from typing import Any

import signals
from serializers import SERIALIZERS, opened_serializer, output_frame, run_coroutine
from signals import WIRE_RATE

IN_RATE = 16000
OUT_RATE = 24000
PACKETS = 3
_PACKETS_PER_SECOND = 5
_STATM = Path("/proc/self/statm")


def resident_kb() -> float:
    """Return the resident memory of this process in KB."""
    pages = int(_STATM.read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1024


def packets() -> tuple[list[bytes], list[Any]]:
    """Return the caller's packets and the bot's frames."""
    wire = signals.ulaw_codes(signals.tone(WIRE_RATE, 1)).tobytes()
    pcm = signals.pcm_bytes(signals.tone(OUT_RATE, 1))
    caller_packets = signals.split(wire, WIRE_RATE // _PACKETS_PER_SECOND)[:PACKETS]
    bot_packets = signals.split(pcm, 2 * OUT_RATE // _PACKETS_PER_SECOND)[:PACKETS]
    return caller_packets, [output_frame(packet, OUT_RATE) for packet in bot_packets]


def serializer_in_call(name: str, caller_packets: list[bytes], bot_frames: list[Any]) -> Any:
    """Return a serializer that has handled audio in both directions."""
    serializer = opened_serializer(name, IN_RATE)
    frames = [run_coroutine(serializer.deserialize(packet)) for packet in caller_packets]
    messages = [run_coroutine(serializer.serialize(frame)) for frame in bot_frames]
    assert any(frames), "no caller audio"
    assert any(messages), "no bot audio"
    return serializer


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("serializer", choices=SERIALIZERS)
    parser.add_argument("--count", type=int, default=1000, help="number of serializers")
    options = parser.parse_args()
    if not _STATM.exists():
        json.dump({"kb": None, "problems": []}, sys.stdout)
        return 0
    audio = packets()
    serializers = [serializer_in_call(options.serializer, *audio)]
    gc.collect()
    before = resident_kb()
    serializers += [serializer_in_call(options.serializer, *audio) for _ in range(options.count)]
    gc.collect()
    growth = resident_kb() - before
    json.dump({"kb": growth / options.count, "count": options.count, "problems": []}, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
