"""Write `docs/protocol-states.md` from the state tables of `pipecat_genesys.protocol.states`.

Run `python docs/protocol_states.py` after a change of the tables, and commit the page.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from pipecat_genesys.protocol.states import (
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
from pipecat_genesys.protocol.types import AudioHookMessageType as Type

PAGE = Path(__file__).with_name("protocol-states.md")


_TEMPLATE = """\
# Session states

The server's state machine. `docs/protocol_states.py` generates this page from the tables in
`pipecat_genesys/protocol/states.py`; a test compares the two. After a change of the tables, run
`python docs/protocol_states.py`.

The diagram shows the transitions between states. Messages that do not change the state are in the
tables below it.

```mermaid
stateDiagram-v2
    [*] --> {first}
{transitions}
    {last} --> [*]
```

A *fault* is an envelope error: a gap or repeat in `seq`, a `serverseq` higher than the last `seq`
sent, another `id` or another `version`. The server answers a fault with `disconnect`. A session
sends at most one `disconnect`. When the socket closes, every state changes to {lost}.

## Client messages

Each cell is the state after the message. **-** means that the message is *ignored and counted*.

{incoming}

## Server messages

Each cell is the state after the message. **-** means that the message is *rejected*. A `disconnect`
for success leads to {success}, a `disconnect` for any other reason to {failure}. Until `opened` is
sent, only a `disconnect` that rejects the call and `closed` can be sent. Other messages, `pong`
included, wait for `opened`.

{outgoing}

## Audio

| audio of | accepted in the states |
| --- | --- |
| the caller | {caller_audio} |
| the bot | {bot_audio}; audio before `opened` is sent after it |
"""


def render() -> str:
    """Return the page: a Mermaid diagram of the transitions, and both tables in full."""
    transitions = (
        f"    {source} --> {target}: {', '.join(causes)}"
        for (source, target), causes in _transitions().items()
    )
    return _TEMPLATE.format(
        first=State.PREPARING,
        transitions="\n".join(transitions),
        last=State.CLOSED,
        lost=_names(LOST.values()),
        incoming=_table(INCOMING),
        success=DISCONNECTS[True],
        failure=DISCONNECTS[False],
        outgoing=_table(OUTGOING),
        caller_audio=_names(AUDIO),
        bot_audio=_names(BOT_AUDIO),
    )


def _transitions() -> dict[tuple[State, State], list[str]]:
    """Return the causes of each transition between two different states."""
    transitions: dict[tuple[State, State], list[str]] = {}
    for source, target, cause in _moves():
        if source is not target:
            transitions.setdefault((source, target), []).append(cause)
    return transitions


def _moves() -> Iterator[tuple[State, State, str]]:
    """Yield source, target and cause of every entry of the tables."""
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
            cause = "fault" if state in ENVELOPE_CHECKED else "unusable open received"
            yield state, FAULTY[state], cause


def _table(table: Mapping[State, Mapping[Type, State]]) -> str:
    """Return a Markdown table with a row for each state and a column for each message type."""
    known = {message for row in table.values() for message in row}
    messages = [message for message in Type if message in known]
    lines = [f"| state | {' | '.join(messages)} |", f"| --- |{' --- |' * len(messages)}"]
    lines += (
        f"| **{state}** | {' | '.join(table[state].get(m, '-') for m in messages)} |"
        for state in State
    )
    return "\n".join(lines)


def _names(states: Iterable[State]) -> str:
    """Return the names of the states, in the order of `State`."""
    found = set(states)
    return ", ".join(state for state in State if state in found)


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
