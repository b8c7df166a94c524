"""Tests that the ids of a call are on every log line of the call."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from fastapi import FastAPI, WebSocket
from loguru import logger
from loopback import serving
from pipecat.frames.frames import Frame, StartFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat_genesys.simulator import SimulatedCall, new_call
from pipecat_genesys.transport import AudioHookTransport, run_call


class Service(FrameProcessor):
    """Writes a log line from a separate task when it starts."""

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        await self.push_frame(frame, direction)
        if isinstance(frame, StartFrame):
            self.create_task(self._log(), "log")

    async def _log(self) -> None:
        await asyncio.sleep(0.3)
        logger.info("a service of the application is ready")


async def test_lines_of_pipecat_and_of_the_application_have_the_ids_of_the_call() -> None:
    app, records = FastAPI(), list[dict[str, Any]]()

    @app.websocket("/audiohook")
    async def audiohook(websocket: WebSocket) -> None:
        await websocket.accept()
        transport = AudioHookTransport(websocket)
        await run_call(Pipeline([transport.input(), Service(), transport.output()]))

    async def script(caller: SimulatedCall) -> None:
        await caller.opened()
        await asyncio.sleep(0.6)
        await caller.hang_up()
        await caller.ended(10)

    sink = logger.add(
        lambda line: records.append(json.loads(line)["record"]), serialize=True, level="DEBUG"
    )
    try:
        async with serving(app) as url:
            calls = [SimulatedCall(url, new_call()) for _ in range(2)]
            await asyncio.gather(*(call.run(script) for call in calls))
    finally:
        logger.remove(sink)
    ids = {call.parameters.session_id for call in calls}
    ready = [record for record in records if "service of the application" in record["message"]]
    assert {record["extra"]["session_id"] for record in ready} == ids
    assert {record["extra"]["conversation_id"] for record in ready} == {
        call.parameters.conversation_id for call in calls
    }
    pipecats = [r for r in records if r["name"].startswith("pipecat.") and r["extra"]]
    assert {record["extra"]["session_id"] for record in pipecats} >= ids
