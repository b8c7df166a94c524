"""The session's regular course: open, pings, audio, keys, events, close."""

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
    Ponged,
    ProtocolWarning,
    ReconnectRequested,
    Rule,
    ServerEvent,
    SessionState,
    SocketClosed,
    Updated,
    Violation,
    new_call,
)

from .transcript import MEDIUM, ORIGIN, PARAMETERS, Table, answered


def test_open_is_the_first_message_and_complete() -> None:
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


def test_optional_fields_of_open_come_and_go() -> None:
    bare = new_call(language=None, input_variables=None).open_parameters()
    assert {"language", "inputVariables", "customConfig", "supportedLanguages"}.isdisjoint(bare)
    full = new_call(custom_config={"a": [1]}, supported_languages=False).open_parameters()
    assert full["customConfig"] == {"a": [1]}
    assert full["supportedLanguages"] is False


def test_new_calls_are_strangers_to_each_other() -> None:
    first, second = new_call(), new_call()
    assert first.session_id != second.session_id
    assert len({first.session_id, first.conversation_id, first.participant_id}) == 3


def test_opened_starts_the_stream() -> None:
    table = Table()
    table.advance(0.25)
    table.opened(startPaused=False)
    (opened,) = table.of(Opened)
    assert opened.at == pytest.approx(0.25)
    assert opened.media is not None
    assert opened.media.raw == MEDIUM
    assert not opened.start_paused
    assert table.session.state is SessionState.OPEN
    entry = table.session.capture.entries[-1]
    assert (entry.type, entry.seq, entry.latency) == ("opened", 1, pytest.approx(0.25))
    assert table.of(Violation) == []
    assert table.of(ProtocolWarning) == []


def test_opened_without_a_medium_is_a_session_without_audio() -> None:
    table = Table()
    table.opened(media=[])
    assert table.session.state is SessionState.OPEN
    table.take()
    table.caller(2)
    assert table.take() == []
    assert table.session.position == 3200  # the client runs its clock all the same


def test_discard_to_skips_whole_frames_and_says_so_before_pausing() -> None:
    table = Table()
    table.take()
    table.opened(discardTo="PT0.5S", startPaused=True)
    assert table.said[0][1]["position"] == "PT0.4S"  # type: ignore[index]
    assert table.take() == [
        (0.0, "discarded", {"start": "PT0S", "discarded": "PT0.4S"}),
        (0.0, "paused", {}),
    ]
    assert table.session.position == 3200


def test_pings_come_at_one_second_again_after_the_first_pong_and_then_every_five() -> None:
    table = answered()
    table.advance(1.0)
    assert table.take() == [(1.0, "ping", {})]
    table.advance(0.02)
    table.text("pong")
    assert table.take() == [(1.02, "ping", {"rtt": "PT0.02S"})]
    table.advance(0.05)
    table.text("pong")
    table.advance(4.9)
    assert table.take() == []
    table.advance(0.1)
    assert table.take() == [(6.0, "ping", {"rtt": "PT0.05S"})]
    table.text("pong")
    table.advance(5.0)
    assert [(at, kind) for at, kind, _ in table.take()] == [(11.0, "ping")]
    assert [round(pong.rtt, 6) for pong in table.of(Ponged)] == [0.02, 0.05, 0.07]
    latencies = [e.latency for e in table.session.capture.entries if e.type == "pong"]
    assert latencies == [pytest.approx(0.02), pytest.approx(0.05), pytest.approx(0.07)]


def test_no_pings_before_opened_or_after_close() -> None:
    table = Table()
    table.advance(4.9)
    assert [kind for _, kind, _ in table.take()] == ["open"]
    table.opened()
    table.do("hang_up")
    table.advance(9.9)
    assert [kind for _, kind, _ in table.take()] == ["close"]


def test_a_client_that_stalled_does_not_blame_the_server() -> None:
    table = answered()
    table.now += 60
    table.session.tick(table.now)
    table._collect()
    assert [kind for _, kind, _ in table.take()] == ["ping"]
    table.text("pong")
    assert table.of(Violation) == []


def test_counters_and_positions_are_stamped_in_wire_order() -> None:
    table = Table()
    table.opened()
    table.caller(3, samples=1601)
    table.do("press_dtmf", "5")
    table.text("event", {"entities": [{"type": "bot_turn_response", "data": {}}]})
    table.caller(1, samples=1)
    table.do("press_dtmf", "#")
    texts = [message for _, message in table.said if isinstance(message, dict)]
    assert [(m["seq"], m["serverseq"], m["position"]) for m in texts] == [
        (1, 0, "PT0S"),
        (2, 1, "PT0.600375S"),  # 4803 samples
        (3, 2, "PT0.6005S"),
    ]
    assert [m["parameters"] for m in texts[1:]] == [{"digit": "5"}, {"digit": "#"}]


@pytest.mark.parametrize("digit", ["", "12", "A", "a", "٣"])
def test_only_keys_can_be_pressed(digit: str) -> None:
    table = answered()
    with pytest.raises(ValueError, match="not a key"):
        table.do("press_dtmf", digit)
    assert table.take() == []


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
def test_what_needs_an_open_session_is_refused_before(verb: str, arguments: list[object]) -> None:
    table = Table()
    with pytest.raises(CallStateError):
        table.do(verb, *arguments)


