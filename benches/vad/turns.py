"""CPU time of pipecat's Smart Turn, a model that predicts whether a turn has ended."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from pipecat.audio.turn.smart_turn.local_smart_turn_v3 import LocalSmartTurnAnalyzerV3

from .speech import caller_audio

_RATES = (8000, 16000)
_RUNS = 7
# Duration of the turn in seconds. The duration has no effect, because the model always reads the
# last 8 s.
_TURN_SECONDS = 4


def measure_smart_turn(quick: bool = False) -> list[dict[str, Any]]:
    """Return the CPU time of one prediction in ms for each sample rate of the pipeline."""
    rows = []
    for rate in _RATES:
        analyzer: Any = LocalSmartTurnAnalyzerV3(sample_rate=rate)
        analyzer.set_sample_rate(rate)
        pcm = caller_audio(rate)[: 2 * rate * _TURN_SECONDS]
        samples = np.frombuffer(pcm, np.int16).astype(np.float32) / 32768.0
        best = float("inf")
        for _ in range(1 if quick else _RUNS):
            begin = time.process_time()
            analyzer._predict_endpoint(samples)
            best = min(best, time.process_time() - begin)
        rows.append({"rate": rate, "ms": 1000 * best})
    return rows
