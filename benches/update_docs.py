"""Write the newest results into the documents: their tables, and the plots in `docs/plots`.

    python benches/update_docs.py           `make plots` runs this
    python benches/update_docs.py --check   fails if a table differs from the newest results

A generated table stands between the comments `<!-- table: NAME -->` and `<!-- end -->`. The names
are those in `tables`, `load/tables.py` and `vad/tables.py`. The tables `machine` and `vad-machine`
list the conditions of a measurement. All text between the two comments is replaced.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import report
from load import tables as load_tables
from report import ROOT
from tables import make_tables
from vad.tables import make_vad_tables

DOCUMENTS = tuple(ROOT / "docs" / name for name in ("performance.md", "audio-quality.md", "vad.md"))
PLOTS = ROOT / "docs" / "plots"
_TABLE = re.compile(r"(<!-- table: (?P<name>[\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def newest_results(kind: str = "") -> Path:
    """Return the newest results file.

    Args:
        kind: Empty for `make bench`; else `-load`, `-profile`, `-soak` or `-vad`.

    Raises:
        SystemExit: There is no such file.
    """
    files = sorted(report.RESULTS.glob(f"????-??-??{kind}.json"))
    if not files:
        raise SystemExit(f"benches/results has no ????-??-??{kind}.json")
    return files[-1]


def benchmark_blocks(run: Mapping[str, Any], source: str) -> dict[str, str]:
    """Return the new text between the comments, by name, for a run of `make bench`."""
    blocks = {
        name: f"{table.method}\n\n{table.markdown_rows()}\n"
        for name, table in make_tables(run["parts"]).items()
    }
    return blocks | {"machine": facts_table(run, source)}


def facts_table(run: Mapping[str, Any], source: str) -> str:
    """Return the conditions of a measurement, as a table."""
    facts = [*run["facts"], ("Commit", report.measured_commits(run)), ("Values", f"`{source}`")]
    lines = ["| | |", "| --- | --- |", *(f"| {name} | {value} |" for name, value in facts)]
    return "\n".join(lines) + "\n"


def load_blocks(
    kind: str, make: Callable[[Mapping[str, Any]], Mapping[str, report.Table]]
) -> dict[str, str]:
    """Return the text between the comments, by name, of the newest run of another kind."""
    path = newest_results(kind)
    run = json.loads(path.read_text(encoding="utf-8"))
    source = path.relative_to(ROOT).as_posix()
    origin = f"Values: `{source}`, commit {report.measured_commits(run)}."
    return {
        name: f"{table.method} {origin}\n\n{table.markdown_rows()}\n"
        for name, table in make(run["parts"]).items()
    }


def fill_tables(text: str, blocks: Mapping[str, str]) -> str:
    """Return a document with its tables replaced.

    Raises:
        KeyError: The document names a table that does not exist.
    """
    return _TABLE.sub(lambda match: f"{match[1]}\n{blocks[match['name']]}\n{match[3]}", text)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="report differences, write nothing")
    check: bool = parser.parse_args().check
    path = newest_results()
    run = json.loads(path.read_text(encoding="utf-8"))
    blocks = benchmark_blocks(run, path.relative_to(ROOT).as_posix())
    blocks |= load_blocks("-load", load_tables.make_load_tables)
    blocks |= load_blocks("-profile", load_tables.make_load_tables)
    blocks |= load_blocks("-soak", load_tables.make_soak_tables)
    blocks |= load_blocks("-vad", make_vad_tables)
    path_of_vad = newest_results("-vad")
    run_of_vad = json.loads(path_of_vad.read_text(encoding="utf-8"))
    blocks["vad-machine"] = facts_table(run_of_vad, path_of_vad.relative_to(ROOT).as_posix())
    outdated = []
    for document in DOCUMENTS:
        before = document.read_text(encoding="utf-8")
        after = fill_tables(before, blocks)
        if before != after:
            outdated.append(document.relative_to(ROOT).as_posix())
            if not check:
                document.write_text(after, encoding="utf-8")
    if check:
        print(f"outdated, run `make plots`: {', '.join(outdated)}" if outdated else "up to date")
        return 1 if outdated else 0
    # Imported here because `--check` must work without matplotlib.
    import plots

    drawn = plots.draw(run["parts"], PLOTS)
    print(f"{path.name}: {len(outdated)} documents changed, {len(drawn)} plots drawn")
    return 0


if __name__ == "__main__":
    sys.exit(main())
