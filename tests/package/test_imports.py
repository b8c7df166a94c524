"""Imports run one way, and pipecat (seconds of it) is loaded only when it is needed."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pipecat_genesys
import pytest

PACKAGE = Path(pipecat_genesys.__file__).parent


@pytest.mark.parametrize(
    "module",
    [
        "pipecat_genesys",
        "pipecat_genesys.audio",
        "pipecat_genesys.auth",
        "pipecat_genesys.auth.redis_store",
        "pipecat_genesys.cli.app",
        "pipecat_genesys.conformance",
        "pipecat_genesys.protocol",
        "pipecat_genesys.simulator",
    ],
)
def test_import_does_not_load_pipecat(module: str) -> None:
    code = f"import sys, {module}; sys.exit('pipecat' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_authentication_does_not_need_redis() -> None:
    code = "import sys, pipecat_genesys.auth; sys.exit('redis' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_public_names_resolve_lazily() -> None:
    code = (
        "import sys, pipecat_genesys as p; before = 'pipecat' in sys.modules; "
        "p.GenesysAudioHookSerializer; assert not before and 'pipecat' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_public_name_exists_and_nothing_else_does() -> None:
    for name in pipecat_genesys.__all__:
        assert getattr(pipecat_genesys, name) is not None
        assert name in dir(pipecat_genesys)
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = pipecat_genesys.no_such_name


def imported(path: Path) -> set[str]:
    """Top-level names a module imports, those of this package with two parts."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            here = ("pipecat_genesys", *path.relative_to(PACKAGE).parts[:-1])
            base = ".".join(here[: len(here) - node.level + 1]) if node.level else ""
            module = ".".join(filter(None, (base, node.module)))
            names |= {module, *(f"{module}.{alias.name}" for alias in node.names)}
    return names


FORBIDDEN = {
    "cli": {"argparse", "pipecat", "pipecat_genesys.endpoint", "pipecat_genesys.transport"},
    "protocol": {
        "asyncio",
        "pipecat",
        "loguru",
        "time",
        "random",
        "uuid",
        "pipecat_genesys._native",
        "pipecat_genesys.auth",
    },
    "simulator": {"pipecat", "pipecat_genesys.serializer", "pipecat_genesys.auth"},
    "audio.py": {
        "pipecat",
        "pipecat_genesys.auth",
        "pipecat_genesys.protocol",
        "pipecat_genesys.serializer",
    },
    "auth": {
        "pipecat",
        "loguru",
        "fastapi",
        "starlette",
        "pipecat_genesys._native",
        "pipecat_genesys.audio",
        "pipecat_genesys.protocol",
        "pipecat_genesys.serializer",
        "pipecat_genesys.simulator",
    },
    "serializer": {
        "pipecat_genesys.simulator",
        "pipecat_genesys.auth",
        "pipecat_genesys.transport",
        "fastapi",
        "starlette",
    },
    "transport": {
        "pipecat_genesys.simulator",
        "pipecat_genesys.auth",
        "pipecat_genesys.endpoint",
        "pipecat_genesys.cli",
    },
    "endpoint": {
        "pipecat",
        "pipecat_genesys.audio",
        "pipecat_genesys.serializer",
        "pipecat_genesys.simulator",
        "pipecat_genesys.conformance",
        "pipecat_genesys.cli",
    },
    "conformance": {
        "pipecat",
        "pipecat_genesys.serializer",
        "pipecat_genesys.transport",
        "pipecat_genesys.auth",
        "pipecat_genesys.cli",
    },
}


@pytest.mark.parametrize("room", FORBIDDEN.keys() - {"cli"})
def test_nothing_imports_the_command_line(room: str) -> None:
    target = PACKAGE / room
    for path in [target] if target.is_file() else sorted(target.rglob("*.py")):
        assert not [name for name in imported(path) if name.startswith("pipecat_genesys.cli")]


@pytest.mark.parametrize("room", FORBIDDEN)
def test_rooms_import_only_what_the_architecture_allows(room: str) -> None:
    target = PACKAGE / room
    files = [target] if target.is_file() else sorted(target.rglob("*.py"))
    assert files
    for path in files:
        for name in imported(path):
            for forbidden in FORBIDDEN[room]:
                assert name != forbidden, f"{path.name} imports {name}"
                assert not name.startswith(f"{forbidden}."), f"{path.name} imports {name}"
