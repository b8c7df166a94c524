"""Tests of nested pauses of server and client, lost connections, and continued sessions."""

from typing import Any

import pytest
from pipecat_genesys.protocol import AudioHookMessageType as Type
from pipecat_genesys.protocol import (
    AudioHookSession,
    LocalProtocolError,
    Rule,
    State,
    events,
    server_messages,
)

from .client import (
    EXTERNAL,
    OMIT,
    OWN_ID,
    SessionUnderTest,
    call_in,
    medium,
    offer,
    probe,
    started,
)
from .judging import ANSWERED, failed

GAP = {"start": "PT0S", "discarded": "PT0S"}


def paused(call: SessionUnderTest, **envelope: Any) -> events.Paused:
    event = call.ask("paused", **envelope)
    assert isinstance(event, events.Paused)
    return event


def resumed(call: SessionUnderTest, **envelope: Any) -> events.Resumed:
    event = call.ask("resumed", GAP, **envelope)
    assert isinstance(event, events.Resumed)
    return event


class TestNesting:
    def test_pause_of_the_server_lasts_from_paused_to_resumed(self) -> None:
        call = started()
        assert call.send(server_messages.pause())["parameters"] == {}
        assert call.stands() is State.ACTIVE  # the client sends audio until `paused`
        assert call.session.pauses.wanted
        assert paused(call).answers is Type.PAUSE
        assert call.stands() is State.PAUSED
        call.send(server_messages.resume())
        assert not call.session.pauses.wanted
        assert call.stands() is State.PAUSED
        assert resumed(call).answers is Type.RESUME
        assert call.stands() is State.ACTIVE
        assert call.counted == {}

    def test_pause_of_the_client_answers_nothing(self) -> None:
        call = started()
        assert paused(call).answers is None
        assert not call.session.pauses.wanted
        assert resumed(call).answers is None
        assert call.stands() is State.ACTIVE

    def test_resume_during_a_pause_of_the_client_is_answered_with_paused(self) -> None:
        call = started()
        assert paused(call).answers is None
        call.send(server_messages.pause())
        assert paused(call).answers is Type.PAUSE
        call.send(server_messages.resume())
        assert paused(call).answers is Type.RESUME
        assert call.stands() is State.PAUSED
        assert not call.session.pauses.wanted
        # The pause of the client ends.
        assert resumed(call).answers is None
        assert call.stands() is State.ACTIVE

    def test_pause_of_the_client_may_begin_during_one_of_the_server(self) -> None:
        call = started()
        call.send(server_messages.pause())
        assert paused(call).answers is Type.PAUSE
        assert paused(call).answers is None
        assert call.stands() is State.PAUSED
        assert call.session.pauses.wanted

    def test_pause_of_the_client_that_crosses_one_of_the_server_answers_nothing(self) -> None:
        call = started()
        seen = call.client.serverseq
        call.send(server_messages.pause())
        # The `serverseq` of this `paused` is older than the `pause` of the server.
        assert paused(call, serverseq=seen).answers is None
        assert paused(call).answers is Type.PAUSE

    def test_repeated_pause_and_resume_are_answered_each(self) -> None:
        call = started()
        for _ in range(2):
            call.send(server_messages.pause())
            assert paused(call).answers is Type.PAUSE
        for _ in range(2):
            call.send(server_messages.resume())
            assert resumed(call).answers is Type.RESUME
        assert call.counted == {}

    def test_start_paused_lasts_until_resumed(self) -> None:
        call = SessionUnderTest()
        call.open()
        call.send(server_messages.opened([EXTERNAL], start_paused=True))
        assert call.session.pauses.wanted
        assert paused(call).answers is Type.OPENED
        call.send(server_messages.resume())
        assert resumed(call).answers is Type.RESUME
        assert call.stands() is State.ACTIVE

    def test_opened_without_start_paused_requests_no_pause(self) -> None:
        call = started()
        assert not call.session.pauses.wanted
        assert paused(call).answers is None

    def test_repeated_paused_is_no_fault(self) -> None:
        # The client of Genesys's reference test suite sends `paused` twice.
        call = started()
        call.send(server_messages.pause())
        assert [paused(call).answers, paused(call).answers] == [Type.PAUSE, None]
        call.send(server_messages.resume())
        assert resumed(call).answers is Type.RESUME
        assert call.counted == {}

    def test_session_survives_many_unanswered_pauses(self) -> None:
        call = started()
        for _ in range(10_000):
            call.send(server_messages.pause())
        assert resumed(call).answers is None
        assert call.stands() is State.ACTIVE

    @pytest.mark.parametrize("draft", [server_messages.pause(), server_messages.resume()])
    @pytest.mark.parametrize("state", [State.OPENING, State.CLOSING, State.CLOSED])
    def test_pause_and_resume_outside_the_call_raise(self, state: State, draft: Any) -> None:
        call = call_in(state)
        with pytest.raises(LocalProtocolError, match=draft.type):
            call.session.to_wire(draft)
        assert not call.session.pauses.wanted


