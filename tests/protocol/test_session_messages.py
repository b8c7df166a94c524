"""Tests of messages of the client during a call, valid and invalid."""

import json
from fractions import Fraction
from itertools import product
from typing import Any

import pytest
from pipecat_genesys.protocol import AudioHookMessageType as Type
from pipecat_genesys.protocol import (
    LocalProtocolError,
    Rule,
    State,
    events,
    server_messages,
)

from .client import (
    OMIT,
    OWN_ID,
    PARAMETERS,
    SESSION,
    SessionUnderTest,
    call_in,
    offer,
    started,
)
from .judging import ENVELOPE, IN_CALL, OUT_OF_ORDER, alive, failed


class TestPing:
    @pytest.mark.parametrize("state", [*IN_CALL, State.DISCONNECTING, State.FAILED, State.CLOSING])
    def test_ping_is_answered_with_pong(self, state: State) -> None:
        call = call_in(state)
        before = call.session.server_seq
        event = call.ask("ping", {"rtt": "PT0.028693737S"})
        assert isinstance(event, events.PingReceived)
        assert event.rtt == Fraction(28693737, 10**9)
        message = call.send(event.reply)
        assert set(message) == set(ENVELOPE)
        assert message["type"] == "pong"
        assert message["parameters"] == {}
        assert message["seq"] == before + 1
        assert message["clientseq"] == call.client.seq
        assert call.session.state is state

    def test_late_pong_has_the_seq_of_its_ping(self) -> None:
        call = started()
        pongs = []
        for _ in range(3):
            pongs.append(call.ask("ping").reply)
            call.ask("dtmf", {"digit": "1"})
        assert [call.send(pong)["clientseq"] for pong in pongs] == [2, 4, 6]
        assert call.send(server_messages.barge_in())["clientseq"] == 7

    @pytest.mark.parametrize("state", [State.PREPARING, State.OPENING])
    def test_ping_before_opened_is_answered_after_opened(self, state: State) -> None:
        call = call_in(state)
        pong = call.ask("ping").reply
        assert pong is not None
        assert not call.session.allows(Type.PONG)
        with pytest.raises(LocalProtocolError):
            call.send(pong)
        if state is State.PREPARING:
            call.open()
        assert call.opened()["seq"] == 1
        message = call.send(pong)
        assert (message["seq"], message["type"]) == (2, "pong")
        assert message["clientseq"] == (1 if state is State.PREPARING else 2)

    def test_pong_is_not_sent_before_a_rejection(self) -> None:
        call = SessionUnderTest()
        rejection = call.say("open", offer(media=[]))[-1].reply
        pong = call.say("ping")[-1].reply
        assert not call.session.allows(Type.PONG)
        if pong is not None:
            with pytest.raises(LocalProtocolError):
                call.send(pong)
        assert call.send(rejection)["seq"] == 1

    @pytest.mark.parametrize("rtt", [0.02, "20ms", "PT-1S", [], {}, True])
    def test_invalid_rtt_is_counted_and_the_ping_answered(self, rtt: Any) -> None:
        call = started()
        event = call.say("ping", {"rtt": rtt})[-1]
        assert isinstance(event, events.PingReceived)
        assert event.rtt is None
        assert call.send(event.reply)["type"] == "pong"
        assert call.counted == {"parameters": 1}

    def test_rtt_is_optional(self) -> None:
        event = started().ask("ping")
        assert isinstance(event, events.PingReceived)
        assert event.rtt is None


