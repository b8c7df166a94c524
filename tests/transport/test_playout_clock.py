"""Tests of playback messages from Genesys about audio that an interruption has cleared."""

from __future__ import annotations

import pytest
from pipecat_genesys.transport.playout_clock import PlayoutClock

SECOND = 8000


@pytest.fixture
def clock() -> PlayoutClock:
    """Return a clock after a turn of 3 s whose playback was interrupted after one second."""
    clock = PlayoutClock()
    clock.add(3 * SECOND, 0.0)
    clock.started(0.01)
    clock.clear(1.0)
    return clock


def test_completion_of_cleared_audio_does_not_end_the_audio_sent_after_it(
    clock: PlayoutClock,
) -> None:
    clock.add(2 * SECOND, 1.0)
    clock.completed(1.05)  # this message is about the cleared audio
    clock.started(1.06)  # this message is about the new audio
    assert clock.lead(1.06) == pytest.approx(2.0, abs=0.07)
    clock.completed(2.9)
    assert clock.lead(2.9) == 0


def test_start_of_cleared_audio_is_not_taken_for_the_start_of_newer_audio() -> None:
    """The start message of cleared audio does not start the newer audio in the clock."""
    clock = PlayoutClock()
    clock.add(3 * SECOND, 0.0)
    clock.clear(0.01)
    clock.add(2 * SECOND, 0.02)
    clock.started(0.05)  # this message is about the cleared audio
    clock.completed(0.06)
    assert clock.lead(0.06) == pytest.approx(1.96)
    clock.started(0.07)
    clock.completed(1.9)
    assert clock.lead(1.9) == 0


def test_missing_completion_of_cleared_audio_is_not_awaited_for_ever(clock: PlayoutClock) -> None:
    """If Genesys sends no completion for cleared audio, the clock still ends the newer audio."""
    clock.add(2 * SECOND, 1.0)
    clock.started(1.05)
    clock.completed(2.95)
    assert clock.lead(2.95) == 0


def test_clear_of_an_empty_queue_expects_no_reports() -> None:
    """After an interruption without audio, the next playback messages are for newer audio."""
    clock = PlayoutClock()
    clock.clear(1.0)
    clock.add(2 * SECOND, 1.0)
    clock.started(1.05)
    clock.completed(2.95)
    assert clock.lead(2.95) == 0


def test_completion_that_crosses_newer_audio_on_the_network_does_not_end_it() -> None:
    """A completion that Genesys sent before newer audio arrived does not end the newer audio."""
    clock = PlayoutClock()
    clock.add(SECOND, 0.0)
    clock.started(0.04)
    clock.add(2 * SECOND, 1.05)
    # Genesys sent this report at 1.04 s, before it received the newer audio.
    assert not clock.completed(1.08)
    assert clock.lead(1.08) == pytest.approx(1.97, abs=0.05)
    clock.started(1.09)
    assert clock.completed(3.1)
    assert clock.lead(3.1) == 0
