"""Transcripts, a class per part of the protocol."""

import json
from fractions import Fraction
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pipecat_genesys.protocol import (
    MAX_MESSAGE_BYTES,
    AudioHookChannel,
    AudioHookMediaFormat,
    AudioHookSession,
    Draft,
    LocalProtocolError,
    MediaPreference,
    Rule,
    State,
    events,
    replies,
)
from pipecat_genesys.protocol import AudioHookMessageType as Type

from .client import (
    CONVERSATION,
    EXTERNAL,
    INTERNAL,
    INVERTED,
    L16,
    L16_STEREO,
    OMIT,
    OWN_ID,
    PARAMETERS,
    PARTICIPANT,
    SESSION,
    STEREO,
    Call,
    call_in,
    duration,
    medium,
    offer,
    probe,
    started,
    unhurried,
)

VECTORS = Path(__file__).parents[1] / "vectors" / "protocol"
ENVELOPE = ["version", "type", "seq", "clientseq", "id", "parameters"]
ANSWERED = sorted(set(State) - {State.CLOSING, State.CLOSED})
IN_CALL = [State.ACTIVE, State.PAUSED]
OUT_OF_ORDER = [-1, 0, 1, 4, 99, 2**31, 2**53, 2**63 - 1, 2**63, 2**64, 10**100]


def failed(found: list[events.Event], rule: Rule) -> Draft:
    """The one fatal fault among the events: its ``disconnect``."""
    fatal = [e for e in found if isinstance(e, events.Faulted) and e.reply is not None]
    assert [fault.error.rule for fault in fatal] == [rule]
    draft = fatal[0].reply
    assert draft is not None
    assert draft.type is Type.DISCONNECT
    assert draft.parameters["reason"] == "error"
    return draft


def alive(call: Call) -> None:
    """The call goes on: a ping is answered and audio counts."""
    before = call.session.position
    event = call.say("ping")[-1]
    assert isinstance(event, events.PingReceived), event
    assert call.send(event.reply)["type"] == "pong"
    assert call.audio(800) == 800
    assert call.session.position > before


class TestTranscripts:
    """Whole calls, line by line; see the README beside them."""

    @pytest.mark.parametrize("path", sorted(VECTORS.glob("*.jsonl")), ids=lambda p: p.stem)
    def test_transcript(self, path: Path) -> None:
        session: AudioHookSession | None = None
        owed: list[Draft] = []
        for line in path.read_text(encoding="utf-8").splitlines():
            step = json.loads(line)
            match step:
                case {"session": {"id": id, "channel": channel, "format": format}}:
                    preference = MediaPreference(
                        AudioHookChannel(channel), AudioHookMediaFormat(format)
                    )
                    session = AudioHookSession(id, preference)
                    continue
            assert session is not None
            match step:
                case {"client": message}:
                    for event in session.receive_text(json.dumps(message)):
                        if isinstance(event, events.OpenReceived) and event.reply is None:
                            chosen = [] if event.media is None else [event.media.raw]
                            owed.append(replies.opened(chosen))
                        elif event.reply is not None:
                            owed.append(event.reply)
                case {"audio": n_bytes, "usable": usable}:
                    assert session.receive_audio(n_bytes) == usable
                case {"application": {"type": type, "parameters": parameters}}:
                    owed.append(Draft(Type(type), parameters))
                case {"server": message}:
                    assert json.loads(session.to_wire(owed.pop(0))) == message
                case {"position": position}:
                    assert session.position == position
                case {"state": state}:
                    assert session.state == state
                case {"faults": faults}:
                    assert {rule.value: n for rule, n in session.faults.items()} == faults
                case _:
                    pytest.fail(f"unknown step {line}")
        assert owed == []

    def test_there_are_transcripts(self) -> None:
        assert len(list(VECTORS.glob("*.jsonl"))) >= 6


