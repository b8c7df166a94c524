"""Tests that relative links, paths, modules and make targets in the Markdown files exist."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Paths in the documentation are relative to one of these folders, or to the folder of the page.
BASES = (
    ROOT,
    ROOT / "python",
    ROOT / "python" / "pipecat_genesys",
    ROOT / "rust" / "core" / "src",
    ROOT / "deploy",
)
FENCE = re.compile(r"^ *```.*?^ *```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
INLINE_CODE = re.compile(r"`([^`\n]+)`")
PATH = re.compile(r"(?:[\w.-]+/)+(?:[\w.-]+\.[a-z]+)?")
SUFFIXES = (".py", ".pyi", ".rs", ".md", ".toml", ".yaml", ".sh", ".json", ".cfg", ".wav", "/")
MODULE = re.compile(r"pipecat_genesys(?:\.\w+)+")
MAKE_TARGET = re.compile(r"(?:^|`)make ([a-z][a-z0-9-]+)", re.MULTILINE)


def pages() -> list[Path]:
    """Return the repository's Markdown files without the changelog and dated results."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    return [
        ROOT / name
        for name in sorted(listed.stdout.split())
        if (ROOT / name).exists() and not name.startswith(("CHANGELOG.md", "benches/results/2"))
    ]


def page_id(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def prose(page: Path) -> str:
    """Return the text of the page without its code blocks."""
    return FENCE.sub("", page.read_text(encoding="utf-8"))


@cache
def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub assigns to the headings of a page."""
    headings = re.findall(r"^#+ +(.+?) *$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def paths(page: Path) -> Iterator[str]:
    """Return the paths in the page's inline code; the text after a colon is removed."""
    for code in INLINE_CODE.findall(prose(page)):
        path = code.split(":")[0]
        if PATH.fullmatch(path) and path.endswith(SUFFIXES):
            yield path


def is_module_attribute(dotted: str) -> bool:
    """Return whether the name is a module of the package, or an attribute of a module."""
    try:
        import_module(dotted)
    except ModuleNotFoundError:
        parent, _, name = dotted.rpartition(".")
        return "." in dotted and hasattr(import_module(parent), name)
    return True


@pytest.mark.parametrize("page", pages(), ids=page_id)
def test_relative_links_lead_to_a_file_and_a_heading(page: Path) -> None:
    broken = []
    for link in LINK.findall(prose(page)):
        target, _, anchor = link.partition("#")
        if "://" in link or link.startswith("mailto:"):
            continue
        found = (page.parent / target).resolve() if target else page
        if not found.exists() or (anchor and anchor not in anchors(found)):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("page", pages(), ids=page_id)
def test_paths_in_prose_exist(page: Path) -> None:
    bases = (page.parent, *BASES)
    assert [p for p in paths(page) if not any((base / p).exists() for base in bases)] == []


@pytest.mark.parametrize("page", pages(), ids=page_id)
def test_modules_in_prose_exist(page: Path) -> None:
    named = sorted(set(MODULE.findall(" ".join(INLINE_CODE.findall(prose(page))))))
    assert [name for name in named if not is_module_attribute(name)] == []


@pytest.mark.parametrize("page", pages(), ids=page_id)
def test_make_targets_exist(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z][a-z0-9-]*):", makefile, re.MULTILINE))
    named = set(MAKE_TARGET.findall(page.read_text(encoding="utf-8")))
    assert sorted(named - targets) == []


def test_every_guide_is_reached_by_links_from_the_readme() -> None:
    reached: set[Path] = set()
    waiting = [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in reached or page.suffix != ".md" or not page.is_file():
            continue
        reached.add(page)
        targets = (link.partition("#")[0] for link in LINK.findall(prose(page)))
        waiting += [(page.parent / target).resolve() for target in targets if target]
    assert [
        page_id(page) for page in pages() if page.parent == ROOT / "docs" and page not in reached
    ] == []
