"""The turns of a caller, found by the loudness of the audio."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pipecat_genesys.protocol.types import WIRE_SAMPLE_RATE

from .audio_tracks import loudness

_WINDOW = 160
"""Samples of a window: 20 ms."""
_SECONDS = _WINDOW / WIRE_SAMPLE_RATE
_QUIET = -45.0
"""A window below this loudness is not speech, in dB relative to full scale."""
_ABOVE_NOISE = 12.0
"""Minimum difference between the loudness of speech and of the background, in dB."""
_NOISE_RISE = 0.1
"""Maximum increase of the estimated background loudness for each window, in dB. A decrease has no
limit."""
_PAUSE = 0.6
"""Silence in seconds that ends a turn."""
_MIN_LOUD = 5
"""Minimum number of windows of speech in a turn."""
_BREATH = 0.2
"""Silence in seconds that separates two stretches of speech within a turn."""
_MIN_STRETCH = 0.06
"""Minimum duration of a stretch of speech in seconds. Shorter sounds are not speech."""


@dataclass(frozen=True, slots=True)
class Turn:
    """A period in which the caller spoke.

    Attributes:
        start: Start of the first loud window, in seconds since `open`.
        end: End of the last loud window.
    """

    start: float
    end: float


class TurnDetector:
    """Finds the turns of a caller in the caller's audio.

    Attributes:
        turns: The finished turns.
        heard_until: End of the audio so far, in seconds since `open`.
    """

    def __init__(self) -> None:
        self.turns: list[Turn] = []
        self.heard_until = 0.0
        self._noise = -80.0
        self._start: float | None = None
        self._end = 0.0
        self._loud = 0
        self._stretches: list[tuple[float, float]] = []

    def hear(self, first: int, pcm: bytes) -> Iterator[Turn]:
        """Add audio, and yield each turn that is finished by a pause in this audio.

        Args:
            first: Number of the first sample, counted from `open`.
            pcm: 16-bit PCM at 8 kHz.
        """
        begin = first / WIRE_SAMPLE_RATE
        for number, level in enumerate(loudness(pcm, _WINDOW)):
            at = begin + number * _SECONDS
            self._noise = min(level, self._noise + _NOISE_RISE)
            if level > max(_QUIET, min(self._noise, -40.0) + _ABOVE_NOISE):
                if self._start is None:
                    self._start, self._loud = at, 0
                self._loud += 1
                self._end = at + _SECONDS
                self._stretch(at)
            elif self._start is not None and at - self._end >= _PAUSE:
                yield from self._finish()
        self.heard_until = begin + len(pcm) / 2 / WIRE_SAMPLE_RATE

    def finish(self) -> None:
        """End the current turn, if the caller speaks."""
        for _ in self._finish():
            pass

    def _finish(self) -> Iterator[Turn]:
        if self._start is not None and self._loud >= _MIN_LOUD:
            turn = Turn(self._start, self._end)
            self.turns.append(turn)
            yield turn
        self._start = None

    def _stretch(self, at: float) -> None:
        """Add a loud window to the last period of speech, or begin a new period."""
        if self._stretches and at - self._stretches[-1][1] < _BREATH:
            begin = self._stretches.pop()[0]
        else:
            begin = at
        self._stretches.append((begin, at + _SECONDS))

    def _known(self) -> list[Turn]:
        """Return the finished turns, and the current turn if the caller speaks."""
        if self._start is not None and self._loud >= _MIN_LOUD:
            return [*self.turns, Turn(self._start, self._end)]
        return self.turns

    def end_before(self, at: float) -> float | None:
        """Return the end of the last speech before a time.

        Returns:
            The time in seconds since `open`. None if there was no speech, or if the caller speaks
            at this time.
        """
        for start, end in reversed(self._stretches):
            if start < at and end - start >= _MIN_STRETCH:
                return None if end > at else end
        return None

    def goes_on_after(self, end: float) -> bool | None:
        """Return whether the caller speaks again within `_PAUSE`, so that the turn continues.

        Args:
            end: End of a period of speech, in seconds since `open`.

        Returns:
            None if no speech follows in the audio so far, and this audio ends before `_PAUSE` is
            over.
        """
        if any(
            end < start < end + _PAUSE and stop - start >= _MIN_STRETCH
            for start, stop in self._stretches
        ):
            return True
        return False if self.heard_until >= end + _PAUSE else None

    def onset_between(self, first: float, last: float) -> float | None:
        """Return the start of the last turn that began in a period, or None."""
        starts = [turn.start for turn in self._known() if first <= turn.start <= last]
        return max(starts, default=None)