class TestOpen:
    def test_a_new_session_waits(self) -> None:
        session = AudioHookSession(OWN_ID)
        assert session.state is State.PREPARING
        assert session.session_id == OWN_ID
        assert (session.position, session.server_seq, session.client_seq) == (0, 0, 0)
        assert session.media is None
        assert session.is_probe is False

    def test_open_is_reported(self) -> None:
        call = Call()
        event = call.open(offer(STEREO, EXTERNAL, inputVariables={"k": "v"}))
        assert event.reply is None
        assert event.media is not None
        assert event.media.raw == EXTERNAL
        assert event.parameters is not None
        assert event.parameters.conversation_id == CONVERSATION
        assert event.parameters.participant.id == PARTICIPANT
        assert event.parameters.input_variables == {"k": "v"}
        assert event.raw is not None
        assert event.raw["seq"] == 1
        assert not event.is_probe
        assert call.session.state is State.OPENING
        assert call.session.language == "en-US"
        assert call.counted == {}

    def test_the_client_names_the_session(self) -> None:
        call = Call()
        call.open()
        assert call.session.session_id == SESSION
        assert call.opened()["id"] == SESSION

    def test_opened(self) -> None:
        call = Call()
        call.open()
        assert call.opened() == {
            "version": "2",
            "type": "opened",
            "seq": 1,
            "clientseq": 1,
            "id": SESSION,
            "parameters": {"startPaused": False, "media": [EXTERNAL]},
        }
        assert call.session.state is State.ACTIVE

    def test_opened_goes_out_once(self) -> None:
        call = started()
        with pytest.raises(LocalProtocolError):
            call.opened()

    def test_opened_before_open(self) -> None:
        with pytest.raises(LocalProtocolError):
            Call().opened()

    @pytest.mark.parametrize("state", [State.OPENING, *IN_CALL])
    def test_a_second_open_means_nothing(self, state: State) -> None:
        call = call_in(state)
        media, position = call.session.media, call.session.position
        event = call.ask("open", offer(STEREO), position="PT9S")
        assert isinstance(event, events.Faulted)
        assert event.reply is None
        assert event.error.rule is Rule.STATE
        assert call.session.state is state
        assert (call.session.media, call.session.position) == (media, position)

    @pytest.mark.parametrize("field", ["organizationId", "conversationId", "participant"])
    def test_what_pipecat_does_not_need_may_lack(self, field: str) -> None:
        call = Call()
        event = call.open(offer(**{field: OMIT}))
        assert event.reply is None
        assert call.opened()["parameters"]["media"] == [EXTERNAL]
        assert call.counted == {"parameters": 1}

    @pytest.mark.parametrize("field", ["version", "id", "seq", "serverseq", "position"])
    def test_the_envelope_may_lack_a_field(self, field: str) -> None:
        call = Call()
        event = call.open(**{field: OMIT})
        assert event.reply is None
        assert call.counted == {"envelope": 1}
        message = call.opened()
        assert message["seq"] == 1
        assert message["id"] == (OWN_ID if field == "id" else SESSION)

    @pytest.mark.parametrize("parameters", [OMIT, None, {}])
    def test_even_the_parameters_may_lack(self, parameters: Any) -> None:
        call = Call()
        message = call.client.message("open", **{"parameters": parameters})
        found = call.session.receive_text(json.dumps(message))
        assert isinstance(found[-1], events.OpenReceived)
        assert found[-1].reply is None
        assert call.opened()["seq"] == 1

    def test_an_open_without_number_was_the_first_message(self) -> None:
        call = Call()
        call.open(seq=OMIT)
        call.opened()
        alive(call)
        assert call.client.seq == 2
        assert call.session.state is State.ACTIVE

    @pytest.mark.parametrize("id", ["", "x", "not-a-uuid", SESSION.upper(), "ü" * 40, "\ud800"])
    def test_any_string_is_an_id(self, id: str) -> None:
        call = Call()
        call.client.id = id
        call.open()
        assert call.opened()["id"] == id
        alive(call)

    @pytest.mark.parametrize("id", [None, 5, True, ["x"], {"x": 1}])
    def test_what_is_no_string_keeps_the_sessions_own(self, id: Any) -> None:
        call = Call()
        call.open(id=id)
        assert call.opened()["id"] == OWN_ID
        assert call.counted == {"envelope": 1}

    @pytest.mark.parametrize("language", ["en", "es-419", "EN-us", "x", ""])
    def test_any_language(self, language: str) -> None:
        call = started(language=language)
        assert call.session.language == language

    def test_no_language(self) -> None:
        assert started(language=OMIT).session.language is None

    @pytest.mark.parametrize("name", ["inputVariables", "customConfig", "supportedLanguages"])
    @pytest.mark.parametrize("value", [5, "x", [1], None])
    def test_bad_parameters_we_can_do_without(self, name: str, value: Any) -> None:
        call = Call()
        assert call.open(offer(**{name: value})).reply is None
        assert call.counted == ({} if value is None else {"parameters": 1})

    def test_variables_that_are_not_strings_do_not_cost_the_call(self) -> None:
        call = Call()
        call.open(offer(inputVariables={"n": 5}))
        call.opened()
        alive(call)
        assert call.counted == {"parameters": 1}

    @pytest.mark.parametrize("version", ["1", "3", "2.0", "", 2, True, ["2"]])
    def test_another_version_is_rejected(self, version: Any) -> None:
        call = Call()
        draft = failed(call.say("open", offer(), version=version), Rule.VERSION)
        assert call.send(draft)["seq"] == 1

    def test_open_starts_where_the_client_says(self) -> None:
        call = Call()
        call.open(position="PT12.000125S")
        assert call.session.position == 96001

    @pytest.mark.parametrize("position", ["PT-1S", "0", 0, None, "PT1M"])
    def test_a_bad_position_is_the_start(self, position: Any) -> None:
        call = Call()
        call.open(position=position)
        assert call.session.position == 0
        assert call.counted == {"envelope": 1}


