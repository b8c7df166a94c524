"""Pauses from both sides, as the protocol nests them; and the end without `close`."""

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
    Call,
    call_in,
    medium,
    offer,
    probe,
    started,
)
from .judging import ANSWERED, failed

GAP = {"start": "PT0S", "discarded": "PT0S"}


def paused(call: Call, **envelope: Any) -> events.Paused:
    event = call.ask("paused", **envelope)
    assert isinstance(event, events.Paused)
    return event


def resumed(call: Call, **envelope: Any) -> events.Resumed:
    event = call.ask("resumed", GAP, **envelope)
    assert isinstance(event, events.Resumed)
    return event


class TestNesting:
    def test_ours(self) -> None:
        call = started()
        assert call.send(server_messages.pause())["parameters"] == {}
        assert call.stands() is State.ACTIVE  # audio flows until the client says otherwise
        assert call.session.pauses.wanted
        assert paused(call).answers is Type.PAUSE
        assert call.stands() is State.PAUSED
        call.send(server_messages.resume())
        assert not call.session.pauses.wanted
        assert call.stands() is State.PAUSED
        assert resumed(call).answers is Type.RESUME
        assert call.stands() is State.ACTIVE
        assert call.counted == {}

    def test_the_clients(self) -> None:
        call = started()
        assert paused(call).answers is None
        assert not call.session.pauses.wanted
        assert resumed(call).answers is None
        assert call.stands() is State.ACTIVE

    def test_resume_is_answered_paused_by_a_client_that_is_paused_itself(self) -> None:
        call = started()
        assert paused(call).answers is None
        call.send(server_messages.pause())
        assert paused(call).answers is Type.PAUSE
        call.send(server_messages.resume())
        assert paused(call).answers is Type.RESUME
        assert call.stands() is State.PAUSED
        assert not call.session.pauses.wanted
        # Its own pause ends: unsolicited.
        assert resumed(call).answers is None
        assert call.stands() is State.ACTIVE

    def test_the_clients_pause_begins_during_ours(self) -> None:
        call = started()
        call.send(server_messages.pause())
        assert paused(call).answers is Type.PAUSE
        assert paused(call).answers is None
        assert call.stands() is State.PAUSED
        assert call.session.pauses.wanted

    def test_a_pause_of_the_clients_crosses_ours(self) -> None:
        call = started()
        seen = call.client.serverseq
        call.send(server_messages.pause())
        # It had not seen ours when it sent this one.
        assert paused(call, serverseq=seen).answers is None
        assert paused(call).answers is Type.PAUSE

    def test_both_may_be_asked_again(self) -> None:
        call = started()
        for _ in range(2):
            call.send(server_messages.pause())
            assert paused(call).answers is Type.PAUSE
        for _ in range(2):
            call.send(server_messages.resume())
            assert resumed(call).answers is Type.RESUME
        assert call.counted == {}

    def test_start_paused(self) -> None:
        call = Call()
        call.open()
        call.send(server_messages.opened([EXTERNAL], start_paused=True))
        assert call.session.pauses.wanted
        assert paused(call).answers is Type.OPENED
        call.send(server_messages.resume())
        assert resumed(call).answers is Type.RESUME
        assert call.stands() is State.ACTIVE

    def test_opened_alone_asks_for_nothing(self) -> None:
        call = started()
        assert not call.session.pauses.wanted
        assert paused(call).answers is None

    def test_duplicates_of_paused_are_no_fault(self) -> None:
        # The reference suite's client sends two.
        call = started()
        call.send(server_messages.pause())
        assert [paused(call).answers, paused(call).answers] == [Type.PAUSE, None]
        call.send(server_messages.resume())
        assert resumed(call).answers is Type.RESUME
        assert call.counted == {}

    def test_a_client_that_never_answers_costs_nothing(self) -> None:
        call = started()
        for _ in range(10_000):
            call.send(server_messages.pause())
        assert resumed(call).answers is None
        assert call.stands() is State.ACTIVE

    @pytest.mark.parametrize("draft", [server_messages.pause(), server_messages.resume()])
    @pytest.mark.parametrize("state", [State.OPENING, State.CLOSING, State.CLOSED])
    def test_outside_the_call_there_is_nothing_to_pause(self, state: State, draft: Any) -> None:
        call = call_in(state)
        with pytest.raises(LocalProtocolError, match=draft.type):
            call.session.to_wire(draft)
        assert not call.session.pauses.wanted


