"""Writes the newest results into the documents: their tables, and the pictures in docs/plots.

python benches/docs.py           what `make plots` does
python benches/docs.py --check   fails if a table is not that of the newest results

A table stands between two comments, `<!-- table: NAME -->` and `<!-- end -->`; the names are those
of `tables.TABLES` and of `load/tables.py`, and `machine`, which says what was measured and on what.
Whatever is between them is replaced.
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
from tables import tables

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benches" / "results"
DOCUMENTS = (ROOT / "docs" / "performance.md", ROOT / "docs" / "audio-quality.md")
PLOTS = ROOT / "docs" / "plots"
_TABLE = re.compile(r"(<!-- table: (?P<name>[\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def newest(kind: str = "") -> Path:
    """The last run's file: of `make bench`, or of another kind."""
    files = sorted(RESULTS.glob(f"????-??-??{kind}.json"))
    if not files:
        raise SystemExit(f"there are no such results in benches/results: {kind or 'make bench'}")
    return files[-1]


def blocks(run: Mapping[str, Any], source: str) -> dict[str, str]:
    """What stands between the comments, by name."""
    made = {
        name: f"{table.how}\n\n{table.grid()}\n" for name, table in tables(run["parts"]).items()
    }
    facts = [*run["facts"], ("Commit", report.commits(run)), ("Figures", f"`{source}`")]
    made["machine"] = "".join(f"* {name}: {value}\n" for name, value in facts)
    return made


def others(kind: str, make: Callable[[Mapping[str, Any]], Mapping[str, report.Table]]) -> Any:
    """The same of a run by itself, each table with its day."""
    path = newest(kind)
    run = json.loads(path.read_text(encoding="utf-8"))
    source = f"From `{path.relative_to(ROOT).as_posix()}`, commit {report.commits(run)}."
    return {
        name: f"{table.how} {source}\n\n{table.grid()}\n"
        for name, table in make(run["parts"]).items()
    }


def filled(text: str, made: Mapping[str, str]) -> str:
    """A document with its tables.

    Raises:
        KeyError: It names a table that there is not.
    """
    return _TABLE.sub(lambda found: f"{found[1]}\n{made[found['name']]}\n{found[3]}", text)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="only tell if they are up to date")
    check: bool = parser.parse_args().check
    path = newest()
    run = json.loads(path.read_text(encoding="utf-8"))
    made = blocks(run, path.relative_to(ROOT).as_posix())
    made |= others("-load", load_tables.tables) | others("-soak", load_tables.soak)
    made |= others("-profile", load_tables.tables)
    old = []
    for document in DOCUMENTS:
        before = document.read_text(encoding="utf-8")
        after = filled(before, made)
        if before != after:
            old.append(document.relative_to(ROOT).as_posix())
            if not check:
                document.write_text(after, encoding="utf-8")
    if check:
        print(f"run `make plots`: not of {path.name}: {', '.join(old)}" if old else "up to date")
        return 1 if old else 0
    # Only this needs matplotlib.
    import plots

    drawn = plots.draw(run["parts"], PLOTS)
    print(f"{path.name}: {len(old)} documents changed, {len(drawn)} pictures drawn")
    return 0


if __name__ == "__main__":
    sys.exit(main())