class TestMedia:
    @pytest.mark.parametrize("entry", [EXTERNAL, INTERNAL, STEREO, INVERTED, L16, L16_STEREO])
    def test_the_offered_entry_verbatim(self, entry: dict[str, Any]) -> None:
        call = Call()
        call.open(offer(entry))
        assert call.opened()["parameters"]["media"] == [entry]

    def test_one_of_several(self) -> None:
        call = Call(MediaPreference(AudioHookChannel.BOTH))
        call.open(offer(EXTERNAL, L16_STEREO, INVERTED, STEREO))
        assert call.opened()["parameters"]["media"] == [INVERTED]

    def test_the_preference_is_not_changed(self) -> None:
        preference = MediaPreference(AudioHookChannel.BOTH)
        call = Call(preference)
        call.open(offer(L16))
        assert call.session.preference == MediaPreference(AudioHookChannel.BOTH)
        assert call.session.preference is preference

    @pytest.mark.parametrize(
        "media",
        [
            [],
            [medium(rate=16000)],
            [medium(format="OPUS"), medium(("both",)), {}, None, 5],
            "PCMU",
            {"0": EXTERNAL},
            5,
            False,
        ],
        ids=repr,
    )
    def test_nothing_to_carry_is_rejected(self, media: Any) -> None:
        call = Call()
        found = call.say("open", offer(media=media))
        assert not [e for e in found if isinstance(e, events.OpenReceived) and e.reply is None]
        assert call.session.state is State.FAILED
        assert not call.session.allows(Type.OPENED)
        draft = next(e.reply for e in found if e.reply is not None)
        message = call.send(draft)
        assert (message["type"], message["seq"]) == ("disconnect", 1)
        assert message["parameters"]["reason"] == "error"
        assert not call.session.allows(Type.OPENED)
        closed = call.send(call.say("close", {"reason": "disconnect"})[-1].reply)
        assert (closed["type"], closed["seq"], closed["parameters"]) == ("closed", 2, {})

    @pytest.mark.parametrize(
        "hint",
        [1e999, -1e999, "ü" * 9_000, "\ud800" * 9_000],
        ids=["inf", "-inf", "long", "surrogates"],
    )
    def test_what_was_accepted_can_be_answered(self, hint: Any) -> None:
        """Whatever an entry holds beside what we read, the session has an answer to `open`."""
        text = json.dumps(Call().client.message("open", offer({**EXTERNAL, "hint": "HINT"})))
        written = {1e999: "1e999", -1e999: "-1e999"}.get(hint) or json.dumps(
            hint, ensure_ascii=False
        )
        call = Call()
        event = call.session.receive_text(text.replace('"HINT"', written))[-1]
        if call.session.state is State.PREPARING:
            assert isinstance(event, events.Faulted)  # Not accepted: nothing to answer.
            return
        draft = event.reply or replies.opened([m.raw for m in [call.session.media] if m])
        assert call.send(draft)["type"] in ("opened", "disconnect")


