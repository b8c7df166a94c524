"""An independent model of the resampler, and the measurements made on its output.

The model is the contract's filter built with numpy and run by scipy in double
precision; it shares no code and no constant table with the native module.
"""

from fractions import Fraction
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.signal import upfirdn

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
    """Every output that is due by the length law, exact, neither rounded nor clipped.

    Six times is two times and three times; what is between the two filters is clipped to 16 bits.
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
    return upfirdn(_prototype(up, down, zeros), pcm, up, down)[: len(pcm) * up // down]


def delay(in_rate: int, out_rate: int) -> Fraction:
    """Delay in seconds: 24 samples at the lower rate, and 4 more where there are two filters."""
    if in_rate == out_rate:
        return Fraction(0)
    lower, higher = sorted((in_rate, out_rate))
    return Fraction(28 if higher == 6 * lower else 24, lower)


def delay_outputs(in_rate: int, out_rate: int) -> int:
    """Samples that `flush` owes: the delay, exactly, to the nearest."""
    return round(delay(in_rate, out_rate) * out_rate)


def tone(frequency: float, rate: int, seconds: float, amplitude: float = MINUS_1_DBFS) -> bytes:
    """A sine as PCM, rounded, beginning at phase 0."""
    time = np.arange(round(seconds * rate)) / rate
    return np.rint(amplitude * np.sin(2 * np.pi * frequency * time)).astype("<i2").tobytes()


def samples(pcm: bytes) -> Signal:
    """PCM as numbers."""
    return np.frombuffer(pcm, "<i2").astype(np.float64)


def steady(signal: Signal, rate: int) -> Signal:
    """The signal without the filter's beginning: 20 ms, several times its length."""
    return signal[rate // 50 :]


def phasor(signal: Signal, frequency: float, rate: int) -> complex:
    """Amplitude and phase of the sine of that frequency, by least squares."""
    angle = 2 * np.pi * frequency / rate * np.arange(len(signal))
    basis = np.column_stack([np.cos(angle), np.sin(angle)])
    (cosine, sine), *_ = np.linalg.lstsq(basis, signal, rcond=None)
    return complex(cosine, -sine)


def without(signal: Signal, frequency: float, rate: int) -> Signal:
    """The signal less the sine of that frequency."""
    angle = 2 * np.pi * frequency / rate * np.arange(len(signal))
    return signal - np.real(phasor(signal, frequency, rate) * np.exp(1j * angle))


def sinad(signal: Signal, frequency: float, rate: int) -> float:
    """Power of the sine over the power of all else, in dB."""
    rest = without(signal, frequency, rate)
    return decibels(np.mean((signal - rest) ** 2) / np.mean(rest**2)) / 2


def decibels(ratio: float) -> float:
    """An amplitude ratio in dB."""
    return float(20 * np.log10(max(ratio, 1e-20)))
