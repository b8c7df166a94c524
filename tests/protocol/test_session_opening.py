"""Tests of `open`, `opened`, `close`, `closed`, probes, and the choice of a medium."""

import json
from pathlib import Path
from typing import Any

import pytest
from pipecat_genesys.protocol import (
    AudioHookChannel,
    AudioHookMediaFormat,
    AudioHookSession,
    Draft,
    LocalProtocolError,
    MediaPreference,
    Rule,
    State,
    events,
    server_messages,
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
    SessionUnderTest,
    call_in,
    medium,
    offer,
    probe,
    started,
)
from .judging import ANSWERED, IN_CALL, VECTORS, alive, failed


class TestTranscripts:
    """Tests of whole calls from files; the README beside the files describes their format."""

    @pytest.mark.parametrize("path", sorted(VECTORS.glob("*.jsonl")), ids=lambda p: p.stem)
    def test_session_follows_the_transcript(self, path: Path) -> None:
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
                            owed.append(server_messages.opened(chosen))
                        elif event.reply is not None:
                            owed.append(event.reply)
                case {"audio": n_bytes, "usable": usable}:
                    assert session.receive_audio(n_bytes) == usable
                case {"application": {"type": type, "parameters": parameters}}:
                    owed.append(Draft(Type(type), parameters))
                case {"server": message}:
                    assert json.loads(session.to_wire(owed.pop(0)).text) == message
                case {"position": position}:
                    assert session.position == position
                case {"state": state}:
                    assert session.state == state
                case {"faults": faults}:
                    assert {rule.value: n for rule, n in session.faults.items()} == faults
                case _:
                    pytest.fail(f"unknown step {line}")
        assert owed == []

    def test_transcripts_are_found(self) -> None:
        assert len(list(VECTORS.glob("*.jsonl"))) >= 6


class TestOpen:
    def test_new_session_waits_for_open(self) -> None:
        session = AudioHookSession(OWN_ID)
        assert session.state is State.PREPARING
        assert session.session_id == OWN_ID
        assert (session.position, session.server_seq, session.client_seq) == (0, 0, 0)
        assert session.media is None
        assert session.is_probe is False

    def test_open_is_reported_with_its_parameters(self) -> None:
        call = SessionUnderTest()
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

    def test_open_sets_the_session_id(self) -> None:
        call = SessionUnderTest()
        call.open()
        assert call.session.session_id == SESSION
        assert call.opened()["id"] == SESSION

    def test_opened_has_the_chosen_medium(self) -> None:
        call = SessionUnderTest()
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

    def test_second_opened_raises(self) -> None:
        call = started()
        with pytest.raises(LocalProtocolError):
            call.opened()

    def test_opened_before_open_raises(self) -> None:
        with pytest.raises(LocalProtocolError):
            SessionUnderTest().opened()

    @pytest.mark.parametrize("state", [State.OPENING, *IN_CALL])
    def test_second_open_is_ignored(self, state: State) -> None:
        call = call_in(state)
        media, position = call.session.media, call.session.position
        event = call.ask("open", offer(STEREO), position="PT9S")
        assert isinstance(event, events.Faulted)
        assert event.reply is None
        assert event.error.rule is Rule.STATE
        assert call.session.state is state
        assert (call.session.media, call.session.position) == (media, position)

    @pytest.mark.parametrize("field", ["organizationId", "conversationId", "participant"])
    def test_open_may_lack_parameters_that_pipecat_does_not_need(self, field: str) -> None:
        call = SessionUnderTest()
        event = call.open(offer(**{field: OMIT}))
        assert event.reply is None
        assert call.opened()["parameters"]["media"] == [EXTERNAL]
        assert call.counted == {"parameters": 1}

    @pytest.mark.parametrize("field", ["version", "id", "seq", "serverseq", "position"])
    def test_open_may_lack_an_envelope_field(self, field: str) -> None:
        call = SessionUnderTest()
        event = call.open(**{field: OMIT})
        assert event.reply is None
        assert call.counted == {"envelope": 1}
        message = call.opened()
        assert message["seq"] == 1
        assert message["id"] == (OWN_ID if field == "id" else SESSION)

    @pytest.mark.parametrize("parameters", [OMIT, None, {}])
    def test_open_may_lack_all_parameters(self, parameters: Any) -> None:
        call = SessionUnderTest()
        message = call.client.message("open", **{"parameters": parameters})
        found = call.session.receive_text(json.dumps(message))
        assert isinstance(found[-1], events.OpenReceived)
        assert found[-1].reply is None
        assert call.opened()["seq"] == 1

    def test_open_without_seq_counts_as_the_first_message(self) -> None:
        call = SessionUnderTest()
        call.open(seq=OMIT)
        call.opened()
        alive(call)
        assert call.client.seq == 2
        assert call.session.state is State.ACTIVE

    @pytest.mark.parametrize("id", ["", "x", "not-a-uuid", SESSION.upper(), "ü" * 40, "\ud800"])
    def test_any_string_is_accepted_as_session_id(self, id: str) -> None:
        call = SessionUnderTest()
        call.client.id = id
        call.open()
        assert call.opened()["id"] == id
        alive(call)

    @pytest.mark.parametrize("id", [None, 5, True, ["x"], {"x": 1}])
    def test_session_id_that_is_no_string_is_replaced_by_the_sessions_own(self, id: Any) -> None:
        call = SessionUnderTest()
        call.open(id=id)
        assert call.opened()["id"] == OWN_ID
        assert call.counted == {"envelope": 1}

    @pytest.mark.parametrize("language", ["en", "es-419", "EN-us", "x", ""])
    def test_any_language_is_accepted(self, language: str) -> None:
        call = started(language=language)
        assert call.session.language == language

    def test_language_is_optional(self) -> None:
        assert started(language=OMIT).session.language is None

    @pytest.mark.parametrize("name", ["inputVariables", "customConfig", "supportedLanguages"])
    @pytest.mark.parametrize("value", [5, "x", [1], None])
    def test_invalid_optional_parameters_are_counted(self, name: str, value: Any) -> None:
        call = SessionUnderTest()
        assert call.open(offer(**{name: value})).reply is None
        assert call.counted == ({} if value is None else {"parameters": 1})

    def test_input_variables_that_are_no_strings_are_counted(self) -> None:
        call = SessionUnderTest()
        call.open(offer(inputVariables={"n": 5}))
        call.opened()
        alive(call)
        assert call.counted == {"parameters": 1}

    @pytest.mark.parametrize("version", ["1", "3", "2.0", "", 2, True, ["2"]])
    def test_other_version_is_rejected(self, version: Any) -> None:
        call = SessionUnderTest()
        draft = failed(call.say("open", offer(), version=version), Rule.VERSION)
        assert call.send(draft)["seq"] == 1

    def test_position_starts_at_that_of_open(self) -> None:
        call = SessionUnderTest()
        call.open(position="PT12.000125S")
        assert call.session.position == 96001

    @pytest.mark.parametrize("position", ["PT-1S", "0", 0, None, "PT1M"])
    def test_invalid_position_of_open_counts_as_zero(self, position: Any) -> None:
        call = SessionUnderTest()
        call.open(position=position)
        assert call.session.position == 0
        assert call.counted == {"envelope": 1}