class TestProbe:
    def test_is_recognised_and_opened(self) -> None:
        call = Call()
        event = call.open(probe(STEREO, EXTERNAL))
        assert event.is_probe
        assert call.session.is_probe
        assert event.reply is None
        assert call.opened()["parameters"]["media"] == [EXTERNAL]
        closed = call.send(call.ask("close", {"reason": "end"}).reply)
        assert closed["parameters"] == {}
        assert call.counted == {}

    @pytest.mark.parametrize("media", [[], [medium(format="OPUS")]])
    def test_is_not_rejected_for_its_media(self, media: list[Any]) -> None:
        call = Call()
        event = call.open(probe(media=media))
        assert event.reply is None
        assert event.media is None
        assert call.opened()["parameters"]["media"] == []

    @pytest.mark.parametrize(
        "overrides",
        [
            {"conversationId": CONVERSATION},
            {"participant": {"id": PARTICIPANT, "ani": "", "aniName": "", "dnis": ""}},
            {"conversationId": OMIT},
            {"participant": OMIT},
            {"participant": {}},
            {"participant": ["00000000-0000-0000-0000-000000000000"]},
        ],
        ids=repr,
    )
    def test_takes_both_null_ids(self, overrides: dict[str, Any]) -> None:
        call = Call()
        assert not call.open(probe(**overrides)).is_probe
        assert not call.session.is_probe


