"""Tables on the screen and in Markdown, and the file that a run of the benchmarks leaves."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table as RichTable

_PACKAGES = ("pipecat-genesys", "pipecat-ai", "soxr", "numpy", "audioop-lts")
_CPU_FLAGS = ("avx2", "fma", "avx512f", "avx512bw", "avx512_vnni", "avx_vnni", "asimd", "neon")


@dataclass(frozen=True)
class Table:
    """A table, and a line on how its numbers came about."""

    title: str
    how: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]

    def show(self, console: Console) -> None:
        """Print it."""
        table = RichTable(title=self.title, title_justify="left", caption_justify="left")
        for column in self.columns:
            table.add_column(column, justify="right")
        for row in self.rows:
            table.add_row(*row)
        console.print(table)

    def markdown(self) -> str:
        """The same as Markdown."""
        return f"## {self.title}\n\n{self.how}\n\n{self.grid()}\n"

    def grid(self) -> str:
        """The rows alone, as Markdown."""
        lines = [self.columns, ["---:"] * len(self.columns), *self.rows]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def environment(cpu: Mapping[str, Any], command: str, load: str) -> list[tuple[str, str]]:
    """What the numbers depend on, the CPU as `cpuinfo` describes it."""
    flags = [flag for flag in _CPU_FLAGS if flag in cpu.get("flags", ())]
    return [
        ("Command", f"`{command}`"),
        ("CPU", f"{cpu.get('brand_raw') or platform.processor()} ({' '.join(flags)})"),
        ("Cores", f"{os.cpu_count()}, load average at the start {load}"),
        ("System", f"{platform.system()} {platform.machine()}"),
        ("Python", f"{platform.python_implementation()} {platform.python_version()}"),
        *((package, version) for package in _PACKAGES if (version := _version(package))),
    ]


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def document(run: Mapping[str, Any], tables: Sequence[Table]) -> str:
    """The Markdown file of a run."""
    problems = [problem for part in run["problems"].values() for problem in part]
    return "\n".join(
        [
            f"# {run['title']}\n",
            *(f"- {name}: {value}" for name, value in [*run["facts"], ("Commit", commits(run))]),
            "",
            *(f"- **Failed: {problem}**" for problem in problems),
            "" if problems else "Every result was checked and correct.\n",
            *(table.markdown() for table in tables),
        ]
    )


def commits(run: Mapping[str, Any]) -> str:
    """What was measured: one commit, or one for each step."""
    by_commit: dict[str, list[str]] = {}
    for step, commit in run["commits"].items():
        by_commit.setdefault(commit, []).append(step)
    if len(by_commit) == 1:
        return next(iter(by_commit))
    return ", ".join(f"{commit} ({' '.join(steps)})" for commit, steps in by_commit.items())


def save(run: Mapping[str, Any], path: Path) -> None:
    """Write a run's figures, with six digits each."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(_rounded(run), indent=1) + "\n", encoding="utf-8")


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, Mapping):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list | tuple) else value
