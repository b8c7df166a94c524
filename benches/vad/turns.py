"""CPU time of pipecat's Smart Turn, a model that predicts whether a turn has ended.

The CPU time of voice activity detection during the turn is measured for comparison.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from pipecat.audio.turn.smart_turn.local_smart_turn_v3 import LocalSmartTurnAnalyzerV3

from .analyzers import BY_NAME, states_of
from .speech import caller_audio, caller_packets

_RATES = (8000, 16000)
_RUNS = 7
# Duration of the turn in seconds. The duration has no effect, because the model always reads the
# last 8 s.
_TURN_SECONDS = 4


def measure_smart_turn(quick: bool = False) -> list[dict[str, Any]]:
    """Return the CPU time of a prediction and of voice activity detection in ms, at each rate."""
    rows = []
    runs = 1 if quick else _RUNS
    for rate in _RATES:
        analyzer: Any = LocalSmartTurnAnalyzerV3(sample_rate=rate)
        analyzer.set_sample_rate(rate)
        pcm = caller_audio(rate)[: 2 * rate * _TURN_SECONDS]
        samples = np.frombuffer(pcm, np.int16).astype(np.float32) / 32768.0
        row = {"rate": rate, "ms": _cpu_ms(partial(analyzer._predict_endpoint, samples), runs)}
        packets = caller_packets(rate, 200, _TURN_SECONDS)
        for name in ("ours", "pipecat"):
            detector = BY_NAME[f"{name}, {rate // 1000} kHz"].ready()
            row[f"{name}_ms"] = _cpu_ms(partial(_detect, detector, packets), runs)
        rows.append(row)
    return rows


def _detect(detector: Any, packets: list[bytes]) -> None:
    asyncio.run(states_of(detector, packets))


def _cpu_ms(run: Callable[[], object], runs: int) -> float:
    """Return the smallest CPU time of the process in several runs, in ms."""
    best = float("inf")
    for _ in range(runs):
        begin = time.process_time()
        run()
        best = min(best, time.process_time() - begin)
    return 1000 * best
