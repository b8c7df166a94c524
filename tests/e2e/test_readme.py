"""The pipeline in the README carries a call."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from echo_server import Echo
from loopback import serving
from pipecat_genesys.simulator import SimulatedCall

pytest.importorskip("pipecat.pipeline.worker", reason="the README needs pipecat 1.3 or newer")
README = Path(__file__).parents[2] / "README.md"


async def test_the_pipeline_in_the_readme_carries_a_call() -> None:
    snippet = re.search(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert snippet is not None
    names: dict[str, Any] = {"your_services": lambda: [Echo()]}
    exec(snippet[1], names)

    async def script(call: SimulatedCall) -> None:
        await call.opened()
        await call.wait_for_bot_audio()
        await call.hang_up()
        await call.ended(10)

    async with serving(names["app"]) as url:
        report = await SimulatedCall(url).run(script)
    assert report.clean, report
