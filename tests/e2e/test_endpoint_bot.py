"""Tests in which the simulator calls `examples/endpoint_bot.py`."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
from loopback import serving
from pipecat_genesys.simulator import CallOptions, SimulatedCall

ROOT = Path(__file__).parents[2]
SECRET = "YW4gb3JkaW5hcnkgY2xpZW50IHNlY3JldA=="

pytest.importorskip("pipecat.pipeline.worker", reason="the examples need pipecat 1.3 or newer")


async def test_only_a_signed_request_reaches_the_bot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    monkeypatch.setenv("GENESYS_API_KEY", "a-key")
    monkeypatch.setenv("GENESYS_CLIENT_SECRET", SECRET)
    app = importlib.import_module("examples.endpoint_bot").app

    async def script(caller: SimulatedCall) -> None:
        await caller.opened()
        await caller.wait_for_bot_audio()
        await caller.press("9")
        await caller.ended(60)

    async with serving(app, lifespan="on") as url:
        unsigned = await SimulatedCall(url).run(script)
        signed = CallOptions(api_key="a-key", client_secret=SECRET)
        report = await SimulatedCall(url, options=signed).run(script)
    assert "HTTP status 401" in str(unsigned.script_error)
    assert report.script_error is None
    assert report.clean, report.violations
    assert report.ending.output_variables["handled"] == "true"
