"""Tests of pauses of both parties on one stream, and of exact positions."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from pipecat_genesys.protocol.types import duration_to_samples
from pipecat_genesys.simulator import Party, SessionState, StreamPaused, StreamResumed, Violation

from .session_driver import SessionDriver, open_session


def kinds(driver: SessionDriver) -> list[str]:
    return [kind for _, kind, _ in driver.take_sent()]


def test_pause_reports_the_positions_measured_with_the_reference_client() -> None:
    driver = open_session()
    driver.send_frames(3)
    driver.receive("pause")
    assert driver.sent[-1][1]["position"] == "PT0.6S"  # type: ignore[index]
    assert kinds(driver) == ["audio", "audio", "audio", "paused"]
    driver.send_frames(4)
    assert driver.take_sent() == []
    driver.receive("resume")
    assert driver.sent[-1][1]["position"] == "PT1.4S"  # type: ignore[index]
    assert driver.take_sent() == [(0.0, "resumed", {"start": "PT0.6S", "discarded": "PT0.8S"})]
    driver.send_frames(1)
    assert kinds(driver) == ["audio"]
    assert driver.of(StreamPaused) == [StreamPaused(0.0, Party.SERVER)]
    assert driver.of(StreamResumed) == [StreamResumed(0.0, Party.SERVER, 4800, 6400)]


def test_start_paused_sends_paused_and_no_audio_until_resume() -> None:
    driver = SessionDriver()
    driver.take_sent()
    driver.accept(startPaused=True)
    assert driver.take_sent() == [(0.0, "paused", {})]
    driver.send_frames(2)
    assert driver.take_sent() == []
    driver.receive("resume")
    assert driver.take_sent() == [(0.0, "resumed", {"start": "PT0S", "discarded": "PT0.4S"})]


def test_repeated_pause_and_resume_are_answered_with_the_current_state() -> None:
    driver = open_session()
    driver.send_frames(1)
    driver.take_sent()
    driver.receive("resume")
    assert driver.take_sent() == [(0.0, "resumed", {"start": "PT0.2S", "discarded": "PT0S"})]
    driver.receive("pause")
    driver.receive("pause")
    assert kinds(driver) == ["paused", "paused"]
    driver.receive("resume")
    assert kinds(driver) == ["resumed"]
    assert not driver.session.is_paused


def test_resume_of_the_server_is_answered_with_paused_while_the_client_pauses() -> None:
    driver = open_session()
    driver.call("pause")
    driver.send_frames(1)
    driver.receive("pause")
    driver.receive("resume")
    assert kinds(driver) == ["paused", "paused", "paused"]
    driver.send_frames(1)
    driver.call("resume")
    assert driver.take_sent() == [(0.0, "resumed", {"start": "PT0S", "discarded": "PT0.4S"})]
    assert driver.of(StreamResumed)[0].by is Party.CLIENT


def test_resume_of_the_client_sends_nothing_while_the_server_pauses() -> None:
    driver = open_session()
    driver.receive("pause")
    driver.call("pause")
    assert kinds(driver) == ["paused", "paused"]
    driver.send_frames(1)
    driver.call("resume")
    assert driver.take_sent() == []
    assert driver.session.is_paused
    driver.receive("resume")
    assert driver.take_sent() == [(0.0, "resumed", {"start": "PT0S", "discarded": "PT0.2S"})]


def test_pings_continue_during_a_pause() -> None:
    driver = open_session()
    driver.answers_pings = True
    driver.receive("pause")
    driver.advance(6.0)
    assert kinds(driver) == ["paused", "ping", "ping", "ping"]
    assert driver.session.state is SessionState.OPEN


@settings(deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("audio"), st.integers(1, 5000)),
            st.tuples(st.just("discard"), st.integers(1, 5000)),
            st.tuples(st.sampled_from(["pause", "resume", "client pause", "client resume"])),
        ),
        max_size=40,
    )
)
def test_server_can_compute_the_exact_position_from_the_messages(
    script: list[tuple[str, int] | tuple[str]],
) -> None:
    """The server counts the received samples and adds every reported gap."""
    driver = open_session()
    position = 0
    for step in script:
        driver.advance(0.6)  # the messages stay within the rate limits of pause and resume
        if step[0] == "audio":
            driver.send_frames(1, samples=step[1])  # type: ignore[misc]
        elif step[0] == "discard":
            driver.call("report_discarded", step[1])  # type: ignore[misc]
        elif step[0] in ("pause", "resume"):
            driver.receive(step[0])
        elif step[0] == "client pause":
            driver.call("pause")
        elif driver.session.is_paused_by(Party.CLIENT):
            driver.call("resume")
        for _, message in driver.sent:
            if isinstance(message, bytes):
                position += len(message)
                continue
            if message["type"] == "ping":
                driver.receive("pong", clientseq=message["seq"])
            if message["type"] in ("resumed", "discarded"):
                gap = message["parameters"]
                end = duration_to_samples(gap["start"]) + duration_to_samples(gap["discarded"])
                assert duration_to_samples(gap["start"]) <= end
                position = end
                assert duration_to_samples(message["position"]) == position
        driver.sent.clear()
        if not driver.session.is_paused:
            assert driver.session.position == position
    assert driver.of(Violation) == []
