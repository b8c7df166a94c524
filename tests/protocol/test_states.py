"""Tests of the state tables of a session."""

from itertools import product

import pytest
from pipecat_genesys.protocol import AudioHookMessageType as Type
from pipecat_genesys.protocol import State
from pipecat_genesys.protocol.client_messages import PARAMETERS
from pipecat_genesys.protocol.states import AUDIO, BOT_AUDIO, ENVELOPE_CHECKED, INCOMING, OUTGOING

SERVER = {
    Type.OPENED,
    Type.CLOSED,
    Type.PONG,
    Type.UPDATED,
    Type.PAUSE,
    Type.RESUME,
    Type.EVENT,
    Type.RECONNECT,
    Type.DISCONNECT,
}
CALL = {State.ACTIVE, State.PAUSED}


def ways(state: State) -> set[State]:
    reached = {*INCOMING[state].values(), *OUTGOING[state].values()}
    # `disconnect` leads to FAILED if the reason of the message is not success.
    return reached | ({State.FAILED} if Type.DISCONNECT in OUTGOING[state] else set())


def reachable(start: State) -> set[State]:
    found, todo = {start}, [start]
    while todo:
        new = ways(todo.pop()) - found
        found |= new
        todo += new
    return found


def test_tables_have_every_state() -> None:
    assert set(INCOMING) == set(OUTGOING) == set(State)


def test_tables_have_message_types_of_the_protocol_only() -> None:
    for table in (INCOMING, OUTGOING):
        for row in table.values():
            assert set(row) <= set(Type)
            assert set(row.values()) <= set(State)


def test_tables_have_messages_of_their_direction_only() -> None:
    assert {t for row in INCOMING.values() for t in row} == set(PARAMETERS)
    assert {t for row in OUTGOING.values() for t in row} == SERVER


def test_every_state_can_be_reached() -> None:
    assert reachable(State.PREPARING) == set(State)


@pytest.mark.parametrize("state", list(State))
def test_every_state_can_end(state: State) -> None:
    assert State.CLOSED in reachable(state)


def test_closed_is_terminal() -> None:
    assert ways(State.CLOSED) <= {State.CLOSED}


def test_no_message_leaves_the_closed_state() -> None:
    assert OUTGOING[State.CLOSED] == {}
    assert Type.PING not in INCOMING[State.CLOSED]
    assert Type.CLOSE not in INCOMING[State.CLOSED]


def test_closed_is_sent_while_closing_only() -> None:
    found = {(s, t) for s in State for m, t in OUTGOING[s].items() if m is Type.CLOSED}
    assert found == {(State.CLOSING, State.CLOSED)}


@pytest.mark.parametrize("state", sorted(set(State) - {State.CLOSING, State.CLOSED}))
def test_close_is_answered_in_any_state(state: State) -> None:
    assert INCOMING[state][Type.CLOSE] is State.CLOSING


def test_second_close_is_not_in_the_table() -> None:
    assert Type.CLOSE not in INCOMING[State.CLOSING]


def test_open_is_accepted_once() -> None:
    found = {(s, t) for s in State for m, t in INCOMING[s].items() if m is Type.OPEN}
    assert found == {(State.PREPARING, State.OPENING)}


def test_opened_is_sent_after_open_only() -> None:
    found = {(s, t) for s in State for m, t in OUTGOING[s].items() if m is Type.OPENED}
    assert found == {(State.OPENING, State.ACTIVE)}


@pytest.mark.parametrize("state", [State.PREPARING, State.OPENING])
def test_only_a_rejection_is_sent_before_opened(state: State) -> None:
    assert set(OUTGOING[state]) <= {Type.OPENED, Type.DISCONNECT}


def test_session_can_be_rejected() -> None:
    assert Type.DISCONNECT in OUTGOING[State.OPENING]


@pytest.mark.parametrize("state", list(State))
def test_disconnect_is_sent_until_the_session_ends(state: State) -> None:
    if state in CALL:
        assert Type.DISCONNECT in OUTGOING[state]
    if state in (State.DISCONNECTING, State.CLOSING, State.CLOSED):
        assert Type.DISCONNECT not in OUTGOING[state]


def test_only_an_end_follows_disconnect() -> None:
    assert State.ACTIVE not in reachable(State.DISCONNECTING)
    assert State.ACTIVE not in reachable(State.FAILED)
    assert reachable(State.FAILED) == {State.FAILED, State.CLOSING, State.CLOSED}


def test_events_are_sent_from_opened_to_closed() -> None:
    found = {state for state in State if Type.EVENT in OUTGOING[state]}
    assert {State.ACTIVE, State.PAUSED, State.CLOSING} == found


@pytest.mark.parametrize("type", [Type.PAUSE, Type.RESUME])
def test_pause_and_resume_are_sent_during_a_call(type: Type) -> None:
    assert {state for state in State if type in OUTGOING[state]} == CALL


def test_pings_are_answered_until_closed() -> None:
    assert {s for s in State if Type.PING in INCOMING[s]} == set(State) - {State.CLOSED}
    open_states = set(State) - {State.PREPARING, State.OPENING, State.CLOSED}
    assert {s for s in State if Type.PONG in OUTGOING[s]} == open_states


def test_error_does_not_change_the_state() -> None:
    for state in State:
        assert INCOMING[state].get(Type.ERROR, state) is state


def test_paused_and_resumed_change_the_state() -> None:
    assert INCOMING[State.ACTIVE][Type.PAUSED] is State.PAUSED
    assert INCOMING[State.PAUSED][Type.PAUSED] is State.PAUSED
    assert INCOMING[State.PAUSED][Type.RESUMED] is State.ACTIVE
    assert INCOMING[State.ACTIVE][Type.RESUMED] is State.ACTIVE


@pytest.mark.parametrize(("state", "type"), list(product(State, Type)))
def test_other_messages_do_not_change_the_state(state: State, type: Type) -> None:
    target = INCOMING[state].get(type, state)
    moves = {Type.OPEN, Type.CLOSE, Type.PAUSED, Type.RESUMED}
    assert target is state or type in moves
    target = OUTGOING[state].get(type, state)
    assert target is state or type in {Type.OPENED, Type.CLOSED, Type.DISCONNECT}


def test_envelope_is_checked_during_the_call_only() -> None:
    assert {State.ACTIVE, State.PAUSED} <= ENVELOPE_CHECKED
    assert not ENVELOPE_CHECKED & {State.PREPARING, State.FAILED, State.CLOSING, State.CLOSED}
    for state in ENVELOPE_CHECKED:
        assert Type.DISCONNECT in OUTGOING[state]


def test_states_in_which_audio_is_accepted() -> None:
    # Audio before `opened` is a fault of the client, but the session accepts it.
    assert {State.OPENING, State.ACTIVE, State.DISCONNECTING} == AUDIO


def test_no_bot_audio_once_the_session_ends() -> None:
    assert State.ACTIVE in BOT_AUDIO
    ended = {State.DISCONNECTING, State.FAILED, State.CLOSING, State.CLOSED}
    assert not BOT_AUDIO & ended
