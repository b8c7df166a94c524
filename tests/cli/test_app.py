"""Tests of the command line without a command: version, entry point, missing packages."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points, version

import pytest
from pipecat_genesys.cli.app import app
from typer.testing import CliRunner


def test_version_is_printed() -> None:
    done = CliRunner().invoke(app, ["--version"])
    assert (done.exit_code, done.output) == (0, f"pipecat-genesys {version('pipecat-genesys')}\n")


def test_the_entry_point_runs_the_command_line() -> None:
    (script,) = entry_points(group="console_scripts", name="pipecat-genesys")
    assert script.value == "pipecat_genesys.cli:main"
    code = "import sys; sys.argv = ['x', '--version']; from pipecat_genesys.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("pipecat-genesys ")


@pytest.mark.parametrize("missing", ["typer", "rich", "websockets"])
def test_a_missing_package_is_named_with_the_command_that_installs_it(missing: str) -> None:
    code = (
        f"import sys; sys.modules[{missing!r}] = None; sys.argv = ['x', '--version'];"
        "from pipecat_genesys.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert f"needs {missing}" in done.stderr
    assert "pip install 'pipecat-genesys[cli]'" in done.stderr
    assert "Traceback" not in done.stderr