class TestConnectionLost:
    @pytest.mark.parametrize("state", [*ANSWERED, State.CLOSING])
    def test_lost_connection_ends_the_session_in_any_state(self, state: State) -> None:
        call = call_in(state)
        event = call.session.connection_lost()
        assert isinstance(event, events.ConnectionLost)
        assert event.state is state
        assert call.stands() is State.CLOSED
        assert not [message for message in Type if call.session.allows(message)]

    def test_lost_connection_after_closed_gives_no_event(self) -> None:
        assert call_in(State.CLOSED).session.connection_lost() is None

    def test_lost_connection_gives_one_event(self) -> None:
        call = started()
        assert call.session.connection_lost() is not None
        assert call.session.connection_lost() is None

    def test_messages_after_a_lost_connection_are_ignored(self) -> None:
        call = started()
        call.session.connection_lost()
        assert call.session.receive_audio(1600) == 0
        assert not [e for e in call.say("ping") if not isinstance(e, events.Faulted)]


def test_position_of_a_paused_client_is_not_checked_once_the_session_ends() -> None:
    call = started()
    call.ask("paused")
    call.client.samples += 8000
    call.send(server_messages.disconnect())
    call.ask("ping")
    call.ask("close", {"reason": "disconnect"})
    assert call.counted == {}


class TestWithoutMedium:
    def test_position_without_a_medium_is_that_of_the_client(self) -> None:
        call = SessionUnderTest()
        call.open(probe(media=[]))
        call.opened()
        call.client.samples = 8000
        call.ask("ping")
        assert call.session.position == 8000
        assert call.counted == {}


class TestContinuedSessions:
    def test_open_names_the_continued_sessions(self) -> None:
        before = {"id": OWN_ID, "serverseq": 7, "clientseq": 9}
        call = started(continuedSessions=[before])
        (continued,) = call.session.continued_sessions
        assert (continued.id, continued.serverseq, continued.clientseq) == (OWN_ID, 7, 9)

    def test_continued_sessions_are_empty_by_default(self) -> None:
        assert started().session.continued_sessions == ()

    def test_discarded_after_discard_to_moves_the_position(self) -> None:
        # Genesys discards whole frames of 0.2 s: in a measured call, a `discardTo` of 0.5 s
        # discarded 0.4 s.
        call = SessionUnderTest()
        call.open()
        call.send(server_messages.opened([EXTERNAL], discard_to="PT0.5S"))
        call.client.samples = 3200
        call.ask("discarded", {"start": "PT0S", "discarded": "PT0.4S"})
        assert call.session.position == 3200
        assert call.counted == {}


def strict(
    parameters: Any = None, /, **envelope: Any
) -> tuple[SessionUnderTest, list[events.Event]]:
    call = SessionUnderTest()
    call.session = AudioHookSession(OWN_ID, strict=True)
    return call, call.say("open", offer() if parameters is None else parameters, **envelope)


class TestStrict:
    def test_strict_session_accepts_a_complete_open(self) -> None:
        call, found = strict()
        assert [type(event) for event in found] == [events.OpenReceived]
        assert call.opened()["seq"] == 1

    def test_strict_session_accepts_unknown_fields(self) -> None:
        call, found = strict(offer(brandNew=True), also="new")
        assert isinstance(found[-1], events.OpenReceived)
        assert call.opened()["seq"] == 1

    def test_strict_session_accepts_a_probe(self) -> None:
        _, found = strict(probe())
        assert isinstance(found[-1], events.OpenReceived)

    @pytest.mark.parametrize(
        "field",
        ["organizationId", "conversationId", "participant", "media"],
    )
    def test_strict_session_rejects_open_without_a_required_parameter_and_names_it(
        self, field: str
    ) -> None:
        call, found = strict(offer(**{field: OMIT}))
        (fatal,) = [e for e in found if isinstance(e, events.Faulted) and e.reply is not None]
        assert fatal.reply is not None
        sent = call.send(fatal.reply)
        assert (sent["type"], sent["seq"]) == ("disconnect", 1)
        assert sent["parameters"]["reason"] == "error"
        assert field in sent["parameters"]["info"]
        assert call.counted == {"parameters": 1}
        assert call.say("close", {"reason": "disconnect"})[-1].reply == server_messages.closed()

    @pytest.mark.parametrize("field", ["id", "seq", "serverseq", "position", "parameters"])
    def test_strict_session_rejects_open_without_an_envelope_field_and_names_it(
        self, field: str
    ) -> None:
        _, found = strict(**{field: OMIT})
        (fatal,) = [e for e in found if isinstance(e, events.Faulted) and e.reply is not None]
        assert field in str(fatal.error)

    def test_strict_session_rejects_open_whose_seq_is_not_1(self) -> None:
        call = SessionUnderTest()
        call.session = AudioHookSession(OWN_ID, strict=True)
        call.client.seq = 4
        assert failed(call.say("open", offer()), Rule.SEQ)

    def test_strict_session_tolerates_faults_after_open(self) -> None:
        call, _ = strict()
        call.opened()
        call.say("discarded", {"start": "nonsense"})
        call.say("who_knows")
        assert call.stands() is State.ACTIVE


def test_strict_session_rejects_an_offer_without_a_supported_medium() -> None:
    _, found = strict(offer(medium(format="OPUS")))
    assert failed(found, Rule.MEDIA)
