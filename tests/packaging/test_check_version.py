"""Tests of `check_version.py`: tag, crates and changelog must have the same version."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("check_version.py")
CHANGELOG = """\
# Changelog

## [Unreleased]

## [1.2.0] - 2026-02-03

### Added

- The new thing.

## [1.1.0] - 2026-01-02

- The old thing.

## [1.0.0]

- Undated.

[1.2.0]: https://example.org/1.2.0
"""


def project(folder: Path, version: str, locked: str | None = None) -> Path:
    (folder / "CHANGELOG.md").write_text(CHANGELOG)
    (folder / "Cargo.toml").write_text(f'[workspace.package]\nversion = "{version}"\n')
    (folder / "Cargo.lock").write_text(
        f'[[package]]\nname = "ours"\nversion = "{locked or version}"\n'
        '[[package]]\nname = "theirs"\nversion = "9.9.9"\nsource = "registry"\n'
    )
    return folder


def check(root: Path, tag: str, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), tag, "--root", str(root), *options]
    return subprocess.run(command, check=False, capture_output=True, text=True)


def test_the_release_notes_are_the_section_of_the_version(tmp_path: Path) -> None:
    notes = tmp_path / "notes.md"
    done = check(project(tmp_path, "1.2.0"), "v1.2.0", "--notes", str(notes))
    assert done.returncode == 0, done.stdout
    assert notes.read_text() == "### Added\n\n- The new thing.\n"


def test_the_last_section_ends_before_the_links(tmp_path: Path) -> None:
    root, notes = project(tmp_path, "1.1.0"), tmp_path / "notes.md"
    (root / "CHANGELOG.md").write_text(CHANGELOG.replace("## [1.0.0]\n\n- Undated.\n\n", ""))
    assert check(root, "v1.1.0", "--notes", str(notes)).returncode == 0
    assert notes.read_text() == "- The old thing.\n"


@pytest.mark.parametrize(
    ("version", "locked", "tag", "message"),
    [
        ("1.2.0", None, "v1.1.0", "the tag is v1.1.0, Cargo.toml has version 1.2.0"),
        ("1.2.0", None, "1.2.0", "the tag is 1.2.0"),
        ("1.2.0", "1.1.0", "v1.2.0", "Cargo.lock has 1.1.0 for ours"),
        ("1.3.0", None, "v1.3.0", "no section ## [1.3.0]"),
        ("1.0.0", None, "v1.0.0", "section of 1.0.0 in CHANGELOG.md has no date"),
    ],
)
def test_different_versions_are_an_error(
    tmp_path: Path, version: str, locked: str | None, tag: str, message: str
) -> None:
    done = check(project(tmp_path, version, locked), tag)
    assert done.returncode == 1
    assert message in done.stdout
