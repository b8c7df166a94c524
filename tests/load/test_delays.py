"""Tests that delays are measured to the sample in audio with a known delay."""

from __future__ import annotations

from collections import Counter

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


def test_speech_of_the_bot_that_began_before_the_end_of_an_utterance_is_no_answer() -> None:
    track, utterances = Talk(utterances=[tone(440, 1.0)], first=1.0, period=6.0).track(17)
    assert [one.end for one in utterances] == [2.0, 8.0, 14.0]
    # The bot talks over the first utterance and answers it 1.5 s after its end. It talks over the
    # second utterance with short pauses and does not answer it.
    heard = b"".join(
        [silence(1.2), tone(300, 1.6), silence(0.7), tone(300, 1.0), silence(3.0)]
        + [tone(300, 0.55), silence(0.1)] * 2
    )
    heard += silence(17 - len(heard) / 8000)
    delays = AnswerDetector(utterances[:2]).detect(heard, len(track), [])
    assert delays.found == [(2.0, pytest.approx(1.5))]
    assert delays.missing == 1


def test_a_caller_who_does_not_speak_needs_no_answer() -> None:
    delays = AnswerDetector([]).detect(tone(300, 1.0), 8000, [])
    assert (delays.found, delays.missing) == ([], 0)


def test_an_utterance_just_before_the_end_of_the_call_needs_no_answer() -> None:
    _, utterances = Talk(utterances=[tone(440, 1.0)], first=1.0, period=5.0).track(8)
    delays = AnswerDetector(utterances).detect(silence(8), 8 * 8000, [])
    assert (delays.found, delays.missing) == ([], 1)


def test_calls_begin_one_after_the_other_and_all_run_together() -> None:
    plan = LoadPlan(calls=4, ramp=2.0, duration=30.0)
    begins = [plan.begin_of(number) for number in range(4)]
    assert all(0.5 * number <= begin < 0.5 * (number + 1) for number, begin in enumerate(begins))
    assert begins == [plan.begin_of(number) for number in range(4)], "begin times are not random"
    lengths = [plan.end_of(number) - begin for number, begin in enumerate(begins)]
    assert lengths == pytest.approx([32.0] * 4)
    assert plan.longest_call_seconds == pytest.approx(32.0)


@pytest.mark.parametrize("interval", [0.2, 0.05, 0.03])
def test_packets_of_the_calls_are_not_sent_at_the_same_times(interval: float) -> None:
    """The packets of the calls are spread over each 200 ms, for any interval of the calls."""
    plan = LoadPlan(calls=200, ramp=200 * interval, duration=30.0)
    phases = Counter(int(plan.begin_of(number) % 0.2 / 0.01) for number in range(200))
    # Of 200 independent calls, 10 begin in each 10 ms of the period on average. The probability
    # that 22 or more calls begin there is 0.1%.
    assert len(phases) == 20
    assert max(phases.values()) < 22


def test_calls_end_over_the_time_that_the_plan_gives() -> None:
    plan = LoadPlan(calls=4, ramp=2.0, duration=30.0, ramp_down=0.0)
    assert [plan.end_of(number) for number in range(4)] == [32.0] * 4
    assert plan.longest_call_seconds == 32.0 - plan.begin_of(0)
    slow = LoadPlan(calls=4, ramp=2.0, duration=30.0, ramp_down=8.0)
    assert slow.longest_call_seconds == slow.end_of(3) - slow.begin_of(3) > 36.0


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
    with pytest.raises(ValueError, match="an utterance is missing or empty"):
        Talk()
    with pytest.raises(ValueError, match=r"takes 8\.0 s"):
        Talk(utterances=[silence(8)])
