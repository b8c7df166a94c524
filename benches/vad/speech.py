"""Recorded speech of a caller for measurements of time, at any sample rate."""

from __future__ import annotations

import wave
from functools import cache

import numpy as np
import soxr
from report import ROOT

_RECORDINGS = ("caller-question", "caller-interrupt")
_PAUSE_SECONDS = 3.0
_PAUSE_LEVEL = 30.0


@cache
def caller_audio(rate: int) -> bytes:
    """Return about 12 s of 16-bit audio: two sentences, each followed by 3 s of faint noise."""
    random = np.random.default_rng(1)
    parts = []
    for name in _RECORDINGS:
        with wave.open(str(ROOT / "examples" / "audio" / f"{name}.wav")) as file:
            samples = np.frombuffer(file.readframes(file.getnframes()), np.int16)
            parts.append(soxr.resample(samples, file.getframerate(), rate).astype(np.int16))
        pause = random.standard_normal(round(rate * _PAUSE_SECONDS)) * _PAUSE_LEVEL
        parts.append(pause.astype(np.int16))
    return np.concatenate(parts).tobytes()


def caller_packets(rate: int, milliseconds: int, seconds: float, begin: float = 0.0) -> list[bytes]:
    """Return packets of a caller's audio, repeated as often as necessary.

    Args:
        rate: Sample rate in Hz.
        milliseconds: Duration of a packet.
        seconds: Duration of all packets.
        begin: Position in the audio of the first packet, in seconds.
    """
    size = rate * milliseconds // 1000 * 2
    count = round(seconds * 1000 / milliseconds)
    audio = caller_audio(rate)
    first = round(begin * rate) * 2 % len(audio)
    whole = (audio[first:] + audio[:first]) * (count * size // len(audio) + 1)
    return [whole[number * size : (number + 1) * size] for number in range(count)]
