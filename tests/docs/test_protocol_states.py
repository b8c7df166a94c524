"""Tests of the generator of `docs/protocol-states.md`, and of the page in the repository."""

from __future__ import annotations

import re
import runpy
import shutil
from pathlib import Path

import pytest
from pipecat_genesys.protocol import AudioHookMessageType as Type
from pipecat_genesys.protocol import State
from pipecat_genesys.protocol.states import INCOMING, OUTGOING

DOCS = Path(__file__).parents[2] / "docs"
GENERATED = runpy.run_path(str(DOCS / "protocol_states.py"))["render"]()


def test_the_committed_page_matches_the_state_tables() -> None:
    assert (DOCS / "protocol-states.md").read_text(encoding="utf-8") == GENERATED


def test_the_command_writes_the_page_beside_the_script(tmp_path: Path) -> None:
    script = shutil.copy(DOCS / "protocol_states.py", tmp_path)
    runpy.run_path(str(script), run_name="__main__")
    assert (tmp_path / "protocol-states.md").read_text(encoding="utf-8") == GENERATED


@pytest.mark.parametrize(
    "transition",
    [
        # These transitions are in the state machine of Genesys's reference server.
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
def test_the_diagram_has_the_transition(transition: str) -> None:
    assert f"\n    {transition}\n" in GENERATED


def test_each_table_has_a_column_for_every_message_type_of_its_side() -> None:
    headers = [line for line in GENERATED.splitlines() if line.startswith("| state")]
    columns = [set(re.findall(r"[a-z_]+", line)) - {"state"} for line in headers]
    for found, table in zip(columns, (INCOMING, OUTGOING), strict=True):
        assert found == {message.value for row in table.values() for message in row} <= set(Type)


def test_both_tables_have_a_row_for_every_state() -> None:
    for state in State:
        assert GENERATED.count(f"| **{state}** |") == 2
