"""Tests that components import each other without cycles, and load pipecat only where needed."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
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
        "pipecat_genesys.capture",
        "pipecat_genesys.cli.app",
        "pipecat_genesys.conformance",
        "pipecat_genesys.inspector.server",
        "pipecat_genesys.load",
        "pipecat_genesys.protocol",
        "pipecat_genesys.simulator",
    ],
)
def test_importing_a_module_does_not_load_pipecat(module: str) -> None:
    code = f"import sys, {module}; sys.exit('pipecat' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("module", ["pipecat_genesys", "pipecat_genesys.audio"])
def test_importing_a_module_does_not_load_pydantic(module: str) -> None:
    code = f"import sys, {module}; sys.exit('pydantic' in sys.modules)"
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


def test_all_public_names_exist_and_unknown_names_raise_attribute_error() -> None:
    for name in pipecat_genesys.__all__:
        assert getattr(pipecat_genesys, name) is not None
        assert name in dir(pipecat_genesys)
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = pipecat_genesys.no_such_name


# For each component, this table lists the components that it may import. A component is a
# subpackage or a top-level module.
ALLOWED_COMPONENTS: dict[str, set[str]] = {
    "errors": set(),
    "audio": {"errors", "_native"},
    "auth": {"errors"},
    "protocol": {"errors"},
    "capture": {"protocol"},
    "call": {"audio", "errors", "protocol"},
    "serializer": {"audio", "call", "errors", "protocol"},
    "transport": {"audio", "call", "errors", "protocol"},
    "endpoint": {"_native", "auth", "call", "capture", "errors", "protocol", "transport"},
    "vad": {"_native", "errors"},
    "simulator": {"audio", "capture", "errors", "protocol"},
    "conformance": {"audio", "capture", "errors", "protocol", "simulator"},
    "inspector": {"audio", "capture", "errors", "protocol", "simulator"},
    "load": {"audio", "capture", "errors", "protocol", "simulator"},
    "cli": {
        "audio",
        "capture",
        "conformance",
        "errors",
        "inspector",
        "load",
        "protocol",
        "simulator",
    },
}

# For each component, this table lists the libraries that it must not import. These libraries are
# slow to load, are not installed with the component's extra, or (for `protocol`) do input and
# output or use a clock or randomness.
FORBIDDEN_LIBRARIES: dict[str, set[str]] = {
    "errors": set(),
    "audio": {"pipecat"},
    "auth": {"fastapi", "loguru", "pipecat", "starlette"},
    "protocol": {"asyncio", "loguru", "pipecat", "random", "time", "uuid"},
    "capture": {"asyncio", "loguru", "pipecat"},
    "call": {"fastapi", "starlette"},
    "serializer": {"fastapi", "starlette"},
    "transport": set(),
    "endpoint": {"pipecat"},
    "vad": {"fastapi", "starlette"},
    "simulator": {"pipecat"},
    "conformance": {"pipecat"},
    "inspector": {"pipecat"},
    "load": {"pipecat"},
    "cli": {"argparse", "pipecat"},
}


def module_name(path: Path) -> str:
    """Return the dotted name of the module in a file of the package."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


@cache
def imported(module: str) -> frozenset[str]:
    """Return the full names of the modules that a module imports.

    Imports inside functions and under `TYPE_CHECKING` count.
    """
    return frozenset(parsed_imports(module))


def parsed_imports(module: str) -> Iterator[str]:
    """Parse a module, and yield the full names of the modules that it imports."""
    path = FILES[module]
    package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            origin = ".".join([*base, *filter(None, [node.module])])
            for alias in node.names:
                submodule = f"{origin}.{alias.name}"
                yield submodule if submodule in FILES else origin


def component_of(module: str) -> str:
    """Return the component of a module; `__init__` for the package itself."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


COMPONENTS = sorted({component_of(module) for module in FILES} - {"__init__"})


def modules_of(component: str) -> list[str]:
    """Return the modules of a component."""
    return [module for module in FILES if component_of(module) == component]


def imported_components(component: str) -> set[str]:
    """Return the other components that a component imports."""
    names = {name for module in modules_of(component) for name in imported(module)}
    ours = {name for name in names if name.split(".")[0] == "pipecat_genesys"}
    return {component_of(name) for name in ours} - {component}


@pytest.mark.parametrize("component", COMPONENTS)
def test_a_component_imports_only_the_components_below_it(component: str) -> None:
    assert imported_components(component) <= ALLOWED_COMPONENTS[component]


def test_the_allowed_directions_form_no_circle() -> None:
    TopologicalSorter(ALLOWED_COMPONENTS).prepare()


@pytest.mark.parametrize("component", COMPONENTS)
def test_a_component_has_no_import_circle(component: str) -> None:
    modules = modules_of(component)
    graph = {module: imported(module).intersection(modules) for module in modules}
    TopologicalSorter(graph).prepare()


@pytest.mark.parametrize("component", COMPONENTS)
def test_a_component_does_not_import_forbidden_libraries(component: str) -> None:
    found = {
        f"{module} imports {name}"
        for module in modules_of(component)
        for name in imported(module)
        if name.split(".")[0] in FORBIDDEN_LIBRARIES[component]
    }
    assert not found
