"""`make demo`, as a user runs it."""

from __future__ import annotations

import subprocess
import sys
import wave
from pathlib import Path

import pytest

pytest.importorskip("pipecat.pipeline.worker", reason="the example is written for pipecat 1.4+")
DEMO = Path(__file__).parents[2] / "examples" / "demo.py"


def test_the_demo_call_is_what_a_caller_should_get(tmp_path: Path) -> None:
    wav = tmp_path / "call.wav"
    run = subprocess.run(
        [sys.executable, str(DEMO), "--wav", str(wav), "--log", str(tmp_path / "call.log")],
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr + (tmp_path / "call.log").read_text()
    with wave.open(str(wav)) as recording:
        assert recording.getnchannels() == 2
        assert recording.getframerate() == 8000
        assert recording.getnframes() > 10 * 8000
