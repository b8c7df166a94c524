"""Tests of the regular course of a session: open, pings, audio, keys, events and close."""

from __future__ import annotations

import json

import pytest
from pipecat_genesys.protocol.types import CloseReason, DisconnectReason
from pipecat_genesys.simulator import (
    CallStateError,
    Closed,
    CloseSent,
    Disconnected,
    GenesysClientSession,
    Opened,
    Party,
    PongReceived,
    ProtocolWarning,
    ReconnectRequested,
    ServerEvent,
    ServerRule,
    SessionState,
    SocketClosed,
    Updated,
    Violation,
    new_call,
)

from .session_driver import MEDIUM, ORIGIN, PARAMETERS, SessionDriver, open_session


def test_start_sends_open_with_all_fields_once() -> None:
    session = GenesysClientSession(PARAMETERS)
    assert session.messages_to_send() == []
    session.start(5.0)
    (text,) = session.messages_to_send()
    assert json.loads(text) == {
        "version": "2",
        "type": "open",
        "id": PARAMETERS.session_id,
        "seq": 1,
        "serverseq": 0,
        "position": "PT0S",
        "parameters": {
            "organizationId": PARAMETERS.organization_id,
            "conversationId": PARAMETERS.conversation_id,
            "participant": {
                "id": PARAMETERS.participant_id,
                "ani": "tel:+15550100",
                "aniName": "",
                "dnis": "tel:+15550199",
            },
            "media": [MEDIUM],
            "language": "en-US",
            "inputVariables": {"account": "4711"},
        },
    }
    with pytest.raises(CallStateError):
        session.start(6.0)


def test_optional_fields_of_open_are_omitted_when_none() -> None:
    bare = new_call(language=None, input_variables=None).open_parameters()
    assert {"language", "inputVariables", "customConfig", "supportedLanguages"}.isdisjoint(bare)
    full = new_call(custom_config={"a": [1]}, supported_languages=False).open_parameters()
    assert full["customConfig"] == {"a": [1]}
    assert full["supportedLanguages"] is False


def test_new_calls_have_different_ids() -> None:
    first, second = new_call(), new_call()
    assert first.session_id != second.session_id
    assert len({first.session_id, first.conversation_id, first.participant_id}) == 3


def test_opened_opens_the_session_and_is_captured_with_its_latency() -> None:
    driver = SessionDriver()
    driver.advance(0.25)
    driver.accept(startPaused=False)
    (opened,) = driver.of(Opened)
    assert opened.at == pytest.approx(0.25)
    assert opened.media is not None
    assert opened.media.raw == MEDIUM
    assert not opened.start_paused
    assert driver.session.state is SessionState.OPEN
    entry = driver.session.capture.entries[-1]
    assert (entry.type, entry.seq, entry.latency) == ("opened", 1, pytest.approx(0.25))
    assert driver.of(Violation) == []
    assert driver.of(ProtocolWarning) == []


def test_opened_without_a_medium_advances_the_position_without_sending_audio() -> None:
    driver = SessionDriver()
    driver.accept(media=[])
    assert driver.session.state is SessionState.OPEN
    driver.take_sent()
    driver.send_frames(2)
    assert driver.take_sent() == []
    assert driver.session.position == 3200  # the client's clock also runs without audio


def test_discard_to_skips_whole_frames_before_the_paused_start() -> None:
    driver = SessionDriver()
    driver.take_sent()
    driver.accept(discardTo="PT0.5S", startPaused=True)
    assert driver.sent[0][1]["position"] == "PT0.4S"  # type: ignore[index]
    assert driver.take_sent() == [
        (0.0, "discarded", {"start": "PT0S", "discarded": "PT0.4S"}),
        (0.0, "paused", {}),
    ]
    assert driver.session.position == 3200


def test_pings_are_sent_after_one_second_after_the_first_pong_and_every_five_seconds() -> None:
    driver = open_session()
    driver.advance(1.0)
    assert driver.take_sent() == [(1.0, "ping", {})]
    driver.advance(0.02)
    driver.receive("pong")
    assert driver.take_sent() == [(1.02, "ping", {"rtt": "PT0.02S"})]
    driver.advance(0.05)
    driver.receive("pong")
    driver.advance(4.9)
    assert driver.take_sent() == []
    driver.advance(0.1)
    assert driver.take_sent() == [(6.0, "ping", {"rtt": "PT0.05S"})]
    driver.receive("pong")
    driver.advance(5.0)
    assert [(at, kind) for at, kind, _ in driver.take_sent()] == [(11.0, "ping")]
    assert [round(pong.rtt, 6) for pong in driver.of(PongReceived)] == [0.02, 0.05, 0.07]
    latencies = [e.latency for e in driver.session.capture.entries if e.type == "pong"]
    assert latencies == [pytest.approx(0.02), pytest.approx(0.05), pytest.approx(0.07)]


