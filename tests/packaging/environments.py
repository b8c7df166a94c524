"""Virtual environments for the packaging checks, made with the standard library and pip only."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""Root of the repository."""

VERSION_OF = "import platform; print(platform.python_version())"
PIP = "pip>=25.1"
"""The lowest version of pip that supports dependency groups."""


def clean_environ(**extra: str) -> dict[str, str]:
    """Return the process environment without variables that add other packages."""
    misleading = {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PIP_TARGET", "PIP_PREFIX", "PIP_USER"}
    kept = {name: value for name, value in os.environ.items() if name not in misleading}
    return kept | {"PYTHONNOUSERSITE": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"} | extra


def version_of(python: str | Path) -> str:
    """Return the version of an interpreter, such as `3.11.7`."""
    command = [str(python), "-c", VERSION_OF]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=clean_environ())
    return done.stdout.strip()


class Environment:
    """A virtual environment; created again if it has another version of Python."""

    def __init__(self, folder: Path, interpreter: str = sys.executable) -> None:
        self.folder = folder
        scripts = "Scripts/python.exe" if os.name == "nt" else "bin/python"
        self.python = folder / scripts
        if not self._has_version_of(interpreter):
            command = [interpreter, "-m", "venv", "--clear", str(folder)]
            subprocess.run(command, check=True, env=clean_environ())
            self.install("--upgrade", PIP)

    def _has_version_of(self, interpreter: str) -> bool:
        try:
            return version_of(self.python) == version_of(interpreter)
        except (OSError, subprocess.CalledProcessError):
            return False

    def install(self, *arguments: str) -> None:
        """Run `pip install`.

        Raises:
            subprocess.CalledProcessError: If pip fails. Pip has printed the reason.
        """
        self.run("-m", "pip", "install", "--quiet", *arguments)

    def run(self, *arguments: str, cwd: Path | None = None) -> None:
        """Run the Python interpreter of this environment.

        Raises:
            subprocess.CalledProcessError: If the exit status of Python is not 0.
        """
        command: Sequence[str] = [str(self.python), *arguments]
        subprocess.run(command, check=True, cwd=cwd, env=clean_environ())


def newest(dist: Path, pattern: str) -> Path:
    """Return the newest file in `dist` that matches the pattern.

    Raises:
        FileNotFoundError: If no file matches.
    """
    found = sorted(dist.glob(pattern), key=lambda path: path.stat().st_mtime)
    if not found:
        raise FileNotFoundError(f"there is no {pattern} in {dist}; run make wheel sdist")
    return found[-1]
