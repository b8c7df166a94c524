"""The guide of the simulator documents every fault, every step and every exit status."""

from __future__ import annotations

from pathlib import Path

import pytest
from pipecat_genesys.cli.exit_codes import ExitCode
from pipecat_genesys.simulator import FAULTS, VERBS, Fault

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "simulator.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_the_guide_lists_every_fault(fault: Fault) -> None:
    fate = "may be ended" if not fault.is_legal else "goes on"
    if fault.is_legal and fault.ends_call:
        fate = "is over, legally"
    assert f"| `{fault.name}` | {fault.summary} | {fate} |" in GUIDE


def test_the_guide_lists_every_step_and_exit_status() -> None:
    for verb in VERBS.values():
        assert f"| {verb.summary} |" in GUIDE
    for status in ExitCode:
        assert f"| {status.value} | " in GUIDE


def test_the_readme_states_the_number_of_faults() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"makes {len(FAULTS)} faults by" in readme
