"""How good a resampler is, measured on the 16 bits that come out of it.

Everything is driven as a stream of 20 ms packets, as in a call, and judged by tones: the gain of
a tone is that of the sine that fits best, relative to the one that fits the input best, which
was rounded to 16 bits as well. What is left without it holds images, noise and distortion.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from peers import PEERS, Stream
from pipecat_genesys.audio import Resampler
from signals import Samples, cut, lag, noise, pcm_bytes, pcm_samples

Make = Callable[[int, int], Stream]

PACKETS_PER_SECOND = 50
# Stands for silence.
NOTHING_DB = -200.0
MINUS_1_DBFS = 32767 * 10 ** (-1 / 20)
# The band in which quality is promised, at 8000 Hz.
BAND = (300, 3400)
# Of a filter's beginning: longer than any of them is.
_START_SECONDS = 0.1
# The longest part that all competitors have delivered of a second.
_SECONDS = 0.5

COMPETITORS: dict[str, Make] = {
    "ours": lambda in_rate, out_rate: Resampler(in_rate, out_rate).process,
    **PEERS,
}


def decibels(ratio: float) -> float:
    """Of amplitudes."""
    return float(max(20 * np.log10(ratio), NOTHING_DB)) if ratio > 0 else NOTHING_DB


def sine(hz: float, rate: int, amplitude: float = MINUS_1_DBFS) -> Samples:
    """A second, rounded to 16 bits."""
    return np.rint(amplitude * np.sin(2 * np.pi * hz / rate * np.arange(rate)))


def streamed(make: Make, pcm: Samples, in_rate: int, out_rate: int) -> Samples:
    """What has come out when all of it has gone in."""
    stream = make(in_rate, out_rate)
    packets = cut(pcm_bytes(pcm), 2 * (in_rate // PACKETS_PER_SECOND))
    return pcm_samples(b"".join(stream(packet) for packet in packets))


def delay(make: Make, in_rate: int, out_rate: int) -> tuple[float, float]:
    """How late the audio is in ms, on average and at the worst: lag of the content plus what a
    stream has taken and not given yet, after each packet of 20 ms.
    """
    stream = make(in_rate, out_rate)
    packets = cut(pcm_bytes(np.tile(noise(in_rate), 4)), 2 * (in_rate // PACKETS_PER_SECOND))
    out, held, taken, given = [], [], 0, 0
    for packet in packets:
        out.append(pcm_samples(stream(packet)))
        taken += len(packet) // 2
        given += len(out[-1])
        held.append(taken / in_rate - given / out_rate)
    content, likeness = lag(np.concatenate(out), out_rate)
    # Straight lines between samples are that unlike.
    assert likeness > 0.85, f"not the signal that went in ({likeness})"
    held = held[PACKETS_PER_SECOND:]
    return 1000 * (content + sum(held) / len(held)), 1000 * (content + max(held))


def settled(signal: Samples, rate: int) -> Samples:
    """Half a second from the middle of a second."""
    begin = round(_START_SECONDS * rate)
    middle = signal[begin : begin + round(_SECONDS * rate)]
    assert len(middle) == round(_SECONDS * rate), "too much is held back"
    return middle


def fitted(signal: Samples, rate: int, *hz: float) -> tuple[Samples, Samples]:
    """Amplitudes of the sines that together fit best, and what is left without them."""
    basis = _basis(hz, rate, len(signal))
    weights = np.linalg.solve(basis.T @ basis, basis.T @ signal)
    return np.hypot(*weights.reshape(2, -1)), signal - basis @ weights


@lru_cache(maxsize=16)
def _basis(hz: tuple[float, ...], rate: int, length: int) -> NDArray[np.float64]:
    angles = 2 * np.pi / rate * np.outer(np.arange(length), hz)
    return np.hstack([np.cos(angles), np.sin(angles)])


@dataclass(frozen=True)
class Response:
    """What a tone of -1 dBFS becomes.

    Attributes:
        gain_db: Of the tone.
        images: Levels relative to what went in, in dB, by frequency.
        rest: What is left without the tone, relative to the amplitude of what went in.
    """

    gain_db: float
    images: dict[float, float]
    rest: Samples


def response(make: Make, hz: float, in_rate: int, out_rate: int) -> Response:
    """Send a tone through."""
    pcm = sine(hz, in_rate)
    (amplitude,), _ = fitted(settled(pcm, in_rate), in_rate, hz)
    out = settled(streamed(make, pcm, in_rate, out_rate), out_rate) / amplitude
    elsewhere = list(_around(hz, in_rate, out_rate))
    (got, *others), _ = fitted(out, out_rate, hz, *elsewhere)
    levels = dict(zip(elsewhere, map(decibels, others), strict=True))
    return Response(decibels(got), levels, fitted(out, out_rate, hz)[1])


def aliases(make: Make, hz: float, in_rate: int, out_rate: int) -> dict[float, float]:
    """How loud other tones come out as this one, in dB, by frequency."""
    levels = {}
    for other in _around(hz, out_rate, in_rate):
        out = settled(streamed(make, sine(other, in_rate), in_rate, out_rate), out_rate)
        (heard,), _ = fitted(out / MINUS_1_DBFS, out_rate, hz)
        levels[other] = decibels(heard)
    return levels


def _around(hz: float, lower: int, higher: int) -> Iterable[float]:
    """What lower sampling cannot tell from a tone, as far as higher sampling reaches."""
    for centre in range(lower, (higher + lower) // 2, lower):
        yield from (other for other in (centre - hz, centre + hz) if other < higher / 2)


def spurious(make: Make, hz: float, in_rate: int, out_rate: int) -> tuple[float, float]:
    """The worst image or alias that a tone gives or gets: its level, and where it is."""
    if out_rate > in_rate:
        levels = response(make, hz, in_rate, out_rate).images
    else:
        levels = aliases(make, hz, in_rate, out_rate)
    return max(((level, at) for at, level in levels.items()), default=(NOTHING_DB, 0.0))


def sinad(make: Make, hz: float, in_rate: int, out_rate: int) -> float:
    """Power of a tone of -1 dBFS over the power of all else, in dB."""
    came = response(make, hz, in_rate, out_rate)
    return came.gain_db - decibels(float(np.sqrt(np.mean(came.rest**2) * 2)))


def above(make: Make, hz: float, in_rate: int, out_rate: int, edge: float) -> float:
    """All power above a frequency relative to the tone that went in, in dB."""
    rest = response(make, hz, in_rate, out_rate).rest
    window = np.blackman(len(rest))
    power = np.abs(np.fft.rfft(rest * window)) ** 2
    beyond = power[np.fft.rfftfreq(len(rest), 1 / out_rate) > edge].sum()
    # Parseval, and half the tone's amplitude squared is its power.
    mean_square = 2 * beyond / (len(rest) * np.sum(window**2))
    return decibels(float(np.sqrt(2 * mean_square)))
