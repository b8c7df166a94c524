"""Tests of sounds: generated sounds, and WAV files that are read and written."""

from __future__ import annotations

import functools
import io
import math
import os
import stat
import struct
import sys
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from pipecat.audio.turn.base_turn_analyzer import EndOfTurnState
from pipecat.audio.turn.smart_turn.local_smart_turn_v3 import LocalSmartTurnAnalyzerV3
from pipecat.audio.vad.silero import SileroVADAnalyzer
from pipecat_genesys import audio
from pipecat_genesys.protocol.types import AudioHookChannel
from pipecat_genesys.simulator import (
    read_stereo_wav,
    read_wav,
    sample_speech,
    silence,
    sounds,
    synthesize,
    tone,
    write_wav,
)
from pipecat_genesys.simulator.script import parse_script

SPEECH = sample_speech(0.5)
PARTIES = (AudioHookChannel.EXTERNAL, AudioHookChannel.INTERNAL)


def pcm(ulaw: bytes) -> np.ndarray:
    return np.frombuffer(audio.ulaw_decode(ulaw), "<i2").astype(float)


# Tests of generated sounds


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


@pytest.mark.parametrize("make", [silence, sample_speech, lambda seconds: tone(440, seconds)])
def test_negative_duration_is_refused(make: Callable[[float], bytes]) -> None:
    with pytest.raises(ValueError, match="must not be negative"):
        make(-1.0)


# Tests of speech


@functools.cache
def silero() -> SileroVADAnalyzer:
    analyzer = SileroVADAnalyzer(sample_rate=8000)
    analyzer.set_sample_rate(8000)
    return analyzer


def silero_confidence(ulaw: bytes) -> np.ndarray:
    """Return Pipecat's confidence that each window of 32 ms is speech, from 0 to 1."""
    windows = audio.ulaw_decode(ulaw)
    size = 2 * silero().num_frames_required()
    return np.array(
        [
            float(np.asarray(silero().voice_confidence(windows[at : at + size])).item())
            for at in range(0, len(windows) - size + 1, size)
        ]
    )


async def smart_turn_state(ulaw: bytes) -> EndOfTurnState:
    """Return the state that Pipecat's Smart Turn predicts for speech and 0.2 s of silence."""
    analyzer = LocalSmartTurnAnalyzerV3(sample_rate=16000)
    analyzer.set_sample_rate(16000)
    sound = audio.Resampler(8000, 16000).process(audio.ulaw_decode(ulaw))
    analyzer.append_audio(sound, is_speech=True)
    analyzer.append_audio(bytes(2 * 3200), is_speech=False)
    state, _ = await analyzer.analyze_end_of_turn()
    await analyzer.cleanup()
    return state


@pytest.mark.parametrize("party", PARTIES)
@pytest.mark.parametrize("seconds", [0.5, 1.0, 2.0, 8.0, 20.0])
def test_silero_takes_sample_speech_for_speech(seconds: float, party: AudioHookChannel) -> None:
    confidence = silero_confidence(sample_speech(seconds, party))
    # The model of pipecat 1.0 gives a confidence of 0.986 for the shortest speech.
    assert confidence.max() > 0.98
    # Pipecat's default threshold is 0.7. Windows in the pauses between sentences are below this
    # threshold.
    assert np.mean(confidence > 0.7) > 0.75


def test_silero_does_not_take_tones_and_silence_for_speech() -> None:
    assert silero_confidence(tone(440, 2.0) + silence(1.0)).mean() < 0.2


@pytest.mark.parametrize("party", PARTIES)
@pytest.mark.parametrize("seconds", [1.0, 2.0, 5.0])
async def test_smart_turn_takes_the_end_of_sample_speech_for_the_end_of_a_turn(
    seconds: float, party: AudioHookChannel
) -> None:
    assert await smart_turn_state(sample_speech(seconds, party)) is EndOfTurnState.COMPLETE


async def test_smart_turn_does_not_take_the_middle_of_a_sentence_for_the_end_of_a_turn() -> None:
    whole = sample_speech(9.0)
    assert await smart_turn_state(whole[: 3 * 8000]) is EndOfTurnState.INCOMPLETE


