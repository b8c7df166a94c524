"""Sounds for callers: read from WAV files, or generated. Also writes recordings of calls.

Caller audio is 8 kHz mu-law. Generated audio is the same in every run.
"""

from __future__ import annotations

import math
import os
import random
import wave
from array import array
from collections.abc import Iterable
from sys import byteorder
from typing import BinaryIO

from pipecat_genesys import audio
from pipecat_genesys.protocol.types import WIRE_SAMPLE_RATE

_PEAK = 32767
_HARMONICS = 16
_FORMANTS = ((500, 1.0, 120), (1500, 0.5, 200), (2500, 0.25, 300))
"""Centre frequency in Hz, strength and width in Hz of each formant of a vowel."""


# WAV files.


def read_wav(source: str | os.PathLike[str] | BinaryIO) -> bytes:
    """Read a WAV file as caller audio. A stereo file is mixed down to mono.

    Args:
        source: Path of the file, or a binary file open for reading. It has one or two channels and
            any sample rate. Encodings other than 16-bit PCM need the library soundfile.

    Returns:
        8 kHz mono mu-law. The delay of the resampler is removed.

    Raises:
        ValueError: If the file is not a WAV file with one or two channels, or if soundfile is
            needed and not installed.
        OSError: If the file cannot be opened.
    """
    channels, pcm, rate = _read(source)
    return audio.ulaw_encode(_to_wire_rate(audio.mix_stereo(pcm) if channels == 2 else pcm, rate))


def read_stereo_wav(source: str | os.PathLike[str] | BinaryIO) -> tuple[bytes, bytes]:
    """Read a stereo WAV file of a conversation, with one party on each channel.

    Args:
        source: As for `read_wav`, with two channels.

    Returns:
        The left and the right channel, each as returned by `read_wav`.

    Raises:
        ValueError: If the file is not a WAV file with two channels, or if soundfile is needed and
            not installed.
        OSError: If the file cannot be opened.
    """
    channels, pcm, rate = _read(source)
    if channels != 2:
        raise ValueError("expected a stereo file with one party on each channel, got a mono file")
    left, right = (_to_wire_rate(side, rate) for side in audio.split_stereo(pcm, 2))
    return audio.ulaw_encode(left), audio.ulaw_encode(right)


def write_wav(target: str | os.PathLike[str] | BinaryIO, caller_pcm: bytes, bot_pcm: bytes) -> None:
    """Write a call as a stereo WAV file: 16-bit PCM at 8 kHz, the caller left.

    Args:
        target: Path of the file, or a binary file open for writing.
        caller_pcm: Audio of the caller, 16-bit little-endian PCM.
        bot_pcm: Audio of the other party, 16-bit little-endian PCM. The shorter channel is padded
            with silence.

    Raises:
        OSError: If the file cannot be opened.
    """
    length = max(len(caller_pcm), len(bot_pcm))
    stereo = audio.merge_stereo(caller_pcm.ljust(length, b"\0"), bot_pcm.ljust(length, b"\0"), 2)
    opened = target if not isinstance(target, (str, os.PathLike)) else os.fspath(target)
    with wave.open(opened, "wb") as writer:
        writer.setnchannels(2)
        writer.setsampwidth(2)
        writer.setframerate(WIRE_SAMPLE_RATE)
        writer.writeframes(stereo)


def _read(source: str | os.PathLike[str] | BinaryIO) -> tuple[int, bytes, int]:
    """Return the number of channels, the samples as 16-bit PCM, and the sample rate of a file."""
    file = source if not isinstance(source, (str, os.PathLike)) else os.fspath(source)
    begin = file.tell() if not isinstance(file, str) else 0
    try:
        with wave.open(file, "rb") as reader:
            channels, width, rate = reader.getparams()[:3]
            pcm = reader.readframes(reader.getnframes()) if width == 2 else None
    except (wave.Error, EOFError):
        pcm = None
    if pcm is None:
        # The standard library reads only PCM, and returns samples of other widths unconverted.
        if not isinstance(file, str):
            file.seek(begin)
        channels, pcm, rate = _read_with_soundfile(file)
    if channels not in (1, 2):
        raise ValueError(f"expected a WAV file with 1 or 2 channels, got {channels}")
    return channels, pcm, rate


def _read_with_soundfile(file: str | BinaryIO) -> tuple[int, bytes, int]:
    """Read any WAV file that libsndfile supports, such as mu-law, float and 24-bit PCM."""
    try:
        # Imported here, because most WAV files have 16-bit PCM and do not need the libraries.
        import numpy as np
        import soundfile
    except (ImportError, OSError) as error:
        raise ValueError(
            f"not a WAV file of 16-bit PCM; other WAV files need soundfile ({error}): "
            "pip install 'pipecat-genesys[simulator]'"
        ) from None
    try:
        samples, rate = soundfile.read(file, dtype="float32", always_2d=True)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"not a WAV file: {error}") from None
    pcm = np.clip(np.rint(np.nan_to_num(samples) * 32768), -32768, 32767).astype("<i2")
    return samples.shape[1], pcm.tobytes(), rate


def _to_wire_rate(pcm: bytes, rate: int) -> bytes:
    if rate == WIRE_SAMPLE_RATE:
        return pcm
    resampler = audio.Resampler(rate, WIRE_SAMPLE_RATE)
    body = resampler.process(pcm)
    tail = resampler.flush()
    # The tail is as long as the delay of the resampler. Removing as many bytes at the front keeps
    # the length, and aligns the output with the input.
    return (body + tail)[len(tail) :]


# Generated sounds.


def silence(seconds: float) -> bytes:
    """Return mu-law silence of this duration.

    Raises:
        ValueError: If the duration is negative.
    """
    return b"\xff" * _samples(seconds)


def tone(frequency: float, seconds: float, level: float = -12.0) -> bytes:
    """Return a sine tone.

    Args:
        frequency: Frequency in Hz, below 4000.
        seconds: Duration.
        level: Peak level in dB relative to full scale.

    Raises:
        ValueError: If the frequency is out of range or the duration is negative.
    """
    if not 0 < frequency < WIRE_SAMPLE_RATE / 2:
        raise ValueError(f"a tone at 8 kHz is between 0 and 4000 Hz, got {frequency:g} Hz")
    step = math.tau * frequency / WIRE_SAMPLE_RATE
    peak = _PEAK * 10 ** (level / 20)
    return _ulaw(peak * math.sin(step * n) for n in range(_samples(seconds)))


def speech_like(seconds: float, seed: int = 1, level: float = -12.0) -> bytes:
    """Return sound with the rhythm and the spectrum of speech: voiced syllables with gaps.

    Args:
        seconds: Duration.
        seed: Seed of the random choices. Another seed gives another voice and other syllables.
        level: Approximate peak level in dB relative to full scale.

    Raises:
        ValueError: If the duration is negative.
    """
    dice = random.Random(seed)  # noqa: S311 - a secure generator is not necessary
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
    """Return the strength of a partial at this frequency; `shift` scales the formants."""
    return sum(
        strength / (1 + ((frequency - shift * centre) / width) ** 2)
        for centre, strength, width in _FORMANTS
    )


def _samples(seconds: float) -> int:
    if seconds < 0:
        raise ValueError(f"a duration must not be negative, got {seconds:g} s")
    return round(seconds * WIRE_SAMPLE_RATE)


def _ulaw(samples: Iterable[float]) -> bytes:
    pcm = array("h", (round(sample) for sample in samples))
    if byteorder == "big":
        pcm.byteswap()
    return audio.ulaw_encode(pcm.tobytes())