class TestClose:
    @pytest.mark.parametrize("state", ANSWERED)
    def test_is_answered_in_any_state(self, state: State) -> None:
        call = call_in(state)
        before = call.session.server_seq
        event = call.say("close", {"reason": "end"})[-1]
        assert isinstance(event, events.CloseReceived)
        assert call.stands() is State.CLOSING
        message = call.send(event.reply)
        assert message["type"] == "closed"
        assert message["seq"] == before + 1
        assert message["parameters"] == {}
        assert call.session.state is State.CLOSED

    @pytest.mark.parametrize("reason", ["end", "error", "disconnect", "reconnect", "new-reason"])
    def test_reason(self, reason: str) -> None:
        call = started()
        event = call.ask("close", {"reason": reason})
        assert isinstance(event, events.CloseReceived)
        assert event.reason == reason
        assert call.counted == {}

    @pytest.mark.parametrize("state", ANSWERED)
    @pytest.mark.parametrize(
        "overrides",
        [
            {"seq": 0},
            {"seq": 1},
            {"seq": 99},
            {"seq": OMIT},
            {"seq": "x"},
            {"serverseq": 99},
            {"serverseq": OMIT},
            {"position": "x"},
            {"parameters": OMIT},
            {"parameters": {"reason": 5}},
            {"parameters": []},
        ],
        ids=repr,
    )
    def test_is_answered_though_wrong(self, state: State, overrides: dict[str, Any]) -> None:
        call = call_in(state)
        found = call.say("close", {"reason": "end"}, **overrides)
        assert isinstance(found[-1], events.CloseReceived)
        assert isinstance(found[-1].reason, str)
        assert not [e for e in found[:-1] if e.reply is not None]
        assert call.send(found[-1].reply)["type"] == "closed"

    @pytest.mark.parametrize("seq", [0, 1, 2])
    def test_closed_names_the_highest_client_seq(self, seq: int) -> None:
        call = started()
        call.say("ping")
        call.say("ping")
        assert call.client.seq == 3
        event = call.say("close", {"reason": "end"}, seq=seq)[-1]
        assert call.send(event.reply)["clientseq"] == 3

    @pytest.mark.parametrize("type", ["ping", "update", "close"])
    def test_a_negative_number_is_not_repeated(self, type: str) -> None:
        call = Call()
        pong = call.say(type, PARAMETERS[type], seq=-1)[-1].reply
        if type != "close":
            call.open(seq=-1)
            assert call.opened()["clientseq"] >= 0
        if pong is not None:
            assert call.send(pong)["clientseq"] >= 0

    def test_a_second_close_means_nothing(self) -> None:
        call = call_in(State.CLOSING)
        found = call.say("close", {"reason": "end"})
        assert not [event for event in found if not isinstance(event, events.Faulted)]
        assert not [event for event in found if event.reply]

    def test_closed_goes_out_once(self) -> None:
        call = call_in(State.CLOSED)
        with pytest.raises(LocalProtocolError):
            call.send(replies.closed())

    def test_closed_needs_close(self) -> None:
        for state in ANSWERED:
            call = call_in(state)
            with pytest.raises(LocalProtocolError):
                call.send(replies.closed())

    @pytest.mark.parametrize("type", sorted(PARAMETERS))
    def test_nothing_is_answered_after_closed(self, type: str) -> None:
        call = call_in(State.CLOSED)
        found = call.say(type, PARAMETERS[type])
        assert not [event for event in found if event.reply]
        assert call.session.state is State.CLOSED

    @pytest.mark.parametrize("type", list(Type))
    def test_nothing_goes_out_after_closed(self, type: Type) -> None:
        call = call_in(State.CLOSED)
        assert not call.session.allows(type)
        before = call.session.server_seq
        with pytest.raises(LocalProtocolError):
            call.send(Draft(type))
        assert call.session.server_seq == before

    def test_results_may_go_out_before_closed(self) -> None:
        call = started()
        closed = call.ask("close", {"reason": "end"}).reply
        assert call.send(replies.event("transcript", {}))["seq"] == 2
        assert call.send(closed)["seq"] == 3

    @pytest.mark.parametrize("state", [State.PREPARING, State.OPENING])
    @pytest.mark.parametrize("draft", [replies.barge_in(), replies.event("transcript", {})])
    def test_an_early_close_is_answered_with_closed_alone(self, state: State, draft: Draft) -> None:
        call = call_in(state)
        closed = call.ask("close", {"reason": "end"}).reply
        assert not call.session.allows(draft.type)
        with pytest.raises(LocalProtocolError):
            call.send(draft)
        assert call.send(closed)["seq"] == 1

    @pytest.mark.parametrize("state", [State.PREPARING, State.OPENING])
    def test_a_pong_that_waited_for_opened_never_goes_out(self, state: State) -> None:
        call = call_in(state)
        pong = call.ask("ping").reply
        closed = call.ask("close", {"reason": "end"}).reply
        assert pong is not None
        with pytest.raises(LocalProtocolError):
            call.send(pong)
        assert call.send(closed)["seq"] == 1


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
        assert call.send(replies.barge_in())["clientseq"] == 7

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
        drafts = [call.ask("ping").reply, replies.barge_in(), call.ask("ping").reply]
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


