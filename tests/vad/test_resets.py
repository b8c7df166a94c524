"""Tests that the model's state is reset at the same times as in the installed pipecat."""

from __future__ import annotations

import random
from types import SimpleNamespace

import pytest
from pipecat.audio.vad import silero
from pipecat.audio.vad.vad_analyzer import VADState
from pipecat_genesys.vad import resets

AUDIO_TIME = hasattr(silero, "_MODEL_RESET_INTERVAL_SECS")


@pytest.mark.skipif(not AUDIO_TIME, reason="this version of pipecat resets by the wall clock")
def test_resets_in_non_speech_come_with_pipecats(monkeypatch: pytest.MonkeyPatch) -> None:
    """While there is no speech, both analyzers reset the model after the same windows."""
    pipecats = silero.SileroVADAnalyzer(sample_rate=8000)
    pipecats.set_sample_rate(8000)
    resets_of_pipecat: list[int] = []
    model = SimpleNamespace(reset_states=lambda: resets_of_pipecat.append(number))
    monkeypatch.setattr(pipecats, "_model", model)
    rule, resets_of_ours = resets.reset_rule(), []
    rng = random.Random(1)
    for number in range(5000):
        state = VADState.SPEAKING if number % 1000 < 200 else VADState.QUIET
        confidence = 0.5 if rng.random() < 0.1 else rng.random() * 0.11
        pipecats._vad_state = state
        pipecats._maybe_reset_model(confidence)
        if rule.is_due(confidence, state == VADState.QUIET):
            resets_of_ours.append(number)
    assert resets_of_ours == resets_of_pipecat
    assert len(resets_of_ours) > 20


@pytest.mark.skipif(AUDIO_TIME, reason="this version of pipecat resets by the time of the audio")
def test_wall_clock_interval_is_pipecats() -> None:
    """The interval between resets by the wall clock equals the interval in pipecat."""
    rule = resets.reset_rule()
    assert isinstance(rule, resets.WallClockReset)
    assert rule._interval == silero._MODEL_RESET_STATES_TIME


def test_wall_clock_resets_after_the_first_window_and_then_at_the_interval(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 1000.0
    monkeypatch.setattr(resets, "time", SimpleNamespace(time=lambda: now))
    rule, due = resets.WallClockReset(5.0), []
    for _ in range(1000):
        if rule.is_due(0.9, quiet=False):
            due.append(round(now - 1000.0, 3))
        now += 0.032
    assert due == [0.0, 5.024, 10.048, 15.072, 20.096, 25.12, 30.144]
