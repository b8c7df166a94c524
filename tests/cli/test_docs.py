"""The guide knows every fault, step, option and exit status there is."""

from __future__ import annotations

from pathlib import Path

import pytest
from pipecat_genesys.cli.status import ExitStatus
from pipecat_genesys.simulator import FAULTS, VERBS, Fault

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "simulator.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_every_fault_has_its_row(fault: Fault) -> None:
    fate = "may be ended" if not fault.is_legal else "goes on"
    if fault.is_legal and fault.ends_call:
        fate = "is over, legally"
    assert f"| `{fault.name}` | {fault.summary} | {fate} |" in GUIDE


def test_every_step_and_every_exit_status() -> None:
    for verb in VERBS.values():
        assert f"| {verb.summary} |" in GUIDE
    for status in ExitStatus:
        assert f"| {status.value} | " in GUIDE


def test_the_readme_counts_the_faults() -> None:
    for name in ("README.md", "CHANGELOG.md"):
        assert f"makes {len(FAULTS)} faults by" in (ROOT / name).read_text(encoding="utf-8")
