"""Resident memory of one more analyzer. Each measurement needs a new process.

    python -m vad.memory "ours, 8 kHz" --count 300

Prints JSON. Each analyzer has analyzed three packets of 200 ms and stays in memory. The first
analyzer loads the objects that all analyzers share, and is not counted.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import sys
from pathlib import Path

from pipecat.audio.vad.vad_analyzer import VADAnalyzer

from .analyzers import BY_NAME, Configuration, states_of
from .speech import caller_packets

_STATM = Path("/proc/self/statm")


def resident_kb() -> float:
    """Return the resident memory of this process in KB."""
    gc.collect()
    pages = int(_STATM.read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1024


async def kb_per_analyzer(configuration: Configuration, count: int) -> float:
    """Return the memory of one more analyzer in KB."""
    packets = caller_packets(configuration.rate, 200, 0.6)
    kept: list[VADAnalyzer] = []

    async def add() -> None:
        kept.append(configuration.ready())
        await states_of(kept[-1], packets)

    await add()
    before = resident_kb()
    for _ in range(count):
        await add()
    return (resident_kb() - before) / count


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("configuration", choices=BY_NAME)
    parser.add_argument("--count", type=int, default=100, help="number of analyzers")
    options = parser.parse_args()
    kb = None
    if _STATM.exists():
        kb = asyncio.run(kb_per_analyzer(BY_NAME[options.configuration], options.count))
    json.dump({"name": options.configuration, "count": options.count, "kb": kb}, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
