"""Tests that the fragments in `changelog/` give a changelog section that a release accepts."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("towncrier", reason="towncrier is in the dependency group 'dev'")
ROOT = Path(__file__).parents[2]
FRAGMENTS = ROOT / "changelog"
NAME = re.compile(r"(\d+|\+[a-z0-9-]+)\.(added|changed|deprecated|removed|fixed|security)\.md")


def test_every_fragment_is_named_by_number_or_words_and_type() -> None:
    names = {path.name for path in FRAGMENTS.iterdir()} - {"README.md"}
    assert [name for name in sorted(names) if not NAME.fullmatch(name)] == []


def test_fragments_become_the_release_notes_of_a_version(tmp_path: Path) -> None:
    for name in ("pyproject.toml", "CHANGELOG.md"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(FRAGMENTS, tmp_path / "changelog")
    (tmp_path / "changelog" / "7.fixed.md").write_text("The fault that was fixed.\n")
    (tmp_path / "Cargo.toml").write_text('[workspace.package]\nversion = "99.0.0"\n')
    (tmp_path / "Cargo.lock").write_text('[[package]]\nname = "ours"\nversion = "99.0.0"\n')
    notes = tmp_path / "notes.md"
    build = ["-m", "towncrier", "build", "--yes", "--version", "99.0.0"]
    subprocess.run([sys.executable, *build, "--dir", str(tmp_path)], check=True)
    check = [str(Path(__file__).with_name("check_version.py")), "v99.0.0"]
    subprocess.run(
        [sys.executable, *check, "--root", str(tmp_path), "--notes", str(notes)], check=True
    )
    url = "https://github.com/pipecat-genesys/pipecat-genesys/issues/7"
    assert f"### Fixed\n\n- The fault that was fixed. ([#7]({url}))\n" in notes.read_text()
