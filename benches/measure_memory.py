"""Resident memory that one more call takes, in a process that does nothing else.

Prints JSON. Each serializer is opened as Genesys opens it and has three packets pass each way, so
that everything a call allocates is there; all of them are kept. What the first call costs the
process (tables, code that is paged in) was spent before the count begins.
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
from lanes import SERIALIZERS, drive, frame, open_serializer
from signals import WIRE_RATE

IN_RATE = 16000
OUT_RATE = 24000
PACKETS = 3
_PACKETS_PER_SECOND = 5
_STATM = Path("/proc/self/statm")


def resident_kb() -> float:
    """Resident set of this process."""
    pages = int(_STATM.read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1024


def packets() -> tuple[list[bytes], list[Any]]:
    """What the caller says, and what the bot does."""
    wire = signals.ulaw_codes(signals.tone(WIRE_RATE, 1)).tobytes()
    pcm = signals.pcm_bytes(signals.tone(OUT_RATE, 1))
    heard = signals.cut(wire, WIRE_RATE // _PACKETS_PER_SECOND)
    said = signals.cut(pcm, 2 * OUT_RATE // _PACKETS_PER_SECOND)
    return heard[:PACKETS], [frame(piece, OUT_RATE) for piece in said[:PACKETS]]


def a_call(who: str, heard: list[bytes], said: list[Any]) -> Any:
    """A serializer that has seen a little of a call."""
    serializer = open_serializer(who, IN_RATE)
    frames = [drive(serializer.deserialize(packet)) for packet in heard]
    messages = [drive(serializer.serialize(packet)) for packet in said]
    assert any(frames), "no caller audio"
    assert any(messages), "no bot audio"
    return serializer


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("who", choices=SERIALIZERS)
    parser.add_argument("--count", type=int, default=1000, help="of calls (default 1000)")
    options = parser.parse_args()
    if not _STATM.exists():
        json.dump({"kb": None, "problems": []}, sys.stdout)
        return 0
    audio = packets()
    kept = [a_call(options.who, *audio)]
    gc.collect()
    before = resident_kb()
    kept += [a_call(options.who, *audio) for _ in range(options.count)]
    gc.collect()
    growth = resident_kb() - before
    json.dump({"kb": growth / options.count, "count": options.count, "problems": []}, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
