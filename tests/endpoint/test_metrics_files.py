"""Tests that the shared metrics files stay correct after a process has ended."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

CREATE = """
import os, sys
from prometheus_client import CollectorRegistry
from pipecat_genesys.endpoint.metrics import Metrics, remove_dead_processes
remove_dead_processes()
metrics = Metrics(CollectorRegistry())
for name, value in zip(sys.argv[1::2], sys.argv[2::2]):
    getattr(metrics, name).inc(float(value))
print(os.getpid())
for line in metrics.text()[0].decode().splitlines():
    if line.startswith(("audiohook_active_calls ", "audiohook_call_limit ", "audiohook_opens")):
        print(*line.split())
"""


def run(directory: str, *values: str) -> tuple[int, dict[str, float]]:
    """Run a process that increments metrics; return its ID and the metrics that it prints."""
    environ = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": directory}
    done = subprocess.run(
        [sys.executable, "-c", CREATE, *values],
        env=environ,
        cwd=directory or None,
        capture_output=True,
        text=True,
        check=True,
    )
    pid, *lines = done.stdout.splitlines()
    return int(pid), {name: float(value) for name, value in map(str.split, lines)}


@pytest.mark.skipif(sys.platform != "linux", reason="needs the process times of Linux")
def test_calls_of_an_ended_process_are_not_counted_for_a_process_with_its_id(
    tmp_path: Path,
) -> None:
    """The old file of an ended process has the ID of a running process, and is not counted."""
    folder = str(tmp_path)
    pid, metrics = run(folder, "active", "2", "limit", "50")
    assert metrics == {"audiohook_active_calls": 2.0, "audiohook_call_limit": 50.0}
    # The test process runs, but did not write the file that now has its ID.
    (tmp_path / f"gauge_livesum_{pid}.db").rename(tmp_path / f"gauge_livesum_{os.getpid()}.db")
    before = time.time() - 7 * 24 * 3600
    os.utime(tmp_path / f"gauge_livesum_{os.getpid()}.db", (before, before))
    assert run(folder, "limit", "30")[1] == {
        "audiohook_active_calls": 0.0,
        "audiohook_call_limit": 30.0,
    }


REPEATED = """
import os, sys
from pathlib import Path
folder = Path(os.environ["PROMETHEUS_MULTIPROC_DIR"])
(file,) = folder.glob("gauge_livesum_*.db")
file.rename(folder / f"gauge_livesum_{os.getpid()}.db")
"""


def test_a_process_does_not_take_over_the_values_of_its_id(tmp_path: Path) -> None:
    folder = str(tmp_path)
    run(folder, "active", "2", "limit", "50")
    environ = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": folder}
    # The program does not call `remove_dead_processes`, so that the old file still exists when
    # `Metrics` is created.
    program = REPEATED + CREATE.replace("remove_dead_processes()", "")
    done = subprocess.run(
        [sys.executable, "-c", program, "limit", "30"],
        env=environ,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "audiohook_active_calls 0.0" in done.stdout
    assert "audiohook_call_limit 30.0" in done.stdout


def test_gauges_of_a_running_process_are_kept(tmp_path: Path) -> None:
    environ = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    program = CREATE + "sys.stdout.flush(); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", program, "active", "1", "limit", "50"],
        env=environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout is not None
        for _ in range(3):
            other.stdout.readline()
        metrics = run(str(tmp_path), "limit", "30")[1]
        other.communicate("")
    assert metrics == {"audiohook_active_calls": 1.0, "audiohook_call_limit": 80.0}
