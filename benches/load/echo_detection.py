"""Finds the echo of the caller's speech in the audio that the caller heard; measures the delay."""

from __future__ import annotations

import numpy as np
import signals
from signals import WIRE_RATE

from . import ECHO_START_SECONDS

_MARKER = round(0.05 * WIRE_RATE)
_MARKER_EVERY_SECONDS = 1.0
# No marker is expected within these times before and after a key press, which interrupts the echo.
_INTERRUPTED_SECONDS = (3.5, 0.5)
# The maximum delay of an echo, and the maximum difference between the delays of two successive
# markers in the first search.
_SEARCH_SAMPLES = 3 * WIRE_RATE
_NEAR_SAMPLES = round(0.03 * WIRE_RATE)
_END_SECONDS = 1.5


class EchoDetector:
    """Measures the delay of the echo in a call.

    A marker is 50 ms of the caller's speech; each second of the speech has one marker. The marker
    is located in the received audio by cross-correlation, with a precision of one sample. Spoken
    and received audio are on one timeline, which begins with `open`. The delay of a marker is the
    difference between its two positions. The delay includes the time to fill the caller's packet,
    the network in both directions, and the wait until playback.

    Args:
        wire: Speech of every caller, as mu-law.
    """

    def __init__(self, wire: bytes) -> None:
        self._spoken = signals.ulaw_samples(wire)

    def detect(
        self, heard_wire: bytes, spoken_samples: int, key_presses: list[float]
    ) -> tuple[list[tuple[float, float]], int]:
        """Measure the echo of one call.

        Args:
            heard_wire: Audio that the caller heard since `open`, as mu-law.
            spoken_samples: Number of samples that the caller sent.
            key_presses: Times of the key presses in seconds since `open`.

        Returns:
            The time at which each found marker was spoken and its delay, in seconds; and the number
            of markers that were not found.
        """
        heard = signals.ulaw_samples(heard_wire)
        end = min(spoken_samples, len(heard)) / WIRE_RATE - _END_SECONDS
        before, after = _INTERRUPTED_SECONDS
        found: list[tuple[float, float]] = []
        missing, lag = 0, None
        for at in np.arange(ECHO_START_SECONDS + 0.25, end, _MARKER_EVERY_SECONDS):
            if any(press - before < at < press + after for press in key_presses):
                lag = None
                continue
            begin = round(at * WIRE_RATE)
            marker = self._spoken[begin : begin + _MARKER]
            position = None
            if lag is not None:
                nearest = begin + lag
                position = signals.find_segment(
                    heard, marker, nearest - _NEAR_SAMPLES, nearest + _NEAR_SAMPLES
                )
            if position is None:
                position = signals.find_segment(heard, marker, begin, begin + _SEARCH_SAMPLES)
            if position is None:
                missing += 1
                continue
            lag = position - begin
            found.append((float(at), lag / WIRE_RATE))
        return found, missing