class TestConnectionLost:
    @pytest.mark.parametrize("state", [*ANSWERED, State.CLOSING])
    def test_ends_the_session_wherever_it_stood(self, state: State) -> None:
        call = call_in(state)
        event = call.session.connection_lost()
        assert isinstance(event, events.ConnectionLost)
        assert event.state is state
        assert call.stands() is State.CLOSED
        assert not [message for message in Type if call.session.allows(message)]

    def test_after_closed_it_is_no_news(self) -> None:
        assert call_in(State.CLOSED).session.connection_lost() is None

    def test_is_said_once(self) -> None:
        call = started()
        assert call.session.connection_lost() is not None
        assert call.session.connection_lost() is None

    def test_nothing_that_comes_late_means_anything(self) -> None:
        call = started()
        call.session.connection_lost()
        assert call.session.receive_audio(1600) == 0
        assert not [e for e in call.say("ping") if not isinstance(e, events.Faulted)]


def test_a_clock_that_ran_on_during_a_pause_is_no_fault_once_the_end_has_begun() -> None:
    call = started()
    call.ask("paused")
    call.client.samples += 8000
    call.send(server_messages.disconnect())
    call.ask("ping")
    call.ask("close", {"reason": "disconnect"})
    assert call.counted == {}


class TestWithoutMedium:
    def test_the_clients_clock_is_the_position(self) -> None:
        call = Call()
        call.open(probe(media=[]))
        call.opened()
        call.client.samples = 8000
        call.ask("ping")
        assert call.session.position == 8000
        assert call.counted == {}


class TestContinuedSessions:
    def test_are_named_by_open(self) -> None:
        before = {"id": OWN_ID, "serverseq": 7, "clientseq": 9}
        call = started(continuedSessions=[before])
        (continued,) = call.session.continued_sessions
        assert (continued.id, continued.serverseq, continued.clientseq) == (OWN_ID, 7, 9)

    def test_an_ordinary_session_continues_none(self) -> None:
        assert started().session.continued_sessions == ()

    def test_discard_to_is_answered_by_discarded(self) -> None:
        # As measured: discardTo 0.5 s discards two whole frames of 0.2 s.
        call = Call()
        call.open()
        call.send(server_messages.opened([EXTERNAL], discard_to="PT0.5S"))
        call.client.samples = 3200
        call.ask("discarded", {"start": "PT0S", "discarded": "PT0.4S"})
        assert call.session.position == 3200
        assert call.counted == {}


def strict(parameters: Any = None, /, **envelope: Any) -> tuple[Call, list[events.Event]]:
    call = Call()
    call.session = AudioHookSession(OWN_ID, strict=True)
    return call, call.say("open", offer() if parameters is None else parameters, **envelope)


class TestStrict:
    def test_takes_what_the_protocol_has(self) -> None:
        call, found = strict()
        assert [type(event) for event in found] == [events.OpenReceived]
        assert call.opened()["seq"] == 1

    def test_takes_what_newer_protocols_add(self) -> None:
        call, found = strict(offer(brandNew=True), also="new")
        assert isinstance(found[-1], events.OpenReceived)
        assert call.opened()["seq"] == 1

    def test_takes_a_probe(self) -> None:
        _, found = strict(probe())
        assert isinstance(found[-1], events.OpenReceived)

    @pytest.mark.parametrize(
        "field",
        ["organizationId", "conversationId", "participant", "media"],
    )
    def test_what_is_required_is_named(self, field: str) -> None:
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
    def test_as_is_the_envelope(self, field: str) -> None:
        _, found = strict(**{field: OMIT})
        (fatal,) = [e for e in found if isinstance(e, events.Faulted) and e.reply is not None]
        assert field in str(fatal.error)

    def test_counting_begins_with_one(self) -> None:
        call = Call()
        call.session = AudioHookSession(OWN_ID, strict=True)
        call.client.seq = 4
        assert failed(call.say("open", offer()), Rule.SEQ)

    def test_nothing_but_open_is_less_tolerated(self) -> None:
        call, _ = strict()
        call.opened()
        call.say("discarded", {"start": "nonsense"})
        call.say("who_knows")
        assert call.stands() is State.ACTIVE


def test_a_medium_that_cannot_be_carried_is_refused_strictly_or_not() -> None:
    _, found = strict(offer(medium(format="OPUS")))
    assert failed(found, Rule.MEDIA)
