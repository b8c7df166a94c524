"""Tests of the values that the analysis computes from the messages of a call."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pipecat_genesys import audio
from pipecat_genesys.inspector.analysis import CallAnalysis
from pipecat_genesys.inspector.audio_tracks import peaks
from pipecat_genesys.protocol.types import AudioHookChannel, samples_to_duration
from pipecat_genesys.simulator import (
    CallMode,
    Direction,
    GenesysClientSession,
    Party,
    medium,
    new_call,
    new_monitor_call,
    tone,
)

FRAME = 1600
SILENCE = b"\xff" * FRAME
LOUD = tone(500, 0.2)
SECOND = 8000


class Conversation:
    """A call with simulated time: a caller whose audio is sent in frames of 200 ms, and a bot.

    Args:
        spoken: Start and end of each period in which the caller speaks, in seconds. Both are
            multiples of 0.2 s.
    """

    def __init__(self, spoken: list[tuple[float, float]]) -> None:
        self.parameters = new_call()
        self.analysis = CallAnalysis()
        self._spoken = spoken
        self._seq = dict.fromkeys(Direction, 0)
        self._frames = 0
        self.text(0.0, Direction.TO_SERVER, "open", self.parameters.open_parameters())
        media = [dict(entry) for entry in self.parameters.media]
        self.text(0.0, Direction.FROM_SERVER, "opened", {"media": media})

    def text(self, at: float, direction: Direction, kind: str, parameters: Any = None) -> None:
        """Send the audio that is due before a time, then send a text message at this time."""
        self.advance(at)
        self._seq[direction] += 1
        message = {
            "version": "2",
            "type": kind,
            "id": self.parameters.session_id,
            "seq": self._seq[direction],
            "parameters": parameters or {},
        }
        if direction is Direction.TO_SERVER:
            message["serverseq"] = 0
            message["position"] = samples_to_duration(self._frames * FRAME)
        else:
            message["clientseq"] = self._seq[Direction.TO_SERVER]
        self.analysis.receive(at, direction, json.dumps(message))

    def bot(self, at: float, seconds: float) -> None:
        """Send a number of seconds of bot audio at a time."""
        self.advance(at)
        self.analysis.receive(at, Direction.FROM_SERVER, b"\x00" * round(seconds * SECOND))

    def advance(self, until: float) -> None:
        """Send the caller's audio that is complete before a time."""
        while (end := (self._frames + 1) * 0.2) <= until + 1e-9:
            middle = end - 0.1
            loud = any(start <= middle < stop for start, stop in self._spoken)
            self.analysis.receive(end, Direction.TO_SERVER, LOUD if loud else SILENCE)
            self._frames += 1

    def end(self, at: float) -> dict[str, Any]:
        """End the call; return the numbers that the analysis has computed."""
        self.text(at, Direction.TO_SERVER, "close", {"reason": "end"})
        self.text(at, Direction.FROM_SERVER, "closed")
        self.analysis.end(at, Party.CLIENT, 1000)
        assert self.analysis.violations == 0
        return self.analysis.numbers()


def latencies(numbers: dict[str, Any]) -> list[tuple[float, float]]:
    return [(one["turn_end"], one["latency"]) for one in numbers["first_audio"]]


def test_the_latency_counts_from_the_end_of_the_turn_to_the_first_audible_sample() -> None:
    talk = Conversation([(1.0, 2.0), (5.0, 6.4)])
    talk.bot(2.75, 1.0)
    talk.bot(7.0, 1.0)
    numbers = talk.end(9.0)
    assert latencies(numbers) == [
        pytest.approx((2.0, 0.75), abs=0.021),
        pytest.approx((6.4, 0.6), abs=0.021),
    ]
    assert numbers["first_audio_p95"] == pytest.approx(0.75, abs=0.021)
    assert talk.analysis.worst_latency == pytest.approx(0.75, abs=0.021)
    turns = [(mark.at, mark.until) for mark in talk.analysis.marks if mark.kind == "turn"]
    assert turns == [pytest.approx((1.0, 2.0), abs=0.021), pytest.approx((5.0, 6.4), abs=0.021)]


def test_a_second_utterance_without_a_turn_before_it_has_no_latency() -> None:
    talk = Conversation([(1.0, 2.0)])
    talk.bot(2.5, 0.4)
    talk.bot(4.0, 0.4)
    assert len(latencies(talk.end(6.0))) == 1


