"""Tests that the documents show all tables, with the newest results."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "docs" / name for name in ("performance.md", "audio-quality.md", "vad.md")]
RESULTS = ROOT / "benches" / "results"


def test_tables_in_the_documents_match_the_newest_results() -> None:
    process = subprocess.run(
        [sys.executable, str(ROOT / "benches" / "update_docs.py"), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stdout + process.stderr


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_and_plots_of_the_documents_exist(document: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)", document.read_text(encoding="utf-8"))
    assert [link for link in links if not (document.parent / link).exists()] == []


def test_every_benchmark_table_is_shown_in_a_document() -> None:
    shown = {
        name
        for document in DOCUMENTS
        for name in re.findall("<!-- table: ([^ ]+) -->", document.read_text(encoding="utf-8"))
    }
    code = "import sys; sys.path.insert(0, 'benches'); import tables; print(*tables.TABLES)"
    process = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    not_of_make_bench = {"machine", "load", "load-profile", "load-functions", "soak"}
    of_vad = {name for name in shown if name.startswith("vad-")}
    assert shown - not_of_make_bench - of_vad == set(process.stdout.split())


def test_results_are_kept_only_for_the_newest_run_of_each_kind() -> None:
    kinds = [
        re.sub(r"^\d{4}-\d\d-\d\d", "", path.name) for path in RESULTS.glob("????-??-??*.json")
    ]
    assert sorted(kinds) == ["-load.json", "-profile.json", "-soak.json", "-vad.json", ".json"]
