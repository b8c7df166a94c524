"""The server's state machine, as two tables.

The first table lists the client messages that are processed in each state. A client message that is
not listed is counted as a fault and otherwise ignored. The second table lists the server messages
that may be sent in each state. A server message that is not listed is refused. The session uses
these tables and no other rules, and docs/protocol_states.py generates the page
docs/protocol-states.md from these tables.

The states are those of Genesys's reference server, with two differences. `State.FAILED` (waiting
for ``close`` after a ``disconnect`` for failure) replaces the reference server's states
SIGNALED-ERROR and UNAUTHORIZED. `State.DISCONNECTING` is added for a ``disconnect`` for success,
because no bot audio may follow this message.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from .types import AudioHookMessageType as Type


class State(StrEnum):
    """The state of a session in the server."""

    PREPARING = "preparing"
    """The client is connected; ``open`` was not received yet."""
    OPENING = "opening"
    """``open`` was received; ``opened`` was not sent yet."""
    ACTIVE = "active"
    """The session is open and not paused."""
    PAUSED = "paused"
    """The client sent ``paused``."""
    DISCONNECTING = "disconnecting"
    """``disconnect`` for success was sent; caller audio can continue until ``close``."""
    FAILED = "failed"
    """The session has failed. ``disconnect`` is sent, and the client answers with ``close``."""
    CLOSING = "closing"
    """``close`` was received; ``closed`` was not sent yet."""
    CLOSED = "closed"
    """``closed`` was sent, or the connection was lost. No message follows."""


_IN_CALL = (
    Type.PING,
    Type.UPDATE,
    Type.PAUSE,
    Type.DISCARDED,
    Type.DTMF,
    Type.PLAYBACK_STARTED,
    Type.PLAYBACK_COMPLETED,
    Type.ERROR,
)


def _stay(state: State, *types: Type) -> dict[Type, State]:
    return dict.fromkeys(types, state)


INCOMING: Mapping[State, Mapping[Type, State]] = {
    # Every known message is also handled before `open`, as in pipecat's serializer.
    State.PREPARING: {
        **_stay(State.PREPARING, *_IN_CALL, Type.PAUSED, Type.RESUMED),
        Type.OPEN: State.OPENING,
        Type.CLOSE: State.CLOSING,
    },
    State.OPENING: {
        **_stay(State.OPENING, *_IN_CALL, Type.PAUSED, Type.RESUMED),
        Type.CLOSE: State.CLOSING,
    },
    State.ACTIVE: {
        **_stay(State.ACTIVE, *_IN_CALL, Type.RESUMED),
        Type.PAUSED: State.PAUSED,
        Type.CLOSE: State.CLOSING,
    },
    State.PAUSED: {
        **_stay(State.PAUSED, *_IN_CALL, Type.PAUSED),
        Type.RESUMED: State.ACTIVE,
        Type.CLOSE: State.CLOSING,
    },
    State.DISCONNECTING: {
        **_stay(State.DISCONNECTING, *_IN_CALL, Type.PAUSED, Type.RESUMED),
        Type.CLOSE: State.CLOSING,
    },
    State.FAILED: {
        **_stay(State.FAILED, Type.PING, Type.ERROR),
        Type.CLOSE: State.CLOSING,
    },
    State.CLOSING: _stay(State.CLOSING, Type.PING, Type.ERROR),
    State.CLOSED: _stay(State.CLOSED, Type.ERROR),
}
"""For each state, the client messages that are handled and the state they lead to."""


def _running(state: State) -> dict[Type, State]:
    return {
        **_stay(
            state, Type.PONG, Type.UPDATED, Type.EVENT, Type.PAUSE, Type.RESUME, Type.RECONNECT
        ),
        Type.DISCONNECT: State.DISCONNECTING,
    }


OUTGOING: Mapping[State, Mapping[Type, State]] = {
    State.PREPARING: {},
    State.OPENING: {Type.OPENED: State.ACTIVE, Type.DISCONNECT: State.DISCONNECTING},
    State.ACTIVE: _running(State.ACTIVE),
    State.PAUSED: _running(State.PAUSED),
    State.DISCONNECTING: _stay(State.DISCONNECTING, Type.PONG),
    State.FAILED: _stay(State.FAILED, Type.PONG, Type.DISCONNECT),
    State.CLOSING: {
        **_stay(State.CLOSING, Type.PONG, Type.EVENT),
        Type.CLOSED: State.CLOSED,
    },
    State.CLOSED: {},
}
"""For each state, the server messages that may be sent and the state they lead to. A
``disconnect`` whose reason is not success leads to `State.FAILED` instead. A session
sends at most one ``disconnect``."""

DISCONNECTS: Mapping[bool, State] = {True: State.DISCONNECTING, False: State.FAILED}
"""The state after a ``disconnect``, by whether its reason is success."""

LOST: Mapping[State, State] = dict.fromkeys(State, State.CLOSED)
"""The state after the loss of the connection, with or without an earlier ``close``."""

ENVELOPE_CHECKED: frozenset[State] = frozenset({State.OPENING, State.ACTIVE, State.PAUSED})
"""States in which a broken envelope ends the session. Before ``open`` there are no expected values,
and while the session ends, another ``disconnect`` has no effect."""

FAULTY: Mapping[State, State] = dict.fromkeys(
    (State.PREPARING, *sorted(ENVELOPE_CHECKED)), State.FAILED
)
"""The state after a fault that ends the session. In `State.PREPARING`, only an
unusable ``open`` is such a fault."""

UNOPENED: frozenset[Type] = frozenset({Type.OPENED, Type.DISCONNECT, Type.CLOSED})
"""The first messages that may be sent: ``opened``, a ``disconnect`` that rejects the call, and
``closed`` as the answer to an early ``close``."""

AUDIO: frozenset[State] = frozenset({State.OPENING, State.ACTIVE, State.DISCONNECTING})
"""States in which caller audio belongs to the call. Audio before ``opened`` is a fault of the
client, but it still belongs to the call."""

ENDED: frozenset[State] = frozenset({State.DISCONNECTING, State.FAILED, State.CLOSED})
"""States in which received audio is not a fault: the client sent it before it received the end."""

BOT_AUDIO: frozenset[State] = frozenset({State.OPENING, State.ACTIVE, State.PAUSED})
"""States in which bot audio is accepted; while opening, it waits for ``opened``."""
