"""A model whose results show whether a window was lost, repeated or out of order.

The model's state is a checksum of all windows since the last reset, so one wrong window changes all
later probabilities. `pipecats_analyzer` runs the same model in pipecat's own analyzer, one window
after the other.
"""

from __future__ import annotations

import random
import threading
import time
import zlib
from collections import deque
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pipecat.audio.vad.silero import SileroVADAnalyzer
from pipecat_genesys._native import SpeechDetector

# On average, speech begins or ends once in this number of windows.
_WINDOWS_PER_CHANGE = 14


def _follow(state: NDArray[np.float32], seen: NDArray[np.float32]) -> tuple[float, Any]:
    """Return the probability of a window with its context, and the state after the window."""
    high, low, speech = (int(value) for value in state.flat[:3])
    checksum = zlib.crc32(seen.tobytes(), high << 16 | low)
    speech ^= checksum % _WINDOWS_PER_CHANGE == 0
    following = np.zeros(state.shape, np.float32)
    following.flat[:3] = checksum >> 16, checksum & 0xFFFF, speech
    return 0.95 if speech else 0.05, following


class ChainDetector:
    """A replacement for the native `SpeechDetector` in `TelephoneVADAnalyzer`.

    The native detector still measures the loudness.
    """

    # Probability that the processing of long audio stalls in its thread, and the longest stall in
    # seconds.
    stalls = 0.0
    longest_stall = 0.0

    def __init__(self, *arguments: Any) -> None:
        self._native = SpeechDetector(*arguments)
        self._random = random.Random(0)
        self._audio = b""
        self._windows: deque[NDArray[np.float32]] = deque()
        self._clear()

    def process(self, pcm: bytes) -> int:
        in_thread = threading.current_thread() is not threading.main_thread()
        if in_thread and self._random.random() < self.stalls:
            time.sleep(self._random.random() * self.longest_stall)
        self._native.process(pcm)
        self._audio += pcm
        while len(self._audio) >= 512:
            samples = np.frombuffer(self._audio[:512], np.int16).astype(np.float32) / 32768.0
            self._windows.append(samples)
            self._audio = self._audio[512:]
        return len(self._windows)

    def next_window(self) -> tuple[float, float] | None:
        measured = self._native.next_window()
        if measured is None:
            return None
        window = self._windows.popleft()
        seen = np.concatenate([self._context, window])
        confidence, self._state = _follow(self._state, seen)
        self._context = window[-32:]
        return confidence, measured[1]

    def reset_model(self) -> None:
        self._clear()

    def _clear(self) -> None:
        self._state = np.zeros((1, 1, 128), np.float32)
        self._context = np.zeros(32, np.float32)


class _PipecatsModel:
    """A replacement for `SileroOnnxModel` in pipecat's analyzer."""

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
