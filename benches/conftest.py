"""Fixtures of the pytest-benchmark files."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest


@pytest.fixture
def no_gc() -> Iterator[None]:
    """Disable garbage collection: a pause would count as time of the interrupted competitor."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()
