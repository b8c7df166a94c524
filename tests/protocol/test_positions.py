"""Counting samples against the client's clock; the oracle is a list with one entry a sample."""

from hypothesis import given
from hypothesis import strategies as st
from pipecat_genesys.protocol import AudioHookSession
from pipecat_genesys.protocol.positions import PositionMap

from .client import duration, started, unhurried

# Audio of some samples, or a gap of some.
stretches = st.lists(st.tuples(st.booleans(), st.integers(0, 50)), max_size=30)


@given(st.integers(0, 1000), stretches)
@unhurried
def test_each_sample_is_where_the_clients_clock_had_it(
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
def test_a_session_keeps_it(parts: list[tuple[bool, int]]) -> None:
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


def test_a_pause_is_a_gap() -> None:
    # As measured: paused at 0.6 s, resumed at 1.4 s.
    call = started()
    call.audio(4800)
    call.ask("paused")
    call.client.samples = 11200
    call.ask("resumed", {"start": "PT0.6S", "discarded": "PT0.8S"})
    call.audio(1600)
    position = call.session.positions.position
    assert [position(n) for n in (0, 4799, 4800, 6399)] == [0, 4799, 11200, 12799]


def test_a_continued_session_begins_where_its_window_does() -> None:
    call = started()
    call = type(call)()
    call.client.samples = 160_000
    call.open()
    call.opened()
    call.audio(1600)
    assert call.session.positions.start == 160_000
    assert call.session.positions.position(1) == 160_001
    assert call.counted == {}


def test_gaps_without_end_are_forgotten_from_the_oldest() -> None:
    timeline, clock = PositionMap(), 0
    for _ in range(100_000):
        clock += 1
        timeline.skip(clock, clock + 1)
        clock += 1
    newest = timeline.arrived(clock)
    assert timeline.position(newest) == clock
    assert timeline.position(newest - 1000) == clock - 2000


def test_audio_that_is_not_used_is_left_out() -> None:
    call = started()
    call.audio(1600)
    call.session.leave_out(call.audio(800))
    call.audio(1600)
    position = call.session.positions.position
    assert [position(n) for n in (0, 1599, 1600, 3199)] == [0, 1599, 2400, 3999]
    assert call.session.position == 4000
    assert call.counted == {}


def test_without_a_medium_there_is_nothing_to_leave_out() -> None:
    session = AudioHookSession("x")
    session.leave_out(session.receive_audio(1600))
    assert session.positions.position(0) == 0
