"""Tests of the playback of bot audio: each sample is heard once, dropped or pending."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pipecat_genesys.protocol.types import AudioHookMediaFormat
from pipecat_genesys.simulator import (
    BargedIn,
    BotAudioCompleted,
    BotAudioStarted,
    Playback,
    Span,
    Underrun,
    Violation,
)

from .session_driver import ORIGIN, open_session

BARGE_IN = {"entities": [{"type": "barge_in", "data": {}}]}


def numbered(first: int, count: int) -> bytes:
    """Return samples that differ from silence and from their neighbours."""
    return bytes((first + index) % 251 for index in range(count))


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("receive"), st.integers(0, 2000)),
        st.tuples(st.just("wait"), st.integers(0, 2000)),
        st.tuples(st.just("clear"), st.just(0)),
    ),
    max_size=60,
)


@settings(deadline=None)
@given(STEPS, st.floats(0, 1e6))
def test_playback_equals_a_model_that_plays_sample_by_sample(
    steps: list[tuple[str, int]], origin: float
) -> None:
    playback = Playback(origin)
    queue: list[int] = []
    track: list[int] = []
    received = dropped = 0
    for step, amount in steps:
        now = origin + len(track) / 8000
        if step == "wait":
            for _ in range(amount):
                track.append(queue.pop(0) if queue else 0xFF)
            drained = playback.advance(origin + len(track) / 8000)
            assert playback.is_playing is bool(queue)
            if drained is not None:
                assert drained <= origin + len(track) / 8000 + 1e-6
        elif step == "receive":
            payload = numbered(received, amount)
            starts = playback.receive(payload, now)
            assert starts is (not queue and amount > 0)
            queue += payload
            received += amount
        else:
            assert playback.clear(now) == len(queue)
            dropped += len(queue)
            queue.clear()
        now = origin + len(track) / 8000
        assert playback.received == received
        assert playback.dropped == dropped
        assert playback.pending(now) == len(queue)
        assert playback.heard(now) == received - dropped - len(queue)
        assert playback.render(now) == bytes(track)
        due = playback.next_deadline()
        assert (due is None) is (not queue)
        if due is not None:
            assert due == pytest.approx(origin + (len(track) + len(queue)) / 8000)
            assert playback.sample_at(due) == len(track) + len(queue)
    if not queue:
        now = origin + len(track) / 8000
        assert sum(s.end - s.start for s in playback.spans) == playback.heard(now)


def test_start_and_end_of_bot_audio_are_exact() -> None:
    playback = Playback(100.0)
    assert playback.silent_since(101.0) == 0.0
    assert playback.audible_since(101.0) is None
    playback.receive(b"\x55" * 800, 101.0)
    assert playback.audible_since(101.05) == 1.0
    assert playback.silent_since(101.05) is None
    assert playback.advance(101.0999) is None
    # `silent_since` is correct without a previous call of `advance`.
    assert playback.silent_since(101.1) == pytest.approx(1.1)
    assert playback.advance(105.0) == pytest.approx(101.1)
    assert playback.silent_since(105.0) == pytest.approx(1.1)
    assert playback.spans == [Span(8000, 8800)]
    assert playback.spans[0].seconds == pytest.approx(0.1)


def test_short_gaps_are_underruns_unless_the_audio_was_cut() -> None:
    playback = Playback(0.0)
    # Each of the first three messages has 0.1 s of audio, so the gaps are 0.1, 0.5 and 0.5 s.
    for start in (0.0, 0.2, 0.8, 1.4):
        playback.advance(start)
        if start == 1.4:
            playback.receive(b"\x55" * 1600, start)
            playback.clear(start + 0.1)
        else:
            playback.receive(b"\x55" * 800, start)
    playback.receive(b"\x55" * 800, 1.6)  # the previous audio was cut 0.1 s earlier
    assert playback.underruns() == [Underrun(pytest.approx(0.1), pytest.approx(0.1))]
    assert len(playback.underruns(shorter_than=0.51)) == 3


def test_l16_is_counted_in_samples_and_rendered_with_zeros_as_silence() -> None:
    playback = Playback(0.0, AudioHookMediaFormat.L16)
    playback.receive(b"\x01\x02" * 4, 4 / 8000)
    assert playback.received == 4
    assert playback.render(10 / 8000) == b"\0" * 8 + b"\x01\x02" * 4 + b"\0" * 4
    assert playback.clear(6 / 8000) == 2
    assert playback.render(10 / 8000) == b"\0" * 8 + b"\x01\x02" * 2 + b"\0" * 8


def test_playback_without_recording_keeps_the_spans() -> None:
    playback = Playback(record=False)
    playback.receive(b"\x55" * 8, 0.0)
    playback.advance(1.0)
    assert playback.spans == [Span(0, 8)]
    with pytest.raises(ValueError, match="is not recorded"):
        playback.render(1.0)


# The following tests check the messages that the session sends about playback.


def test_one_audio_message_is_started_and_completed_once() -> None:
    # The size and the duration were observed in a call of Genesys Cloud.
    driver = open_session()
    driver.answers_pings = True
    driver.advance(0.5)
    driver.receive_audio(b"\x55" * 38_249)
    assert driver.take_sent() == [(0.5, "playback_started", {})]
    driver.advance(6.0)
    said = [(at, kind) for at, kind, _ in driver.take_sent() if kind != "ping"]
    assert said == [(5.281125, "playback_completed")]
    assert driver.of(BotAudioStarted) == [BotAudioStarted(0.5)]
    assert [event.at for event in driver.of(BotAudioCompleted)] == [pytest.approx(5.281125)]


def test_audio_in_time_continues_the_playback_and_late_audio_starts_another() -> None:
    driver = open_session()
    for gap in (0.1, 0.19, 0.01, 0.31):
        driver.receive_audio(b"\x55" * 1600)
        driver.advance(gap)
    # Four messages of 0.2 s that arrive within 0.3 s give one playback of 0.8 s.
    driver.advance(0.1899)
    assert [(at, kind) for at, kind, _ in driver.take_sent()] == [(0.0, "playback_started")]
    driver.advance(0.0001)
    assert [(at, kind) for at, kind, _ in driver.take_sent()] == [(0.8, "playback_completed")]
    driver.receive_audio(b"\x55" * 1600)
    assert [kind for _, kind, _ in driver.take_sent()] == ["playback_started"]


def test_late_audio_completes_the_playback_before_even_without_a_tick() -> None:
    driver = open_session()
    driver.receive_audio(b"\x55" * 800)
    driver.now += 0.25
    driver.receive_audio(b"\x55" * 800)
    kinds = [kind for _, kind, _ in driver.take_sent()]
    assert kinds == ["playback_started", "playback_completed", "playback_started"]
    assert driver.of(BotAudioCompleted) == [BotAudioCompleted(pytest.approx(0.1))]


def test_barge_in_drops_the_queue_and_later_audio_is_played() -> None:
    driver = open_session()
    driver.receive_audio(b"\x55" * 8000)
    driver.advance(0.25)
    driver.receive("event", BARGE_IN)
    assert driver.of(BargedIn) == [BargedIn(0.25, 6000)]
    assert [kind for _, kind, _ in driver.take_sent()] == ["playback_started", "playback_completed"]
    driver.receive_audio(b"\x66" * 800)
    driver.advance(0.25)
    heard = driver.session.playback.render(driver.now)
    assert heard == b"\x55" * 2000 + b"\x66" * 800 + b"\xff" * 1200
    assert [kind for _, kind, _ in driver.take_sent()] == ["playback_started", "playback_completed"]


def test_completion_after_barge_in_can_be_switched_off() -> None:
    driver = open_session(completed_after_barge_in=False)
    driver.receive_audio(b"\x55" * 8000)
    driver.advance(0.25)
    driver.receive("event", BARGE_IN)
    driver.advance(0.7)
    assert [kind for _, kind, _ in driver.take_sent()] == ["playback_started"]


def test_barge_in_without_bot_audio_sends_nothing() -> None:
    driver = open_session()
    driver.receive("event", BARGE_IN)
    assert driver.take_sent() == []
    assert driver.of(BargedIn) == [BargedIn(0.0, 0)]


def test_bot_audio_stops_when_the_call_closes() -> None:
    driver = open_session()
    driver.receive_audio(b"\x55" * 8000)
    driver.advance(0.25)
    driver.call("hang_up")
    driver.advance(5.0)
    assert [kind for _, kind, _ in driver.take_sent()] == ["playback_started", "close"]
    assert driver.session.playback.heard(driver.now) == 2000
    assert driver.session.unheard_at_end == 6000
    assert driver.session.playback.sample_at(ORIGIN + 1) == 8000
    assert driver.of(Violation) == []
