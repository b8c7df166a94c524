"""Cuts the audio of one call into windows, and keeps their scores, volumes and recurrent state."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

import pipecat_genesys._native as _native
from pipecat_genesys.errors import PipecatGenesysError

from .loudness import expected_scale, volume_scale
from .model import (
    CONTEXT_SAMPLES,
    INITIAL_STATE,
    ROW_SAMPLES,
    Floats,
    ModelState,
    Scores,
    SpeechModel,
)
from .resets import ResetRule

# Maximum number of windows in one run of the model that `next_confidence` starts.
CHUNK_WINDOWS = 32


class SpeechStream:
    """The audio of one call at one sample rate.

    Attributes:
        state: Recurrent state of the model after the newest scored window.
        scale: Conversion of energies to volumes, or None if pipecat has to measure the volume.
    """

    def __init__(self, sample_rate: int, resets: ResetRule) -> None:
        """Create the stream of a new call.

        Args:
            sample_rate: Sample rate of the audio in Hz, 8000 or 16000.
            resets: Rule that decides when the model's state is reset.
        """
        self.state: ModelState = INITIAL_STATE
        self.scale = volume_scale(sample_rate)
        self._resets = resets
        scale = self.scale or expected_scale(sample_rate)
        self._windows = _native.SpeechWindows(sample_rate, scale.sections, scale.half_windows)

    def cut(self, pcm: bytes) -> WindowedPacket | None:
        """Add audio to the stream and cut it into windows.

        Args:
            pcm: 16-bit mono samples.

        Returns:
            The windows that the audio completes, or None if the audio completes no window.
        """
        rows, energies = self._windows.process(pcm)
        if not energies:
            return None
        return WindowedPacket(
            self, np.frombuffer(rows, np.float32).reshape(-1, ROW_SAMPLES), energies
        )

    def count_window(self, confidence: float, quiet: bool) -> bool:
        """Count one scored window, and return whether the model's state is reset after it.

        Args:
            confidence: Probability of speech in the window.
            quiet: Whether the analyzer's state before the window was `VADState.QUIET`.
        """
        if not self._resets.is_due(confidence, quiet):
            return False
        self.state = INITIAL_STATE
        return True

    def clear_context(self) -> None:
        """Replace the samples before the next packet's first window with zeros."""
        self._windows.clear_context()


class ScoresMissingError(PipecatGenesysError):
    """The next window of a packet has no score. `TelephoneVADAnalyzer` catches this error."""


class WindowedPacket:
    """The windows that one call of `cut` returns, and their scores.

    The score of a window is its probability of speech. `accept` adds scores. If the model's state
    is reset after a window, the scores of the later windows are discarded, and these windows are
    scored again. After `rewind`, `next_confidence` returns the scores again from the first window.
    The reset rule is applied only once for each window.
    """

    def __init__(self, stream: SpeechStream, rows: Floats, energies: Sequence[float]) -> None:
        """Create a packet of a stream. Use `SpeechStream.cut` instead."""
        self._rows = rows
        self._stream = stream
        self._energies = energies
        self._confidences: list[float] = []
        self._position = 0
        # Number of windows to which the reset rule has been applied.
        self._decided = 0

    @property
    def is_finished(self) -> bool:
        """Whether `next_confidence` has returned the confidence of every window."""
        return self._position == len(self._rows)

    @property
    def missing_rows(self) -> Floats:
        """The windows that have no score yet, as an array of shape (windows, 512)."""
        return self._rows[len(self._confidences) :]

    def accept(self, scores: Scores) -> None:
        """Store scores for the windows of `missing_rows`, beginning with the first window."""
        self._confidences += scores.confidences
        self._stream.state = scores.state

    def rewind(self) -> None:
        """Let `next_confidence` begin with the first window again."""
        self._position = 0

    def next_confidence(self, quiet: bool, model: SpeechModel | None) -> float:
        """Return the probability of speech in the next window.

        Args:
            quiet: Whether the analyzer's state before the window was `VADState.QUIET`.
            model: Model that computes missing scores in the calling thread, or None.

        Raises:
            ScoresMissingError: The window has no score, and `model` is None.
            IndexError: The packet has no further window.
        """
        if self._position == len(self._confidences) and not self.is_finished:
            if model is None:
                raise ScoresMissingError
            [scores] = model.score([(self.missing_rows[:CHUNK_WINDOWS], self._stream.state)])
            self.accept(scores)
        confidence = self._confidences[self._position]
        self._position += 1
        if self._position > self._decided:
            self._decided = self._position
            if self._stream.count_window(confidence, quiet):
                self._void_later_scores()
        return confidence

    def volume(self) -> float | None:
        """Return the volume from 0 to 1 at the end of the window that was scored last.

        Return None if pipecat has to measure the volume.
        """
        scale = self._stream.scale
        return None if scale is None else scale.volume(self._energies[self._position - 1])

    def _void_later_scores(self) -> None:
        del self._confidences[self._position :]
        if self.is_finished:
            self._stream.clear_context()
        else:
            self._rows = self._rows.copy()
            self._rows[self._position, :CONTEXT_SAMPLES] = 0.0