class TestPause:
    def test_paused_on_our_request(self) -> None:
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

    def test_nothing_is_counted(self) -> None:
        call = started()
        for _ in range(3):
            assert isinstance(call.ask("paused"), events.Paused)
        event = call.ask("resumed", {"start": "PT0S", "discarded": "PT0S"})
        assert isinstance(event, events.Resumed)
        assert event.reply is None
        assert call.session.state is State.ACTIVE
        assert call.counted == {}

    def test_resume_answered_paused(self) -> None:
        call = call_in(State.PAUSED)
        assert call.send(replies.resume())["type"] == "resume"
        assert call.session.state is State.PAUSED
        assert isinstance(call.ask("paused"), events.Paused)
        assert call.session.state is State.PAUSED

    def test_resumed_moves_the_timeline(self) -> None:
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

    def test_resumed_while_streaming(self) -> None:
        call = started()
        call.audio(1600)
        call.ask("resumed", {"start": "PT0.2S", "discarded": "PT0S"})
        assert call.session.state is State.ACTIVE
        assert call.session.position == 1600
        assert call.counted == {}

    def test_audio_during_a_pause_is_dropped_and_does_not_kill(self) -> None:
        call = call_in(State.PAUSED)
        assert call.audio(1600) == 0
        assert call.session.position == 0
        assert call.counted == {"audio-state": 1}
        assert call.session.state is State.PAUSED

    @pytest.mark.parametrize("state", [State.PREPARING, State.OPENING, *IN_CALL])
    def test_pipecats_pause_is_reported(self, state: State) -> None:
        call = call_in(state)
        event = call.ask("pause")
        assert isinstance(event, events.PauseRequested)
        assert event.reply is None
        assert call.session.state is state


