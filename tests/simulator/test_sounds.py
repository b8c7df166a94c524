"""Generated audio, judged by what is in it."""

from __future__ import annotations

import numpy as np
import pytest
from pipecat_genesys import audio
from pipecat_genesys.simulator import silence, speech_like, tone


def pcm(ulaw: bytes) -> np.ndarray:
    return np.frombuffer(audio.ulaw_decode(ulaw), "<i2").astype(float)


def test_silence() -> None:
    assert silence(0.5) == b"\xff" * 4000


@pytest.mark.parametrize(("frequency", "level"), [(440.0, -12.0), (1000.0, -6.0), (3000.0, -20.0)])
def test_a_tone_has_its_pitch_and_its_level(frequency: float, level: float) -> None:
    samples = pcm(tone(frequency, 1.0, level))
    assert len(samples) == 8000
    spectrum = np.abs(np.fft.rfft(samples))
    assert np.argmax(spectrum) == frequency
    assert 20 * np.log10(np.abs(samples).max() / 32767) == pytest.approx(level, abs=0.3)


@pytest.mark.parametrize("frequency", [0, -1, 4000])
def test_there_is_no_such_tone(frequency: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 4000 Hz"):
        tone(frequency, 1)


@pytest.mark.parametrize("make", [silence, speech_like, lambda seconds: tone(440, seconds)])
def test_time_does_not_run_backwards(make: object) -> None:
    with pytest.raises(ValueError, match="must not be negative"):
        make(-1.0)  # type: ignore[operator]


def test_speech_is_voiced_syllables_with_gaps() -> None:
    samples = pcm(speech_like(5.0))
    assert len(samples) == 40000
    assert 20 * np.log10(np.abs(samples).max() / 32767) == pytest.approx(-12, abs=0.5)
    energy = np.sqrt((samples.reshape(-1, 160) ** 2).mean(1))
    loud = energy > energy.max() / 10
    # Syllables, as speech has them: a few a second, more voice than gap.
    assert 10 <= np.count_nonzero(np.diff(loud.astype(int)) == 1) <= 35
    assert 0.5 < loud.mean() < 0.95
    # In the band of a telephone, most of it where vowels are.
    spectrum = np.abs(np.fft.rfft(samples)) ** 2
    frequencies = np.fft.rfftfreq(len(samples), 1 / 8000)
    band = spectrum[(frequencies > 80) & (frequencies < 3400)].sum()
    assert band / spectrum.sum() > 0.98


def test_speech_is_the_same_in_every_run_and_seeds_are_speakers() -> None:
    assert speech_like(1.0) == speech_like(1.0)
    assert speech_like(1.0) != speech_like(1.0, seed=2)
    assert speech_like(0.0) == b""
