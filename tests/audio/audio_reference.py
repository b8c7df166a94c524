"""A model of the resampler, and functions that measure its output.

The model computes the documented filter with numpy and scipy in double precision. The model shares
no code and no constant table with the native module.
"""

from fractions import Fraction
from functools import cache

import numpy as np
from numpy.typing import NDArray

Signal = NDArray[np.float64]

FULL_SCALE = 32767
MINUS_1_DBFS = FULL_SCALE * 10 ** (-1 / 20)

TELEPHONY = [
    (8000, 16000),
    (8000, 24000),
    (8000, 48000),
    (16000, 8000),
    (24000, 8000),
    (48000, 8000),
]
OTHERS = [
    (8000, 11025),
    (8000, 12000),
    (8000, 22050),
    (8000, 32000),
    (8000, 44100),
    (11025, 8000),
    (12000, 8000),
    (22050, 8000),
    (32000, 8000),
    (44100, 8000),
]


@cache
def _prototype(up: int, down: int, zeros: int) -> Signal:
    larger = max(up, down)
    half = zeros * larger
    taps = np.sinc(np.arange(-half, half + 1) / larger) * np.kaiser(2 * half + 1, 11.16)
    for branch in range(up):
        taps[branch::up] /= taps[branch::up].sum()
    return taps


def resample(pcm: Signal, in_rate: int, out_rate: int) -> Signal:
    """Return the exact output, neither rounded nor clipped.

    A conversion by a factor of six has two filters; the samples between the filters are clipped to
    16 bits.
    """
    if out_rate == 6 * in_rate:
        between = np.clip(_step(pcm, Fraction(2), 24), -32768, 32767)
        return _step(between, Fraction(3), 8)
    if in_rate == 6 * out_rate:
        between = np.clip(_step(pcm, Fraction(1, 3), 8), -32768, 32767)
        return _step(between, Fraction(1, 2), 24)
    return _step(pcm, Fraction(out_rate, in_rate), 24)


def _step(pcm: Signal, ratio: Fraction, zeros: int) -> Signal:
    if ratio == 1:
        return pcm.astype(np.float64)
    up, down = ratio.numerator, ratio.denominator
    # Each worker collects all tests, and scipy.signal takes 0.5 s to load.
    from scipy.signal import upfirdn

    return upfirdn(_prototype(up, down, zeros), pcm, up, down)[: len(pcm) * up // down]


def delay(in_rate: int, out_rate: int) -> Fraction:
    """Return the delay in seconds: 24 or, for a factor of six, 28 samples at the lower rate."""
    if in_rate == out_rate:
        return Fraction(0)
    lower, higher = sorted((in_rate, out_rate))
    return Fraction(28 if higher == 6 * lower else 24, lower)


def delay_outputs(in_rate: int, out_rate: int) -> int:
    """Return the number of samples that `flush` returns: the rounded delay."""
    return round(delay(in_rate, out_rate) * out_rate)


def tone(frequency: float, rate: int, seconds: float, amplitude: float = MINUS_1_DBFS) -> bytes:
    """Return a sine as PCM, rounded to 16 bits; the sine starts at phase 0."""
    time = np.arange(round(seconds * rate)) / rate
    return np.rint(amplitude * np.sin(2 * np.pi * frequency * time)).astype("<i2").tobytes()


def samples(pcm: bytes) -> Signal:
    """Convert PCM to floats."""
    return np.frombuffer(pcm, "<i2").astype(np.float64)


def steady(signal: Signal, rate: int) -> Signal:
    """Return the signal without its first 20 ms, because the filter settles in this time."""
    return signal[rate // 50 :]


def phasor(signal: Signal, frequency: float, rate: int) -> complex:
    """Return the sine of `frequency`, fitted by least squares, as a complex amplitude."""
    angle = 2 * np.pi * frequency / rate * np.arange(len(signal))
    basis = np.column_stack([np.cos(angle), np.sin(angle)])
    (cosine, sine), *_ = np.linalg.lstsq(basis, signal, rcond=None)
    return complex(cosine, -sine)


def without(signal: Signal, frequency: float, rate: int) -> Signal:
    """Return the signal minus its sine of `frequency`."""
    angle = 2 * np.pi * frequency / rate * np.arange(len(signal))
    return signal - np.real(phasor(signal, frequency, rate) * np.exp(1j * angle))


def sinad(signal: Signal, frequency: float, rate: int) -> float:
    """Return the power of the sine over the power of the rest of the signal in dB."""
    rest = without(signal, frequency, rate)
    return decibels(np.mean((signal - rest) ** 2) / np.mean(rest**2)) / 2


def decibels(ratio: float) -> float:
    """Convert an amplitude ratio to dB."""
    return float(20 * np.log10(max(ratio, 1e-20)))