class TestDiscarded:
    def test_moves_the_timeline(self) -> None:
        call = started()
        call.client.samples = 3200
        event = call.ask("discarded", {"start": "PT0S", "discarded": "PT0.4S"})
        assert isinstance(event, events.Discarded)
        assert (event.start, event.discarded) == (0, 3200)
        assert call.session.position == 3200
        assert call.session.state is State.ACTIVE
        assert call.counted == {}

    def test_sets_and_does_not_add(self) -> None:
        call = started()
        call.audio(1600)
        call.client.samples = 8000
        call.ask("discarded", {"start": "PT0.5S", "discarded": "PT0.5S"})
        assert call.session.position == 8000

    @pytest.mark.parametrize(
        ("start", "discarded", "position"),
        [
            ("PT0.000125S", "PT0.000125S", 2),
            # Neither is a sample long; together they are.
            ("PT0.00006S", "PT0.00006S", 1),
            ("PT1.00004S", "PT0.00004S", 8001),
        ],
    )
    def test_the_sum_is_exact(self, start: str, discarded: str, position: int) -> None:
        call = started()
        call.say("discarded", {"start": start, "discarded": discarded})
        assert call.session.position == position

    def test_unreadable_it_says_nothing(self) -> None:
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
    def test_is_samples_per_channel(self, entry: Any, n_bytes: int, samples: int) -> None:
        call = started(entry)
        assert call.audio(n_bytes) == n_bytes
        assert call.session.position == samples
        call.ask("ping")
        assert call.counted == {}

    @pytest.mark.parametrize(
        ("entry", "n_bytes", "usable"),
        [(STEREO, 3, 2), (L16, 1, 0), (L16_STEREO, 3202, 3200), (L16_STEREO, 3, 0)],
    )
    def test_a_broken_sample_is_left_out(self, entry: Any, n_bytes: int, usable: int) -> None:
        call = started(entry)
        assert call.session.receive_audio(n_bytes) == usable
        assert call.counted == {"audio-length": 1}
        assert call.session.state is State.ACTIVE

    @given(st.sampled_from([EXTERNAL, STEREO, L16, L16_STEREO]), st.lists(st.integers(0, 64_000)))
    @unhurried
    def test_is_exact_whatever_the_frames(self, entry: Any, frames: list[int]) -> None:
        call = started(entry)
        width = len(entry["channels"]) * (1 if entry["format"] == "PCMU" else 2)
        usable = [call.session.receive_audio(n) for n in frames]
        assert usable == [n - n % width for n in frames]
        assert call.session.position == sum(n // width for n in frames)

    def test_no_audio_is_no_fault(self) -> None:
        call = started()
        assert call.audio(0) == 0
        assert call.counted == {}

    @pytest.mark.parametrize("type", ["ping", "paused", "dtmf", "playback_started", "close"])
    def test_the_clients_is_compared(self, type: str) -> None:
        call = started()
        call.audio(1601)
        found = call.say(type, PARAMETERS[type], position=duration(1600))
        assert not [event for event in found if isinstance(event, events.Faulted)]
        assert call.counted == {"position": 1}
        assert call.session.position == 1601
        assert call.session.state is not State.FAILED

    def test_a_sample_is_not_lost_to_rounding(self) -> None:
        call = started()
        for n in (1, 7, 1599, 3, 801):
            call.audio(n)
            call.ask("ping")
        assert call.counted == {}

    def test_audio_before_opened_is_a_fault_and_the_calls_all_the_same(self) -> None:
        # `opened` may be on its way; dropping the caller's first word would help nobody.
        call = call_in(State.OPENING)
        assert call.session.receive_audio(1600) == 1600
        assert call.session.position == 1600
        assert call.counted == {"audio-state": 1}

    @pytest.mark.parametrize("state", [State.PREPARING, State.PAUSED, State.CLOSING])
    def test_audio_out_of_place_is_counted(self, state: State) -> None:
        call = call_in(state)
        assert call.session.receive_audio(1600) == 0
        assert call.session.position == 0
        assert call.counted == {"audio-state": 1}

    @pytest.mark.parametrize("state", [State.FAILED, State.CLOSED])
    def test_audio_after_the_end_is_dropped_silently(self, state: State) -> None:
        call = call_in(state)
        assert call.session.receive_audio(1600) == 0
        assert call.counted == {}

    def test_audio_goes_on_until_close_after_a_disconnect(self) -> None:
        call = call_in(State.DISCONNECTING)
        assert call.audio(1600) == 1600
        call.ask("ping")
        assert call.counted == {}

    def test_audio_without_a_medium(self) -> None:
        call = Call()
        call.open(probe(media=[]))
        call.opened()
        assert call.session.receive_audio(1600) == 0
        assert call.session.position == 0
        assert call.counted == {"audio-state": 1}


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
        call.send(replies.barge_in())
        assert isinstance(call.ask("playback_completed"), events.PlaybackCompleted)
        assert call.counted == {}

    @pytest.mark.parametrize("state", IN_CALL)
    def test_barge_in(self, state: State) -> None:
        message = call_in(state).send(replies.barge_in())
        assert message["type"] == "event"
        assert message["parameters"] == {"entities": [{"type": "barge_in", "data": {}}]}

    @pytest.mark.parametrize("state", [State.PREPARING, State.OPENING])
    def test_barge_in_before_opened(self, state: State) -> None:
        call = call_in(state)
        assert not call.session.allows(Type.EVENT)
        with pytest.raises(LocalProtocolError):
            call.send(replies.barge_in())


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


class TestDisconnect:
    @pytest.mark.parametrize("state", [State.OPENING, *IN_CALL])
    @pytest.mark.parametrize("reason", ["completed", "error", "unauthorized"])
    def test_then_close_then_closed(self, state: State, reason: str) -> None:
        call = call_in(state)
        message = call.send(replies.disconnect(reason, output_variables={"a": "b"}))
        assert message["parameters"] == {"reason": reason, "outputVariables": {"a": "b"}}
        event = call.ask("close", {"reason": "disconnect"})
        assert call.send(event.reply)["parameters"] == {}
        assert [m["seq"] for m in call.wire] == list(range(1, len(call.wire) + 1))

    @pytest.mark.parametrize("first", ["completed", "error", "unauthorized"])
    @pytest.mark.parametrize("second", ["completed", "error"])
    def test_once(self, first: str, second: str) -> None:
        call = started()
        call.send(replies.disconnect(first))
        assert not call.session.allows(Type.DISCONNECT)
        with pytest.raises(LocalProtocolError):
            call.send(replies.disconnect(second))
        call.ask("close", {"reason": "disconnect"})
        with pytest.raises(LocalProtocolError):
            call.send(replies.disconnect(second))
        assert [m["type"] for m in call.wire] == ["opened", "disconnect"]

    def test_ours_and_the_faults_are_one(self) -> None:
        call = started()
        fault = failed(call.say("ping", seq=50), Rule.SEQ)
        call.send(replies.disconnect("completed"))
        with pytest.raises(LocalProtocolError):
            call.send(fault)

    def test_not_after_close(self) -> None:
        call = call_in(State.CLOSING)
        with pytest.raises(LocalProtocolError):
            call.send(replies.disconnect())

    @pytest.mark.parametrize("reason", ["completed", "error"])
    @pytest.mark.parametrize(
        "draft",
        [replies.barge_in(), replies.resume(), Draft(Type.PAUSE), replies.opened([EXTERNAL])],
    )
    def test_rejected_the_session_stays_unopened(self, reason: str, draft: Draft) -> None:
        call = call_in(State.OPENING)
        call.send(replies.disconnect(reason))
        for _ in range(2):
            with pytest.raises(LocalProtocolError):
                call.send(draft)
            call.say("close", {"reason": "disconnect"})

    def test_info(self) -> None:
        message = started().send(replies.disconnect("error", info="why"))
        assert message["parameters"] == {"reason": "error", "info": "why"}


class TestToWire:
    def test_the_envelope(self) -> None:
        call = started()
        for draft in (replies.barge_in(), call.ask("ping").reply, replies.disconnect()):
            assert set(call.send(draft)) == set(ENVELOPE)
        assert all(m["version"] == "2" and m["id"] == SESSION for m in call.wire)

    def test_clientseq_is_the_newest(self) -> None:
        call = started()
        for _ in range(4):
            call.ask("dtmf", {"digit": "1"})
        assert call.send(replies.barge_in())["clientseq"] == 5

    @pytest.mark.parametrize(
        "data",
        [float("nan"), float("inf"), {1, 2}, object(), b"x", {"a": [float("-inf")]}],
        ids=repr,
    )
    def test_what_is_not_json_is_refused_and_nothing_changes(self, data: Any) -> None:
        call = started()
        with pytest.raises(LocalProtocolError):
            call.send(replies.event("x", data))
        assert call.session.server_seq == 1
        assert call.send(replies.barge_in())["seq"] == 2

    def test_a_disconnect_refused_was_none(self) -> None:
        call = started()
        with pytest.raises(LocalProtocolError):
            call.send(replies.disconnect(output_variables={"a": "x" * 64_000}))
        assert call.session.state is State.ACTIVE
        assert call.send(replies.disconnect())["seq"] == 2

    def test_the_largest_message(self) -> None:
        call = started()
        rest = len(call.session.to_wire(replies.event("x", "")))
        text = call.session.to_wire(replies.event("x", "y" * (MAX_MESSAGE_BYTES - rest)))
        assert len(text.encode()) == MAX_MESSAGE_BYTES
        with pytest.raises(LocalProtocolError):
            call.session.to_wire(replies.event("x", "y" * (MAX_MESSAGE_BYTES - rest + 1)))
        assert call.session.server_seq == 3

    @pytest.mark.parametrize("character", ["ü", "漢", "🎧", "\ud800", '"', "\x00"])
    def test_bytes_are_counted_and_not_characters(self, character: str) -> None:
        call = started()
        for n in (5_000, 10_000, 16_000, 21_000, 32_000, 63_000):
            try:
                text = call.session.to_wire(replies.event("x", character * n))
            except LocalProtocolError:
                continue
            assert len(text.encode()) <= MAX_MESSAGE_BYTES
            assert json.loads(text)["parameters"]["entities"][0]["data"] == character * n

    @pytest.mark.parametrize(
        "type", ["open", "close", "ping", "update", "paused", "resumed", "discarded", "error"]
    )
    @pytest.mark.parametrize("state", list(State))
    def test_client_messages_are_not_ours(self, state: State, type: str) -> None:
        call = call_in(state)
        assert not call.session.allows(Type(type))
        with pytest.raises(LocalProtocolError):
            call.send(Draft(Type(type)))

    @pytest.mark.parametrize(("state", "type"), list(product(State, Type)))
    def test_allows_tells_the_truth(self, state: State, type: Type) -> None:
        call = call_in(state)
        before = call.session.server_seq
        if call.session.allows(type):
            assert call.send(Draft(type))["seq"] == before + 1
        else:
            with pytest.raises(LocalProtocolError):
                call.send(Draft(type))
            assert (call.session.server_seq, call.session.state) == (before, state)
