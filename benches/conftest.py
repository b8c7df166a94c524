"""Fixtures of the pytest-benchmark files."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest


@pytest.fixture
def no_gc() -> Iterator[None]:
    """Disable garbage collection: a pause would be charged to the competitor it interrupts."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()
