"""Tests of the media time of samples, compared with the client's clock at each sample."""

from hypothesis import given
from hypothesis import strategies as st
from pipecat_genesys.protocol import AudioHookSession
from pipecat_genesys.protocol.positions import PositionMap

from .client import duration, started, unhurried

# Each pair is a section of a stream: whether it is audio or a gap, and its length in samples.
stretches = st.lists(st.tuples(st.booleans(), st.integers(0, 50)), max_size=30)


@given(st.integers(0, 1000), stretches)
@unhurried
def test_media_time_of_each_sample_is_that_of_the_clients_clock(
    start: int, parts: list[tuple[bool, int]]
) -> None:
    timeline, clock, clocks = PositionMap(start), start, []
    for is_audio, length in parts:
        if is_audio:
            clocks += range(clock, clock + length)
        else:
            timeline.skip(clock, clock + length)
        clock += length
    assert timeline.arrived(clock) == len(clocks)
    assert [timeline.position(n) for n in range(len(clocks))] == clocks
    assert timeline.position(len(clocks)) == clock


@given(stretches)
@unhurried
def test_session_maps_samples_to_media_time(parts: list[tuple[bool, int]]) -> None:
    call, clocks = started(), []
    for is_audio, length in parts:
        clock = call.client.samples
        if is_audio:
            call.audio(length)
            clocks += range(clock, clock + length)
        else:
            call.client.samples += length
            gap = {"start": duration(clock), "discarded": duration(length)}
            call.ask("discarded", gap)
    assert [call.session.positions.position(n) for n in range(len(clocks))] == clocks
    assert call.session.position == call.client.samples
    assert call.counted == {}


def test_pause_is_a_gap_of_media_time() -> None:
    # In a measured call, Genesys paused at 0.6 s and resumed at 1.4 s.
    call = started()
    call.audio(4800)
    call.ask("paused")
    call.client.samples = 11200
    call.ask("resumed", {"start": "PT0.6S", "discarded": "PT0.8S"})
    call.audio(1600)
    position = call.session.positions.position
    assert [position(n) for n in (0, 4799, 4800, 6399)] == [0, 4799, 11200, 12799]


def test_continued_session_begins_at_the_position_of_open() -> None:
    call = started()
    call = type(call)()
    call.client.samples = 160_000
    call.open()
    call.opened()
    call.audio(1600)
    assert call.session.positions.start == 160_000
    assert call.session.positions.position(1) == 160_001
    assert call.counted == {}


def test_number_of_remembered_gaps_is_limited() -> None:
    timeline, clock = PositionMap(), 0
    for _ in range(100_000):
        clock += 1
        timeline.skip(clock, clock + 1)
        clock += 1
    newest = timeline.arrived(clock)
    assert timeline.position(newest) == clock
    assert timeline.position(newest - 1000) == clock - 2000


def test_audio_that_the_session_drops_is_a_gap() -> None:
    call = started()
    call.audio(1600)
    call.session.leave_out(call.audio(800))
    call.audio(1600)
    position = call.session.positions.position
    assert [position(n) for n in (0, 1599, 1600, 3199)] == [0, 1599, 2400, 3999]
    assert call.session.position == 4000
    assert call.counted == {}


def test_audio_without_a_medium_is_no_gap() -> None:
    session = AudioHookSession("x")
    session.leave_out(session.receive_audio(1600))
    assert session.positions.position(0) == 0
