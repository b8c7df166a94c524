"""The load harness still runs, and what it says of a server is what the calls were like."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow
BENCHES = Path(__file__).parents[2] / "benches"


def run(output: Path, mode: str, module: str, *options: str) -> list[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-m", module, f"--output={output}", *options],
        cwd=BENCHES,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    figures, tables = sorted(output.iterdir())
    assert "Every result was checked and correct." in tables.read_text(encoding="utf-8")
    rows: list[dict[str, Any]] = json.loads(figures.read_text(encoding="utf-8"))["parts"][mode]
    return rows


def check(row: dict[str, Any]) -> None:
    """What two calls of a few seconds are like, however slow the machine is."""
    assert (row["calls"], row["held"], row["late_opened"]) == (2, 2, 0)
    assert row["broken_rules"] == {}
    # Both callers hung up, and pressed a key while something was playing.
    assert row["closed_ms"]
    assert row["barge_in_ms"]
    assert row["pong_ms"]
    # A second of the caller's speech comes back, and not before a packet is full. What a lossy
    # server says cannot always be recognised.
    assert row["marks"] + row["marks_missing"] > 0
    if row["kind"].startswith("ours"):
        assert row["marks_missing"] == 0
        assert row["echo_ms"]["p50"] > 200
    assert row["cpu_ms_per_call_second"] > 0


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="cores are picked as Linux does")
def test_in_real_time(tmp_path: Path) -> None:
    (row,) = run(tmp_path, "real", "load", "--quick", "--kinds", "ours-transport")
    check(row)
    assert row["kind"] == "ours-transport"
    assert row["delivered_percent"] == pytest.approx(100, abs=1e-6)
    assert row["generator_lag_ms"]
    assert row["memory_mb"] > 0


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="cores are picked as Linux does")
def test_a_soak(tmp_path: Path) -> None:
    """Through `pipecat-genesys serve`, and whoever calls must sign."""
    (row,) = run(tmp_path, "soak", "load.soak", "--calls=2", "--minutes=0.4")
    assert row["calls"] == row["held"] == 2
    assert row["bot_seconds"] > 8
    assert row["barge_in_ms"]
    assert row["rss_mb"] > 0


def test_on_a_virtual_clock(tmp_path: Path) -> None:
    rows = run(
        tmp_path,
        "virtual",
        "load",
        *("--quick", "--virtual", "--kinds", "documented", "ours-stock"),
    )
    for row in rows:
        check(row)
    theirs, ours = rows
    assert ours["delivered_percent"] == pytest.approx(100, abs=1e-6)
    # Pipecat's serializer loses audio as it is documented; or nobody would count.
    assert theirs["delivered_percent"] < 97