def test_a_caller_who_soon_interrupts_the_answer_had_a_turn() -> None:
    talk = Conversation([(1.0, 2.0), (2.4, 3.0)])
    talk.bot(2.2, 1.0)
    assert latencies(talk.end(5.0)) == [pytest.approx((2.0, 0.2), abs=0.021)]


def test_a_greeting_has_no_latency() -> None:
    talk = Conversation([])
    talk.bot(0.5, 1.0)
    assert latencies(talk.end(3.0)) == []


def test_a_bot_that_interrupts_the_caller_has_no_latency() -> None:
    talk = Conversation([(1.0, 4.0)])
    talk.bot(2.5, 0.4)
    assert latencies(talk.end(6.0)) == []


@pytest.mark.parametrize("start", [1.0, 1.2, 2.59])
def test_a_bot_that_answers_before_the_end_of_the_speech_has_no_latency(start: float) -> None:
    talk = Conversation([(1.0, 2.6)])
    talk.bot(start, 4.0)
    assert latencies(talk.end(6.0)) == []


@pytest.mark.parametrize("gap", [0.05, 0.2, 0.4])
def test_a_bot_that_talks_over_the_caller_has_no_latency_after_a_gap_in_its_audio(
    gap: float,
) -> None:
    talk = Conversation([(1.0, 2.6)])
    talk.bot(1.5, 1.15)
    talk.bot(2.65 + gap, 1.0)
    assert latencies(talk.end(6.0)) == []


def test_a_bot_that_answers_after_talking_over_the_caller_has_the_latency_of_the_answer() -> None:
    talk = Conversation([(1.0, 2.6)])
    talk.bot(1.5, 1.3)
    talk.bot(3.6, 1.0)
    assert latencies(talk.end(6.0)) == [pytest.approx((2.6, 1.0), abs=0.021)]


def test_an_utterance_with_a_gap_in_which_the_caller_finishes_has_a_latency() -> None:
    talk = Conversation([(1.0, 2.6)])
    talk.bot(1.5, 1.0)
    talk.bot(2.9, 1.0)
    assert latencies(talk.end(6.0)) == [pytest.approx((2.6, 0.3), abs=0.021)]


@pytest.mark.parametrize("start", [2.0, 2.05])
def test_a_bot_that_begins_in_a_pause_of_the_caller_s_turn_has_no_latency(start: float) -> None:
    talk = Conversation([(1.0, 2.0), (2.4, 4.0)])
    talk.bot(start, 3.0)
    assert latencies(talk.end(7.0)) == []


@pytest.mark.parametrize("start", [2.95, 3.0, 3.1])
def test_a_caller_who_speaks_until_the_end_of_the_call_has_no_answer(start: float) -> None:
    talk = Conversation([(1.0, 4.0)])
    talk.bot(start, 1.0)
    assert latencies(talk.end(3.15)) == []


def test_barge_in_counts_from_the_caller_s_first_sound() -> None:
    talk = Conversation([(2.0, 3.0)])
    talk.bot(0.5, 5.0)
    talk.text(2.5, Direction.FROM_SERVER, "event", {"entities": [{"type": "barge_in", "data": {}}]})
    numbers = talk.end(6.0)
    assert numbers["barge_in_to_silence"] == [pytest.approx(0.5, abs=0.021)]
    [cleared] = [mark.value for mark in talk.analysis.marks if mark.kind == "barge_in"]
    assert cleared == pytest.approx(3.0, abs=0.001)
    bot = peaks(talk.analysis.tracks()["bot"], 0.0, 6.0, 12)
    heard = [low < -0.1 for low in bot[::2]]
    assert heard == [False, True, True, True, True, *[False] * 7]


def test_barge_in_by_a_key_counts_from_the_key() -> None:
    talk = Conversation([])
    talk.bot(0.5, 5.0)
    talk.text(2.2, Direction.TO_SERVER, "dtmf", {"digit": "1"})
    talk.text(2.5, Direction.FROM_SERVER, "event", {"entities": [{"type": "barge_in", "data": {}}]})
    assert talk.end(6.0)["barge_in_to_silence"] == [pytest.approx(0.3, abs=0.001)]