class TestMedia:
    @pytest.mark.parametrize("entry", [EXTERNAL, INTERNAL, STEREO, INVERTED, L16, L16_STEREO])
    def test_opened_repeats_the_offered_entry_verbatim(self, entry: dict[str, Any]) -> None:
        call = SessionUnderTest()
        call.open(offer(entry))
        assert call.opened()["parameters"]["media"] == [entry]

    def test_opened_has_the_offered_entry_that_matches_the_preference(self) -> None:
        call = SessionUnderTest(MediaPreference(AudioHookChannel.BOTH))
        call.open(offer(EXTERNAL, L16_STEREO, INVERTED, STEREO))
        assert call.opened()["parameters"]["media"] == [INVERTED]

    def test_preference_is_not_changed(self) -> None:
        preference = MediaPreference(AudioHookChannel.BOTH)
        call = SessionUnderTest(preference)
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
    def test_offer_without_a_supported_medium_is_rejected(self, media: Any) -> None:
        call = SessionUnderTest()
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
    def test_accepted_offer_with_odd_fields_can_be_answered(self, hint: Any) -> None:
        text = json.dumps(
            SessionUnderTest().client.message("open", offer({**EXTERNAL, "hint": "HINT"}))
        )
        written = {1e999: "1e999", -1e999: "-1e999"}.get(hint) or json.dumps(
            hint, ensure_ascii=False
        )
        call = SessionUnderTest()
        event = call.session.receive_text(text.replace('"HINT"', written))[-1]
        if call.session.state is State.PREPARING:
            # The text could not be decoded, so the session has counted a fault and does not reply.
            assert isinstance(event, events.Faulted)
            return
        draft = event.reply or server_messages.opened([m.raw for m in [call.session.media] if m])
        assert call.send(draft)["type"] in ("opened", "disconnect")


