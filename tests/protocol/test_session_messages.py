"""Messages within a call, and what is wrong with them."""

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
    Call,
    call_in,
    offer,
    started,
)
from .judging import ENVELOPE, IN_CALL, OUT_OF_ORDER, alive, failed


class TestPing:
    @pytest.mark.parametrize("state", [*IN_CALL, State.DISCONNECTING, State.FAILED, State.CLOSING])
    def test_pong(self, state: State) -> None:
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

    def test_pong_names_its_ping_however_late(self) -> None:
        call = started()
        pongs = []
        for _ in range(3):
            pongs.append(call.ask("ping").reply)
            call.ask("dtmf", {"digit": "1"})
        assert [call.send(pong)["clientseq"] for pong in pongs] == [2, 4, 6]
        assert call.send(server_messages.barge_in())["clientseq"] == 7

    @pytest.mark.parametrize("state", [State.PREPARING, State.OPENING])
    def test_an_early_ping_is_answered_after_opened(self, state: State) -> None:
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

    def test_no_pong_goes_out_before_a_rejection(self) -> None:
        call = Call()
        rejection = call.say("open", offer(media=[]))[-1].reply
        pong = call.say("ping")[-1].reply
        assert not call.session.allows(Type.PONG)
        if pong is not None:
            with pytest.raises(LocalProtocolError):
                call.send(pong)
        assert call.send(rejection)["seq"] == 1

    @pytest.mark.parametrize("rtt", [0.02, "20ms", "PT-1S", [], {}, True])
    def test_a_bad_rtt_costs_nothing(self, rtt: Any) -> None:
        call = started()
        event = call.say("ping", {"rtt": rtt})[-1]
        assert isinstance(event, events.PingReceived)
        assert event.rtt is None
        assert call.send(event.reply)["type"] == "pong"
        assert call.counted == {"parameters": 1}

    def test_no_rtt(self) -> None:
        event = started().ask("ping")
        assert isinstance(event, events.PingReceived)
        assert event.rtt is None


class TestSequence:
    def test_numbers_are_given_on_the_way_out(self) -> None:
        call = started()
        drafts = [call.ask("ping").reply, server_messages.barge_in(), call.ask("ping").reply]
        assert [call.send(draft)["seq"] for draft in reversed(drafts)] == [2, 3, 4]

    def test_receiving_takes_no_number(self) -> None:
        call = started()
        call.ask("ping")
        call.ask("update", {"language": "de-DE"})
        assert call.session.server_seq == 1

    @pytest.mark.parametrize("state", IN_CALL)
    @pytest.mark.parametrize("seq", OUT_OF_ORDER, ids="{:.3g}".format)
    @pytest.mark.parametrize("type", ["ping", "dtmf", "open"])
    def test_a_gap_or_repeat_ends_the_session(self, state: State, type: str, seq: int) -> None:
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
    def test_a_gap_counts_in_a_message_of_unknown_type(self, seq: int) -> None:
        call = started()
        failed(call.say("from_the_future", seq=seq), Rule.SEQ)

    @pytest.mark.parametrize("serverseq", [2, 3, 2**31, 2**63, 10**50], ids="{:.3g}".format)
    def test_serverseq_ahead_of_us_ends_the_session(self, serverseq: int) -> None:
        call = started()
        failed(call.say("ping", serverseq=serverseq), Rule.SERVERSEQ)

    @pytest.mark.parametrize("serverseq", [0, 1])
    def test_serverseq_behind_us_is_normal(self, serverseq: int) -> None:
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
    def test_an_absent_field_is_counted(self, field: str) -> None:
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
    def test_nothing_is_checked_before_open(self, type: str, overrides: dict[str, Any]) -> None:
        call = Call()
        found = call.say(type, PARAMETERS[type], **overrides)
        assert not [e for e in found if e.reply and e.reply.type is Type.DISCONNECT]
        assert call.session.state is State.PREPARING

    def test_counting_begins_with_open(self) -> None:
        call = Call()
        call.say("update", {"participant": {}})
        call.say("ping")
        call.open()
        assert call.opened()["clientseq"] == 3
        alive(call)

    def test_one_disconnect_however_many_faults(self) -> None:
        call = started()
        call.send(failed(call.say("ping", seq=50), Rule.SEQ))
        for overrides in ({"seq": 50}, {"id": "x"}, {"version": "7"}, {"serverseq": 900}):
            found = call.say("ping", **overrides)
            assert not [e for e in found if e.reply and e.reply.type is Type.DISCONNECT]
        assert not call.session.allows(Type.DISCONNECT)

    def test_the_reason_given_is_no_value_of_the_message(self) -> None:
        call = started()
        draft = failed(call.say("ping", id="tel:+4915112345678"), Rule.ID)
        assert "4915112345678" not in json.dumps(dict(draft.parameters))


