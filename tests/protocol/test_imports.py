"""Tests that `pipecat_genesys.protocol` imports no pipecat, asyncio, native code or clock."""

import ast
import subprocess
import sys
from pathlib import Path

import pipecat_genesys.protocol
import pytest

SOURCES = sorted(Path(pipecat_genesys.protocol.__file__).parent.glob("*.py"))

# Modules that pydantic itself imports are not counted, because pydantic before 2.12 imports
# asyncio.
PROGRAM = """
import sys
import pydantic.root_model
before = set(sys.modules)
import pipecat_genesys.protocol as protocol
for name in protocol.__all__:
    getattr(protocol, name)
session = protocol.AudioHookSession("x")
session.receive_text("{}")
print(*sorted(set(sys.modules) - before), sep="\\n")
"""


@pytest.fixture(scope="module")
def imported() -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=60
    )
    return set(done.stdout.split())


def test_the_subprocess_imports_this_package(imported: set[str]) -> None:
    assert "pipecat_genesys.protocol.session" in imported


def test_protocol_loads_no_other_room_of_the_package(imported: set[str]) -> None:
    ours = {name for name in imported if name.split(".")[0] == "pipecat_genesys"}
    others = {name for name in ours if not name.startswith("pipecat_genesys.protocol")}
    assert others == {"pipecat_genesys", "pipecat_genesys.errors"}


@pytest.mark.parametrize("name", ["pipecat", "asyncio", "numpy", "websockets", "starlette"])
def test_protocol_does_not_load(imported: set[str], name: str) -> None:
    assert not {module for module in imported if module.split(".")[0] == name}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_sources_import_no_clock_no_randomness_and_no_input_or_output(path: Path) -> None:
    allowed = {
        "__future__",
        "collections",
        "dataclasses",
        "enum",
        "fractions",
        "json",
        "pipecat_genesys",  # only `errors`, as tests/package/test_imports.py checks
        "pydantic",
        "pydantic_core",
        "typing_extensions",
    }
    allowed |= {"bisect", "copy", "functools", "itertools", "re", "types", "typing"}
    needed = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            needed |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level <= 1
            if node.level == 0:
                assert node.module is not None
                needed.add(node.module.split(".")[0])
    assert needed <= allowed
