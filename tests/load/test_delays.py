"""Tests that delays are measured to the sample in audio with a known delay."""

from __future__ import annotations

import pytest
from pipecat_genesys.load import Expect, LoadPlan, Talk
from pipecat_genesys.load.delays import AnswerDetector, EchoDetector
from pipecat_genesys.simulator import silence, tone

SECONDS = 12
ECHO = Talk(expect=Expect.ECHO).track(SECONDS)[0]


@pytest.mark.parametrize("samples", [0, 1, 1_777, 23_999])
def test_the_delay_of_an_echo_is_found_to_the_sample(samples: int) -> None:
    heard = b"\xff" * samples + ECHO
    delays = EchoDetector(ECHO).detect(heard[: len(ECHO)], len(ECHO), [])
    assert delays.missing == 0
    assert len(delays.found) >= 5
    assert {delay for _, delay in delays.found} == {samples / 8000}


def test_an_echo_that_jumps_is_found_before_and_after_the_jump() -> None:
    late = b"\xff" * 1_600 + ECHO[:48_000] + b"\xff" * 800 + ECHO[48_000:]
    delays = EchoDetector(ECHO).detect(late[: len(ECHO)], len(ECHO), [])
    assert delays.missing == 0
    assert {delay for _, delay in delays.found} == {0.2, 0.3}


def test_markers_of_a_silent_bot_are_missing() -> None:
    delays = EchoDetector(ECHO).detect(silence(SECONDS), len(ECHO), [])
    assert not delays.found
    assert delays.missing >= 8


def test_no_marker_is_expected_around_a_key_press() -> None:
    quiet = EchoDetector(ECHO).detect(silence(SECONDS), len(ECHO), [6.0])
    assert quiet.missing < EchoDetector(ECHO).detect(silence(SECONDS), len(ECHO), []).missing


def test_callers_speak_at_their_times_and_answers_are_measured_from_the_end_of_speech() -> None:
    speech = [tone(440, 1.0), tone(880, 2.0)]
    talk = Talk(utterances=speech, first=1.0, period=5.0)
    track, utterances = talk.track(17)
    assert [(one.begin, one.end) for one in utterances] == [(1.0, 2.0), (6.0, 8.0), (11.0, 12.0)]
    assert track == b"".join(
        [silence(1), speech[0], silence(4), speech[1], silence(3), speech[0], silence(5)]
    )
    # The bot answers the first utterance after 0.5 s and the third utterance after 1 s. It does not
    # answer the second utterance.
    heard = silence(2.5) + tone(300, 1.0) + silence(9.5) + tone(300, 1.0) + silence(3)
    delays = AnswerDetector(utterances).detect(heard, len(track), [])
    assert delays.found == [(2.0, pytest.approx(0.5)), (12.0, pytest.approx(1.0))]
    assert delays.missing == 1


def test_a_caller_who_does_not_speak_needs_no_answer() -> None:
    delays = AnswerDetector([]).detect(tone(300, 1.0), 8000, [])
    assert (delays.found, delays.missing) == ([], 0)


def test_an_utterance_just_before_the_end_of_the_call_needs_no_answer() -> None:
    _, utterances = Talk(utterances=[tone(440, 1.0)], first=1.0, period=5.0).track(8)
    delays = AnswerDetector(utterances).detect(silence(8), 8 * 8000, [])
    assert (delays.found, delays.missing) == ([], 1)


def test_calls_begin_at_equal_intervals_and_all_run_together() -> None:
    plan = LoadPlan(calls=4, ramp=2.0, duration=30.0)
    assert [plan.begin_of(number) for number in range(4)] == [0.0, 0.5, 1.0, 1.5]
    assert [plan.end_of(number) for number in range(4)] == [32.0, 32.5, 33.0, 33.5]
    assert plan.longest_call_seconds == 32.0


def test_calls_end_over_the_time_that_the_plan_gives() -> None:
    plan = LoadPlan(calls=4, ramp=2.0, duration=30.0, ramp_down=0.0)
    assert [plan.end_of(number) for number in range(4)] == [32.0] * 4
    assert plan.longest_call_seconds == 32.0
    slow = LoadPlan(calls=4, ramp=2.0, duration=30.0, ramp_down=8.0)
    assert slow.longest_call_seconds == 38.0 - 1.5


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"calls": 0}, "calls is 0"),
        ({"ramp": -1.0}, "ramp is -1.0 s"),
        ({"ramp": float("nan")}, "ramp is nan s"),
        ({"duration": 0.0}, "duration is 0.0 s"),
        ({"ramp_down": -1.0}, "ramp down is -1.0 s"),
    ],
)
def test_a_plan_that_cannot_be_kept_is_refused(values: dict[str, float], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        LoadPlan(**({"calls": 1, "ramp": 0.0, "duration": 1.0} | values))  # type: ignore[arg-type]


def test_callers_without_speech_and_speech_without_end_are_refused() -> None:
    with pytest.raises(ValueError, match="nothing to say"):
        Talk()
    with pytest.raises(ValueError, match=r"takes 8\.0 s"):
        Talk(utterances=[silence(8)])
