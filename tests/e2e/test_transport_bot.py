"""The example on our transport, run as a user would, judged by the simulator."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
from loopback import serving
from pipecat_genesys.simulator import SimulatedCall

EXAMPLE = Path(__file__).parents[2] / "examples" / "transport_bot.py"

pytest.importorskip("pipecat.pipeline.worker", reason="the example is for newer pipecats")


async def test_it_greets_and_says_goodbye() -> None:
    async def script(caller: SimulatedCall) -> None:
        await caller.opened()
        await caller.wait_for_bot_audio()
        await caller.press("9")
        await caller.ended(60)

    app = runpy.run_path(str(EXAMPLE))["app"]
    async with serving(app) as url:
        report = await SimulatedCall(url).run(script)
    assert report.script_error is None
    assert report.clean, report.violations
    assert report.ending.disconnect_reason == "completed"
    assert report.ending.output_variables["handled"] == "true"