class TestSequence:
    def test_seq_is_assigned_in_the_order_of_sending(self) -> None:
        call = started()
        drafts = [call.ask("ping").reply, server_messages.barge_in(), call.ask("ping").reply]
        assert [call.send(draft)["seq"] for draft in reversed(drafts)] == [2, 3, 4]

    def test_receiving_does_not_change_the_servers_seq(self) -> None:
        call = started()
        call.ask("ping")
        call.ask("update", {"language": "de-DE"})
        assert call.session.server_seq == 1

    @pytest.mark.parametrize("state", IN_CALL)
    @pytest.mark.parametrize("seq", OUT_OF_ORDER, ids="{:.3g}".format)
    @pytest.mark.parametrize("type", ["ping", "dtmf", "open"])
    def test_gap_or_repeat_in_seq_ends_the_session(self, state: State, type: str, seq: int) -> None:
        call = call_in(state)
        expected = call.client.seq + 1
        assert seq != expected
        draft = failed(call.say(type, PARAMETERS[type], seq=seq), Rule.SEQ)
        assert call.session.state is State.FAILED
        message = call.send(draft)
        assert message["clientseq"] == expected - 1
        assert message["seq"] == 2
        closed = call.send(call.say("close", {"reason": "disconnect"})[-1].reply)
        assert (closed["type"], closed["seq"]) == ("closed", 3)

    @pytest.mark.parametrize("seq", [1, 9])
    def test_gap_in_seq_of_an_unknown_message_type_ends_the_session(self, seq: int) -> None:
        call = started()
        failed(call.say("from_the_future", seq=seq), Rule.SEQ)

    @pytest.mark.parametrize("serverseq", [2, 3, 2**31, 2**63, 10**50], ids="{:.3g}".format)
    def test_serverseq_ahead_of_the_server_ends_the_session(self, serverseq: int) -> None:
        call = started()
        failed(call.say("ping", serverseq=serverseq), Rule.SERVERSEQ)

    @pytest.mark.parametrize("serverseq", [0, 1])
    def test_serverseq_behind_the_server_is_accepted(self, serverseq: int) -> None:
        call = started()
        assert isinstance(call.ask("ping", serverseq=serverseq), events.PingReceived)
        assert call.counted == {}

    @pytest.mark.parametrize("id", [OWN_ID, "", SESSION + " ", 5, ["x"]])
    def test_another_id_ends_the_session(self, id: Any) -> None:
        call = started()
        failed(call.say("ping", id=id), Rule.ID)

    @pytest.mark.parametrize("version", ["1", "3", "", "2 ", 2, ["2"]])
    def test_another_version_ends_the_session(self, version: Any) -> None:
        call = started()
        failed(call.say("ping", version=version), Rule.VERSION)

    @pytest.mark.parametrize("field", ["version", "id", "seq", "serverseq", "position"])
    def test_missing_envelope_field_is_counted(self, field: str) -> None:
        call = started()
        found = call.say("ping", **{field: OMIT})
        assert [type(event) for event in found] == [events.Faulted, events.PingReceived]
        assert found[0].reply is None
        assert call.counted == {"envelope": 1}
        alive(call)

    @pytest.mark.parametrize(
        "overrides",
        [{"seq": 7}, {"seq": 0}, {"serverseq": 5}, {"id": "another"}, {"version": "1"}],
        ids=repr,
    )
    @pytest.mark.parametrize("type", ["ping", "update", "paused", "dtmf", "discarded"])
    def test_sequence_id_and_version_are_not_checked_before_open(
        self, type: str, overrides: dict[str, Any]
    ) -> None:
        call = SessionUnderTest()
        found = call.say(type, PARAMETERS[type], **overrides)
        assert not [e for e in found if e.reply and e.reply.type is Type.DISCONNECT]
        assert call.session.state is State.PREPARING

    def test_seq_is_checked_from_open_on(self) -> None:
        call = SessionUnderTest()
        call.say("update", {"participant": {}})
        call.say("ping")
        call.open()
        assert call.opened()["clientseq"] == 3
        alive(call)

    def test_many_faults_give_one_disconnect(self) -> None:
        call = started()
        call.send(failed(call.say("ping", seq=50), Rule.SEQ))
        for overrides in ({"seq": 50}, {"id": "x"}, {"version": "7"}, {"serverseq": 900}):
            found = call.say("ping", **overrides)
            assert not [e for e in found if e.reply and e.reply.type is Type.DISCONNECT]
        assert not call.session.allows(Type.DISCONNECT)

    def test_disconnect_does_not_contain_values_of_the_message(self) -> None:
        call = started()
        draft = failed(call.say("ping", id="tel:+4915112345678"), Rule.ID)
        assert "4915112345678" not in json.dumps(dict(draft.parameters))


