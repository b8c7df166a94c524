"""Tests of `examples/demo.py`: its exit status, its output, its recording and its capture."""

from __future__ import annotations

import re
import subprocess
import sys
import wave
from pathlib import Path

import pytest
from pipecat_genesys.capture import read_capture

pytest.importorskip("pipecat.pipeline.worker", reason="the examples need pipecat 1.3 or newer")
DEMO = Path(__file__).parents[2] / "examples" / "demo.py"


def test_demo_judges_both_calls_and_writes_recording_and_capture(tmp_path: Path) -> None:
    wav = tmp_path / "call.wav"
    run = subprocess.run(
        [sys.executable, str(DEMO), "--wav", str(wav), "--log", str(tmp_path / "call.log")],
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    logs = "".join(path.read_text() for path in sorted(tmp_path.glob("*.log")))
    # Times depend on the load of the machine, so only they may exceed their limits.
    wrong = [line for line in run.stdout.splitlines() if "NOT OK" in line]
    assert all(re.search(r"<= \d+ m?s ", line) for line in wrong), run.stdout + run.stderr + logs
    assert run.returncode == bool(wrong), run.stdout + run.stderr + logs
    assert run.stdout.count("none ok") == 2, "both calls must be without violations"
    with wave.open(str(wav)) as recording:
        assert recording.getnchannels() == 2
        assert recording.getframerate() == 8000
        assert recording.getnframes() > 10 * 8000
    capture = read_capture(tmp_path / "call.jsonl")
    assert [entry.type for entry in capture.entries[:1] + capture.entries[-1:]] == [
        "open",
        "closed",
    ]
    assert f"inspect {tmp_path / 'call.jsonl'}" in run.stdout
