"""Short runs of the benchmarks: every script works, and every measured result is correct."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

RUN = Path(__file__).parents[2] / "benches" / "run.py"


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_quick_run_finds_no_wrong_result_and_writes_every_table(tmp_path: Path) -> None:
    process = subprocess.run(
        [sys.executable, str(RUN), "--quick", "--output", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stdout + process.stderr
    values, tables = sorted(tmp_path.iterdir())
    text = tables.read_text(encoding="utf-8")
    assert "Every result was checked and correct." in text
    titles = [line.removeprefix("## ") for line in text.splitlines() if line.startswith("## ")]
    # A quick run skips the Rust crates, so the tables about Rust crates are missing.
    assert titles == [
        "An audio packet through the serializer",
        "A control message through the serializer",
        "The audio conversion alone, beside other Python libraries",
        "Echo over real sockets, in ms",
        "Delay in ms",
        "Caller audio delivered in %",
        "Memory per call in KB",
        "Quality and delay of Python libraries",
        "Ours and soxr VHQ at every pair of rates",
        "Power above 4.6 kHz",
        "Between the band and 4 kHz",
        "Digital silence",
        "Mu-law to the pipeline's rate and back",
        "Clipping between the two filters of the 48 kHz path",
    ]
    parts = json.loads(values.read_text(encoding="utf-8"))["parts"]
    # The table has a row for each combination of two directions, three packet lengths and four
    # pipeline rates.
    assert len(parts["times"]) == 2 * 3 * 4
    echo = parts["echo"]["rows"]
    assert [row["missing"] for row in echo if row["serializer"] == "ours"] == [0, 0]
