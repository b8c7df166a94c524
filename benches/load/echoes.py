"""What the caller says, and how late it comes back."""

from __future__ import annotations

import numpy as np
import signals
from signals import WIRE_RATE, Samples

from . import ECHO_FROM

MARK = round(0.05 * WIRE_RATE)
_EVERY = 1.0
# After a key was pressed, so much of what was said is expected to be missing.
_SILENCED = (3.5, 0.5)
# How late an echo may be, and how near the last one it is looked for at first.
_REACH = 3 * WIRE_RATE
_NEAR = round(0.03 * WIRE_RATE)
_LIKENESS = 0.9


def speech(seconds: float, seed: int = 1) -> Samples:
    """Noise of the speech band, nowhere like itself."""
    rng = np.random.default_rng(seed)
    size = round(seconds * WIRE_RATE)
    spectrum = np.fft.rfft(rng.normal(0, 1, size))
    frequency = np.fft.rfftfreq(size, 1 / WIRE_RATE)
    spectrum[(frequency < 300) | (frequency > 3400)] = 0
    signal = np.fft.irfft(spectrum, size)
    return np.asarray(signal * (5000 / np.std(signal)), np.float64)


class Echoes:
    """Finds again in what the caller heard what the caller said.

    A mark is 50 ms of every second of the caller's speech. It is found by cross-correlation, so
    that its place is known to the sample. Both tracks are on one timeline, which begins with
    ``open``; an echo's delay is what lies between its places: the time to fill the caller's packet
    is in it, the way there and back, and how long it waited to be played.

    Args:
        wire: What every caller says, mu-law.
    """

    def __init__(self, wire: bytes) -> None:
        self._said = signals.ulaw_samples(wire)

    def of(
        self, heard_wire: bytes, spoken: int, pressed: list[float]
    ) -> tuple[list[tuple[float, float]], int]:
        """The echoes of one call.

        Args:
            heard_wire: What was heard since ``open``, mu-law.
            spoken: How many samples were said.
            pressed: When a key was, in seconds.

        Returns:
            When each mark was said, and how late it came, in seconds; and how many did not come.
        """
        heard = signals.ulaw_samples(heard_wire)
        end = min(spoken, len(heard)) / WIRE_RATE - 1.5
        found: list[tuple[float, float]] = []
        missing, lag = 0, None
        for at in np.arange(ECHO_FROM + 0.25, end, _EVERY):
            if any(press - _SILENCED[0] < at < press + _SILENCED[1] for press in pressed):
                lag = None
                continue
            begin = round(at * WIRE_RATE)
            mark = self._said[begin : begin + MARK]
            place = None
            if lag is not None:
                place = _find(heard, mark, begin + lag - _NEAR, begin + lag + _NEAR)
            if place is None:
                place = _find(heard, mark, begin, begin + _REACH)
            if place is None:
                missing += 1
                continue
            lag = place - begin
            found.append((float(at), lag / WIRE_RATE))
        return found, missing


def _find(heard: Samples, mark: Samples, first: int, last: int) -> int | None:
    """Where the mark begins, from ``first`` to ``last``."""
    first = max(0, first)
    region = heard[first : last + len(mark)]
    if len(region) < len(mark):
        return None
    power = np.cumsum(np.concatenate([[0.0], region**2]))
    power = power[len(mark) :] - power[: -len(mark)]
    likeness = np.correlate(region, mark, "valid")
    likeness /= np.sqrt(np.maximum(power, 1) * np.sum(mark**2))
    best = int(np.argmax(likeness))
    return first + best if likeness[best] > _LIKENESS else None
