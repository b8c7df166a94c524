"""The benchmarks still run, and what they time is still right; nothing about how fast."""

import subprocess
import sys
from pathlib import Path

RUN = Path(__file__).parents[2] / "benches" / "run.py"


def test_quick_run_passes_its_own_checks_and_writes_a_report(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(RUN), "--quick", "--output", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (written,) = tmp_path.iterdir()
    text = written.read_text(encoding="utf-8")
    assert "Every result was checked and correct." in text
    titles = [line for line in text.splitlines() if line.startswith("## ")]
    assert titles == [
        "## A packet through the serializer",
        "## The audio alone",
        "## A control message through the serializer",
        "## Delay in ms",
        "## Caller audio delivered in %",
        "## Memory per call in KB",
    ]
    # A row for each direction, packet length and pipeline rate.
    assert text.count("\n| in |") == text.count("\n| out |") == 12 + 12 + 8
