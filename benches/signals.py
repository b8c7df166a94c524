"""Test signals and their expected results, computed from formulas.

This module does not use the package, audioop or soxr, because a reference must not be computed by
a resampler that is compared with it.
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
# The usual test tone has 1000 Hz. At 8000 Hz it repeats the same eight samples, so it tests few
# values.
TONE_HZ = 1004
# Duration of a whole number of periods of the tone, so that the mean over the window gives the
# tone's amplitude exactly.
_TONE_WINDOW_SECONDS = 0.25
_TONE_AMPLITUDE = 32767 * 10 ** (-6 / 20)
# Number of zero crossings of a filter's sinc on each side of its centre: for the filter at the
# lower rate, and for the second filter of a cascade.
ZERO_CROSSINGS, _SECOND_STAGE_ZERO_CROSSINGS = 24, 8
_KAISER_BETA = 11.16
# Index of the second that is evaluated in a repeated one-second signal. All filters have enough
# input before this second.
_EVALUATED_SECOND = 2
# `measure_lag` searches this many samples on each side of its last estimate: first in a coarse
# search, then in a fine search.
_LAG_SEARCH_SAMPLES = (1.0, 0.05)
_LAG_SEARCH_STEPS = 41
_SPEECH_BAND_HZ = (300, 3400)
_SPEECH_LEVEL = 5000
_MATCH_THRESHOLD = 0.9


def tone(rate: int, seconds: int) -> Samples:
    """Return the test tone rounded to 16 bits; the signal can be repeated without a step."""
    time = np.arange(rate * seconds) / rate
    return np.rint(_TONE_AMPLITUDE * np.sin(2 * np.pi * TONE_HZ * time))


def repeating_noise(rate: int, seed: int = 1) -> Samples:
    """Return one second of 300-3400 Hz noise that can be repeated; the same signal at any rate."""
    rng: Any = np.random.default_rng(seed)
    spectrum = np.zeros(rate // 2 + 1, np.complex128)
    spectrum[300:3401] = np.exp(2j * np.pi * rng.random(3101))
    signal = np.fft.irfft(spectrum, rate) * rate
    return signal * (8000 / np.sqrt(2 * 3101))


def speech_band_noise(samples: int, seed: int = 1) -> Samples:
    """Return 300-3400 Hz noise at 8000 Hz that does not repeat."""
    rng = np.random.default_rng(seed)
    spectrum = np.fft.rfft(rng.normal(0, 1, samples))
    frequency = np.fft.rfftfreq(samples, 1 / WIRE_RATE)
    lowest, highest = _SPEECH_BAND_HZ
    spectrum[(frequency < lowest) | (frequency > highest)] = 0
    signal = np.fft.irfft(spectrum, samples)
    return np.asarray(signal * (_SPEECH_LEVEL / np.std(signal)), np.float64)


def find_segment(signal: Samples, segment: Samples, first: int, last: int) -> int | None:
    """Locate a segment in a signal by normalised cross-correlation.

    Args:
        signal: The signal to search.
        segment: The samples to find.
        first: First start position to try.
        last: Last start position to try.

    Returns:
        The best start position, or None if the correlation is 0.9 or less at all positions.
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


def pcm_bytes(samples: Samples) -> bytes:
    """Encode samples as 16-bit little-endian PCM; values out of range are clipped."""
    return np.clip(np.rint(samples), -32768, 32767).astype("<i2").tobytes()


def pcm_samples(pcm: bytes) -> Samples:
    """Decode 16-bit little-endian PCM."""
    return np.frombuffer(pcm, "<i2").astype(np.float64)


def ulaw_samples(codes: bytes | Codes) -> Samples:
    """Decode G.711 mu-law: sign, three bits of exponent, four bits of mantissa, bias 132."""
    bits = ~np.frombuffer(codes, np.uint8)
    magnitude = ((((bits & 15) << 3).astype(np.int32) + 132) << ((bits >> 4) & 7)) - 132
    return np.where(bits & 128, -magnitude, magnitude).astype(np.float64)


def ulaw_codes(samples: Samples) -> Codes:
    """Encode 16-bit samples as G.711 mu-law, which uses the upper 14 bits."""
    linear = np.clip(np.rint(samples), -32768, 32767).astype(np.int32) >> 2
    magnitude = np.minimum(np.abs(linear), 8158) + 33
    exponent = np.floor(np.log2(magnitude)).astype(np.int32) - 5
    mantissa = (magnitude >> (exponent + 1)) & 15
    bits = (exponent << 4) | mantissa | np.where(linear < 0, 128, 0)
    return (~bits & 255).astype(np.uint8)


def ulaw_levels(codes: bytes | Codes) -> NDArray[np.int32]:
    """Number the quantisation levels of mu-law codes: neighbours differ by 1, both zeros are 0."""
    bits = (~np.frombuffer(codes, np.uint8)).astype(np.int32)
    return np.where(bits & 128, -(bits & 127), bits & 127)


