"""Tests of the exceptions: all derive from one root, whose module documents all public ones."""

from __future__ import annotations

import inspect
import pkgutil
import subprocess
import sys
from importlib import import_module

import pipecat_genesys
import pytest
from pipecat_genesys import PipecatGenesysError, audio, errors


def exception_classes() -> set[type[BaseException]]:
    """Import all modules of the package and return the exception classes that they define."""
    found = set()
    for module in pkgutil.walk_packages(pipecat_genesys.__path__, "pipecat_genesys."):
        if module.name.endswith("__main__"):
            continue
        for _, value in inspect.getmembers(import_module(module.name), inspect.isclass):
            if issubclass(value, BaseException) and value.__module__.startswith("pipecat_genesys"):
                found.add(value)
    return found


def documented_lines() -> list[str]:
    """Return the lines of the tree in the docstring of `pipecat_genesys.errors`."""
    paragraphs = (errors.__doc__ or "").split("\n\n")
    [tree] = [text for text in paragraphs if text.startswith("    ")]
    return [line.removeprefix("    ") for line in tree.splitlines()]


def tree_lines(root: type[BaseException], depth: int = 0) -> list[str]:
    """Return one indented line per public exception from `root` down, sorted by name."""
    also = [base.__name__ for base in root.__bases__ if base.__module__ == "builtins"]
    suffix = f" ({', '.join(also)})" if also and root is not PipecatGenesysError else ""
    lines = [f"{'    ' * depth}{root.__name__}{suffix}"]
    for child in sorted(root.__subclasses__(), key=lambda one: one.__name__):
        if not child.__name__.startswith("_"):
            lines += tree_lines(child, depth + 1)
    return lines


def test_every_exception_of_the_package_derives_from_the_root() -> None:
    others = {one for one in exception_classes() if not issubclass(one, PipecatGenesysError)}
    assert not others


def test_documented_tree_lists_every_public_exception() -> None:
    exception_classes()  # this imports all modules, so `__subclasses__` is complete
    documented = [line.split("  pipecat_genesys")[0].rstrip() for line in documented_lines()]
    assert documented == tree_lines(PipecatGenesysError)


def test_documented_tree_names_the_module_that_raises_each_exception() -> None:
    by_name = {one.__name__: one for one in exception_classes()}
    for line in documented_lines()[1:]:
        name, module = line.split()[0], line.split()[-1]
        exception = by_name[name]
        exported = getattr(import_module(module), name, None)
        assert exported is exception or exception.__module__.startswith(f"{module}."), line


def test_audio_error_is_also_a_value_error() -> None:
    with pytest.raises(audio.AudioError) as raised:
        audio.ulaw_encode(b"1")
    assert isinstance(raised.value, PipecatGenesysError)
    assert isinstance(raised.value, ValueError)


def test_errors_module_imports_nothing() -> None:
    code = (
        "import sys; from importlib.util import module_from_spec, spec_from_file_location as at;"
        f"spec = at('errors', {errors.__file__!r}); before = set(sys.modules);"
        "spec.loader.exec_module(module_from_spec(spec)); sys.exit(set(sys.modules) != before)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
