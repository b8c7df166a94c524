"""A pytest plugin that fails unless `pipecat_genesys` is imported from this environment.

The check runs after the collection of the tests, because plugins and test modules can change the
import path until then.
"""

import importlib
import sys
from pathlib import Path

import pytest


def pytest_collection_finish() -> None:
    module = importlib.import_module("pipecat_genesys")
    where = Path(str(module.__file__)).resolve()
    if not where.is_relative_to(Path(sys.prefix).resolve()):
        pytest.exit(f"pipecat_genesys is imported from {where}, not from the wheel", returncode=1)