def split(data: bytes, size: int) -> list[bytes]:
    """Split data into pieces of `size` bytes; the last piece may be shorter."""
    return [data[start : start + size] for start in range(0, len(data), size)]


def resampled(samples: Samples, in_rate: int, out_rate: int) -> Samples:
    """Resample in double precision with the filter that the package specifies.

    One rate must divide the other. The filter is a Nyquist filter: a sinc whose zero crossings are
    the samples of the lower rate, under a Kaiser window, with 24 zero crossings on each side and a
    gain of 1 at 0 Hz for every phase. A factor of six uses two filters; the filter next to the
    higher rate has 8 zero crossings on each side. The result includes the delay of the filters: 24
    samples of the lower rate; 28 for a factor of six.
    """
    if in_rate == out_rate:
        return samples
    if out_rate == 6 * in_rate:
        half = _filtered(samples, 2, 1, ZERO_CROSSINGS)
        return _filtered(half, 3, 1, _SECOND_STAGE_ZERO_CROSSINGS)
    if in_rate == 6 * out_rate:
        half = _filtered(samples, 1, 3, _SECOND_STAGE_ZERO_CROSSINGS)
        return _filtered(half, 1, 2, ZERO_CROSSINGS)
    up, down = max(1, out_rate // in_rate), max(1, in_rate // out_rate)
    return _filtered(samples, up, down, ZERO_CROSSINGS)


def filter_taps(up: int, down: int, zero_crossings: int) -> Samples:
    """Return the taps of one windowed-sinc filter.

    Args:
        up: Interpolation factor.
        down: Decimation factor.
        zero_crossings: Zero crossings of the sinc on each side of its centre.
    """
    factor = max(up, down)
    position = np.arange(-zero_crossings * factor, zero_crossings * factor + 1)
    taps = np.sinc(position / factor) * np.kaiser(len(position), _KAISER_BETA)
    for phase in range(up):
        taps[phase::up] /= taps[phase::up].sum()
    return taps


def delay_ms(in_rate: int, out_rate: int) -> float:
    """Return the delay of the specified filter in milliseconds."""
    if in_rate == out_rate:
        return 0.0
    lower, higher = sorted((in_rate, out_rate))
    second_stage = _SECOND_STAGE_ZERO_CROSSINGS / 2 if higher == 6 * lower else 0
    return (ZERO_CROSSINGS + second_stage) * 1000 / lower


def _filtered(samples: Samples, up: int, down: int, zero_crossings: int) -> Samples:
    taps = filter_taps(up, down, zero_crossings)
    return upfirdn(taps, samples, up, down)[: len(samples) * up // down]


def tone_sinad(samples: Samples, rate: int) -> float:
    """Return the ratio of the power of the best-fitting test tone to the remaining power, in dB."""
    window = round(_TONE_WINDOW_SECONDS * rate)
    samples = samples[: len(samples) // window * window]
    if not np.any(samples):
        return -np.inf
    tone_power = 2 * abs(np.mean(samples * _tone_phasor(rate, len(samples)))) ** 2
    rest = np.mean(samples**2) - tone_power
    return float(10 * np.log10(tone_power / rest)) if rest > 0 else np.inf


@cache
def _tone_phasor(rate: int, length: int) -> NDArray[np.complex128]:
    return np.exp(-2j * np.pi * TONE_HZ / rate * np.arange(length))


def measure_lag(samples: Samples, rate: int) -> tuple[float, float]:
    """Measure the delay of a signal that is `repeating_noise`, repeated.

    Returns:
        The delay in seconds, and the normalised correlation at that delay.
    """
    second = samples[_EVALUATED_SECOND * rate : (_EVALUATED_SECOND + 1) * rate]
    actual, expected = np.fft.rfft(second), np.fft.rfft(repeating_noise(rate))
    nearest = int(np.argmax(np.fft.irfft(actual * np.conj(expected), rate)))
    nearest -= rate if nearest > rate // 2 else 0
    band = np.arange(300, 3401)
    cross_spectrum = (actual * np.conj(expected))[band]
    cross_spectrum /= np.linalg.norm(actual[band]) * np.linalg.norm(expected[band])
    # Both signals are band-limited, so the correlation is also exact at times between the samples.
    lag, correlation = nearest / rate, 0.0
    for reach in _LAG_SEARCH_SAMPLES:
        lags = lag + np.linspace(-reach, reach, _LAG_SEARCH_STEPS) / rate
        correlations = np.real(np.exp(2j * np.pi * np.outer(lags, band)) @ cross_spectrum)
        best = int(np.argmax(correlations))
        lag, correlation = float(lags[best]), float(correlations[best])
    return lag, correlation