class TestProbe:
    def test_probe_is_recognised_and_opened(self) -> None:
        call = SessionUnderTest()
        event = call.open(probe(STEREO, EXTERNAL))
        assert event.is_probe
        assert call.session.is_probe
        assert event.reply is None
        assert call.opened()["parameters"]["media"] == [EXTERNAL]
        closed = call.send(call.ask("close", {"reason": "end"}).reply)
        assert closed["parameters"] == {}
        assert call.counted == {}

    @pytest.mark.parametrize("media", [[], [medium(format="OPUS")]])
    def test_probe_without_a_supported_medium_is_opened(self, media: list[Any]) -> None:
        call = SessionUnderTest()
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
    def test_probe_needs_both_null_ids(self, overrides: dict[str, Any]) -> None:
        call = SessionUnderTest()
        assert not call.open(probe(**overrides)).is_probe
        assert not call.session.is_probe


class TestClose:
    @pytest.mark.parametrize("state", ANSWERED)
    def test_close_is_answered_with_closed_in_any_state(self, state: State) -> None:
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
    def test_close_is_reported_with_its_reason(self, reason: str) -> None:
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
    def test_close_with_invalid_fields_is_answered(
        self, state: State, overrides: dict[str, Any]
    ) -> None:
        call = call_in(state)
        found = call.say("close", {"reason": "end"}, **overrides)
        assert isinstance(found[-1], events.CloseReceived)
        assert isinstance(found[-1].reason, str)
        assert not [e for e in found[:-1] if e.reply is not None]
        assert call.send(found[-1].reply)["type"] == "closed"

    @pytest.mark.parametrize("seq", [0, 1, 2])
    def test_closed_has_the_highest_seq_of_the_client(self, seq: int) -> None:
        call = started()
        call.say("ping")
        call.say("ping")
        assert call.client.seq == 3
        event = call.say("close", {"reason": "end"}, seq=seq)[-1]
        assert call.send(event.reply)["clientseq"] == 3

    @pytest.mark.parametrize("type", ["ping", "update", "close"])
    def test_negative_seq_is_not_used_as_clientseq(self, type: str) -> None:
        call = SessionUnderTest()
        pong = call.say(type, PARAMETERS[type], seq=-1)[-1].reply
        if type != "close":
            call.open(seq=-1)
            assert call.opened()["clientseq"] >= 0
        if pong is not None:
            assert call.send(pong)["clientseq"] >= 0

    def test_second_close_is_not_answered(self) -> None:
        call = call_in(State.CLOSING)
        found = call.say("close", {"reason": "end"})
        assert not [event for event in found if not isinstance(event, events.Faulted)]
        assert not [event for event in found if event.reply]

    def test_second_closed_raises(self) -> None:
        call = call_in(State.CLOSED)
        with pytest.raises(LocalProtocolError):
            call.send(server_messages.closed())

    def test_closed_without_close_raises(self) -> None:
        for state in ANSWERED:
            call = call_in(state)
            with pytest.raises(LocalProtocolError):
                call.send(server_messages.closed())

    @pytest.mark.parametrize("type", sorted(PARAMETERS))
    def test_nothing_is_answered_after_closed(self, type: str) -> None:
        call = call_in(State.CLOSED)
        found = call.say(type, PARAMETERS[type])
        assert not [event for event in found if event.reply]
        assert call.session.state is State.CLOSED

    @pytest.mark.parametrize("type", list(Type))
    def test_sending_after_closed_raises(self, type: Type) -> None:
        call = call_in(State.CLOSED)
        assert not call.session.allows(type)
        before = call.session.server_seq
        with pytest.raises(LocalProtocolError):
            call.send(Draft(type))
        assert call.session.server_seq == before

    def test_event_may_be_sent_between_close_and_closed(self) -> None:
        call = started()
        closed = call.ask("close", {"reason": "end"}).reply
        assert call.send(server_messages.event("transcript", {}))["seq"] == 2
        assert call.send(closed)["seq"] == 3

    @pytest.mark.parametrize("state", [State.PREPARING, State.OPENING])
    @pytest.mark.parametrize(
        "draft", [server_messages.barge_in(), server_messages.event("transcript", {})]
    )
    def test_close_before_opened_is_answered_with_closed_only(
        self, state: State, draft: Draft
    ) -> None:
        call = call_in(state)
        closed = call.ask("close", {"reason": "end"}).reply
        assert not call.session.allows(draft.type)
        with pytest.raises(LocalProtocolError):
            call.send(draft)
        assert call.send(closed)["seq"] == 1

    @pytest.mark.parametrize("state", [State.PREPARING, State.OPENING])
    def test_pong_that_waits_for_opened_is_not_sent_after_close(self, state: State) -> None:
        call = call_in(state)
        pong = call.ask("ping").reply
        closed = call.ask("close", {"reason": "end"}).reply
        assert pong is not None
        with pytest.raises(LocalProtocolError):
            call.send(pong)
        assert call.send(closed)["seq"] == 1
