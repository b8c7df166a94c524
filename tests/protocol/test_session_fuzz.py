"""Tests with arbitrary text and JSON in every state: nothing raises, and `close` is answered."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pipecat_genesys.protocol import State, events, server_messages

from .client import EXTERNAL, PARAMETERS, SessionUnderTest, call_in, offer, unhurried

TYPES = sorted(PARAMETERS)
FIELDS = ["version", "id", "type", "seq", "serverseq", "position", "parameters"]
NAMES = ["reason", "rtt", "language", "start", "discarded", "digit", "code", "message"]
NAMES += ["retryAfter", "media", "participant", "conversationId", "inputVariables"]
NAMES += ["continuedSessions", "channels", "format", "rate"]

odd = st.sampled_from(
    [
        "PT1S",
        "PT0.5S",
        "2",
        "\ud800",
        "\x00",
        2**63,
        2**64,
        -1,
        1e308,
        10**300,
        8000,
        EXTERNAL,
        True,
    ]
)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10) | odd
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=8,
)
messages = st.one_of(
    # This strategy generates any JSON object.
    st.dictionaries(st.sampled_from(FIELDS) | st.text(), values, max_size=9),
    # This strategy generates a message in which some fields have arbitrary values.
    st.builds(
        lambda type, changes: (
            {
                "version": "2",
                "id": "x",
                "type": type,
                "seq": 2,
                "serverseq": 0,
                "position": "PT0S",
                "parameters": PARAMETERS[type],
            }
            | changes
        ),
        st.sampled_from(TYPES),
        st.dictionaries(st.sampled_from(FIELDS[:1] + FIELDS[2:]) | st.text(), values, max_size=3),
    ),
    st.builds(
        lambda type, parameters: {"type": type, "parameters": parameters},
        st.sampled_from(TYPES),
        st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=4), values, max_size=6),
    ),
)
texts = st.one_of(
    st.text(),
    values.map(json.dumps),
    messages.map(json.dumps),
    st.tuples(messages.map(json.dumps), st.integers(0, 300)).map(lambda pair: pair[0][: pair[1]]),
)


def check(call: SessionUnderTest, text: str) -> None:
    session = call.session
    sent, state = session.server_seq, session.state
    for event in session.receive_text(text):
        assert isinstance(event, events.Event)
        if isinstance(event, events.Faulted):
            assert session.faults[event.error.rule] > 0
            assert len(str(event.error)) < 400
        if event.reply is not None:
            assert state is not State.CLOSED
    assert session.server_seq == sent
    assert isinstance(session.position, int)
    assert session.position >= 0
    assert isinstance(session.session_id, str)
    assert all(count > 0 for count in session.faults.values())


def end(call: SessionUnderTest) -> None:
    """Check that `close` is answered with `closed`."""
    if call.session.state is State.CLOSED:
        return
    call.say("close", {"reason": "end"})
    assert call.session.state is State.CLOSING
    closed = json.loads(call.session.to_wire(server_messages.closed()).text)
    assert closed["type"] == "closed"


@given(st.sampled_from(State), st.lists(texts, min_size=1, max_size=4))
@settings(unhurried, max_examples=400)
def test_arbitrary_text_does_not_raise_and_close_is_answered(state: State, said: list[str]) -> None:
    call = call_in(state)
    for text in said:
        check(call, text)
    end(call)


@given(messages)
@settings(unhurried, max_examples=200)
def test_arbitrary_offer_that_is_accepted_can_be_answered(message: dict[str, Any]) -> None:
    call = SessionUnderTest()
    for event in call.session.receive_text(json.dumps({**message, "type": "open"})):
        if isinstance(event, events.OpenReceived) and event.reply is None:
            assert call.opened()["seq"] == 1
        elif event.reply is not None:
            assert call.send(event.reply)["type"] == "disconnect"


PLACES: dict[str, Any] = {
    **{name: lambda deep, name=name: {name: deep} for name in FIELDS},
    "unknown field": lambda deep: {"new": deep},
    "rtt": lambda deep: {"parameters": {"rtt": deep}},
    "language": lambda deep: {"parameters": {"language": deep}},
    "conversation": lambda deep: {"parameters": offer(conversationId=deep)},
    "participant": lambda deep: {"parameters": offer(participant={"id": deep})},
    "media": lambda deep: {"parameters": offer(media=deep)},
    "entry": lambda deep: {"parameters": offer({**EXTERNAL, "hint": deep})},
    "rate": lambda deep: {"parameters": offer({**EXTERNAL, "rate": deep})},
    "channel": lambda deep: {"parameters": offer({**EXTERNAL, "channels": [deep]})},
    "config": lambda deep: {"parameters": offer(customConfig=deep)},
    "gap": lambda deep: {"parameters": {"start": deep, "discarded": deep}},
}


@pytest.mark.parametrize("place", sorted(PLACES))
@pytest.mark.parametrize("brackets", ["[]", "{}"])
def test_deep_nesting_that_the_parser_accepts_does_not_raise(place: str, brackets: str) -> None:
    opening, closing = ("[", "]") if brackets == "[]" else ('{"a":', "}")
    limit = sys.getrecursionlimit()
    for depth in [*range(limit - 120, limit + 5), 5_000]:
        deep = opening * depth + "0" + closing * depth
        for type, state in (("open", State.PREPARING), ("discarded", State.ACTIVE)):
            call = call_in(state)
            message = call.client.message(type, PARAMETERS[type], **PLACES[place]("DEEP"))
            found = call.session.receive_text(json.dumps(message).replace('"DEEP"', deep))
            if state is State.PREPARING and isinstance(found[-1], events.OpenReceived):
                assert call.send(found[-1].reply or call_opened(call))["seq"] == 1


def call_opened(call: SessionUnderTest) -> Any:
    media = call.session.media
    return server_messages.opened([] if media is None else [media.raw])
