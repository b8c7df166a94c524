"""Decides when the recurrent state of the model is reset, as in the installed pipecat.

pipecat 1.13 and newer reset the state after about 2 s of audio, but only after several windows with
a low probability of speech. Older versions reset the state after the first window and then every 5
s of wall-clock time.
"""

from __future__ import annotations

import time
from importlib import import_module
from typing import Protocol

from .model import SAMPLE_RATE, WINDOW_SAMPLES


class ResetRule(Protocol):
    """Decides after each window of one call whether the model's state is reset."""

    def is_due(self, confidence: float, quiet: bool) -> bool:
        """Count one window, and return whether the model's state is reset before the next window.

        Args:
            confidence: Probability of speech in the window.
            quiet: Whether the analyzer's state before the window was `VADState.QUIET`.
        """


class NonSpeechReset:
    """Resets the model's state after an interval of audio, during clear non-speech.

    The state is reset only while the analyzer's state is `VADState.QUIET`.
    """

    def __init__(self, interval: float, max_confidence: float, low_windows: int) -> None:
        """Create a rule.

        Args:
            interval: Minimum time between resets, in seconds of audio.
            max_confidence: Windows below this probability count as clear non-speech.
            low_windows: Number of windows in a row with clear non-speech before a reset.
        """
        self._interval = interval
        self._max_confidence = max_confidence
        self._low_windows = low_windows
        self._windows_since_reset = 0
        self._low_windows_in_a_row = 0

    def is_due(self, confidence: float, quiet: bool) -> bool:
        """See `ResetRule.is_due`."""
        self._windows_since_reset += 1
        if confidence < self._max_confidence:
            self._low_windows_in_a_row += 1
        else:
            self._low_windows_in_a_row = 0
        due = (
            self._windows_since_reset * WINDOW_SAMPLES >= self._interval * SAMPLE_RATE
            and quiet
            and self._low_windows_in_a_row >= self._low_windows
        )
        if due:
            self._windows_since_reset = 0
        return due


class WallClockReset:
    """Resets the model's state after the first window, and then at an interval of real time."""

    def __init__(self, interval: float) -> None:
        """Create a rule.

        Args:
            interval: Minimum time between resets, in seconds.
        """
        self._interval = interval
        self._last_reset = 0.0

    def is_due(self, confidence: float, quiet: bool) -> bool:
        """See `ResetRule.is_due`."""
        now = time.time()
        if now - self._last_reset < self._interval:
            return False
        self._last_reset = now
        return True


def reset_rule() -> ResetRule:
    """Return a new reset rule for one call, with the reset interval of the installed pipecat."""
    silero = import_module("pipecat.audio.vad.silero")
    interval = getattr(silero, "_MODEL_RESET_INTERVAL_SECS", None)
    if interval is None:
        return WallClockReset(getattr(silero, "_MODEL_RESET_STATES_TIME", 5.0))
    return NonSpeechReset(
        interval,
        getattr(silero, "_MODEL_RESET_MAX_CONFIDENCE", 0.1),
        getattr(silero, "_MODEL_RESET_LOW_CONFIDENCE_WINDOWS", 5),
    )
