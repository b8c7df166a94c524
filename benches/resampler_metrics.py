"""Quality of a resampler, measured on its 16-bit output.

A resampler runs as a stream of 20 ms packets, as in a call. The input is a sine rounded to 16 bits.
The gain is the amplitude of the best-fitting sine in the output, divided by the amplitude of the
input. The residual is the output minus the best-fitting sine: images, noise and distortion.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from pipecat_genesys.audio import Resampler
from resamplers import OTHER_RESAMPLERS, MakeStream
from signals import Samples, measure_lag, pcm_bytes, pcm_samples, repeating_noise, split

PACKETS_PER_SECOND = 50
# Level that is reported for a signal of zeros.
SILENCE_DB = -200.0
MINUS_1_DBFS = 32767 * 10 ** (-1 / 20)
# The frequencies in Hz for which the package specifies its quality, at 8000 Hz.
BAND = (300, 3400)
# Duration of the beginning of the output that is skipped: longer than any filter.
_SETTLING_SECONDS = 0.1
# Every resampler returns at least this duration of output after the settling time, for one second
# of input.
_EVALUATED_SECONDS = 0.5
# Minimum correlation of the output with the expected signal. Linear interpolation, the worst
# resampler, has a higher correlation.
_LOWEST_CORRELATION = 0.85

RESAMPLERS: dict[str, MakeStream] = {
    "ours": lambda in_rate, out_rate: Resampler(in_rate, out_rate).process,
    **OTHER_RESAMPLERS,
}


def decibels(ratio: float) -> float:
    """Convert a ratio of amplitudes to dB."""
    return float(max(20 * np.log10(ratio), SILENCE_DB)) if ratio > 0 else SILENCE_DB


def sine(hz: float, rate: int, amplitude: float = MINUS_1_DBFS) -> Samples:
    """Return one second of a sine, rounded to 16 bits."""
    return np.rint(amplitude * np.sin(2 * np.pi * hz / rate * np.arange(rate)))


def resample_in_packets(
    make_stream: MakeStream, samples: Samples, in_rate: int, out_rate: int
) -> Samples:
    """Pass samples through a new stream in packets of 20 ms; return all output."""
    stream = make_stream(in_rate, out_rate)
    packets = split(pcm_bytes(samples), 2 * (in_rate // PACKETS_PER_SECOND))
    return pcm_samples(b"".join(stream(packet) for packet in packets))


def delay(make_stream: MakeStream, in_rate: int, out_rate: int) -> tuple[float, float]:
    """Return the mean and the maximum delay of a stream in milliseconds.

    The delay is the lag of the content plus the audio that the stream holds back, which is measured
    after each packet of 20 ms.
    """
    stream = make_stream(in_rate, out_rate)
    noise = np.tile(repeating_noise(in_rate), 4)
    out, held, samples_in, samples_out = [], [], 0, 0
    for packet in split(pcm_bytes(noise), 2 * (in_rate // PACKETS_PER_SECOND)):
        out.append(pcm_samples(stream(packet)))
        samples_in += len(packet) // 2
        samples_out += len(out[-1])
        held.append(samples_in / in_rate - samples_out / out_rate)
    lag, correlation = measure_lag(np.concatenate(out), out_rate)
    assert correlation > _LOWEST_CORRELATION, (
        f"the output is not the test signal (correlation {correlation})"
    )
    held = held[PACKETS_PER_SECOND:]
    return 1000 * (lag + sum(held) / len(held)), 1000 * (lag + max(held))


def settled(samples: Samples, rate: int) -> Samples:
    """Return half a second of a one-second output, after the filter has filled."""
    begin = round(_SETTLING_SECONDS * rate)
    middle = samples[begin : begin + round(_EVALUATED_SECONDS * rate)]
    assert len(middle) == round(_EVALUATED_SECONDS * rate), "the stream holds back too much"
    return middle


def fit_sines(samples: Samples, rate: int, *hz: float) -> tuple[Samples, Samples]:
    """Fit sines to a signal by least squares; return their amplitudes and the residual."""
    basis = _sine_basis(hz, rate, len(samples))
    weights = np.linalg.solve(basis.T @ basis, basis.T @ samples)
    return np.hypot(*weights.reshape(2, -1)), samples - basis @ weights


@lru_cache(maxsize=16)
def _sine_basis(hz: tuple[float, ...], rate: int, length: int) -> NDArray[np.float64]:
    angles = 2 * np.pi / rate * np.outer(np.arange(length), hz)
    return np.hstack([np.cos(angles), np.sin(angles)])


@dataclass(frozen=True)
class Response:
    """Output of a resampler for a tone of -1 dBFS.

    Attributes:
        gain_db: Gain of the tone.
        images: Level of each image relative to the input tone in dB, by frequency in Hz.
        residual: Output without the tone, relative to the amplitude of the input tone.
    """

    gain_db: float
    images: dict[float, float]
    residual: Samples


def response(make_stream: MakeStream, hz: float, in_rate: int, out_rate: int) -> Response:
    """Measure the response to a tone."""
    samples = sine(hz, in_rate)
    (amplitude,), _ = fit_sines(settled(samples, in_rate), in_rate, hz)
    out = resample_in_packets(make_stream, samples, in_rate, out_rate)
    out = settled(out, out_rate) / amplitude
    image_hz = list(_mirror_frequencies(hz, in_rate, out_rate))
    (gain, *image_levels), _ = fit_sines(out, out_rate, hz, *image_hz)
    images = dict(zip(image_hz, map(decibels, image_levels), strict=True))
    return Response(decibels(gain), images, fit_sines(out, out_rate, hz)[1])


def aliases(make_stream: MakeStream, hz: float, in_rate: int, out_rate: int) -> dict[float, float]:
    """Return the level in dB at which each higher tone appears at `hz` in the output."""
    levels = {}
    for alias_hz in _mirror_frequencies(hz, out_rate, in_rate):
        out = resample_in_packets(make_stream, sine(alias_hz, in_rate), in_rate, out_rate)
        (level,), _ = fit_sines(settled(out, out_rate) / MINUS_1_DBFS, out_rate, hz)
        levels[alias_hz] = decibels(level)
    return levels


def _mirror_frequencies(hz: float, lower_rate: int, higher_rate: int) -> Iterable[float]:
    """Yield the frequencies that are equal to `hz` when sampled at the lower rate.

    The frequencies are limited to half the higher rate.
    """
    for centre in range(lower_rate, (higher_rate + lower_rate) // 2, lower_rate):
        yield from (mirror for mirror in (centre - hz, centre + hz) if mirror < higher_rate / 2)


def spurious(
    make_stream: MakeStream, hz: float, in_rate: int, out_rate: int
) -> tuple[float, float]:
    """Return level in dB and frequency in Hz of the loudest image or alias of a tone."""
    if out_rate > in_rate:
        levels = response(make_stream, hz, in_rate, out_rate).images
    else:
        levels = aliases(make_stream, hz, in_rate, out_rate)
    return max(((level, at) for at, level in levels.items()), default=(SILENCE_DB, 0.0))


def sinad(make_stream: MakeStream, hz: float, in_rate: int, out_rate: int) -> float:
    """Return the ratio of the power of a -1 dBFS tone to the remaining output power, in dB."""
    measured = response(make_stream, hz, in_rate, out_rate)
    return measured.gain_db - decibels(float(np.sqrt(np.mean(measured.residual**2) * 2)))


def power_above(
    make_stream: MakeStream, hz: float, in_rate: int, out_rate: int, edge_hz: float
) -> float:
    """Return the output's power above `edge_hz`, relative to the input tone, in dB."""
    residual = response(make_stream, hz, in_rate, out_rate).residual
    window = np.blackman(len(residual))
    power = np.abs(np.fft.rfft(residual * window)) ** 2
    above = power[np.fft.rfftfreq(len(residual), 1 / out_rate) > edge_hz].sum()
    # By Parseval's theorem, the sum of the squared spectrum gives the power. The power of a tone is
    # half its squared amplitude.
    mean_square = 2 * above / (len(residual) * np.sum(window**2))
    return decibels(float(np.sqrt(2 * mean_square)))
