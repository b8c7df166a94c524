"""Tests of pipecat's events for a client, and of all ways in which a pipeline ends a call."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pipecat.audio.mixers.base_audio_mixer import BaseAudioMixer
from pipecat.frames.frames import (
    CancelFrame,
    ClientConnectedFrame,
    EndFrame,
    Frame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat_genesys import GenesysOpenFrame
from pipecat_genesys.simulator import SimulatedCall
from vehicles import EVERY, IS_NEWEST, OURS, ServedPipeline, Tap, Vehicle, call, utterance


@pytest.mark.parametrize("vehicle", EVERY)
async def test_the_pipeline_and_the_application_learn_of_the_client(vehicle: Vehicle) -> None:
    """The pipeline gets one `ClientConnectedFrame`, and each event handler is called once."""
    tap, events = Tap(), list[str]()

    def prepare(served: ServedPipeline) -> None:
        for name in ("on_client_connected", "on_client_disconnected"):
            handler: Any = lambda *_, name=name: events.append(name)  # noqa: E731
            served.transport.add_event_handler(name, handler)

    async def script(caller: SimulatedCall) -> None:
        await asyncio.sleep(0.2)

    await call(ServedPipeline(vehicle, after=[tap], prepare=prepare), script)
    assert len(tap.times(ClientConnectedFrame)) == 1
    assert events == ["on_client_connected", "on_client_disconnected"]


@pytest.mark.parametrize("vehicle", EVERY)
async def test_a_bot_that_ends_the_call_does_not_learn_of_a_client_that_left(
    vehicle: Vehicle,
) -> None:
    """If the bot ends the call, `on_client_disconnected` is not called."""
    events: list[str] = []

    def prepare(served: ServedPipeline) -> None:
        @served.transport.event_handler("on_client_disconnected")
        async def on_client_disconnected(*_: Any) -> None:
            events.append("left")

    served = ServedPipeline(vehicle, prepare=prepare)

    async def script(caller: SimulatedCall) -> None:
        await served.queue(EndFrame())

    await call(served, script, hang_up=False)
    assert events == []


@pytest.mark.parametrize("vehicle", OURS)
async def test_an_event_handler_that_runs_is_awaited_when_the_pipeline_ends(
    vehicle: Vehicle,
) -> None:
    saved: list[str] = []

    def prepare(served: ServedPipeline) -> None:
        @served.transport.event_handler("on_client_disconnected")
        async def on_client_disconnected(*_: Any) -> None:
            await asyncio.sleep(0.5)
            saved.append("transcript")

    served = ServedPipeline(vehicle, prepare=prepare)

    async def script(caller: SimulatedCall) -> None:
        await asyncio.sleep(0.1)

    await call(served, script)
    assert served.done.is_set()
    assert saved == ["transcript"]


MOMENTS = {"before any audio": 0.3, "in a turn": 0.7, "after a turn": 1.6}


@pytest.mark.parametrize("vehicle", EVERY)
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("end", ["EndFrame", "CancelFrame", "worker.cancel"])
async def test_every_way_to_end_a_pipeline_ends_the_session_in_order(
    moment: str, end: str, vehicle: Vehicle
) -> None:
    """Each way to end the pipeline makes the server send `disconnect`; then the client closes.

    Pipecat's transport closes the socket itself, directly after `disconnect`.
    """
    served = ServedPipeline(vehicle)

    async def script(caller: SimulatedCall) -> None:
        await served.running.wait()
        if moment != "before any audio":
            await served.queue(*utterance(1.2))
            await caller.wait_for_bot_audio()
        await asyncio.sleep(MOMENTS[moment])
        if end == "worker.cancel":
            await served.worker.cancel()
        else:
            await served.queue(EndFrame() if end == "EndFrame" else CancelFrame())

    outcome = await call(served, script, hang_up=False)
    ending = outcome.report.ending
    assert ending.disconnect_reason == "completed"
    if vehicle is Vehicle.TRANSPORT:
        assert outcome.report.clean, outcome.report.violations
        assert ending.socket_closed_by == "client"
    else:
        assert ending.socket_closed_by == "server"
    if moment == "in a turn" and vehicle is Vehicle.TRANSPORT:
        assert outcome.heard() == pytest.approx(1.2 if end == "EndFrame" else 0.8, abs=0.25)


class Hum(BaseAudioMixer):
    """A mixer that replaces silence with quiet background sound."""

    async def start(self, sample_rate: int) -> None: ...

    async def stop(self) -> None: ...

    async def process_frame(self, frame: Any) -> None: ...

    async def mix(self, audio: bytes) -> bytes:
        return audio if any(audio) else b"\x20\x00" * (len(audio) // 2)


@pytest.mark.parametrize("on_hold", [False, True])
async def test_an_end_frame_stops_the_background_sound_and_ends_the_call(on_hold: bool) -> None:
    served = ServedPipeline(Vehicle.TRANSPORT, audio_out_mixer=Hum())

    async def script(caller: SimulatedCall) -> None:
        await served.running.wait()
        if on_hold:
            await caller.pause()
            await asyncio.sleep(0.2)
            await served.queue(EndFrame())
        else:
            await served.queue(*utterance(0.8), EndFrame())

    outcome = await call(served, script, hang_up=False)
    assert outcome.report.clean, outcome.report.violations
    assert outcome.report.ending.disconnect_reason == "completed"
    assert outcome.heard() == pytest.approx(0.0 if on_hold else 0.8, abs=0.05)


class NeverReady(FrameProcessor):
    """A service whose set-up takes longer than any call."""

    async def setup(self, setup: Any) -> None:
        await super().setup(setup)
        await asyncio.sleep(60)

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        await self.push_frame(frame, direction)


@pytest.mark.skipif(
    not IS_NEWEST, reason="older pipecats cancel a pipeline only once it has started"
)
async def test_a_pipeline_cancelled_in_set_up_ends_the_call_with_disconnect_error() -> None:
    served = ServedPipeline(Vehicle.TRANSPORT, before=[NeverReady()])

    async def script(caller: SimulatedCall) -> None:
        await served.started.wait()
        await asyncio.sleep(0.3)
        await served.worker.cancel()

    outcome = await call(served, script, hang_up=False)
    assert outcome.report.ending.disconnect_reason == "error"
    assert outcome.report.ending.socket_closed_by == "client"


async def test_a_slow_bot_speaks_when_the_session_resumes() -> None:
    class Slow(FrameProcessor):
        async def setup(self, setup: Any) -> None:
            await super().setup(setup)
            await asyncio.sleep(1.5)

        async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
            await super().process_frame(frame, direction)
            await self.push_frame(frame, direction)
            if isinstance(frame, GenesysOpenFrame):
                for one in utterance(1.0):
                    await self.push_frame(one)

    served = ServedPipeline(Vehicle.TRANSPORT, before=[Slow()])

    async def script(caller: SimulatedCall) -> None:
        await caller.wait_for_bot_audio(10)
        await caller.wait_for_silence(0.5)

    outcome = await call(served, script)
    assert outcome.heard() == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize("vehicle", EVERY)
async def test_frames_that_take_parallel_branches_are_heard_once(vehicle: Vehicle) -> None:
    """Audio that arrives at the output from two parallel branches is sent once."""
    from pipecat.pipeline.parallel_pipeline import ParallelPipeline

    class Passing(FrameProcessor):
        async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
            await super().process_frame(frame, direction)
            await self.push_frame(frame, direction)

    served = ServedPipeline(
        vehicle, before=[ParallelPipeline([Passing()], [Pipeline([Passing()])])]
    )

    async def script(caller: SimulatedCall) -> None:
        await served.queue(*utterance(0.8))
        await caller.wait_for_bot_audio()
        await caller.wait_for_silence(0.5)

    outcome = await call(served, script)
    lost = 0.0 if vehicle is Vehicle.TRANSPORT else 0.3  # at the end of a turn, in Pipecat's chunks
    assert 0.75 - lost <= outcome.heard() <= 0.9
    if vehicle is Vehicle.TRANSPORT:
        assert outcome.report.clean