def test_no_pings_are_sent_before_opened_or_after_close() -> None:
    driver = SessionDriver()
    driver.advance(4.9)
    assert [kind for _, kind, _ in driver.take_sent()] == ["open"]
    driver.accept()
    driver.call("hang_up")
    driver.advance(9.9)
    assert [kind for _, kind, _ in driver.take_sent()] == ["close"]


def test_client_that_stalled_reports_no_pong_timeout() -> None:
    driver = open_session()
    driver.now += 60
    driver.session.tick(driver.now)
    driver._collect()
    assert [kind for _, kind, _ in driver.take_sent()] == ["ping"]
    driver.receive("pong")
    assert driver.of(Violation) == []


def test_sequence_numbers_and_positions_follow_the_order_of_sending() -> None:
    driver = SessionDriver()
    driver.accept()
    driver.send_frames(3, samples=1601)
    driver.call("press_dtmf", "5")
    driver.receive("event", {"entities": [{"type": "bot_turn_response", "data": {}}]})
    driver.send_frames(1, samples=1)
    driver.call("press_dtmf", "#")
    texts = [message for _, message in driver.sent if isinstance(message, dict)]
    assert [(m["seq"], m["serverseq"], m["position"]) for m in texts] == [
        (1, 0, "PT0S"),
        (2, 1, "PT0.600375S"),  # the audio has 4803 samples
        (3, 2, "PT0.6005S"),
    ]
    assert [m["parameters"] for m in texts[1:]] == [{"digit": "5"}, {"digit": "#"}]


@pytest.mark.parametrize("digit", ["", "12", "A", "a", "٣"])
def test_press_dtmf_refuses_what_is_not_a_key(digit: str) -> None:
    driver = open_session()
    with pytest.raises(ValueError, match="not a key"):
        driver.call("press_dtmf", digit)
    assert driver.take_sent() == []


@pytest.mark.parametrize(
    ("verb", "arguments"),
    [
        ("press_dtmf", ["1"]),
        ("send_update", ["de-DE"]),
        ("pause", []),
        ("resume", []),
        ("report_discarded", [1]),
        ("send_audio", [b""]),
    ],
)
def test_action_before_opened_raises_call_state_error(verb: str, arguments: list[object]) -> None:
    driver = SessionDriver()
    with pytest.raises(CallStateError):
        driver.call(verb, *arguments)


def test_send_audio_generates_silence_for_a_number_of_samples() -> None:
    driver = open_session()
    driver.call("send_audio", 3)
    assert driver.take_sent() == [(0.0, "audio", b"\xff\xff\xff")]
    assert driver.session.position == 3


def test_updated_is_reported_with_its_latency() -> None:
    driver = open_session()
    driver.call("send_update", "de-DE")
    assert driver.take_sent() == [(0.0, "update", {"language": "de-DE"})]
    driver.advance(0.5)
    driver.receive("updated")
    assert driver.of(Updated) == [Updated(0.5, 0.5)]
    assert driver.of(ProtocolWarning) == []
    driver.receive("updated")
    assert [w.rule for w in driver.of(ProtocolWarning)] == [ServerRule.UPDATED_UNEXPECTED]
    assert driver.of(Updated)[1].latency is None


def test_every_entity_is_an_event_even_if_its_type_is_unknown() -> None:
    driver = open_session()
    entity = {"type": "weather", "data": None}
    driver.receive("event", {"entities": [entity]})
    (event,) = driver.of(ServerEvent)
    assert event.entity == entity
    assert event.type == "weather"
    assert driver.of(Violation) == []
    driver.receive("event", {"entities": [entity, entity]})
    assert len(driver.of(ServerEvent)) == 3
    assert [w.rule for w in driver.of(ProtocolWarning)] == [ServerRule.SEVERAL_ENTITIES]


def test_reconnect_is_an_event_without_a_reaction() -> None:
    driver = open_session()
    driver.receive("reconnect", {"info": "deploy"})
    assert driver.of(ReconnectRequested) == [ReconnectRequested(0.0, "deploy")]
    assert driver.take_sent() == []
    assert driver.session.state is SessionState.OPEN


