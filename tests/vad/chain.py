"""A model that detects each window that is lost, repeated or out of order, and that can stall.

The model's state is a checksum of all windows since the last reset, so one wrong window changes all
later probabilities. `pipecats_analyzer` runs the same model in pipecat's own analyzer, one window
after the other.
"""

from __future__ import annotations

import random
import threading
import time
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pipecat.audio.vad.silero import SileroVADAnalyzer
from pipecat_genesys.vad.model import INITIAL_STATE, Floats, ModelState, Scores, SpeechModel

# On average, one of this number of windows begins or ends speech.
_WINDOWS_PER_CHANGE = 14


def _follow(state: NDArray[np.float32], seen: NDArray[np.float32]) -> tuple[float, Any]:
    """Return the probability of a window with its context, and the state after the window."""
    high, low, speech = (int(value) for value in state.flat[:3])
    checksum = zlib.crc32(seen.tobytes(), high << 16 | low)
    speech ^= checksum % _WINDOWS_PER_CHANGE == 0
    following = np.zeros(state.shape, np.float32)
    following.flat[:3] = checksum >> 16, checksum & 0xFFFF, speech
    return 0.95 if speech else 0.05, following


class ChainModel(SpeechModel):
    """The model for the worker that all analyzers of a process share.

    Attributes:
        stalls: Probability that a run in the thread of a worker stalls.
        longest_stall: Longest stall in seconds.
    """

    def __init__(self, seed: int = 0) -> None:
        self.stalls = 0.0
        self.longest_stall = 0.0
        self._random = random.Random(seed)

    def score(self, calls: Sequence[tuple[Floats, ModelState]]) -> list[Scores]:
        in_worker = threading.current_thread().name == "speech-model"
        if in_worker and self._random.random() < self.stalls:
            time.sleep(self._random.random() * self.longest_stall)
        return [self._score_call(rows, state) for rows, state in calls]

    def _score_call(self, rows: Floats, state: ModelState) -> Scores:
        confidences, hidden = [], state.hidden
        for row in rows:
            seen = np.concatenate([row[:128], row[256:384], row[448:480]])
            confidence, hidden = _follow(hidden, seen)
            confidences.append(confidence)
        return Scores(confidences, ModelState(hidden, INITIAL_STATE.cell))


class _PipecatsModel:
    """The model for pipecat's analyzer, instead of `SileroOnnxModel`."""

    def __init__(self) -> None:
        self.reset_states()

    def reset_states(self) -> None:
        self._state = np.zeros((1, 1, 128), np.float32)
        self._context = np.zeros(32, np.float32)

    def __call__(self, window: NDArray[np.float32], rate: int) -> NDArray[np.float32]:
        confidence, self._state = _follow(self._state, np.concatenate([self._context, window]))
        self._context = window[-32:]
        return np.array([confidence], np.float32)


def pipecats_analyzer() -> SileroVADAnalyzer:
    """Return pipecat's analyzer at 8 kHz with this model."""
    analyzer = SileroVADAnalyzer()
    analyzer.set_sample_rate(8000)
    analyzer._model = _PipecatsModel()  # type: ignore[assignment]
    return analyzer
