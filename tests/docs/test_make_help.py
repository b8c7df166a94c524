"""Tests that `make help` lists each documented target once, with its text."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TARGET = re.compile(r"^([a-z][a-z0-9-]*):.*## (.*)$", re.MULTILINE)


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_help_lists_each_target_once_with_its_text() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    done = subprocess.run(["make", "help"], cwd=ROOT, check=True, capture_output=True, text=True)
    listed = re.findall(r"^  make ([a-z0-9-]+) ", done.stdout, re.MULTILINE)
    assert sorted(listed) == sorted(name for name, _ in TARGET.findall(makefile))
    for _, text in TARGET.findall(makefile):
        assert re.split(r" *\| *", text)[-1] in done.stdout
