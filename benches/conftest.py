"""Fixtures of the pytest-benchmark files."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest


@pytest.fixture
def no_gc() -> Iterator[None]:
    """Disable garbage collection, because a pause would be added to one competitor's time."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()
