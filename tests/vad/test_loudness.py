"""Tests that the measured volumes equal the volumes from pipecat."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from pipecat.audio import utils
from pipecat.audio.vad import vad_analyzer
from pipecat_genesys.vad import loudness

from . import oracle

ROLLING = hasattr(vad_analyzer, "AudioVolumeTracker")


@pytest.mark.parametrize("rate", [8000, 16000])
def test_volume_of_every_window_is_pipecats(rate: int) -> None:
    """The volume of each window equals the volume from pipecat's function."""
    scale = loudness.volume_scale(rate)
    assert scale is not None
    pcm = oracle.conversation(rate)
    energies = [
        energy for _, energy in oracle.windows(rate, scale.sections, pcm, scale.half_windows)
    ]
    window = 2 * rate * 32 // 1000
    tracker = vad_analyzer.AudioVolumeTracker() if ROLLING else None
    pipecats = []
    for number in range(len(energies)):
        piece = pcm[number * window : (number + 1) * window]
        if tracker is None:
            pipecats.append(utils.calculate_audio_volume(piece, rate))
        else:
            tracker.update(piece, rate)
            pipecats.append(tracker.volume)
    assert [scale.volume(energy) for energy in energies] == pytest.approx(pipecats, abs=1e-9)
    assert min(pipecats) == 0.0
    assert max(pipecats) > 0.7


def test_another_volume_in_a_newer_pipecat_is_recognised(monkeypatch: pytest.MonkeyPatch) -> None:
    """If pipecat's volume function changes or is missing, `volume_scale` returns None."""
    original = utils.calculate_audio_volume
    changed = SimpleNamespace(calculate_audio_volume=lambda *args: original(*args) * 1.01)
    monkeypatch.setattr(loudness, "utils", changed)
    assert loudness.volume_scale.__wrapped__(8000) is None
    monkeypatch.setattr(loudness, "utils", SimpleNamespace())
    assert loudness.volume_scale.__wrapped__(8000) is None


def test_energy_beyond_the_scale_is_clipped() -> None:
    """Energies outside the scale give the volume 0 or 1."""
    scale = loudness.expected_scale(8000)
    assert scale.volume(0.0) == 0.0
    assert scale.volume(1e-9) == 0.0
    assert scale.volume(1e30) == 1.0
