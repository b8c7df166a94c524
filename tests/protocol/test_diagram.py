"""The page of the state machine is the state machine."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from pipecat_genesys.protocol import AudioHookMessageType as Type
from pipecat_genesys.protocol import State, diagram
from pipecat_genesys.protocol.states import INCOMING, OUTGOING

PAGE = Path(__file__).parents[2] / "docs" / "protocol-states.md"


def test_the_page_is_what_the_tables_say() -> None:
    assert PAGE.read_text() == diagram.render()


def test_the_command_writes_the_page() -> None:
    command = [sys.executable, "-m", "pipecat_genesys.protocol.diagram"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == PAGE.read_text()


@pytest.mark.parametrize(
    "edge",
    [
        # The reference server's machine, in its order of states.
        "preparing --> opening: open received",
        "opening --> active: opened sent",
        "active --> paused: paused received",
        "paused --> active: resumed received",
        "active --> closing: close received",
        "closing --> closed: closed sent",
        "failed --> closing: close received",
        "active --> failed: disconnect for failure sent, fault",
    ],
)
def test_the_moves_of_the_protocol_are_drawn(edge: str) -> None:
    assert f"\n    {edge}\n" in diagram.render()


def test_every_message_of_either_side_is_a_column() -> None:
    header = [line for line in diagram.render().splitlines() if line.startswith("| while")]
    columns = [set(re.findall(r"[a-z_]+", line)) - {"while"} for line in header]
    for found, table in zip(columns, (INCOMING, OUTGOING), strict=True):
        assert found == {message.value for row in table.values() for message in row} <= set(Type)


def test_every_state_is_a_row_of_both_tables() -> None:
    for state in State:
        assert diagram.render().count(f"| **{state}** |") == 2
