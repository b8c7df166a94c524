"""Draws the state machine from its tables; docs/protocol-states.md is what this module writes.

``python -m pipecat_genesys.protocol.diagram > docs/protocol-states.md``
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from .states import (
    AUDIO,
    BOT_AUDIO,
    DISCONNECTS,
    ENVELOPE_CHECKED,
    FAULTY,
    INCOMING,
    LOST,
    OUTGOING,
    State,
)
from .types import AudioHookMessageType as Type

_HEAD = """\
# The session's states

Drawn from the tables in `pipecat_genesys/protocol/states.py`; a test compares. To draw again:
`python -m pipecat_genesys.protocol.diagram > docs/protocol-states.md`.

"""


def render() -> str:
    """Write the page: a Mermaid diagram of the moves, and both tables in full."""
    return "\n".join(
        [
            _HEAD + "What does not move the session is in the tables below.",
            "",
            "```mermaid",
            "stateDiagram-v2",
            f"    [*] --> {State.PREPARING}",
            *(f"    {a} --> {b}: {', '.join(why)}" for (a, b), why in _moves().items()),
            f"    {State.CLOSED} --> [*]",
            "```",
            "",
            "A *fault* is a broken envelope: a gap or repeat in `seq`, a `serverseq` ahead of us, "
            "another `id` or `version`; one `disconnect` is owed then. There is at most one "
            f"`disconnect` in a session. When the socket is gone, every state becomes "
            f"{_only(LOST)}.",
            "",
            "## What the client says",
            "",
            "The state after the message; **-** is *ignored and counted*.",
            "",
            *_table(INCOMING),
            "",
            "## What the server may say",
            "",
            "The state after the message; **-** is *refused*. `disconnect` leads to "
            f"{DISCONNECTS[True]} for success, and to {DISCONNECTS[False]} for any other reason. "
            "Before `opened`, `pong` waits with all else but a rejection and `closed`.",
            "",
            *_table(OUTGOING),
            "",
            "## Audio",
            "",
            "| audio | belongs to the call while |",
            "| --- | --- |",
            f"| the caller's | {_listed(AUDIO)} |",
            f"| the bot's | {_listed(BOT_AUDIO)} (what comes before `opened` waits for it) |",
            "",
        ]
    )


def _moves() -> dict[tuple[State, State], list[str]]:
    moves: dict[tuple[State, State], list[str]] = {}
    for a, b, why in _all_moves():
        if a is not b:
            moves.setdefault((a, b), []).append(why)
    return moves


def _all_moves() -> Iterator[tuple[State, State, str]]:
    for state in State:
        for message, target in INCOMING[state].items():
            yield state, target, f"{message} received"
        for message, target in OUTGOING[state].items():
            if message is Type.DISCONNECT:
                yield state, DISCONNECTS[True] if target is not state else state, f"{message} sent"
                yield state, DISCONNECTS[False], f"{message} for failure sent"
            else:
                yield state, target, f"{message} sent"
        if state in FAULTY:
            kind = "fault" if state in ENVELOPE_CHECKED else "unusable open received"
            yield state, FAULTY[state], kind


def _table(table: Mapping[State, Mapping[Type, State]]) -> list[str]:
    known = {message for row in table.values() for message in row}
    messages = [message for message in Type if message in known]
    return [
        f"| while | {' | '.join(messages)} |",
        f"| --- |{' --- |' * len(messages)}",
        *(
            f"| **{state}** | {' | '.join(table[state].get(m, '-') for m in messages)} |"
            for state in State
        ),
    ]


def _listed(states: frozenset[State]) -> str:
    return ", ".join(state for state in State if state in states)


def _only(table: Mapping[State, State]) -> str:
    return ", ".join(dict.fromkeys(table.values()))


if __name__ == "__main__":
    import sys

    sys.stdout.write(render())
