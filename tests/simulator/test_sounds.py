"""Tests of sounds: generated sounds, and WAV files that are read and written."""

from __future__ import annotations

import io
import math
import struct
import sys
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from pipecat_genesys import audio
from pipecat_genesys.simulator import (
    read_stereo_wav,
    read_wav,
    silence,
    speech_like,
    tone,
    write_wav,
)

SPEECH = speech_like(0.5)


def pcm(ulaw: bytes) -> np.ndarray:
    return np.frombuffer(audio.ulaw_decode(ulaw), "<i2").astype(float)


# Generated sounds


def test_silence_is_the_mu_law_byte_of_zero() -> None:
    assert silence(0.5) == b"\xff" * 4000


@pytest.mark.parametrize(("frequency", "level"), [(440.0, -12.0), (1000.0, -6.0), (3000.0, -20.0)])
def test_tone_has_its_frequency_and_level(frequency: float, level: float) -> None:
    samples = pcm(tone(frequency, 1.0, level))
    assert len(samples) == 8000
    spectrum = np.abs(np.fft.rfft(samples))
    assert np.argmax(spectrum) == frequency
    assert 20 * np.log10(np.abs(samples).max() / 32767) == pytest.approx(level, abs=0.3)


@pytest.mark.parametrize("frequency", [0, -1, 4000])
def test_tone_outside_the_telephone_band_is_refused(frequency: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 4000 Hz"):
        tone(frequency, 1)


@pytest.mark.parametrize("make", [silence, speech_like, lambda seconds: tone(440, seconds)])
def test_negative_duration_is_refused(make: Callable[[float], bytes]) -> None:
    with pytest.raises(ValueError, match="must not be negative"):
        make(-1.0)


def test_speech_like_sound_has_syllables_with_gaps_in_the_voice_band() -> None:
    samples = pcm(speech_like(5.0))
    assert len(samples) == 40000
    assert 20 * np.log10(np.abs(samples).max() / 32767) == pytest.approx(-12, abs=0.5)
    energy = np.sqrt((samples.reshape(-1, 160) ** 2).mean(1))
    loud = energy > energy.max() / 10
    # Speech has a few syllables per second, and the syllables are longer than the gaps.
    assert 10 <= np.count_nonzero(np.diff(loud.astype(int)) == 1) <= 35
    assert 0.5 < loud.mean() < 0.95
    spectrum = np.abs(np.fft.rfft(samples)) ** 2
    frequencies = np.fft.rfftfreq(len(samples), 1 / 8000)
    band = spectrum[(frequencies > 80) & (frequencies < 3400)].sum()
    assert band / spectrum.sum() > 0.98


def test_speech_like_sound_is_reproducible_and_depends_on_the_seed() -> None:
    assert speech_like(1.0) == speech_like(1.0)
    assert speech_like(1.0) != speech_like(1.0, seed=2)
    assert speech_like(0.0) == b""


# WAV files


def wav(samples: list[int], *, channels: int = 1, rate: int = 8000) -> io.BytesIO:
    """Return a WAV file of 16-bit PCM."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(channels)
        writer.setsampwidth(2)
        writer.setframerate(rate)
        writer.writeframes(struct.pack(f"<{len(samples)}h", *samples))
    file.seek(0)
    return file


def ulaw_wav(ulaw: bytes) -> io.BytesIO:
    """Return a mono WAV file of mu-law at 8 kHz; telephone systems write this format (tag 7)."""
    head = struct.pack(
        "<4sI4s4sIHHIIHH", b"RIFF", 36 + len(ulaw), b"WAVE", b"fmt ", 16, 7, 1, 8000, 8000, 1, 8
    )
    return io.BytesIO(head + struct.pack("<4sI", b"data", len(ulaw)) + ulaw)


def encoded(format: str, subtype: str, channels: int = 1) -> io.BytesIO:
    """Return a file with the speech in another encoding, on each channel."""
    file = io.BytesIO()
    samples = np.repeat(pcm(SPEECH)[:, None] / 32768, channels, axis=1)
    soundfile.write(file, samples, 8000, format=format, subtype=subtype)
    file.seek(0)
    return file


def test_pcm_at_8_khz_is_encoded_without_a_change() -> None:
    assert read_wav(wav([0, 32124, -32124])) == b"\xff\x80\x00"


def test_stereo_file_is_mixed_down() -> None:
    assert read_wav(wav([32000, 32248, -100, 100], channels=2)) == b"\x80\xff"


@pytest.mark.parametrize("rate", [16000, 24000, 44100, 48000, 11025])
def test_resampling_keeps_the_duration_and_the_position_of_a_sound(rate: int) -> None:
    samples = [
        round(12000 * math.sin(2000 * math.pi * n / rate)) if 0.5 <= n / rate < 0.6 else 0
        for n in range(rate)
    ]
    ulaw = read_wav(wav(samples, rate=rate))
    assert len(ulaw) == 8000
    result = struct.unpack("<8000h", audio.ulaw_decode(ulaw))
    loud = [index for index, sample in enumerate(result) if abs(sample) > 3000]
    assert loud[0] == pytest.approx(4000, abs=3)
    assert loud[-1] == pytest.approx(4799, abs=3)
    assert max(result) == pytest.approx(12000, rel=0.04)


def test_mu_law_file_is_read_without_a_change() -> None:
    assert read_wav(ulaw_wav(SPEECH)) == SPEECH


@pytest.mark.parametrize(
    ("format", "subtype"),
    [
        ("WAV", "ULAW"),
        ("WAV", "FLOAT"),
        ("WAV", "DOUBLE"),
        ("WAV", "PCM_24"),
        ("WAV", "PCM_32"),
        ("WAVEX", "PCM_16"),
        ("WAVEX", "FLOAT"),
    ],
)
def test_other_encodings_are_read_exactly(format: str, subtype: str) -> None:
    assert read_wav(encoded(format, subtype)) == SPEECH
    assert read_stereo_wav(encoded(format, subtype, channels=2)) == (SPEECH, SPEECH)


@pytest.mark.parametrize("subtype", ["PCM_U8", "ALAW"])
def test_coarse_encodings_are_read_with_their_own_error(subtype: str) -> None:
    difference = pcm(read_wav(encoded("WAV", subtype))) - pcm(SPEECH)
    assert np.abs(difference).max() < 400


def test_file_outside_the_range_of_pcm_is_clipped() -> None:
    file = io.BytesIO()
    soundfile.write(file, np.array([2.0, -2.0, math.nan]), 8000, format="WAV", subtype="FLOAT")
    file.seek(0)
    assert read_wav(file) == b"\x80\x00\xff"


def test_path_and_file_object_give_the_same(tmp_path: Path) -> None:
    path = tmp_path / "speech.wav"
    path.write_bytes(ulaw_wav(SPEECH).getvalue())
    assert read_wav(path) == read_wav(str(path)) == SPEECH


@pytest.mark.parametrize(
    "file",
    [io.BytesIO(b"not a wav"), io.BytesIO(b""), wav([1, 2, 3], channels=3)],
    ids=["noise", "empty", "three channels"],
)
def test_file_that_is_not_wav_or_has_many_channels_is_refused(file: io.BytesIO) -> None:
    with pytest.raises(ValueError, match="WAV"):
        read_wav(file)


def test_missing_file_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_wav(tmp_path / "missing.wav")


def test_without_soundfile_pcm_is_read_and_the_error_for_mu_law_names_the_remedy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "soundfile", None)
    assert read_wav(wav([0])) == b"\xff"
    with pytest.raises(ValueError, match=r"pip install 'pipecat-genesys\[simulator\]'"):
        read_wav(ulaw_wav(SPEECH))


def test_read_stereo_wav_returns_both_channels_and_refuses_mono(tmp_path: Path) -> None:
    path = tmp_path / "two.wav"
    left, right = b"\x11" * 1600, b"\x22" * 3200
    write_wav(path, audio.ulaw_decode(left), audio.ulaw_decode(right))
    assert read_stereo_wav(path) == (left.ljust(3200, b"\xff"), right)
    with pytest.raises(ValueError, match="mono"):
        read_stereo_wav(wav([0]))


def test_write_wav_has_the_caller_left_and_pads_the_shorter_channel(tmp_path: Path) -> None:
    target = tmp_path / "call.wav"
    write_wav(target, struct.pack("<3h", 1, 2, -3), struct.pack("<2h", 100, -200))
    with wave.open(str(target), "rb") as reader:
        assert reader.getparams()[:4] == (2, 2, 8000, 3)
        assert struct.unpack("<6h", reader.readframes(3)) == (1, 100, 2, -200, -3, 0)
    assert len(read_wav(target)) == 3
