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
    # Every table's `disconnect` leads to FAILED where its reason is not success.
    return reached | ({State.FAILED} if Type.DISCONNECT in OUTGOING[state] else set())


def reachable(start: State) -> set[State]:
    found, todo = {start}, [start]
    while todo:
        new = ways(todo.pop()) - found
        found |= new
        todo += new
    return found


def test_the_tables_know_every_state() -> None:
    assert set(INCOMING) == set(OUTGOING) == set(State)


def test_the_tables_know_nothing_else() -> None:
    for table in (INCOMING, OUTGOING):
        for row in table.values():
            assert set(row) <= set(Type)
            assert set(row.values()) <= set(State)


def test_the_tables_keep_to_their_direction() -> None:
    assert {t for row in INCOMING.values() for t in row} == set(PARAMETERS)
    # `reconnect` may come later than the rest.
    assert SERVER - {Type.RECONNECT} <= {t for row in OUTGOING.values() for t in row} <= SERVER


def test_every_state_is_reached_from_the_first() -> None:
    assert reachable(State.PREPARING) == set(State)


@pytest.mark.parametrize("state", list(State))
def test_every_state_can_end(state: State) -> None:
    assert State.CLOSED in reachable(state)


def test_closed_is_terminal() -> None:
    assert ways(State.CLOSED) <= {State.CLOSED}


def test_nothing_follows_closed() -> None:
    assert OUTGOING[State.CLOSED] == {}
    assert Type.PING not in INCOMING[State.CLOSED]
    assert Type.CLOSE not in INCOMING[State.CLOSED]


def test_closed_ends_closing_and_goes_out_nowhere_else() -> None:
    found = {(s, t) for s in State for m, t in OUTGOING[s].items() if m is Type.CLOSED}
    assert found == {(State.CLOSING, State.CLOSED)}


@pytest.mark.parametrize("state", sorted(set(State) - {State.CLOSING, State.CLOSED}))
def test_close_is_answered_in_any_state(state: State) -> None:
    assert INCOMING[state][Type.CLOSE] is State.CLOSING


def test_a_second_close_means_nothing() -> None:
    assert Type.CLOSE not in INCOMING[State.CLOSING]


def test_open_means_something_once() -> None:
    found = {(s, t) for s in State for m, t in INCOMING[s].items() if m is Type.OPEN}
    assert found == {(State.PREPARING, State.OPENING)}


def test_opened_answers_open_and_nothing_else() -> None:
    found = {(s, t) for s in State for m, t in OUTGOING[s].items() if m is Type.OPENED}
    assert found == {(State.OPENING, State.ACTIVE)}


@pytest.mark.parametrize("state", [State.PREPARING, State.OPENING])
def test_before_opened_only_a_rejection_goes_out(state: State) -> None:
    assert set(OUTGOING[state]) <= {Type.OPENED, Type.DISCONNECT}


def test_a_session_can_be_rejected() -> None:
    assert Type.DISCONNECT in OUTGOING[State.OPENING]


@pytest.mark.parametrize("state", list(State))
def test_disconnect_goes_out_until_the_end_begins(state: State) -> None:
    if state in CALL:
        assert Type.DISCONNECT in OUTGOING[state]
    if state in (State.DISCONNECTING, State.CLOSING, State.CLOSED):
        assert Type.DISCONNECT not in OUTGOING[state]


def test_after_disconnect_only_the_end_follows() -> None:
    assert State.ACTIVE not in reachable(State.DISCONNECTING)
    assert State.ACTIVE not in reachable(State.FAILED)
    assert reachable(State.FAILED) == {State.FAILED, State.CLOSING, State.CLOSED}


def test_events_go_out_from_opened_to_closed() -> None:
    found = {state for state in State if Type.EVENT in OUTGOING[state]}
    assert {State.ACTIVE, State.PAUSED, State.CLOSING} == found


@pytest.mark.parametrize("type", [Type.PAUSE, Type.RESUME])
def test_pause_and_resume_go_out_in_a_call(type: Type) -> None:
    assert {state for state in State if type in OUTGOING[state]} == CALL


def test_pings_are_answered_until_closed() -> None:
    assert {s for s in State if Type.PING in INCOMING[s]} == set(State) - {State.CLOSED}
    open_states = set(State) - {State.PREPARING, State.OPENING, State.CLOSED}
    assert {s for s in State if Type.PONG in OUTGOING[s]} == open_states


def test_an_error_ends_nothing() -> None:
    for state in State:
        assert INCOMING[state].get(Type.ERROR, state) is state


def test_paused_and_resumed() -> None:
    assert INCOMING[State.ACTIVE][Type.PAUSED] is State.PAUSED
    assert INCOMING[State.PAUSED][Type.PAUSED] is State.PAUSED
    assert INCOMING[State.PAUSED][Type.RESUMED] is State.ACTIVE
    assert INCOMING[State.ACTIVE][Type.RESUMED] is State.ACTIVE


@pytest.mark.parametrize(("state", "type"), list(product(State, Type)))
def test_only_these_messages_move_a_session(state: State, type: Type) -> None:
    target = INCOMING[state].get(type, state)
    moves = {Type.OPEN, Type.CLOSE, Type.PAUSED, Type.RESUMED}
    assert target is state or type in moves
    target = OUTGOING[state].get(type, state)
    assert target is state or type in {Type.OPENED, Type.CLOSED, Type.DISCONNECT}


def test_faults_are_fatal_from_an_accepted_open_until_an_end_is_under_way() -> None:
    assert {State.ACTIVE, State.PAUSED} <= ENVELOPE_CHECKED
    assert not ENVELOPE_CHECKED & {State.PREPARING, State.FAILED, State.CLOSING, State.CLOSED}
    for state in ENVELOPE_CHECKED:
        assert Type.DISCONNECT in OUTGOING[state]


def test_where_audio_belongs_to_the_call() -> None:
    # A client sends none before `opened`; if it does, that is a fault, and the call's audio.
    assert {State.OPENING, State.ACTIVE, State.DISCONNECTING} == AUDIO


def test_the_bot_is_silent_once_the_end_has_begun() -> None:
    assert State.ACTIVE in BOT_AUDIO
    ended = {State.DISCONNECTING, State.FAILED, State.CLOSING, State.CLOSED}
    assert not BOT_AUDIO & ended
