"""Tests that the session of the simulator does not import the code that calls it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from pipecat_genesys import simulator
from pipecat_genesys.simulator import CallParameters, session
from pipecat_genesys.simulator.session.parameters import CallOverrides

SESSION = Path(session.__path__[0])
ALLOWED = (
    "pipecat_genesys.capture.entries",
    "pipecat_genesys.errors",
    "pipecat_genesys.protocol.types",
)
INPUT_AND_OUTPUT = {"asyncio", "socket", "time", "threading", "websockets"}


def imported(path: Path) -> set[str]:
    """Return the full names of the modules that a file imports; relative names keep their dots."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add("." * node.level + (node.module or ""))
    return names


@pytest.mark.parametrize("path", sorted(SESSION.glob("*.py")), ids=lambda path: path.stem)
def test_session_imports_neither_io_nor_what_drives_it(path: Path) -> None:
    for name in imported(path):
        assert name.split(".")[0] not in INPUT_AND_OUTPUT
        assert not name.startswith("..")
        if name.startswith("pipecat_genesys."):
            assert name in ALLOWED


def test_every_public_name_exists() -> None:
    assert sorted(simulator.__all__) == sorted(set(simulator.__all__))
    assert [name for name in simulator.__all__ if not hasattr(simulator, name)] == []


def test_new_call_accepts_every_field_of_the_parameters() -> None:
    assert CallOverrides.__annotations__.keys() == CallParameters.__annotations__.keys()
