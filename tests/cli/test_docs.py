"""Tests that the guide of the simulator documents every fault, step, rule and exit status."""

from __future__ import annotations

from pathlib import Path

import pytest
from pipecat_genesys.cli.exit_codes import ExitCode
from pipecat_genesys.simulator import (
    EXPECTATIONS,
    FAULTS,
    REACTIONS,
    VERBS,
    Fault,
    Scenario,
    ServerRule,
)

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "simulator.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_the_guide_lists_every_fault(fault: Fault) -> None:
    fate = "may be ended" if not fault.is_legal else "continues"
    if fault.may_be_refused:
        fate = "continues, or is refused"
    if fault.is_legal and fault.ends_call:
        fate = "ends, as the protocol allows"
    assert f"| `{fault.name}` | {fault.summary} | {fate} |" in GUIDE


def test_the_guide_lists_every_step_and_exit_status() -> None:
    for verb in VERBS.values():
        assert f"| {verb.summary} |" in GUIDE
    for status in ExitCode:
        assert f"| {status.value} | " in GUIDE


def test_the_guide_lists_every_expectation_and_key_of_a_script() -> None:
    for kind in EXPECTATIONS:
        assert f"| `{kind.example}` | {kind.summary} |" in GUIDE
    _, _, table = GUIDE.partition("| key | value | default |")
    table = table.partition("\n\n")[0]
    for name in Scenario.model_fields:
        assert f"`{name.replace('_', '-')}`" in table


def test_the_script_in_the_guide_is_that_of_the_examples() -> None:
    script = (ROOT / "examples" / "conversation.toml").read_text(encoding="utf-8")
    assert f"```toml\n{script}```\n" in GUIDE


@pytest.mark.parametrize("rule", ServerRule)
def test_the_guide_lists_every_rule_with_the_reaction(rule: ServerRule) -> None:
    reaction = REACTIONS[rule]
    if reaction.is_tolerated:
        expected = "warning"
    elif reaction.code is None:
        expected = "none; reported as a violation"
    else:
        expected = f"`error` {reaction.code}" + (", `close`" if reaction.ends_call else "")
    (row,) = [line for line in GUIDE.splitlines() if line.startswith(f"| `{rule}` | ")]
    assert row.endswith(f" | {expected} |")