class TestIgnored:
    """Tests of faults that the session counts and ignores."""

    @pytest.mark.parametrize(
        ("text", "rule"),
        [
            ("", "json"),
            ('{"version":"2","type":"ping","seq":2', "json"),
            ("\x00\ud800", "json"),
            ('{"seq": NaN}', "json"),
            ('{"seq": ' + "9" * 5_000 + "}", "json"),
            ("[" * 5_000, "json"),
            ("5", "not-an-object"),
            ("null", "not-an-object"),
            ('["type"]', "not-an-object"),
            ('"' + "x" * 70_000 + '"', "text-size"),
        ],
        ids=lambda value: value[:12],
    )
    @pytest.mark.parametrize("state", list(State))
    def test_text_that_is_no_message_is_counted(self, state: State, text: str, rule: str) -> None:
        call = call_in(state)
        counted = call.counted
        before = (call.session.state, call.session.client_seq, call.session.position)
        found = call.session.receive_text(text)
        assert [type(event) for event in found] == [events.Faulted]
        assert found[0].reply is None
        assert found[0].raw is None
        assert call.counted == {**counted, rule: counted.get(rule, 0) + 1}
        assert (call.session.state, call.session.client_seq, call.session.position) == before
        if state is State.ACTIVE:
            alive(call)

    @pytest.mark.parametrize("text", ['{"version":"2","type":"ping","seq":2', "x" * 65_536])
    def test_unreadable_message_may_have_used_a_seq(self, text: str) -> None:
        """After an unreadable message, one `seq` may be missing; the next gap ends the session."""
        call = started()
        call.session.receive_text(text)
        call.client.seq += 1
        alive(call)
        assert call.session.state is State.ACTIVE
        failed(call.say("ping", seq=call.client.seq + 2), Rule.SEQ)

    def test_unreadable_message_may_have_used_no_seq(self) -> None:
        call = started()
        call.session.receive_text("{")
        # `ping` has the next `seq`. No `seq` is missing, so a later gap ends the session.
        call.ask("ping")
        failed(call.say("ping", seq=call.client.seq + 2), Rule.SEQ)

    @pytest.mark.parametrize(
        "type", ["from_the_future", "", "OPEN", "opened", "pong", "resume", "reconnect", "\ud800"]
    )
    def test_unknown_message_type_is_counted(self, type: str) -> None:
        call = started()
        event = call.ask(type)
        assert isinstance(event, events.Faulted)
        assert event.reply is None
        assert call.counted == {"unknown-type": 1}
        alive(call)

    @pytest.mark.parametrize("type", [OMIT, None, 5, True, ["ping"], {"ping": 1}, 1.5])
    def test_message_type_that_is_no_string_is_counted(self, type: Any) -> None:
        call = started()
        found = call.say("ping", **{"type": type})
        assert not [e for e in found if e.reply or not isinstance(e, events.Faulted)]
        alive(call)

    @pytest.mark.parametrize("type", sorted(set(PARAMETERS) - {"open", "close"}))
    def test_unknown_fields_are_counted(self, type: str) -> None:
        call = started()
        message = call.client.message(type, {**PARAMETERS[type], "new": 1}, newer={"a": 2})
        found = call.session.receive_text(json.dumps(message))
        assert [e.error.rule for e in found if isinstance(e, events.Faulted)] == [
            Rule.UNKNOWN_FIELD,
            Rule.UNKNOWN_FIELD,
        ]
        assert not isinstance(found[-1], events.Faulted)
        assert call.session.state is not State.FAILED

    def test_unknown_fields_of_open_are_counted(self) -> None:
        call = SessionUnderTest()
        call.open(offer(new=1), newer=2)
        call.opened()
        assert call.counted == {"unknown-field": 2}

    @pytest.mark.parametrize(
        ("type", "parameters"),
        [
            ("update", {"language": 5}),
            ("discarded", {}),
            ("discarded", {"start": "x", "discarded": "PT1S"}),
            ("resumed", {"start": 0, "discarded": 0}),
            ("dtmf", {}),
            ("dtmf", {"digit": 5}),
            ("error", {"code": "x"}),
            ("ping", []),
            ("paused", "x"),
            ("playback_started", 5),
        ],
    )
    def test_invalid_parameters_are_counted(self, type: str, parameters: Any) -> None:
        call = started()
        position = call.session.position
        found = call.say(type, parameters)
        assert isinstance(found[0], events.Faulted)
        assert not [e for e in found if e.reply and e.reply.type is Type.DISCONNECT]
        assert call.counted["parameters"] == 1
        assert call.session.position == position
        if type == "paused":
            call.ask("resumed", {"start": "PT0S", "discarded": "PT0S"})
        alive(call)

    @pytest.mark.parametrize(("state", "type"), list(product(State, sorted(PARAMETERS))))
    def test_reply_can_be_sent_at_once_or_after_opened(self, state: State, type: str) -> None:
        call = call_in(state)
        for event in call.say(type, PARAMETERS[type]):
            if event.reply is None:
                continue
            waits = state in (State.PREPARING, State.OPENING)
            if waits and not call.session.allows(event.reply.type):
                if state is State.PREPARING:
                    call.open()
                call.opened()
            assert call.send(event.reply)["seq"] == call.session.server_seq


