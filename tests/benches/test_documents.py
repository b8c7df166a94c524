"""The documents show what was measured, and all of it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "docs" / name for name in ("performance.md", "audio-quality.md")]


def test_tables_are_those_of_the_newest_results() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "benches" / "docs.py"), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_pictures_and_other_documents_are_there(document: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)", document.read_text(encoding="utf-8"))
    assert [link for link in links if not (document.parent / link).exists()] == []


def test_no_table_is_made_for_nobody() -> None:
    shown = {
        name
        for document in DOCUMENTS
        for name in re.findall("<!-- table: ([^ ]+) -->", document.read_text(encoding="utf-8"))
    }
    code = "import sys; sys.path.insert(0, 'benches'); import tables; print(*tables.TABLES)"
    made = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    alone = {"machine", "load-real", "load-profile", "load-functions", "soak"}
    assert shown - alone == set(made.stdout.split())
