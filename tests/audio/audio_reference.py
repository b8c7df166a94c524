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
def _prototype(up: int, down: int) -> Signal:
    larger = max(up, down)
    half = 24 * larger
    taps = np.sinc(np.arange(-half, half + 1) / larger) * np.kaiser(2 * half + 1, 11.16)
    for branch in range(up):
        taps[branch::up] /= taps[branch::up].sum()
    return taps


def resample(pcm: Signal, in_rate: int, out_rate: int) -> Signal:
    """Every output that is due by the length law, exact, neither rounded nor clipped."""
    ratio = Fraction(out_rate, in_rate)
    if ratio == 1:
        return pcm.astype(np.float64)
    up, down = ratio.numerator, ratio.denominator
    return upfirdn(_prototype(up, down), pcm, up, down)[: len(pcm) * up // down]


def delay_outputs(in_rate: int, out_rate: int) -> int:
    """Samples that `flush` owes: the delay, exactly, to the nearest."""
    return round(Fraction(24 * out_rate, min(in_rate, out_rate))) if in_rate != out_rate else 0


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
