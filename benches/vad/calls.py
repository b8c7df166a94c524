"""CPU time and latency of many simultaneous calls, in real time."""

from __future__ import annotations

import asyncio
import gc
import random
import time
from collections.abc import Sequence
from typing import Any

from pipecat.audio.vad.vad_analyzer import VADAnalyzer, VADState

from .analyzers import CONFIGURATIONS, Configuration, states_of
from .speech import caller_packets

PACKET_MS = 200
_LEAD_SECONDS = 0.1


class _NoAnalyzer:
    """An analyzer that does nothing. Its CPU time is the cost of the measurement itself."""

    async def analyze_audio(self, buffer: bytes) -> VADState:
        return VADState.QUIET

    async def cleanup(self) -> None:
        pass


def measure_calls(
    counts: Sequence[int], seconds: float, packet_ms: int = PACKET_MS, at_once: bool = False
) -> list[dict[str, Any]]:
    """Measure all analyzers with each number of calls.

    Args:
        counts: Numbers of calls.
        seconds: Duration of each measurement.
        packet_ms: Duration of a packet in ms.
        at_once: Whether all calls send their packets at the same moment. Otherwise the
            calls send at different moments.
    """
    rows = []
    for calls in counts:
        idle = asyncio.run(_run(None, calls, seconds, packet_ms, at_once))
        for configuration in CONFIGURATIONS:
            row = asyncio.run(_run(configuration, calls, seconds, packet_ms, at_once))
            row["cpu_ms"] -= idle["cpu_ms"]
            rows.append(
                {"name": configuration.name, "calls": calls, "packet_ms": packet_ms}
                | {"at_once": at_once, "driver_cpu_ms": idle["cpu_ms"]}
                | row
            )
    return rows


async def _run(
    configuration: Configuration | None, calls: int, seconds: float, packet_ms: int, at_once: bool
) -> dict[str, Any]:
    """Return the CPU time for a second of a call, and percentiles of the latency, in ms."""
    rng = random.Random(1)
    rate = configuration.rate if configuration else 8000
    analyzers: list[Any] = [
        configuration.ready() if configuration else _NoAnalyzer() for _ in range(calls)
    ]
    for analyzer in analyzers:
        await states_of(analyzer, caller_packets(rate, packet_ms, 0.4))
    gc.collect()
    period = packet_ms / 1000
    begin = time.perf_counter() + _LEAD_SECONDS
    latencies: list[float] = []
    cpu_begin = time.process_time()
    await asyncio.gather(
        *(
            _call(
                analyzer,
                caller_packets(rate, packet_ms, seconds, begin=10 * rng.random()),
                begin + (0.0 if at_once else rng.random() * period),
                period,
                latencies,
            )
            for analyzer in analyzers
        )
    )
    cpu = time.process_time() - cpu_begin
    elapsed = time.perf_counter() - begin
    for analyzer in analyzers:
        await analyzer.cleanup()
    latencies.sort()
    return {
        "cpu_ms": 1000 * cpu / calls / seconds,
        "p50_ms": 1000 * latencies[len(latencies) // 2],
        "p99_ms": 1000 * latencies[int(len(latencies) * 0.99)],
        "worst_ms": 1000 * latencies[-1],
        # True if the analyzers processed the audio in real time.
        "kept_up": elapsed < seconds + 1.0,
    }


async def _call(
    analyzer: VADAnalyzer,
    packets: Sequence[bytes],
    begin: float,
    period: float,
    latencies: list[float],
) -> None:
    """Pass each packet when it is due; append the time until its result to `latencies`."""
    for number, packet in enumerate(packets):
        due = begin + number * period
        if (wait := due - time.perf_counter()) > 0:
            await asyncio.sleep(wait)
            # Measure from now, because the delay of the event loop's timer is not part of the
            # analyzer's latency.
            due = time.perf_counter()
        await analyzer.analyze_audio(packet)
        latencies.append(time.perf_counter() - due)
