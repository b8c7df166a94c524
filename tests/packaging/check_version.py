"""Check that a release's tag, Cargo.toml, Cargo.lock and CHANGELOG.md have the same version.

The option `--notes` writes the release notes: the section of the version in the changelog.
"""

from __future__ import annotations

import argparse
import logging
import re
import sys
import tomllib
from pathlib import Path

HEADING = re.compile(r"^## \[(?P<version>[^\]]+)\](?: - (?P<date>\d{4}-\d{2}-\d{2}))?\s*$")
LINK = re.compile(r"^\[[^\]]+\]: ")

log = logging.getLogger("check_version")


class DisagreementError(Exception):
    """The versions differ, or the changelog has no valid section for the version."""


def cargo_version(root: Path) -> str:
    """Return the version in Cargo.toml after comparing it with Cargo.lock.

    Raises:
        DisagreementError: If Cargo.lock has another version of a package of the workspace.
    """
    manifest = tomllib.loads((root / "Cargo.toml").read_text(encoding="utf-8"))
    version = str(manifest["workspace"]["package"]["version"])
    lock = tomllib.loads((root / "Cargo.lock").read_text(encoding="utf-8"))
    # Only the packages of the workspace have no source.
    for package in (package for package in lock["package"] if "source" not in package):
        if package["version"] != version:
            raise DisagreementError(
                f"Cargo.toml has version {version}, Cargo.lock has {package['version']} "
                f"for {package['name']}; run `cargo update --workspace`"
            )
    return version


def section(changelog: str, version: str) -> str:
    """Return the section of a version in the changelog.

    Raises:
        DisagreementError: If there is not exactly one section, or it is empty or has no date.
    """
    lines = changelog.splitlines()
    matches = {number: match for number, line in enumerate(lines) if (match := HEADING.match(line))}
    starts = [number for number, match in matches.items() if match["version"] == version]
    if not starts:
        raise DisagreementError(f"CHANGELOG.md has no section ## [{version}] - YYYY-MM-DD")
    if len(starts) > 1:
        raise DisagreementError(f"CHANGELOG.md has several sections for {version}")
    (start,) = starts
    if not matches[start]["date"]:
        raise DisagreementError(f"the section of {version} in CHANGELOG.md has no date")
    end = min((number for number in matches if number > start), default=len(lines))
    body = "\n".join(line for line in lines[start + 1 : end] if not LINK.match(line)).strip()
    if not body:
        raise DisagreementError(f"the section of {version} in CHANGELOG.md is empty")
    return body + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tag", help="tag of the release, such as v0.1.0")
    parser.add_argument("--notes", type=Path, help="write the release notes to this file")
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parents[2])
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    try:
        version = cargo_version(arguments.root)
        if arguments.tag != f"v{version}":
            raise DisagreementError(f"the tag is {arguments.tag}, Cargo.toml has version {version}")
        changelog = (arguments.root / "CHANGELOG.md").read_text(encoding="utf-8")
        notes = section(changelog, version)
    except DisagreementError as error:
        log.error("FAILED: %s", error)
        return 1
    if arguments.notes:
        arguments.notes.write_text(notes, encoding="utf-8")
    log.info("tag, Cargo.toml, Cargo.lock and CHANGELOG.md have version %s", version)
    return 0


if __name__ == "__main__":
    sys.exit(main())
