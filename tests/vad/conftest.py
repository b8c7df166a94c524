from __future__ import annotations

from collections.abc import Iterator

import pytest
from loguru import logger
from pipecat_genesys.vad import analyzer


@pytest.fixture
def warnings_logged() -> Iterator[list[str]]:
    """Return logged messages of level WARNING and above; let each warning be logged again."""
    lines: list[str] = []
    analyzer._warnings_given.clear()
    sink = logger.add(lambda message: lines.append(message.record["message"]), level="WARNING")
    yield lines
    logger.remove(sink)
