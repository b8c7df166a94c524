"""Tests of arbitrary servers: the session never raises, never hangs, and sends valid messages."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from pipecat_genesys.protocol.types import AudioHookMessageType, duration_to_samples
from pipecat_genesys.simulator import Party, SessionState

from .session_driver import MEDIUM, PARAMETERS, SessionDriver

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
KINDS = st.sampled_from([str(kind) for kind in AudioHookMessageType]) | st.text(max_size=5)
USUAL: list[dict[str, Any]] = [
    {"media": [MEDIUM]},
    {"media": [MEDIUM], "startPaused": True, "discardTo": "PT0.5S"},
    {"entities": [{"type": "barge_in", "data": {}}]},
    {"reason": "completed", "outputVariables": {"a": "b"}},
    {},
]
PARAMETER_SETS = st.sampled_from(USUAL) | st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(
        ("media", "entities", "reason", "outputVariables", "discardTo", "info"), JSON
    ),
)
ENVELOPES = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("version", "id", "seq", "clientseq", "parameters"), JSON)
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("text"), KINDS, PARAMETER_SETS, st.just({}) | ENVELOPES),
        st.tuples(st.just("raw"), st.text(max_size=20) | JSON.map(json.dumps)),
        st.tuples(st.just("audio"), st.binary(max_size=20)),
        st.tuples(st.just("advance"), st.floats(0, 3)),
        st.tuples(st.just("hang up")),
        st.tuples(st.just("caller")),
    ),
    max_size=20,
)


@settings(deadline=None)
@given(st.booleans(), STEPS)
def test_any_server_behaviour_leads_to_a_valid_end_of_the_call(
    opened: bool, steps: list[tuple[Any, ...]]
) -> None:
    driver = SessionDriver()
    if opened:
        driver.accept()
    for step, *arguments in steps:
        if step == "text":
            kind, parameters, envelope = arguments
            driver.receive(kind, parameters, **envelope)
        elif step == "raw":
            driver.receive_text(arguments[0])
        elif step == "audio":
            driver.receive_audio(arguments[0])
        elif step == "advance":
            driver.advance(arguments[0])
        elif step == "hang up":
            driver.call("hang_up")
        elif driver.session.state is SessionState.OPEN:
            driver.send_frames(1)
    # The server sends nothing more. If the session has not begun to close, `open` or a ping times
    # out. Then `close` times out.
    driver.advance(25)
    assert driver.session.socket_should_close
    driver.session.socket_lost(driver.now, by=Party.CLIENT)
    driver._collect()
    assert driver.session.next_deadline() is None

    texts = [message for _, message in driver.sent if isinstance(message, dict)]
    assert [message["seq"] for message in texts] == list(range(1, len(texts) + 1))
    for earlier, later in pairwise(texts):
        assert earlier["serverseq"] <= later["serverseq"] <= driver.seq
        assert duration_to_samples(earlier["position"]) <= duration_to_samples(later["position"])
    kinds = [message["type"] for message in texts]
    assert kinds.count("close") == 1
    assert set(kinds[kinds.index("close") :]) <= {"close", "error"}
    assert {message["id"] for message in texts} == {PARAMETERS.session_id}
    times = [at for at, _ in driver.sent]
    assert times == sorted(times)
    assert [event.at for event in driver.events if event.at < 0] == []
