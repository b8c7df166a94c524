"""WAV files in and out, with the standard library's ``wave``."""

from __future__ import annotations

import os
import wave
from typing import BinaryIO

from pipecat_genesys import audio
from pipecat_genesys.protocol.types import WIRE_SAMPLE_RATE


def read_wav(source: str | os.PathLike[str] | BinaryIO) -> bytes:
    """Read a 16-bit PCM WAV file as a caller's voice.

    Args:
        source: A path, or a file open for reading in binary. Mono, or stereo to be mixed down;
            any sample rate.

    Returns:
        8 kHz mono mu-law, without the delay that resampling adds.

    Raises:
        ValueError: If it is not a WAV file of 16-bit PCM with one or two channels.
        OSError: If it cannot be read.
    """
    channels, pcm, rate = _read(source)
    return audio.ulaw_encode(_to_wire_rate(audio.mix_stereo(pcm) if channels == 2 else pcm, rate))


def read_stereo_wav(source: str | os.PathLike[str] | BinaryIO) -> tuple[bytes, bytes]:
    """Read a 16-bit PCM WAV file of a conversation, one party on each channel.

    Args:
        source: As for :func:`read_wav`, but stereo.

    Returns:
        Left and right, each as of :func:`read_wav`.

    Raises:
        ValueError: If it is not a WAV file of 16-bit PCM with two channels.
        OSError: If it cannot be read.
    """
    channels, pcm, rate = _read(source)
    if channels != 2:
        raise ValueError("expected one party on each of two channels, got a mono file")
    left, right = (_to_wire_rate(side, rate) for side in audio.split_stereo(pcm, 2))
    return audio.ulaw_encode(left), audio.ulaw_encode(right)


def write_wav(target: str | os.PathLike[str] | BinaryIO, caller_pcm: bytes, bot_pcm: bytes) -> None:
    """Write a call as a stereo WAV file: 16-bit PCM at 8 kHz, caller left, the other party right.

    Args:
        target: A path, or a file open for writing in binary.
        caller_pcm: The caller, 16-bit little-endian.
        bot_pcm: The bot as the caller heard it, or the agent, alike. The shorter track is padded
            with silence.
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
    """Channels, samples and rate of a file."""
    opened = source if not isinstance(source, (str, os.PathLike)) else os.fspath(source)
    try:
        with wave.open(opened, "rb") as reader:
            channels, width, rate = reader.getparams()[:3]
            pcm = reader.readframes(reader.getnframes())
    except (wave.Error, EOFError) as error:
        raise ValueError(f"not a PCM WAV file: {error}") from None
    if width != 2 or channels not in (1, 2):
        raise ValueError(
            f"expected 16-bit PCM with 1 or 2 channels, got {8 * width}-bit with {channels}"
        )
    return channels, pcm, rate


def _to_wire_rate(pcm: bytes, rate: int) -> bytes:
    if rate == WIRE_SAMPLE_RATE:
        return pcm
    resampler = audio.Resampler(rate, WIRE_SAMPLE_RATE)
    body = resampler.process(pcm)
    tail = resampler.flush()
    # The tail is as long as the delay: cutting that much off the front leaves the speech where
    # it was and the length what the rates say.
    return (body + tail)[len(tail) :]
