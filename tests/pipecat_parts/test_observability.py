"""Tests of Pipecat's tracing, observers, setup files and RTVI in a call."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import WebSocket
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pipecat.frames.frames import (
    Frame,
    InputTransportMessageFrame,
    OutputTransportMessageUrgentFrame,
)
from pipecat.observers.startup_timing_observer import StartupTimingObserver
from pipecat.observers.user_bot_latency_observer import UserBotLatencyObserver
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat_genesys.simulator import SimulatedCall
from vehicles import ServedPipeline, Vehicle, call, utterance
from websockets.asyncio.client import connect

from .bot import QUESTION, SPLITS_SENTENCES, Bot


@pytest.fixture(scope="module")
def exporter() -> InMemorySpanExporter:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return exporter


@pytest.fixture
def spans(exporter: InMemorySpanExporter) -> Iterator[InMemorySpanExporter]:
    exporter.clear()
    yield exporter
    exporter.clear()


def named(spans: InMemorySpanExporter, name: str) -> list[ReadableSpan]:
    return [span for span in spans.get_finished_spans() if span.name == name]


@pytest.mark.parametrize("open_after", [0.0, 0.3])
async def test_spans_carry_the_ids_of_genesys(
    spans: InMemorySpanExporter, open_after: float
) -> None:
    served = ServedPipeline(
        Vehicle.TRANSPORT,
        worker_options={
            "enable_tracing": True,
            "additional_span_attributes": {"tenant": "north"},
        },
    )

    async def script(caller: SimulatedCall) -> None:
        await served.queue(*utterance(0.3))
        await caller.wait_for_bot_audio()
        await caller.wait_for_silence(0.3)

    await call(served, script, open_after=open_after)
    ids = served.transport.call
    (conversation,) = named(spans, "conversation")
    assert conversation.attributes is not None
    assert dict(conversation.attributes) == {
        "conversation.id": ids.conversation_id,
        "conversation.type": "voice",
        "genesys.conversation_id": ids.conversation_id,
        "genesys.organization_id": ids.organization_id,
        "genesys.session_id": ids.session_id,
        "tenant": "north",
    }
    turns = named(spans, "turn")
    assert turns
    assert {(turn.attributes or {})["conversation.id"] for turn in turns} == {ids.conversation_id}


async def test_an_application_chooses_its_own_conversation_id(spans: InMemorySpanExporter) -> None:
    options = {"enable_tracing": True, "conversation_id": "mine"}
    served = ServedPipeline(Vehicle.TRANSPORT, worker_options=options)

    async def script(_: SimulatedCall) -> None:
        await asyncio.wait_for(served.running.wait(), 5)

    await call(served, script)
    (conversation,) = named(spans, "conversation")
    attributes = conversation.attributes or {}
    assert attributes["conversation.id"] == "mine"
    assert attributes["genesys.conversation_id"] == served.transport.call.conversation_id


async def test_the_measured_latency_is_what_the_caller_waited() -> None:
    """The latency that Pipecat measures is within 0.5 s of the time that the caller waited."""
    observer = UserBotLatencyObserver()
    latencies: list[float] = []

    @observer.event_handler("on_latency_measured")
    async def on_latency_measured(_: Any, seconds: float) -> None:
        latencies.append(seconds)

    bot = Bot(worker_options={"observers": [observer]})
    said: list[float] = []

    async def script(caller: SimulatedCall) -> None:
        spoken = await caller.say(QUESTION)
        said.append(spoken.end)
        await caller.wait_for_bot_audio()
        await caller.wait_for_silence(0.4)

    outcome = await call(bot.served, script)
    (latency,) = latencies
    # Caller audio arrives in packets of 200 ms, so voice activity is detected up to 200 ms late.
    assert latency == pytest.approx(outcome.loud()[0][0] - said[0], abs=0.5)


async def test_the_startup_report_has_the_transport() -> None:
    observer = StartupTimingObserver()
    startup: list[Any] = []
    transport: list[Any] = []

    @observer.event_handler("on_startup_timing_report")
    async def on_startup_timing_report(_: Any, report: Any) -> None:
        startup.append(report)

    @observer.event_handler("on_transport_timing_report")
    async def on_transport_timing_report(_: Any, report: Any) -> None:
        transport.append(report)

    served = ServedPipeline(Vehicle.TRANSPORT, worker_options={"observers": [observer]})

    async def script(caller: SimulatedCall) -> None:
        await served.queue(*utterance(0.2))
        await caller.wait_for_bot_audio()

    await call(served, script)
    names = [timing.processor_name for timing in startup[0].processor_timings]
    assert any(name.startswith("AudioHookInputTransport") for name in names)
    assert any(name.startswith("AudioHookOutputTransport") for name in names)
    assert 0 <= transport[0].client_connected_secs < 2


async def test_a_setup_file_is_run_for_the_worker_of_each_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "setup.py"
    path.write_text(
        "async def setup_pipeline_worker(worker):\n    worker.was_set_up = True\n\n\n"
        # This is the name of the hook in pipecat before 1.3.
        "async def setup_pipeline_task(task):\n    task.was_set_up = True\n"
    )
    monkeypatch.setenv("PIPECAT_SETUP_FILES", str(path))
    served = ServedPipeline(Vehicle.TRANSPORT)

    async def script(_: SimulatedCall) -> None:
        await asyncio.wait_for(served.running.wait(), 5)

    await call(served, script)
    assert served.worker.was_set_up


class RTVISocket(FrameProcessor):
    """A processor that exchanges RTVI messages with a browser over a WebSocket."""

    def __init__(self) -> None:
        super().__init__()
        self._page: WebSocket | None = None

    async def serve(self, page: WebSocket, worker: Any) -> None:
        """Pass messages from the browser to the pipeline until the browser disconnects."""
        await page.accept()
        self._page = page
        async for message in page.iter_json():
            await worker.queue_frame(InputTransportMessageFrame(message=message))

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        is_message = isinstance(frame, OutputTransportMessageUrgentFrame)
        if is_message and self._page is not None and frame.message.get("label") == "rtvi-ai":
            await self._page.send_json(frame.message)
        await self.push_frame(frame, direction)


@pytest.mark.skipif(
    not SPLITS_SENTENCES, reason="RTVI in this version of pipecat needs a download of NLTK's data"
)
async def test_a_page_follows_a_call_by_rtvi_and_genesys_gets_none_of_it() -> None:
    """A browser receives RTVI messages about a call; no RTVI message is sent to Genesys."""
    socket = RTVISocket()
    bot = Bot("Hello.", before=[socket], worker_options={"enable_rtvi": True})
    received: list[dict[str, Any]] = []

    @bot.served.app.websocket("/rtvi")
    async def rtvi(page: WebSocket) -> None:
        await socket.serve(page, bot.served.worker)

    async def follow(url: str, ready: asyncio.Event) -> None:
        async with connect(url) as page:
            hello = {"version": "1.0.0", "about": {"library": "test", "library_version": "1"}}
            message = {"label": "rtvi-ai", "type": "client-ready", "id": "1", "data": hello}
            await page.send(json.dumps(message))
            async for text in page:
                received.append(json.loads(text))
                if received[-1]["type"] == "bot-ready":
                    ready.set()

    async def script(caller: SimulatedCall) -> None:
        ready = asyncio.Event()
        task = asyncio.create_task(follow(caller.url.replace("/audiohook", "/rtvi"), ready))
        try:
            await asyncio.wait_for(ready.wait(), 5)
            await caller.say(QUESTION)
            await caller.wait_for_bot_audio()
            await caller.wait_for_silence(0.3)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    outcome = await call(bot.served, script)
    types = [message["type"] for message in received]
    assert types[0] == "bot-ready"
    assert {"user-started-speaking", "user-transcription", "bot-started-speaking"} <= {*types}
    assert outcome.report.violations == ()
