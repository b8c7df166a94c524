"""Adds noise to recorded speech, and converts the speech as in a telephone call to 8 kHz."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pipecat_genesys.audio import InboundAudio
from scipy.signal import butter, resample_poly, sosfilt
from signals import ulaw_codes

from .labelled import RATE, Recording

Samples = NDArray[np.float64]
WIRE_RATE = 8000
CODINGS = ("PCMU", "L16")
NOISES = ("white", "modulated", "babble", "machine")
SNRS = (20, 10, 5)
_BABBLE_VOICES = 6


def noisy(recordings: Sequence[Recording], noise: str, snr: float) -> list[Samples]:
    """Return the recordings with noise added.

    Args:
        recordings: Clean recordings.
        noise: One of `NOISES`, or an empty string for none.
        snr: Ratio of the power of the speech segments to the power of the noise, in dB.
    """
    if not noise:
        return [recording.samples for recording in recordings]
    mixed = []
    for number, recording in enumerate(recordings):
        make: Callable[..., Samples] = _MAKERS[noise]
        random = np.random.default_rng(number)
        added = make(random, len(recording.samples), recordings, number)
        spoken = np.concatenate(
            [recording.samples[int(a * RATE) : int(b * RATE)] for a, b in recording.speech]
        )
        gain = np.sqrt(np.mean(spoken**2) / np.mean(added**2) / 10 ** (snr / 10))
        mixed.append(recording.samples + gain * added)
    return mixed


def through_telephone(samples: Samples, coding: str, rate: int) -> bytes:
    """Return the audio that a pipeline receives by telephone: 16-bit PCM, resampled from 8 kHz.

    Args:
        samples: Samples at 16 kHz.
        coding: One of `CODINGS`.
        rate: Input sample rate of the pipeline in Hz.
    """
    narrow = np.clip(np.rint(resample_poly(samples, 1, RATE // WIRE_RATE)), -32768, 32767)
    wire = ulaw_codes(narrow) if coding == "PCMU" else narrow.astype("<i2")
    [pcm] = InboundAudio(coding, 1, rate).process(wire.tobytes())
    return pcm


def _white(random: np.random.Generator, length: int, *_: Any) -> Samples:
    return random.standard_normal(length)


def _modulated(random: np.random.Generator, length: int, *_: Any) -> Samples:
    """Return low-frequency noise whose amplitude changes at the rate of syllables."""
    low = sosfilt(butter(2, 600, fs=RATE, output="sos"), random.standard_normal(length))
    envelope = sosfilt(butter(2, 4, fs=RATE, output="sos"), random.standard_normal(length))
    return np.asarray(low * np.abs(envelope))


def _babble(
    random: np.random.Generator, length: int, recordings: Sequence[Recording], own: int
) -> Samples:
    """Return the sum of several other voices, which are played backwards."""
    others = [number for number in range(len(recordings)) if number != own]
    chosen = random.choice(others, min(_BABBLE_VOICES, len(others)), replace=False)
    total = np.zeros(length)
    for number in chosen:
        voice = recordings[number].samples[::-1]
        voice = np.resize(voice, length + len(voice))[int(random.integers(len(voice))) :][:length]
        total += voice / (np.std(voice) + 1)
    return total


def _machine(random: np.random.Generator, length: int, *_: Any) -> Samples:
    """Return the sum of a 100 Hz hum with its harmonics and low-frequency noise."""
    time = np.arange(length) / RATE
    hum = sum(
        np.sin(2 * np.pi * 100 * n * time + random.uniform(0, 6.28)) / n for n in range(1, 16)
    )
    low = sosfilt(butter(1, 300, fs=RATE, output="sos"), random.standard_normal(length))
    return np.asarray(hum + 3 * low)


_MAKERS: dict[str, Callable[..., Samples]] = {
    "white": _white,
    "modulated": _modulated,
    "babble": _babble,
    "machine": _machine,
}