def test_gaps_within_the_bot_s_speech_are_those_of_the_simulator() -> None:
    pieces = [(0.5, 1.0), (1.75, 0.5), (2.2, 0.25), (3.5, 1.0), (4.6, 0.2)]
    talk = Conversation([])
    oracle = GenesysClientSession(talk.parameters)
    oracle.start(0.0)
    media = [dict(entry) for entry in talk.parameters.media]
    message = {"version": "2", "id": talk.parameters.session_id, "seq": 1, "clientseq": 1}
    oracle.receive_text(json.dumps(message | {"type": "opened", "parameters": {"media": media}}), 0)
    for at, seconds in pieces:
        talk.bot(at, seconds)
        oracle.receive_binary(b"\x00" * round(seconds * SECOND), at)
    numbers = talk.end(7.0)
    expected = [(gap.at, gap.seconds) for gap in oracle.playback.underruns()]
    assert [(one["at"], one["duration"]) for one in numbers["underruns"]] == expected
    assert numbers["holes"] == len(expected) == 2


def test_pauses_and_discarded_audio_leave_gaps_where_they_were() -> None:
    talk = Conversation([(0.0, 9.0)])
    talk.text(1.0, Direction.TO_SERVER, "paused")
    gap = {"start": "PT1S", "discarded": "PT2S"}
    resumed = {
        "version": "2",
        "type": "resumed",
        "id": talk.parameters.session_id,
        "seq": 3,
        "serverseq": 1,
        "position": "PT3S",
        "parameters": gap,
    }
    talk.analysis.receive(3.0, Direction.TO_SERVER, json.dumps(resumed))
    talk.analysis.receive(3.2, Direction.TO_SERVER, LOUD)
    assert talk.analysis.violations == 0
    caller = peaks(talk.analysis.tracks()["caller"], 0.0, 3.2, 16)
    loud = [high > 0.1 for high in caller[1::2]]
    assert loud == [*[True] * 5, *[False] * 10, True]
    [mark] = [mark for mark in talk.analysis.marks if mark.kind == "gap"]
    assert (mark.at, mark.until, mark.value) == (1.0, 3.0, 2.0)


def test_refused_messages_and_output_variables_are_counted() -> None:
    talk = Conversation([])
    talk.text(1.0, Direction.TO_SERVER, "error", {"code": 429, "message": "Rate limit exceeded"})
    variables = {"reason": "completed", "outputVariables": {"intent": "billing"}}
    talk.text(1.2, Direction.FROM_SERVER, "disconnect", variables)
    numbers = talk.end(1.4)
    assert numbers["refused_429"] == 1
    assert numbers["output_variables"] == {"intent": "billing"}


def test_both_parties_of_a_monitored_call_have_a_track() -> None:
    external, internal = AudioHookChannel.EXTERNAL, AudioHookChannel.INTERNAL
    parameters = new_monitor_call(media=(medium(internal, external),))
    analysis = CallAnalysis()
    envelope = {"version": "2", "id": parameters.session_id, "seq": 1}
    opening = envelope | {"type": "open", "serverseq": 0, "position": "PT0S"}
    opened = envelope | {"type": "opened", "clientseq": 1}
    media = [dict(entry) for entry in parameters.media]
    analysis.receive(
        0.0,
        Direction.TO_SERVER,
        json.dumps(opening | {"parameters": parameters.open_parameters()}),
    )
    analysis.receive(
        0.0, Direction.FROM_SERVER, json.dumps(opened | {"parameters": {"media": media}})
    )
    analysis.receive(0.2, Direction.TO_SERVER, audio.merge_stereo(LOUD, SILENCE, 1))
    assert analysis.mode is CallMode.MONITOR
    tracks = analysis.tracks()
    assert list(tracks) == ["caller", "agent", "bot"]
    assert tracks["agent"].pcm(0, FRAME) == audio.ulaw_decode(LOUD)
    assert tracks["caller"].pcm(0, FRAME) == bytes(2 * FRAME)


def test_missing_messages_of_a_recording_are_no_broken_sequence() -> None:
    talk = Conversation([])
    talk.advance(1.0)
    talk.analysis.skip()
    talk._seq = {Direction.TO_SERVER: 40, Direction.FROM_SERVER: 70}
    talk._frames = 300
    talk.text(60.0, Direction.TO_SERVER, "dtmf", {"digit": "1"})
    talk.text(60.1, Direction.FROM_SERVER, "event", {"entities": [{"type": "custom", "data": {}}]})
    rules = [rule.rule for message in talk.analysis.messages for rule in message.rules]
    assert rules == []
