"""Tables for the terminal and for Markdown, and the results file of a benchmark run."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import cpuinfo
from rich.console import Console
from rich.table import Table as RichTable

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benches" / "results"
# Paths whose changes can change a measurement. The documents are not in these paths.
_SOURCES = ("python", "rust", "benches", "Cargo.toml", "Cargo.lock", ":!benches/results")
_PACKAGES = ("pipecat-genesys", "pipecat-ai", "soxr", "numpy", "onnxruntime", "audioop-lts")
_CPU_FLAGS = ("avx2", "fma", "avx512f", "avx512bw", "avx512_vnni", "avx_vnni", "asimd", "neon")
_SIGNIFICANT_DIGITS = 6


@dataclass(frozen=True)
class Table:
    """A table of benchmark results.

    Attributes:
        title: Heading of the table.
        method: How the values were measured, and the meaning and unit of each column.
        columns: Headings of the columns.
        rows: Cells of each row.
    """

    title: str
    method: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]

    def show(self, console: Console) -> None:
        """Print the table to the terminal."""
        table = RichTable(title=self.title, title_justify="left", caption_justify="left")
        for column in self.columns:
            table.add_column(column, justify="right")
        for row in self.rows:
            table.add_row(*row)
        console.print(table)

    def markdown(self) -> str:
        """Return title, method and table as Markdown."""
        return f"## {self.title}\n\n{self.method}\n\n{self.markdown_rows()}\n"

    def markdown_rows(self) -> str:
        """Return the table as Markdown, without its title and method."""
        lines = [self.columns, ["---:"] * len(self.columns), *self.rows]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def load_average() -> str:
    """Return the system's load average over one minute, or `unknown`."""
    return f"{os.getloadavg()[0]:.2f}" if hasattr(os, "getloadavg") else "unknown"


def environment(command: str) -> list[tuple[str, str]]:
    """Return the conditions that a measurement depends on, as pairs of name and value.

    Args:
        command: Command line of the run.
    """
    cpu = cpuinfo.get_cpu_info()
    flags = [flag for flag in _CPU_FLAGS if flag in cpu.get("flags", ())]
    return [
        ("Command", f"`{command}`"),
        ("CPU", f"{cpu.get('brand_raw') or platform.processor()} ({' '.join(flags)})"),
        ("Cores", f"{os.cpu_count()}, load average at the start {load_average()}"),
        ("System", f"{platform.system()} {platform.machine()}"),
        ("Python", f"{platform.python_implementation()} {platform.python_version()}"),
        *((package, version) for package in _PACKAGES if (version := _version(package))),
    ]


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def current_commit() -> str:
    """Return the short hash of the checked-out commit, and whether sources have changed since."""

    def git(*arguments: str) -> str:
        process = subprocess.run(
            ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
        )
        return process.stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no", "--", *_SOURCES)
    commit = git("rev-parse", "--short=12", "HEAD") or "unknown"
    return commit + (" with uncommitted changes" if changed else "")


def measured_commits(run: Mapping[str, Any]) -> str:
    """Return the measured commit, or each measured commit with the steps that measured it."""
    steps_by_commit: dict[str, list[str]] = {}
    for step, commit in run["commits"].items():
        steps_by_commit.setdefault(commit, []).append(step)
    if len(steps_by_commit) == 1:
        return next(iter(steps_by_commit))
    return ", ".join(f"{commit} ({' '.join(steps)})" for commit, steps in steps_by_commit.items())


def markdown_report(run: Mapping[str, Any], tables: Sequence[Table]) -> str:
    """Return the Markdown file of a run: facts, problems and tables."""
    problems = [problem for step in run["problems"].values() for problem in step]
    return "\n".join(
        [
            f"# {run['title']}\n",
            *(
                f"- {name}: {value}"
                for name, value in [*run["facts"], ("Commit", measured_commits(run))]
            ),
            "",
            *(f"- **Failed: {problem}**" for problem in problems),
            "" if problems else "Every result was checked and correct.\n",
            *(table.markdown() for table in tables),
        ]
    )


def save_results(run: Mapping[str, Any], path: Path) -> None:
    """Write a run's values as JSON, a line for each record, rounded to six significant digits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_json_lines(_rounded(run), "") + "\n", encoding="utf-8")


def _json_lines(value: Any, indent: str) -> str:
    """Return JSON in which mappings, and lists of mappings, have one line for each item."""
    inner = indent + " "
    if isinstance(value, dict) and value:
        items = [
            f"{inner}{json.dumps(key)}: {_json_lines(item, inner)}" for key, item in value.items()
        ]
        return "{\n" + ",\n".join(items) + f"\n{indent}}}"
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        return "[\n" + ",\n".join(inner + json.dumps(item) for item in value) + f"\n{indent}]"
    return json.dumps(value)


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{_SIGNIFICANT_DIGITS}g}")
    if isinstance(value, Mapping):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list | tuple) else value