def test_sample_speech_has_the_exact_duration_and_another_voice_for_the_agent() -> None:
    for seconds in (0.0, 0.4, 2.0, 9.5, 30.0):
        assert len(sample_speech(seconds)) == 8000 * seconds
    assert sample_speech(2.0) != sample_speech(2.0, AudioHookChannel.INTERNAL)
    assert sample_speech(30.0).endswith(sample_speech(9.0))


@pytest.mark.parametrize("party", PARTIES)
def test_sample_speech_has_the_level_and_the_band_of_a_telephone(party: AudioHookChannel) -> None:
    samples = pcm(sample_speech(9.0, party))
    assert 20 * np.log10(np.abs(samples).max() / 32767) == pytest.approx(-6, abs=1)
    power = np.abs(np.fft.rfft(samples)) ** 2
    frequency = np.fft.rfftfreq(len(samples), 1 / 8000)
    assert power[(frequency > 80) & (frequency < 3400)].sum() > 0.97 * power.sum()


def test_synthetic_speech_is_speech_in_the_voice_of_the_party() -> None:
    text = "I want to check my bill"
    for party in PARTIES:
        ulaw = synthesize(text, party=party)
        assert 1 < len(ulaw) / 8000 < 3
        assert np.mean(silero_confidence(ulaw) > 0.7) > 0.75
        assert 20 * np.log10(np.abs(pcm(ulaw)).max() / 32767) == pytest.approx(-6, abs=1)
    assert synthesize(text) == synthesize(text)
    assert synthesize(text) != synthesize(text, party=AudioHookChannel.INTERNAL)


def test_synthetic_speech_begins_and_ends_with_the_words() -> None:
    samples = np.abs(pcm(synthesize("Stop.")))
    assert samples[:80].max() > 100
    assert samples[-80:].max() > 100


@pytest.mark.parametrize("language", ["de-DE", "es-419", "fr-CA", "ja-JP", "pt-BR", "en"])
def test_text_is_spoken_in_its_language(language: str) -> None:
    assert synthesize("1 2 3", language) != synthesize(
        "1 2 3", "en-US" if language != "en" else "de"
    )


@pytest.mark.parametrize(
    ("text", "language", "why"),
    [
        ("", "en-US", "contains nothing that can be spoken"),
        (" \0 ", "en-US", "contains nothing that can be spoken"),
        ("hello", "xx-YY", "no voice for the language 'xx-YY'"),
        ("hello", "", "no voice for the language ''"),
    ],
)
def test_error_for_text_that_cannot_be_spoken_names_the_reason(
    text: str, language: str, why: str
) -> None:
    with pytest.raises(ValueError, match=why):
        synthesize(text, language)


def test_error_without_the_voice_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    monkeypatch.setattr(sounds, "_synthesizer", sounds._Synthesizer)
    with pytest.raises(ValueError, match=r"pip install 'pipecat-genesys\[speech\]'"):
        synthesize("a text that no other test speaks")
    # The step is written correctly, so the error does not say how to write a step.
    with pytest.raises(ValueError, match=r"\[speech\]'$"):
        parse_script(['say:"another text that no other test speaks"'])


# Tests of WAV files


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
    """Return an audio file with `SPEECH` in another encoding; all channels are equal."""
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
    samples = np.array([2.0, -2.0, math.nan, 3e38])
    soundfile.write(file, samples, 8000, format="WAV", subtype="FLOAT")
    file.seek(0)
    assert read_wav(file) == b"\x80\x00\xff\x80"


@pytest.mark.parametrize("channels", [1, 2])
def test_file_that_ends_within_a_frame_is_read_up_to_there(channels: int) -> None:
    whole = wav([0, 0, 32124, 32124, 100, 100], channels=channels).getvalue()
    expected = read_wav(wav([0, 0, 32124, 32124, 100, 100][:-channels], channels=channels))
    assert read_wav(io.BytesIO(whole[:-1])) == expected


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


@pytest.mark.skipif(os.name != "posix", reason="Windows has no permissions for the group")
def test_only_the_writer_can_read_a_recording(tmp_path: Path) -> None:
    write_wav(tmp_path / "call.wav", b"\0\0", b"\0\0")
    assert stat.S_IMODE((tmp_path / "call.wav").stat().st_mode) == 0o600
