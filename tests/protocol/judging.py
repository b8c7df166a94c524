"""Assertions and lists of states that several test files use."""

from pathlib import Path

from pipecat_genesys.protocol import AudioHookMessageType as Type
from pipecat_genesys.protocol import (
    Draft,
    Rule,
    State,
    events,
)

from .client import (
    SessionUnderTest,
)

VECTORS = Path(__file__).parents[1] / "vectors" / "protocol"
ENVELOPE = ["version", "type", "seq", "clientseq", "id", "parameters"]
ANSWERED = sorted(set(State) - {State.CLOSING, State.CLOSED})
IN_CALL = [State.ACTIVE, State.PAUSED]
OUT_OF_ORDER = [-1, 0, 1, 4, 99, 2**31, 2**53, 2**63 - 1, 2**63, 2**64, 10**100]


def failed(found: list[events.Event], rule: Rule) -> Draft:
    """Check that exactly one fatal fault, with this rule, was found; return `disconnect`."""
    fatal = [e for e in found if isinstance(e, events.Faulted) and e.reply is not None]
    assert [fault.error.rule for fault in fatal] == [rule]
    draft = fatal[0].reply
    assert draft is not None
    assert draft.type is Type.DISCONNECT
    assert draft.parameters["reason"] == "error"
    return draft


def alive(call: SessionUnderTest) -> None:
    """Check that a ping is answered and that audio is accepted."""
    before = call.session.position
    event = call.say("ping")[-1]
    assert isinstance(event, events.PingReceived), event
    assert call.send(event.reply)["type"] == "pong"
    assert call.audio(800) == 800
    assert call.session.position > before
