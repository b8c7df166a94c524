"""Tests that run the benchmarks of voice activity detection briefly: the results are correct."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHES = Path(__file__).parents[2] / "benches"


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_quick_run_checks_its_results_and_writes_a_report(tmp_path: Path) -> None:
    steps = ["calls", "model", "stages", "memory", "turns"]
    process = subprocess.run(
        [sys.executable, "-m", "vad", "--quick", f"--output={tmp_path}", "--only", *steps],
        cwd=BENCHES,
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stdout + process.stderr
    values, tables = sorted(tmp_path.iterdir())
    assert "Every result was checked and correct." in tables.read_text(encoding="utf-8")
    run = json.loads(values.read_text(encoding="utf-8"))
    assert list(run["parts"]) == steps
    assert len(run["parts"]["calls"]) == 4
