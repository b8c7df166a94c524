"""Whatever a server sends, the session neither raises nor hangs, and stays well-formed itself."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from pipecat_genesys.protocol.types import AudioHookMessageType, duration_to_samples
from pipecat_genesys.simulator import Party, SessionState

from .transcript import MEDIUM, PARAMETERS, Table

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
def test_nothing_raises_and_every_call_comes_to_an_end(
    opened: bool, steps: list[tuple[Any, ...]]
) -> None:
    table = Table()
    if opened:
        table.opened()
    for step, *arguments in steps:
        if step == "text":
            kind, parameters, envelope = arguments
            table.text(kind, parameters, **envelope)
        elif step == "raw":
            table.raw(arguments[0])
        elif step == "audio":
            table.audio(arguments[0])
        elif step == "advance":
            table.advance(arguments[0])
        elif step == "hang up":
            table.do("hang_up")
        elif table.session.state is SessionState.OPEN:
            table.caller(1)
    # From here on the server is silent: a ping goes unanswered, then ``close`` does.
    table.advance(25)
    assert table.session.socket_should_close
    table.session.socket_lost(table.now, by=Party.CLIENT)
    table._collect()
    assert table.session.next_deadline() is None

    texts = [message for _, message in table.said if isinstance(message, dict)]
    assert [message["seq"] for message in texts] == list(range(1, len(texts) + 1))
    for earlier, later in pairwise(texts):
        assert earlier["serverseq"] <= later["serverseq"] <= table.seq
        assert duration_to_samples(earlier["position"]) <= duration_to_samples(later["position"])
    kinds = [message["type"] for message in texts]
    assert kinds.count("close") == 1
    assert set(kinds[kinds.index("close") :]) <= {"close", "error"}
    assert {message["id"] for message in texts} == {PARAMETERS.session_id}
    times = [at for at, _ in table.said]
    assert times == sorted(times)
    assert [event.at for event in table.events if event.at < 0] == []
