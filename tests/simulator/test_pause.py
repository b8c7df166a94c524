"""Two pauses on one stream, and exact positions throughout."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from pipecat_genesys.protocol.types import duration_to_samples
from pipecat_genesys.simulator import Party, SessionState, StreamPaused, StreamResumed, Violation

from .session_driver import SessionDriver, open_session


def kinds(driver: SessionDriver) -> list[str]:
    return [kind for _, kind, _ in driver.take_sent()]


def test_the_measured_pause() -> None:
    # Measured: 'paused' at PT0.6S, 'resumed' at PT1.4S with start PT0.6S and discarded PT0.8S.
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


def test_pause_and_resume_can_be_used_to_ask() -> None:
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


def test_a_pause_of_the_client_outlasts_the_resume_of_the_server() -> None:
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


def test_a_pause_of_the_server_outlasts_that_of_the_client_silently() -> None:
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


def test_pings_go_on_during_a_pause() -> None:
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
def test_a_server_that_follows_the_messages_knows_the_position_to_the_sample(
    script: list[tuple[str, int] | tuple[str]],
) -> None:
    """The timeline as a server keeps it: samples received, plus every gap that is reported."""
    driver = open_session()
    heard = 0
    for step in script:
        driver.advance(0.6)  # within the limits on pause and resume
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
                heard += len(message)
                continue
            if message["type"] == "ping":
                driver.receive("pong", clientseq=message["seq"])
            if message["type"] in ("resumed", "discarded"):
                gap = message["parameters"]
                end = duration_to_samples(gap["start"]) + duration_to_samples(gap["discarded"])
                assert duration_to_samples(gap["start"]) <= end
                heard = end
                # Right after a report, both sides agree exactly.
                assert duration_to_samples(message["position"]) == heard
        driver.sent.clear()
        if not driver.session.is_paused:
            assert driver.session.position == heard
    assert driver.of(Violation) == []
