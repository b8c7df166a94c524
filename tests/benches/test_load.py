"""Tests that run a short load test and a short soak test, and check their results."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SMOKE = ("--smoke", "--loops=asyncio")
BENCHES = Path(__file__).parents[2] / "benches"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(
        not hasattr(os, "sched_setaffinity"), reason="choosing cores needs sched_setaffinity"
    ),
]


def run(output: Path, step: str, module: str, *options: str) -> list[dict[str, Any]]:
    process = subprocess.run(
        [sys.executable, "-m", module, f"--output={output}", *options],
        cwd=BENCHES,
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stdout + process.stderr
    values, tables = sorted(output.iterdir())
    assert "Every result was checked and correct." in tables.read_text(encoding="utf-8")
    rows: list[dict[str, Any]] = json.loads(values.read_text(encoding="utf-8"))["parts"][step]
    return rows


def check_two_short_calls(row: dict[str, Any]) -> None:
    """Check the results that do not depend on the speed of the machine."""
    assert (row["calls"], row["completed"], row["late_opened"]) == (2, 2, 0)
    assert row["broken_rules"] == {}
    # Both callers ended the call, and pressed a key while the bot was speaking.
    assert row["closed_ms"]
    assert row["barge_in_ms"]
    assert row["pong_ms"]
    assert row["markers"] + row["markers_missing"] > 0
    assert row["cpu_ms_per_call_second"] > 0


@pytest.mark.parametrize("server", ["ours-transport", "ours-stock"])
def test_our_servers_deliver_all_audio_and_echo_every_marker(tmp_path: Path, server: str) -> None:
    (row,) = run(tmp_path, "load", "load", *SMOKE, f"--servers={server}", "--bots=echo")
    check_two_short_calls(row)
    assert row["server"] == server
    assert row["markers_missing"] == 0
    # A packet is sent when it has 200 ms of audio, so the delay of an echo is at least 200 ms.
    assert row["echo_ms"]["p50"] > 200
    assert row["delivered_percent"] == pytest.approx(100, abs=1e-6)
    assert row["generator_lag_ms"]
    assert row["memory_mb"] > 0


def test_audio_that_pipecats_serializer_loses_is_counted(tmp_path: Path) -> None:
    """With pipecat's serializer at 16 kHz, the callers receive less than 97 % of the audio."""
    (row,) = run(tmp_path, "load", "load", *SMOKE, "--servers=documented", "--bots=echo")
    check_two_short_calls(row)
    assert row["delivered_percent"] < 97


def test_the_working_bot_answers_every_question(tmp_path: Path) -> None:
    servers = ("tuned-200ms", "ours-transport", "ours-transport-telephone-vad")
    rows = run(tmp_path, "load", "load", *SMOKE, "--bots=working", "--servers", *servers)
    assert [row["server"] for row in rows] == list(servers)
    for row in rows:
        assert (row["completed"], row["markers"], row["markers_missing"]) == (2, 2, 0)
        # The simulated transcription, language model and voice take 0.1 s, 0.3 s and 0.15 s.
        assert row["echo_ms"]["p50"] > 550


def test_signed_calls_of_a_soak_are_all_completed(tmp_path: Path) -> None:
    (row,) = run(tmp_path, "soak", "load.soak", "--calls=2", "--minutes=0.4")
    assert row["calls"] == row["completed"] == 2
    assert row["bot_seconds"] > 8
    assert row["barge_in_ms"]
    assert row["rss_mb"] > 0