def test_silence_can_be_sent_by_the_sample() -> None:
    table = answered()
    table.do("send_audio", 3)
    assert table.take() == [(0.0, "audio", b"\xff\xff\xff")]
    assert table.session.position == 3


def test_update_and_its_answer() -> None:
    table = answered()
    table.do("send_update", "de-DE")
    assert table.take() == [(0.0, "update", {"language": "de-DE"})]
    table.advance(0.5)
    table.text("updated")
    assert table.of(Updated) == [Updated(0.5, 0.5)]
    assert table.of(ProtocolWarning) == []
    table.text("updated")
    assert [w.rule for w in table.of(ProtocolWarning)] == [Rule.UPDATED_UNEXPECTED]
    assert table.of(Updated)[1].latency is None


def test_every_event_entity_is_told_known_or_not() -> None:
    table = answered()
    entity = {"type": "weather", "data": None}
    table.text("event", {"entities": [entity]})
    (event,) = table.of(ServerEvent)
    assert event.entity == entity
    assert event.type == "weather"
    assert table.of(Violation) == []
    table.text("event", {"entities": [entity, entity]})
    assert len(table.of(ServerEvent)) == 3
    assert [w.rule for w in table.of(ProtocolWarning)] == [Rule.SEVERAL_ENTITIES]


def test_reconnect_is_only_noted() -> None:
    table = answered()
    table.text("reconnect", {"info": "deploy"})
    assert table.of(ReconnectRequested) == [ReconnectRequested(0.0, "deploy")]
    assert table.take() == []
    assert table.session.state is SessionState.OPEN


def test_hanging_up_closes_and_then_the_client_closes_the_socket() -> None:
    table = answered()
    table.advance(0.5)
    table.do("hang_up")
    assert table.take() == [(0.5, "close", {"reason": "end"})]
    assert not table.session.socket_should_close
    table.advance(0.25)
    table.caller(1)
    assert table.take() == []
    table.text("event", {"entities": [{"type": "summary", "data": {}}]})
    table.text("closed")
    assert table.session.socket_should_close
    assert table.of(Closed) == [Closed(0.75, 0.25, {})]
    table.session.socket_lost(table.now, by=Party.CLIENT, code=1005)
    table._collect()
    assert table.of(SocketClosed) == [SocketClosed(0.75, Party.CLIENT, 1005)]
    assert table.of(Violation) == []
    assert table.session.next_deadline() is None
    assert table.session.capture.entries[-1].latency == pytest.approx(0.25)


def test_the_caller_may_hang_up_before_the_server_answers() -> None:
    table = Table()
    table.take()
    table.do("hang_up")
    assert table.take() == [(0.0, "close", {"reason": "end"})]
    table.text("closed")
    assert table.session.socket_should_close
    assert table.of(Violation) == []


def test_hanging_up_twice_closes_once() -> None:
    table = answered()
    assert table.session.hang_up(table.now)
    assert not table.session.hang_up(table.now)
    table._collect()
    assert [kind for _, kind, _ in table.take()] == ["close"]


@pytest.mark.parametrize("reason", list(DisconnectReason))
@pytest.mark.parametrize("opened_first", [False, True])
def test_disconnect_is_answered_with_close_at_any_time(
    reason: DisconnectReason, opened_first: bool
) -> None:
    table = answered() if opened_first else Table()
    table.take()
    table.text(
        "disconnect", {"reason": reason, "info": "done", "outputVariables": {"intent": "sales"}}
    )
    assert table.take() == [(0.0, "close", {"reason": "disconnect"})]
    assert table.of(Disconnected) == [Disconnected(0.0, reason, "done", {"intent": "sales"})]
    assert table.of(CloseSent) == [CloseSent(0.0, CloseReason.DISCONNECT)]
    table.text("closed")
    assert table.session.socket_should_close
    assert table.of(Violation) == []


def test_a_disconnect_after_the_caller_hung_up_changes_nothing() -> None:
    table = answered()
    table.do("hang_up")
    table.take()
    table.text("disconnect", {"reason": "completed"})
    assert table.take() == []
    assert table.session.close_reason is CloseReason.END
    assert table.of(Violation) == []


def test_the_first_answer_to_open_may_be_disconnect() -> None:
    table = Table()
    table.text("disconnect", {"reason": "unauthorized"})
    table.text("closed")
    assert table.session.socket_should_close
    assert table.of(Violation) == []
    assert table.session.capture.entries[0].at == 0.0
    assert table.session.elapsed(ORIGIN) == 0.0


def test_a_late_pong_while_closing_is_no_fault() -> None:
    table = answered()
    table.advance(1.0)
    table.do("hang_up")
    table.text("pong", clientseq=2)
    table.text("pause")
    table.text("resume")
    table.audio(b"\x55" * 1600)
    assert [kind for _, kind, _ in table.take()] == ["ping", "close"]
    assert table.of(Violation) == []


def test_a_pause_that_is_not_held_cannot_end() -> None:
    with pytest.raises(CallStateError, match="holds no pause"):
        answered().do("resume")


def test_a_gap_has_a_length() -> None:
    with pytest.raises(ValueError, match="nothing to discard: 0 samples"):
        answered().session.report_discarded(0, 1000.0)


def test_a_socket_is_lost_once() -> None:
    table = answered()
    for party in (Party.CLIENT, Party.SERVER):
        table.session.socket_lost(table.now, by=party)
    table._collect()
    assert len(table.of(SocketClosed)) == 1
    assert table.of(Violation) == []
