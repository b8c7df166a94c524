from __future__ import annotations

from collections.abc import Iterator

import pytest
from loguru import logger
from pipecat_genesys.vad import analyzer, worker


@pytest.fixture
def warnings_logged() -> Iterator[list[str]]:
    """Return logged messages of level WARNING and above; forget warnings of earlier tests."""
    lines: list[str] = []
    analyzer._warnings_given.clear()
    sink = logger.add(lambda message: lines.append(message.record["message"]), level="WARNING")
    yield lines
    logger.remove(sink)


@pytest.fixture
def own_worker(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Remove the shared worker, so that this test creates a new worker."""
    shared = worker._Shared()
    monkeypatch.setattr(worker, "_shared", shared)
    yield
    if shared.worker is not None:
        shared.worker.stop()
