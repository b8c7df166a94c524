"""What the benchmarks feed in, and what must come out, computed from formulas alone.

Nothing here calls the package, audioop or soxr: a competitor that computes nonsense quickly must
not be able to bring its own yardstick.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import upfirdn

Samples = NDArray[np.float64]
Codes = NDArray[np.uint8]

WIRE_RATE = 8000
# The usual 1 kHz test tone: 1000 Hz itself would visit only eight values at 8000 Hz.
TONE_HZ = 1004
# Whole periods of the tone, so that a mean over it is a projection.
_TONE_WINDOW_SECONDS = 0.25
_AMPLITUDE = 32767 * 10 ** (-6 / 20)
ZEROS, _FEW_ZEROS = 24, 8
_KAISER_BETA = 11.16
# The length of a second-long repeat that is looked at, when all filters are full.
_SECOND = 2
# Samples to either side of the best lag so far, coarse and then fine.
_LAG_REACHES = (1.0, 0.05)
_LAG_STEPS = 41


def tone(rate: int, seconds: int) -> Samples:
    """The test tone, rounded to 16 bits. It ends where it began: repeats join without a seam."""
    time = np.arange(rate * seconds) / rate
    return np.rint(_AMPLITUDE * np.sin(2 * np.pi * TONE_HZ * time))


def pcm_bytes(pcm: Samples) -> bytes:
    """16-bit little-endian."""
    return np.clip(np.rint(pcm), -32768, 32767).astype("<i2").tobytes()


def pcm_samples(pcm: bytes) -> Samples:
    """16-bit little-endian, as numbers."""
    return np.frombuffer(pcm, "<i2").astype(np.float64)


def ulaw_samples(codes: bytes | Codes) -> Samples:
    """G.711 mu-law to linear: sign, three bits of exponent, four of mantissa, bias 132."""
    bits = ~np.frombuffer(codes, np.uint8)
    magnitude = ((((bits & 15) << 3).astype(np.int32) + 132) << ((bits >> 4) & 7)) - 132
    return np.where(bits & 128, -magnitude, magnitude).astype(np.float64)


def ulaw_codes(pcm: Samples) -> Codes:
    """Linear to G.711 mu-law, which sees the upper 14 of the 16 bits."""
    linear = np.clip(np.rint(pcm), -32768, 32767).astype(np.int32) >> 2
    magnitude = np.minimum(np.abs(linear), 8158) + 33
    exponent = np.floor(np.log2(magnitude)).astype(np.int32) - 5
    mantissa = (magnitude >> (exponent + 1)) & 15
    bits = (exponent << 4) | mantissa | np.where(linear < 0, 128, 0)
    return (~bits & 255).astype(np.uint8)


def ulaw_steps(codes: bytes | Codes) -> NDArray[np.int32]:
    """Codes as rungs of a ladder: neighbours differ by 1, both zeros are 0."""
    bits = (~np.frombuffer(codes, np.uint8)).astype(np.int32)
    return np.where(bits & 128, -(bits & 127), bits & 127)


def resampled(pcm: Samples, in_rate: int, out_rate: int) -> Samples:
    """The contract's filter in double precision, for rates of which one divides the other.

    A Nyquist filter: sinc with its zeros at the lower rate's samples, under a Kaiser window, 24
    zeros to either side, every phase with a gain of 1 at 0 Hz. Its delay, half its length, is kept:
    24 samples at the lower rate. Six times is two such filters, the one beside the higher rate with
    8 zeros to either side.
    """
    if in_rate == out_rate:
        return pcm
    if out_rate == 6 * in_rate:
        return _filtered(_filtered(pcm, 2, 1, ZEROS), 3, 1, _FEW_ZEROS)
    if in_rate == 6 * out_rate:
        return _filtered(_filtered(pcm, 1, 3, _FEW_ZEROS), 1, 2, ZEROS)
    return _filtered(pcm, max(1, out_rate // in_rate), max(1, in_rate // out_rate), ZEROS)


def taps(up: int, down: int, zeros: int) -> Samples:
    """One such filter."""
    factor = max(up, down)
    position = np.arange(-zeros * factor, zeros * factor + 1)
    windowed = np.sinc(position / factor) * np.kaiser(len(position), _KAISER_BETA)
    for phase in range(up):
        windowed[phase::up] /= windowed[phase::up].sum()
    return windowed


def delay_ms(in_rate: int, out_rate: int) -> float:
    """What these filters delay."""
    if in_rate == out_rate:
        return 0.0
    lower, higher = sorted((in_rate, out_rate))
    return (ZEROS + (_FEW_ZEROS / 2 if higher == 6 * lower else 0)) * 1000 / lower


def _filtered(pcm: Samples, up: int, down: int, zeros: int) -> Samples:
    return upfirdn(taps(up, down, zeros), pcm, up, down)[: len(pcm) * up // down]


def tone_sinad(signal: Samples, rate: int) -> float:
    """Power of the best-fitting test tone over the power of all else, in dB."""
    window = round(_TONE_WINDOW_SECONDS * rate)
    signal = signal[: len(signal) // window * window]
    if not np.any(signal):
        return -np.inf
    wanted = 2 * abs(np.mean(signal * _spinner(rate, len(signal)))) ** 2
    rest = np.mean(signal**2) - wanted
    return float(10 * np.log10(wanted / rest)) if rest > 0 else np.inf


@cache
def _spinner(rate: int, length: int) -> NDArray[np.complex128]:
    return np.exp(-2j * np.pi * TONE_HZ / rate * np.arange(length))


def cut(data: bytes, size: int) -> list[bytes]:
    """Data in pieces of `size` bytes."""
    return [data[start : start + size] for start in range(0, len(data), size)]


def noise(rate: int, seed: int = 1) -> Samples:
    """One second of 300-3400 Hz noise that repeats; the same signal whatever the rate."""
    rng: Any = np.random.default_rng(seed)
    spectrum = np.zeros(rate // 2 + 1, np.complex128)
    spectrum[300:3401] = np.exp(2j * np.pi * rng.random(3101))
    signal = np.fft.irfft(spectrum, rate) * rate
    return signal * (8000 / np.sqrt(2 * 3101))


def lag(out: Samples, rate: int) -> tuple[float, float]:
    """Seconds by which repeated `noise` is behind the ideal, and how alike they are at that lag."""
    got = np.fft.rfft(out[_SECOND * rate : (_SECOND + 1) * rate])
    ideal = np.fft.rfft(noise(rate))
    cross = got * np.conj(ideal)
    near = int(np.argmax(np.fft.irfft(cross, rate)))
    near -= rate if near > rate // 2 else 0
    band = np.arange(300, 3401)
    spectrum = cross[band] / (np.linalg.norm(got[band]) * np.linalg.norm(ideal[band]))
    # Both are band-limited, so the correlation is exact between the samples as well.
    best_lag, likeness = near / rate, 0.0
    for reach in _LAG_REACHES:
        lags = best_lag + np.linspace(-reach, reach, _LAG_STEPS) / rate
        correlation = np.real(np.exp(2j * np.pi * np.outer(lags, band)) @ spectrum)
        best = int(np.argmax(correlation))
        best_lag, likeness = float(lags[best]), float(correlation[best])
    return best_lag, likeness
