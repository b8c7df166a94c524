"""A pytest plugin: refuse to test a pipecat_genesys other than this environment's own.

It looks once everything is collected, when whatever could change the import path has done so.
"""

import importlib
import sys
from pathlib import Path

import pytest


def pytest_collection_finish() -> None:
    module = importlib.import_module("pipecat_genesys")
    where = Path(str(module.__file__)).resolve()
    if not where.is_relative_to(Path(sys.prefix).resolve()):
        pytest.exit(f"pipecat_genesys is imported from {where}, not the wheel", returncode=1)
