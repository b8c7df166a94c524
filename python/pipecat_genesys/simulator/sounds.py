"""Audio to call with where there is no recording: tones, silence, and something like speech.

All of it is 8 kHz mu-law, and the same in every run.
"""

from __future__ import annotations

import math
import random
from array import array
from collections.abc import Iterable
from sys import byteorder

from pipecat_genesys import audio
from pipecat_genesys.protocol.types import WIRE_SAMPLE_RATE

_PEAK = 32767
_HARMONICS = 16
_FORMANTS = ((500, 1.0, 120), (1500, 0.5, 200), (2500, 0.25, 300))
"""Centre and strength and width of what makes a buzz sound like a vowel, frequencies in Hz."""


def silence(seconds: float) -> bytes:
    """Nothing to be heard."""
    return b"\xff" * _samples(seconds)


def tone(frequency: float, seconds: float, level: float = -12.0) -> bytes:
    """A sine.

    Args:
        frequency: In Hz, below 4000.
        seconds: How long.
        level: Its peak in dB below full scale.

    Raises:
        ValueError: If there is no such tone at 8 kHz.
    """
    if not 0 < frequency < WIRE_SAMPLE_RATE / 2:
        raise ValueError(f"a tone at 8 kHz is between 0 and 4000 Hz, got {frequency:g}")
    step = math.tau * frequency / WIRE_SAMPLE_RATE
    peak = _PEAK * 10 ** (level / 20)
    return _ulaw(peak * math.sin(step * n) for n in range(_samples(seconds)))


def speech_like(seconds: float, seed: int = 1, level: float = -12.0) -> bytes:
    """Voiced syllables with gaps between them, which detectors of speech take for a voice.

    Args:
        seconds: How long.
        seed: Another seed is another speaker who says something else.
        level: Its peak in dB below full scale, about.
    """
    dice = random.Random(seed)  # noqa: S311 - nothing here is secret
    wanted = _samples(seconds)
    speaker = dice.uniform(100, 220)
    samples: list[float] = []
    while len(samples) < wanted:
        length = round(dice.uniform(0.12, 0.28) * WIRE_SAMPLE_RATE)
        pitch = speaker * dice.uniform(0.9, 1.15)
        shift = dice.uniform(0.8, 1.25)
        partials = [
            (math.tau * pitch * k / WIRE_SAMPLE_RATE, _resonance(pitch * k, shift))
            for k in range(1, _HARMONICS + 1)
            if pitch * k < 3400
        ]
        total = sum(strength for _, strength in partials)
        for n in range(length):
            swell = math.sin(math.pi * n / length)
            buzz = sum(strength * math.sin(step * n) for step, strength in partials)
            samples.append(swell * buzz / total)
        gap = dice.uniform(0.02, 0.06) if dice.random() < 0.8 else dice.uniform(0.15, 0.3)
        samples += [0.0] * round(gap * WIRE_SAMPLE_RATE)
    peak = _PEAK * 10 ** (level / 20)
    loudest = max(map(abs, samples), default=1.0)
    return _ulaw(peak * sample / loudest for sample in samples[:wanted])


def _resonance(frequency: float, shift: float) -> float:
    return sum(
        strength / (1 + ((frequency - shift * centre) / width) ** 2)
        for centre, strength, width in _FORMANTS
    )


def _samples(seconds: float) -> int:
    if seconds < 0:
        raise ValueError(f"a sound lasts some seconds, got {seconds:g}")
    return round(seconds * WIRE_SAMPLE_RATE)


def _ulaw(samples: Iterable[float]) -> bytes:
    pcm = array("h", (round(sample) for sample in samples))
    if byteorder == "big":
        pcm.byteswap()
    return audio.ulaw_encode(pcm.tobytes())
