"""Cuts the audio of one call into windows, and keeps their scores, volumes and recurrent state."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

import pipecat_genesys._native as _native

from .loudness import expected_scale, volume_scale
from .model import CONTEXT_SAMPLES, INITIAL_STATE, ROW_SAMPLES, Floats, Scores, SpeechModel
from .resets import ResetRule

# Maximum number of windows in one run of the model when `next_confidence` runs the model.
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
            resets: Rule that decides when the state is reset.
        """
        self.state = INITIAL_STATE
        self.scale = volume_scale(sample_rate)
        self._resets = resets
        scale = self.scale or expected_scale(sample_rate)
        self._windows = _native.SpeechWindows(sample_rate, scale.sections, scale.half_windows)

    def cut(self, pcm: bytes) -> WindowedPacket | None:
        """Add audio to the stream.

        Args:
            pcm: 16-bit mono samples.

        Returns:
            The windows that the audio completes, or None if it completes none.
        """
        rows, energies = self._windows.process(pcm)
        if not energies:
            return None
        return WindowedPacket(
            self, np.frombuffer(rows, np.float32).reshape(-1, ROW_SAMPLES), energies
        )

    def count_window(self, confidence: float, quiet: bool) -> bool:
        """Count one scored window and return whether the state is reset after it.

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


class WindowedPacket:
    """The windows that one piece of audio completes.

    `accept` sets the scores of all windows; without it, `next_confidence` scores windows as needed.
    If the state is reset after a window, the scores of the later windows are discarded, and these
    windows are scored again.

    Attributes:
        rows: Windows of shape (windows, 512).
    """

    def __init__(self, stream: SpeechStream, rows: Floats, energies: Sequence[float]) -> None:
        """Create a packet of a stream. Use `SpeechStream.cut` instead."""
        self.rows = rows
        self._stream = stream
        self._energies = energies
        self._confidences: list[float] = []
        self._position = 0

    @property
    def is_finished(self) -> bool:
        """Whether `next_confidence` has returned the confidence of every window."""
        return self._position == len(self.rows)

    def accept(self, scores: Scores) -> None:
        """Set the scores of all windows."""
        self._confidences = scores.confidences
        self._stream.state = scores.state

    def next_confidence(self, model: SpeechModel, quiet: bool) -> float:
        """Return the probability of speech in the next window.

        Args:
            model: Model that scores windows without a score, in the calling thread.
            quiet: Whether the analyzer's state before the window was `VADState.QUIET`.

        Raises:
            IndexError: The packet has no further window.
        """
        if self._position == len(self._confidences) and not self.is_finished:
            rows = self.rows[self._position : self._position + CHUNK_WINDOWS]
            [scores] = model.score([(rows, self._stream.state)])
            self._confidences += scores.confidences
            self._stream.state = scores.state
        confidence = self._confidences[self._position]
        self._position += 1
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
            self.rows = self.rows.copy()
            self.rows[self._position, :CONTEXT_SAMPLES] = 0.0