def test_hang_up_sends_close_and_the_socket_closes_after_closed() -> None:
    driver = open_session()
    driver.advance(0.5)
    driver.call("hang_up")
    assert driver.take_sent() == [(0.5, "close", {"reason": "end"})]
    assert not driver.session.socket_should_close
    driver.advance(0.25)
    driver.send_frames(1)
    assert driver.take_sent() == []
    driver.receive("event", {"entities": [{"type": "summary", "data": {}}]})
    driver.receive("closed")
    assert driver.session.socket_should_close
    assert driver.of(Closed) == [Closed(0.75, 0.25, {})]
    driver.session.socket_lost(driver.now, by=Party.CLIENT, code=1005)
    driver._collect()
    assert driver.of(SocketClosed) == [SocketClosed(0.75, Party.CLIENT, 1005)]
    assert driver.of(Violation) == []
    assert driver.session.next_deadline() is None
    assert driver.session.capture.entries[-1].latency == pytest.approx(0.25)


def test_hang_up_before_opened_sends_close() -> None:
    driver = SessionDriver()
    driver.take_sent()
    driver.call("hang_up")
    assert driver.take_sent() == [(0.0, "close", {"reason": "end"})]
    driver.receive("closed")
    assert driver.session.socket_should_close
    assert driver.of(Violation) == []


def test_second_hang_up_has_no_effect() -> None:
    driver = open_session()
    assert driver.session.hang_up(driver.now)
    assert not driver.session.hang_up(driver.now)
    driver._collect()
    assert [kind for _, kind, _ in driver.take_sent()] == ["close"]


@pytest.mark.parametrize("reason", list(DisconnectReason))
@pytest.mark.parametrize("opened_first", [False, True])
def test_disconnect_is_answered_with_close_before_and_after_opened(
    reason: DisconnectReason, opened_first: bool
) -> None:
    driver = open_session() if opened_first else SessionDriver()
    driver.take_sent()
    driver.receive(
        "disconnect", {"reason": reason, "info": "done", "outputVariables": {"intent": "sales"}}
    )
    assert driver.take_sent() == [(0.0, "close", {"reason": "disconnect"})]
    assert driver.of(Disconnected) == [Disconnected(0.0, reason, "done", {"intent": "sales"})]
    assert driver.of(CloseSent) == [CloseSent(0.0, CloseReason.DISCONNECT)]
    driver.receive("closed")
    assert driver.session.socket_should_close
    assert driver.of(Violation) == []


def test_disconnect_after_hang_up_has_no_effect() -> None:
    driver = open_session()
    driver.call("hang_up")
    driver.take_sent()
    driver.receive("disconnect", {"reason": "completed"})
    assert driver.take_sent() == []
    assert driver.session.close_reason is CloseReason.END
    assert driver.of(Violation) == []


def test_disconnect_instead_of_opened_is_valid() -> None:
    driver = SessionDriver()
    driver.receive("disconnect", {"reason": "unauthorized"})
    driver.receive("closed")
    assert driver.session.socket_should_close
    assert driver.of(Violation) == []
    assert driver.session.capture.entries[0].at == 0.0
    assert driver.session.elapsed(ORIGIN) == 0.0


def test_messages_that_were_sent_before_close_arrived_are_valid() -> None:
    driver = open_session()
    driver.advance(1.0)
    driver.call("hang_up")
    driver.receive("pong", clientseq=2)
    driver.receive("pause")
    driver.receive("resume")
    driver.receive_audio(b"\x55" * 1600)
    assert [kind for _, kind, _ in driver.take_sent()] == ["ping", "close"]
    assert driver.of(Violation) == []


def test_resume_without_a_pause_raises_call_state_error() -> None:
    with pytest.raises(CallStateError, match="has not paused the stream"):
        open_session().call("resume")


def test_report_discarded_refuses_zero_samples() -> None:
    with pytest.raises(ValueError, match="must be positive, got 0"):
        open_session().session.report_discarded(0, 1000.0)


def test_second_loss_of_the_socket_is_ignored() -> None:
    driver = open_session()
    for party in (Party.CLIENT, Party.SERVER):
        driver.session.socket_lost(driver.now, by=party)
    driver._collect()
    assert len(driver.of(SocketClosed)) == 1
    assert driver.of(Violation) == []
