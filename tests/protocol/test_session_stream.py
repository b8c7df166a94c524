"""Tests of the audio stream of the caller: pauses, discarded audio, positions."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pipecat_genesys.protocol import AudioHookMessageType as Type
from pipecat_genesys.protocol import (
    Draft,
    State,
    events,
    server_messages,
)

from .client import (
    EXTERNAL,
    L16,
    L16_STEREO,
    PARAMETERS,
    STEREO,
    SessionUnderTest,
    call_in,
    duration,
    probe,
    started,
    unhurried,
)
from .judging import IN_CALL


class TestPause:
    def test_pause_takes_effect_with_paused(self) -> None:
        call = started()
        call.audio(4800)
        message = call.send(Draft(Type.PAUSE))
        assert (message["type"], message["parameters"]) == ("pause", {})
        assert call.stands() is State.ACTIVE
        assert call.audio(160) == 160
        assert isinstance(call.ask("paused"), events.Paused)
        assert call.session.state is State.PAUSED

    def test_unsolicited_paused_is_not_answered(self) -> None:
        call = started()
        event = call.ask("paused")
        assert isinstance(event, events.Paused)
        assert event.reply is None
        assert call.counted == {}

    def test_repeated_paused_is_no_fault(self) -> None:
        call = started()
        for _ in range(3):
            assert isinstance(call.ask("paused"), events.Paused)
        event = call.ask("resumed", {"start": "PT0S", "discarded": "PT0S"})
        assert isinstance(event, events.Resumed)
        assert event.reply is None
        assert call.session.state is State.ACTIVE
        assert call.counted == {}

    def test_stream_stays_paused_if_resume_is_answered_with_paused(self) -> None:
        call = call_in(State.PAUSED)
        assert call.send(server_messages.resume())["type"] == "resume"
        assert call.session.state is State.PAUSED
        assert isinstance(call.ask("paused"), events.Paused)
        assert call.session.state is State.PAUSED

    def test_resumed_moves_the_position(self) -> None:
        call = started(STEREO)
        call.audio(9600)
        call.ask("paused")
        assert call.session.position == 4800
        call.client.samples = 11200
        event = call.ask("resumed", {"start": "PT0.6S", "discarded": "PT0.8S"})
        assert isinstance(event, events.Resumed)
        assert (event.start, event.discarded) == (4800, 6400)
        assert call.session.position == 11200
        assert call.counted == {}

    def test_resumed_without_a_pause_is_no_fault(self) -> None:
        call = started()
        call.audio(1600)
        call.ask("resumed", {"start": "PT0.2S", "discarded": "PT0S"})
        assert call.session.state is State.ACTIVE
        assert call.session.position == 1600
        assert call.counted == {}

    def test_audio_during_a_pause_is_dropped_and_counted(self) -> None:
        call = call_in(State.PAUSED)
        assert call.audio(1600) == 0
        assert call.session.position == 0
        assert call.counted == {"audio-state": 1}
        assert call.session.state is State.PAUSED

    @pytest.mark.parametrize("state", [State.PREPARING, State.OPENING, *IN_CALL])
    def test_pause_of_a_client_is_reported(self, state: State) -> None:
        call = call_in(state)
        event = call.ask("pause")
        assert isinstance(event, events.PauseRequested)
        assert event.reply is None
        assert call.session.state is state


class TestDiscarded:
    def test_discarded_moves_the_position(self) -> None:
        call = started()
        call.client.samples = 3200
        event = call.ask("discarded", {"start": "PT0S", "discarded": "PT0.4S"})
        assert isinstance(event, events.Discarded)
        assert (event.start, event.discarded) == (0, 3200)
        assert call.session.position == 3200
        assert call.session.state is State.ACTIVE
        assert call.counted == {}

    def test_discarded_sets_the_position_and_does_not_add(self) -> None:
        call = started()
        call.audio(1600)
        call.client.samples = 8000
        call.ask("discarded", {"start": "PT0.5S", "discarded": "PT0.5S"})
        assert call.session.position == 8000

    @pytest.mark.parametrize(
        ("start", "discarded", "position"),
        [
            ("PT0.000125S", "PT0.000125S", 2),
            # `start` and `discarded` are each shorter than half a sample (62.5 us), but their sum
            # is longer.
            ("PT0.00006S", "PT0.00006S", 1),
            ("PT1.00004S", "PT0.00004S", 8001),
        ],
    )
    def test_start_and_discarded_are_added_before_rounding(
        self, start: str, discarded: str, position: int
    ) -> None:
        call = started()
        call.say("discarded", {"start": start, "discarded": discarded})
        assert call.session.position == position

    def test_invalid_discarded_does_not_move_the_position(self) -> None:
        call = started()
        call.audio(1600)
        event = call.say("discarded", {"start": "PT1S"})[-1]
        assert isinstance(event, events.Discarded)
        assert (event.start, event.discarded) == (None, None)
        assert call.session.position == 1600


class TestPosition:
    @pytest.mark.parametrize(
        ("entry", "n_bytes", "samples"),
        [(EXTERNAL, 1600, 1600), (STEREO, 3200, 1600), (L16, 3200, 1600), (L16_STEREO, 6400, 1600)],
    )
    def test_position_counts_samples_of_one_channel(
        self, entry: Any, n_bytes: int, samples: int
    ) -> None:
        call = started(entry)
        assert call.audio(n_bytes) == n_bytes
        assert call.session.position == samples
        call.ask("ping")
        assert call.counted == {}

    @pytest.mark.parametrize(
        ("entry", "n_bytes", "usable"),
        [(STEREO, 3, 2), (L16, 1, 0), (L16_STEREO, 3202, 3200), (L16_STEREO, 3, 0)],
    )
    def test_incomplete_sample_is_dropped(self, entry: Any, n_bytes: int, usable: int) -> None:
        call = started(entry)
        assert call.session.receive_audio(n_bytes) == usable
        assert call.counted == {"audio-length": 1}
        assert call.session.state is State.ACTIVE

    @given(st.sampled_from([EXTERNAL, STEREO, L16, L16_STEREO]), st.lists(st.integers(0, 64_000)))
    @unhurried
    def test_position_is_exact_for_any_frame_sizes(self, entry: Any, frames: list[int]) -> None:
        call = started(entry)
        width = len(entry["channels"]) * (1 if entry["format"] == "PCMU" else 2)
        usable = [call.session.receive_audio(n) for n in frames]
        assert usable == [n - n % width for n in frames]
        assert call.session.position == sum(n // width for n in frames)

    def test_empty_audio_message_is_no_fault(self) -> None:
        call = started()
        assert call.audio(0) == 0
        assert call.counted == {}

    @pytest.mark.parametrize("type", ["ping", "paused", "dtmf", "playback_started", "close"])
    def test_position_of_the_client_is_compared(self, type: str) -> None:
        call = started()
        call.audio(1601)
        found = call.say(type, PARAMETERS[type], position=duration(1600))
        assert not [event for event in found if isinstance(event, events.Faulted)]
        assert call.counted == {"position": 1}
        assert call.session.position == 1601
        assert call.session.state is not State.FAILED

    def test_position_of_single_samples_is_not_rounded(self) -> None:
        call = started()
        for n in (1, 7, 1599, 3, 801):
            call.audio(n)
            call.ask("ping")
        assert call.counted == {}

    def test_audio_before_opened_is_accepted_and_counted_as_a_fault(self) -> None:
        # The server has not sent `opened` yet, so this audio is a fault of the client. If the
        # session rejected the audio, the caller's first word would be lost.
        call = call_in(State.OPENING)
        assert call.session.receive_audio(1600) == 1600
        assert call.session.position == 1600
        assert call.counted == {"audio-state": 1}

    @pytest.mark.parametrize("state", [State.PREPARING, State.PAUSED, State.CLOSING])
    def test_audio_outside_the_call_is_dropped_and_counted(self, state: State) -> None:
        call = call_in(state)
        assert call.session.receive_audio(1600) == 0
        assert call.session.position == 0
        assert call.counted == {"audio-state": 1}

    @pytest.mark.parametrize("state", [State.FAILED, State.CLOSED])
    def test_audio_after_the_end_is_dropped_and_not_counted(self, state: State) -> None:
        call = call_in(state)
        assert call.session.receive_audio(1600) == 0
        assert call.counted == {}

    def test_audio_after_disconnect_is_accepted_until_close(self) -> None:
        call = call_in(State.DISCONNECTING)
        assert call.audio(1600) == 1600
        call.ask("ping")
        assert call.counted == {}

    def test_audio_without_a_medium_is_dropped(self) -> None:
        call = SessionUnderTest()
        call.open(probe(media=[]))
        call.opened()
        assert call.session.receive_audio(1600) == 0
        assert call.session.position == 0
        assert call.counted == {"audio-state": 1}
