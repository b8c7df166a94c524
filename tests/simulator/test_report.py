"""Tests of the report of a call."""

from __future__ import annotations

import pytest
from pipecat_genesys.protocol.types import CloseReason, DisconnectReason
from pipecat_genesys.simulator import (
    CallReport,
    Ending,
    GenesysClientSession,
    Latency,
    Party,
    ServerRule,
    Underrun,
    build_report,
)

from .session_driver import PARAMETERS, SessionDriver, open_session


def report_of(driver: SessionDriver, **more: str) -> CallReport:
    return build_report(driver.session, driver.events, driver.now, **more)


def clean_call() -> SessionDriver:
    driver = SessionDriver()
    driver.advance(0.125)
    driver.accept()
    driver.send_frames(5)
    for _ in range(3):
        driver.receive_audio(b"\x55" * 4000)
    driver.advance(0.875)  # the first ping is due at 1.125 s
    driver.advance(0.125)
    driver.advance(0.0625)
    driver.receive("pong")
    driver.receive("pong")
    driver.advance(1.0)
    driver.receive_audio(b"\x66" * 800)
    driver.advance(0.0625)
    driver.receive("event", {"entities": [{"type": "barge_in", "data": {}}]})
    driver.receive("disconnect", {"reason": "completed", "outputVariables": {"a": "b"}})
    driver.advance(0.25)
    driver.receive("closed", {"outputVariables": {"c": "d"}})
    driver.session.socket_lost(driver.now, by=Party.CLIENT, code=1005)
    driver._collect()
    driver.now += 100  # the report is made 100 s after the call; its durations must not change
    return driver


def test_report_of_a_clean_call_has_all_figures() -> None:
    report = report_of(clean_call())
    assert report.clean
    assert report.duration == pytest.approx(2.5)
    assert report.opened_latency == pytest.approx(0.125)
    assert report.closed_latency == pytest.approx(0.25)
    assert report.pongs == Latency(2, pytest.approx(0.03125), pytest.approx(0.0625))
    assert report.text_from_server.messages == 6
    assert report.text_from_server.burst == 3
    assert report.text_from_server.per_second == pytest.approx(6 / 2.5)
    assert report.audio_from_server.messages == 4
    assert report.audio_from_server.size == 12800
    assert report.audio_from_server.burst == 3
    assert report.audio_from_server.lowest_bucket == 22
    # The messages are open, started, ping, ping, completed, started, completed, close. The second
    # completed message reports a barge-in.
    assert report.text_to_server.messages == 8
    assert report.text_to_server.lowest_bucket is None
    assert report.audio_to_server.messages == 5
    assert report.audio_to_server.size == 8000
    assert report.received == 1.6
    assert report.heard == 1.5625
    assert report.dropped_by_barge_in == pytest.approx(0.0375)
    assert report.unheard_at_end == 0
    assert report.ending == Ending(
        close_reason=CloseReason.DISCONNECT,
        closed_received=True,
        disconnect_reason=DisconnectReason.COMPLETED,
        disconnect_info=None,
        output_variables={"a": "b"},
        closed_output_variables={"c": "d"},
        socket_closed_by=Party.CLIENT,
        socket_code=1005,
    )
    assert [w.rule for w in report.warnings] == [ServerRule.CLOSED_PARAMETERS]
    assert report.server_seq_ok
    assert report.client_seq_ok


def test_burst_is_the_maximum_number_of_messages_within_a_second() -> None:
    driver = open_session()
    for gap in (0.25, 0.25, 0.25, 0.25, 5.0, 0.125, 0.125):
        driver.receive_audio(b"\x55" * 8)
        driver.now += gap
    assert report_of(driver).audio_from_server.burst == 4


def test_call_with_underruns_and_unheard_audio_is_clean() -> None:
    driver = open_session()
    driver.receive_audio(b"\x55" * 800)
    driver.advance(0.2)
    driver.receive_audio(b"\x55" * 8000)
    driver.advance(0.25)
    driver.call("hang_up")
    driver.receive("closed")
    driver.session.socket_lost(driver.now, by=Party.CLIENT)
    report = report_of(driver)
    assert report.underruns == (Underrun(pytest.approx(0.1), pytest.approx(0.1)),)
    assert report.unheard_at_end == 0.75
    assert report.dropped_by_barge_in == 0.0
    assert report.clean


def test_call_is_clean_only_if_it_ended_as_it_should() -> None:
    assert not report_of(open_session()).clean  # this call has not ended

    for by, finished in ((Party.SERVER, True), (Party.CLIENT, False)):
        driver = open_session()
        driver.call("hang_up")
        if finished:
            driver.receive("closed")
        driver.session.socket_lost(driver.now, by=by)
        driver._collect()
        assert not report_of(driver).clean

    waiting = open_session()
    waiting.call("hang_up")
    waiting.receive("closed")
    assert not report_of(waiting).clean  # the socket of this call is open

    assert not report_of(clean_call(), script_error="gave up").clean


def test_gap_in_the_sequence_numbers_of_the_server_is_reported() -> None:
    driver = open_session()
    driver.receive("updated", seq=7)
    report = report_of(driver)
    assert not report.server_seq_ok
    assert [v.rule for v in report.violations] == [ServerRule.SEQUENCE]


def test_report_of_a_call_without_connection_is_empty() -> None:
    report = build_report(GenesysClientSession(PARAMETERS), [], 12345.0, "no connection")
    assert report.duration == 0
    assert report.heard == 0
    assert report.pongs == Latency(0, None, None)
    assert report.text_to_server.per_second == 0
    assert report.ending.socket_closed_by is None
    assert not report.clean
