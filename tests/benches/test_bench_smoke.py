"""The benchmarks still run, and what they time is still right; nothing about how fast."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

RUN = Path(__file__).parents[2] / "benches" / "run.py"


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_quick_run_passes_its_own_checks_and_writes_a_report(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(RUN), "--quick", "--output", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    figures, tables = sorted(tmp_path.iterdir())
    text = tables.read_text(encoding="utf-8")
    assert "Every result was checked and correct." in text
    titles = [line.removeprefix("## ") for line in text.splitlines() if line.startswith("## ")]
    # Those of the steps that a quick run leaves out are missing: other crates, and criterion.
    assert titles == [
        "A packet through the serializer",
        "A control message through the serializer",
        "The audio alone, beside other libraries in Python",
        "Echo over real sockets, in ms",
        "Delay in ms",
        "Caller audio delivered in %",
        "Memory per call in KB",
        "The GIL, by size of a call",
        "Quality and delay of everyone",
        "Ours and soxr VHQ at every pair",
        "Everything above 4.6 kHz",
        "Between the band and 4 kHz",
        "Digital silence",
        "Mu-law there and back",
        "Clipping between the two filters of the 48 kHz path",
    ]
    parts = json.loads(figures.read_text(encoding="utf-8"))["parts"]
    # Each direction, packet length and pipeline rate.
    assert len(parts["times"]) == 2 * 3 * 4
    assert [row["missing"] for row in parts["echo"]["rows"] if row["who"] == "ours"] == [0, 0]