class TestIgnored:
    """Counted, ignored, and the audio goes on."""

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
    def test_text_that_is_no_message(self, state: State, text: str, rule: str) -> None:
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
    def test_an_unreadable_message_had_a_number(self, text: str) -> None:
        """The client counts every text message; the next one must not end the call, and
        a gap is a gap again after it."""
        call = started()
        call.session.receive_text(text)
        call.client.seq += 1
        alive(call)
        assert call.session.state is State.ACTIVE
        failed(call.say("ping", seq=call.client.seq + 2), Rule.SEQ)

    def test_an_unreadable_message_had_no_number_after_all(self) -> None:
        call = started()
        call.session.receive_text("{")
        # The next message has the number that comes next, so a gap after it is one.
        call.ask("ping")
        failed(call.say("ping", seq=call.client.seq + 2), Rule.SEQ)

    @pytest.mark.parametrize(
        "type", ["from_the_future", "", "OPEN", "opened", "pong", "resume", "reconnect", "\ud800"]
    )
    def test_unknown_types(self, type: str) -> None:
        call = started()
        event = call.ask(type)
        assert isinstance(event, events.Faulted)
        assert event.reply is None
        assert call.counted == {"unknown-type": 1}
        alive(call)

    @pytest.mark.parametrize("type", [OMIT, None, 5, True, ["ping"], {"ping": 1}, 1.5])
    def test_types_that_are_no_text(self, type: Any) -> None:
        call = started()
        found = call.say("ping", **{"type": type})
        assert not [e for e in found if e.reply or not isinstance(e, events.Faulted)]
        alive(call)

    @pytest.mark.parametrize("type", sorted(set(PARAMETERS) - {"open", "close"}))
    def test_unknown_fields(self, type: str) -> None:
        call = started()
        message = call.client.message(type, {**PARAMETERS[type], "new": 1}, newer={"a": 2})
        found = call.session.receive_text(json.dumps(message))
        assert [e.error.rule for e in found if isinstance(e, events.Faulted)] == [
            Rule.UNKNOWN_FIELD,
            Rule.UNKNOWN_FIELD,
        ]
        assert not isinstance(found[-1], events.Faulted)
        assert call.session.state is not State.FAILED

    def test_unknown_fields_of_open(self) -> None:
        call = Call()
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
    def test_bad_parameters(self, type: str, parameters: Any) -> None:
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
    def test_an_answer_can_be_given(self, state: State, type: str) -> None:
        """A reply may go out now, or waits for ``opened``."""
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
    def test_language(self, state: State, language: str) -> None:
        call = call_in(state)
        event = call.ask("update", {"language": language})
        assert isinstance(event, events.UpdateReceived)
        assert event.language == language
        assert call.session.language == language
        message = call.send(event.reply)
        assert (message["type"], message["parameters"]) == ("updated", {})

    def test_before_open_nothing_is_answered(self) -> None:
        call = Call()
        event = call.ask("update", {"language": "de-DE"})
        assert isinstance(event, events.UpdateReceived)
        assert event.reply is None

    @pytest.mark.parametrize("state", [State.FAILED, State.CLOSING, State.CLOSED])
    def test_means_nothing_at_the_end(self, state: State) -> None:
        call = call_in(state)
        language = call.session.language
        found = call.say("update", {"language": "de-DE"})
        assert not [e for e in found if e.reply or isinstance(e, events.UpdateReceived)]
        assert call.session.language == language


class TestError:
    def test_is_reported_and_ends_nothing(self) -> None:
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
    def test_is_not_answered(self, state: State) -> None:
        call = call_in(state)
        event = call.ask("error", {"code": 500, "message": "x"})
        assert isinstance(event, events.ErrorReceived)
        assert event.reply is None
        assert call.session.state is state

    def test_unreadable(self) -> None:
        event = started().say("error", {"code": "x"})[-1]
        assert isinstance(event, events.ErrorReceived)
        assert event.code is None


class TestAudioConnector:
    @pytest.mark.parametrize("digit", ["0", "9", "*", "#", "A", "12"])
    def test_dtmf(self, digit: str) -> None:
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
    def test_playback(self, type: str, kind: Any) -> None:
        call = started()
        event = call.ask(type)
        assert isinstance(event, kind)
        assert event.reply is None
        assert call.session.state is State.ACTIVE

    def test_playback_may_complete_after_barge_in(self) -> None:
        call = started()
        call.ask("playback_started")
        call.send(server_messages.barge_in())
        assert isinstance(call.ask("playback_completed"), events.PlaybackCompleted)
        assert call.counted == {}

    @pytest.mark.parametrize("state", IN_CALL)
    def test_barge_in(self, state: State) -> None:
        message = call_in(state).send(server_messages.barge_in())
        assert message["type"] == "event"
        assert message["parameters"] == {"entities": [{"type": "barge_in", "data": {}}]}

    @pytest.mark.parametrize("state", [State.PREPARING, State.OPENING])
    def test_barge_in_before_opened(self, state: State) -> None:
        call = call_in(state)
        assert not call.session.allows(Type.EVENT)
        with pytest.raises(LocalProtocolError):
            call.send(server_messages.barge_in())
