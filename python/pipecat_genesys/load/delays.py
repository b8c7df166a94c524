"""Measures the delay of the bot's replies in the audio that a caller heard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pipecat_genesys import audio
from pipecat_genesys.protocol.types import WIRE_SAMPLE_RATE

from .talk import PlayedUtterance

Samples: TypeAlias = NDArray[np.float64]

ECHO_START_SECONDS = 2.0
"""Time after `open` at which the measurement of the echo begins, because a bot may greet first."""

_MARKER = round(0.05 * WIRE_SAMPLE_RATE)
_MARKER_EVERY_SECONDS = 1.0
# No marker is expected within these times before and after a key press, which interrupts the echo.
_INTERRUPTED_SECONDS = (3.5, 0.5)
# `_SEARCH_SAMPLES`: maximum delay of an echo. `_NEAR_SAMPLES`: maximum difference from the delay of
# the previous marker in the first search, which takes little time.
_SEARCH_SAMPLES = 6 * WIRE_SAMPLE_RATE
_NEAR_SAMPLES = round(0.03 * WIRE_SAMPLE_RATE)
_END_SECONDS = 1.5
_MATCH_THRESHOLD = 0.9
# Bot audio counts as speech if a window of this length in seconds is louder than this level.
_WINDOW_SECONDS, _LOUD = 0.02, 200.0
# A silence of the bot of `_WORD_GAP_SECONDS` or more separates two words. If the bot is speaking
# when an utterance of the caller ends, the answer begins after a silence of at least
# `_UTTERANCE_GAP_SECONDS`.
_WORD_GAP_SECONDS, _UTTERANCE_GAP_SECONDS = 0.2, 0.5
# An answer is expected only if the caller sends audio for at least this time, in seconds, after the
# end of the utterance. Other utterances at the end of a call are not counted.
_ANSWER_SECONDS = 4.0


@dataclass(slots=True)
class Delays:
    """The delays of the replies in one call.

    Attributes:
        found: For each reply, the time in seconds since `open` of the caller's speech that was
            answered, and the delay of the reply in seconds.
        missing: Number of replies that were expected and not found.
    """

    found: list[tuple[float, float]] = field(default_factory=list)
    missing: int = 0


class DelayDetector(Protocol):
    """Measures the replies in one call."""

    def detect(self, heard: bytes, spoken_samples: int, key_presses: Sequence[float]) -> Delays:
        """Measure the replies.

        Args:
            heard: Audio that the caller heard since `open`, as mu-law.
            spoken_samples: Number of samples that the caller sent.
            key_presses: Times of the key presses in seconds since `open`.
        """


class EchoDetector:
    """Measures the delay of an echo.

    A marker is 50 ms of the caller's speech; each second of the speech has one marker. The marker
    is located in the heard audio by cross-correlation, with a precision of one sample. Spoken and
    heard audio are on one timeline, which begins with `open`. The delay of a marker is the
    difference between its positions in the heard audio and in the spoken audio. The delay includes
    the time to fill the caller's packet, the network in both directions, and the wait until
    playback.
    """

    def __init__(self, track: bytes) -> None:
        """Create a detector for calls in which all callers send the same audio.

        Args:
            track: Audio that every caller sends, as mu-law.
        """
        self._spoken = _samples(track)

    def detect(self, heard: bytes, spoken_samples: int, key_presses: Sequence[float]) -> Delays:
        """See `DelayDetector`."""
        signal = _samples(heard)
        end = min(spoken_samples, len(signal)) / WIRE_SAMPLE_RATE - _END_SECONDS
        before, after = _INTERRUPTED_SECONDS
        delays, lag = Delays(), None
        for at in np.arange(ECHO_START_SECONDS + 0.25, end, _MARKER_EVERY_SECONDS):
            if any(press - before < at < press + after for press in key_presses):
                lag = None
                continue
            begin = round(at * WIRE_SAMPLE_RATE)
            if lag is not None and begin + lag + _MARKER > len(signal):
                # The caller hung up before the echo of this marker could arrive, so the echo is not
                # missing.
                break
            marker = self._spoken[begin : begin + _MARKER]
            position = None
            if lag is not None:
                nearest = begin + lag
                position = _find(signal, marker, nearest - _NEAR_SAMPLES, nearest + _NEAR_SAMPLES)
            if position is None:
                position = _find(signal, marker, begin, begin + _SEARCH_SAMPLES)
            if position is None:
                delays.missing += 1
                continue
            lag = position - begin
            delays.found.append((float(at), lag / WIRE_SAMPLE_RATE))
        return delays


class AnswerDetector:
    """Measures the time from the end of each utterance until the bot speaks."""

    def __init__(self, utterances: Sequence[PlayedUtterance]) -> None:
        """Create a detector for calls in which all callers say the same utterances.

        Args:
            utterances: The utterances that the bot should answer.
        """
        self._utterances = utterances

    def detect(self, heard: bytes, spoken_samples: int, key_presses: Sequence[float]) -> Delays:
        """Measure the replies; see `DelayDetector.detect`. Key presses have no effect."""
        size = round(_WINDOW_SECONDS * WIRE_SAMPLE_RATE)
        signal = _samples(heard)
        windows = signal[: len(signal) // size * size].reshape(-1, size)
        loud = np.flatnonzero(np.sqrt(np.mean(windows**2, axis=1)) > _LOUD) * _WINDOW_SECONDS
        delays = Delays()
        spoken_seconds = spoken_samples / WIRE_SAMPLE_RATE
        nexts = [*(one.begin for one in self._utterances), np.inf][1:]
        for utterance, last in zip(self._utterances, nexts, strict=True):
            if utterance.end + _ANSWER_SECONDS > spoken_seconds:
                break
            index = _first_onset(loud, utterance.end)
            if index < len(loud) and loud[index] < last:
                delays.found.append((utterance.end, float(loud[index]) - utterance.end))
            else:
                delays.missing += 1
        return delays


def _first_onset(loud: NDArray[np.floating], end: float) -> int:
    """Return the index of the first loud window at which the bot begins to speak after a time."""
    index = int(np.searchsorted(loud, end))
    if 0 < index < len(loud) and loud[index] - loud[index - 1] < _WORD_GAP_SECONDS:
        # The bot spoke before `end` and continues.
        gaps = np.diff(loud[index - 1 :])
        onsets = np.flatnonzero(gaps >= _UTTERANCE_GAP_SECONDS)
        return index + int(onsets[0]) if len(onsets) else len(loud)
    return index


def _samples(ulaw: bytes) -> Samples:
    return np.frombuffer(audio.ulaw_decode(ulaw), "<i2").astype(np.float64)


def _find(signal: Samples, segment: Samples, first: int, last: int) -> int | None:
    """Locate a segment in a signal by normalised cross-correlation.

    Returns:
        The best start position from `first` to `last`, or None if no position fits well.
    """
    first = max(0, first)
    region = signal[first : last + len(segment)]
    if len(region) < len(segment):
        return None
    energy = np.cumsum(np.concatenate([[0.0], region**2]))
    energy = energy[len(segment) :] - energy[: -len(segment)]
    correlation = np.correlate(region, segment, "valid")
    correlation /= np.sqrt(np.maximum(energy, 1) * np.sum(segment**2))
    best = int(np.argmax(correlation))
    return first + best if correlation[best] > _MATCH_THRESHOLD else None