class TestUpdate:
    @pytest.mark.parametrize("state", IN_CALL)
    @pytest.mark.parametrize("language", ["de-DE", "en", "es-419", ""])
    def test_update_sets_the_language_and_is_answered_with_updated(
        self, state: State, language: str
    ) -> None:
        call = call_in(state)
        event = call.ask("update", {"language": language})
        assert isinstance(event, events.UpdateReceived)
        assert event.language == language
        assert call.session.language == language
        message = call.send(event.reply)
        assert (message["type"], message["parameters"]) == ("updated", {})

    def test_update_before_open_is_not_answered(self) -> None:
        call = SessionUnderTest()
        event = call.ask("update", {"language": "de-DE"})
        assert isinstance(event, events.UpdateReceived)
        assert event.reply is None

    @pytest.mark.parametrize("state", [State.FAILED, State.CLOSING, State.CLOSED])
    def test_update_is_ignored_once_the_session_ends(self, state: State) -> None:
        call = call_in(state)
        language = call.session.language
        found = call.say("update", {"language": "de-DE"})
        assert not [e for e in found if e.reply or isinstance(e, events.UpdateReceived)]
        assert call.session.language == language


class TestError:
    def test_error_is_reported_and_the_session_goes_on(self) -> None:
        call = started()
        event = call.ask("error", PARAMETERS["error"])
        assert isinstance(event, events.ErrorReceived)
        assert (event.code, event.message, event.retry_after) == (
            429,
            "Rate limit exceeded",
            Fraction(3),
        )
        assert event.reply is None
        alive(call)
        assert call.counted == {}

    @pytest.mark.parametrize("state", list(State))
    def test_error_is_not_answered(self, state: State) -> None:
        call = call_in(state)
        event = call.ask("error", {"code": 500, "message": "x"})
        assert isinstance(event, events.ErrorReceived)
        assert event.reply is None
        assert call.session.state is state

    def test_error_with_invalid_parameters_is_reported_without_a_code(self) -> None:
        event = started().say("error", {"code": "x"})[-1]
        assert isinstance(event, events.ErrorReceived)
        assert event.code is None


class TestAudioConnector:
    @pytest.mark.parametrize("digit", ["0", "9", "*", "#", "A", "12"])
    def test_dtmf_is_reported_with_its_digit(self, digit: str) -> None:
        event = started().ask("dtmf", {"digit": digit})
        assert isinstance(event, events.DtmfReceived)
        assert event.digit == digit
        assert event.reply is None

    @pytest.mark.parametrize(
        ("type", "kind"),
        [
            ("playback_started", events.PlaybackStarted),
            ("playback_completed", events.PlaybackCompleted),
        ],
    )
    def test_playback_is_reported(self, type: str, kind: Any) -> None:
        call = started()
        event = call.ask(type)
        assert isinstance(event, kind)
        assert event.reply is None
        assert call.session.state is State.ACTIVE

    def test_playback_completed_may_follow_barge_in(self) -> None:
        call = started()
        call.ask("playback_started")
        call.send(server_messages.barge_in())
        assert isinstance(call.ask("playback_completed"), events.PlaybackCompleted)
        assert call.counted == {}

    @pytest.mark.parametrize("state", IN_CALL)
    def test_barge_in_is_sent_as_event(self, state: State) -> None:
        message = call_in(state).send(server_messages.barge_in())
        assert message["type"] == "event"
        assert message["parameters"] == {"entities": [{"type": "barge_in", "data": {}}]}

    @pytest.mark.parametrize("state", [State.PREPARING, State.OPENING])
    def test_barge_in_before_opened_raises(self, state: State) -> None:
        call = call_in(state)
        assert not call.session.allows(Type.EVENT)
        with pytest.raises(LocalProtocolError):
            call.send(server_messages.barge_in())
