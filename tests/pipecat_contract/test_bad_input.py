"""Tests that faulty application code does not disturb a call."""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import pytest
from loguru import logger
from pipecat.audio.mixers.base_audio_mixer import BaseAudioMixer
from pipecat.frames.frames import (
    CancelFrame,
    EndFrame,
    Frame,
    InputAudioRawFrame,
    InterruptionFrame,
    OutputAudioRawFrame,
    TTSStartedFrame,
    TTSStoppedFrame,
)
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat_genesys.simulator import SimulatedCall
from pipecat_genesys.transport import input as transport_input
from vehicles import CallOutcome, ServedPipeline, Tap, Vehicle, call, utterance

TRANSPORT_EVENTS = ("on_client_connected", "on_interrupted", "on_client_disconnected")
CALL_EVENTS = ("on_opening", "on_open", "on_closing", "on_close")


@pytest.fixture
def errors() -> Iterator[list[str]]:
    """Return the log lines of level WARNING and above."""
    lines: list[str] = []
    sink = logger.add(lambda line: lines.append(line.record["message"]), level="WARNING")
    yield lines
    logger.remove(sink)


@pytest.fixture(autouse=True)
def no_leaks() -> Iterator[Callable[[], None]]:
    """Check for open file descriptors after the test; yield a function that checks for tasks."""
    process = psutil.Process(os.getpid())
    before = process.num_fds() if hasattr(process, "num_fds") else 0

    def check_tasks() -> None:
        gc.collect()
        names = [task.get_name() for task in asyncio.all_tasks()]
        assert not [name for name in names if "AudioHook" in name or "Pipeline" in name]

    yield check_tasks
    gc.collect()
    # pytest-asyncio keeps the three descriptors of its event loop.
    assert not before or process.num_fds() <= before + 3


async def say_twice(served: ServedPipeline, caller: SimulatedCall) -> None:
    """Let the bot speak for 1 s, wait for silence, interrupt, and let the bot speak for 1 s."""
    await served.queue(*utterance(1.0))
    await caller.wait_for_bot_audio()
    await caller.wait_for_silence(0.5)
    await served.queue(InterruptionFrame(), *utterance(1.0))
    await caller.wait_for_bot_audio()
    await caller.wait_for_silence(0.5)


def assert_in_order(outcome: CallOutcome) -> None:
    assert outcome.report.clean, outcome.report.violations
    assert outcome.heard() == pytest.approx(2.0, abs=0.15)


@pytest.mark.parametrize("owner", ["transport", "call"])
async def test_a_handler_that_raises_changes_no_call(
    owner: str, errors: list[str], no_leaks: Callable[[], None]
) -> None:
    names = TRANSPORT_EVENTS if owner == "transport" else CALL_EVENTS

    def prepare(served: ServedPipeline) -> None:
        async def fail(*_: Any) -> None:
            raise RuntimeError("a fault of the application")

        source = served.transport if owner == "transport" else served.transport.call
        for name in names:
            source.add_event_handler(name, fail)

    served = ServedPipeline(Vehicle.TRANSPORT, prepare=prepare)
    outcome = await call(served, lambda caller: say_twice(served, caller))
    assert_in_order(outcome)
    of_handlers = [line for line in errors if "a fault of the application" in line]
    assert len(of_handlers) <= len(names)
    assert any(f"'{names[0]}'" in line for line in of_handlers)
    no_leaks()


@pytest.mark.parametrize("owner", ["transport", "call"])
async def test_a_handler_that_hangs_changes_no_call(
    owner: str, errors: list[str], monkeypatch: pytest.MonkeyPatch, no_leaks: Callable[[], None]
) -> None:
    monkeypatch.setattr(transport_input, "_HANDLER_SECONDS", 0.5)
    names = TRANSPORT_EVENTS if owner == "transport" else CALL_EVENTS
    over = asyncio.Event()

    def prepare(served: ServedPipeline) -> None:
        async def hang(*_: Any) -> None:
            await over.wait()

        source = served.transport if owner == "transport" else served.transport.call
        for name in names:
            source.add_event_handler(name, hang)

    served = ServedPipeline(Vehicle.TRANSPORT, prepare=prepare)
    outcome = await call(served, lambda caller: say_twice(served, caller))
    assert_in_order(outcome)
    assert len([line for line in errors if "event handlers still run" in line]) == 1
    if owner == "call":
        assert len([line for line in errors if "on_opening took longer than" in line]) == 1
    over.set()
    await asyncio.sleep(0)
    no_leaks()


class FailingMixer(BaseAudioMixer):
    """A mixer that raises an exception in every method."""

    async def start(self, sample_rate: int) -> None:
        raise OSError("no sound file")

    async def stop(self) -> None:
        raise OSError("no sound file")

    async def process_frame(self, frame: Any) -> None:
        raise OSError("no sound file")

    async def mix(self, audio: bytes) -> bytes:
        raise OSError("no sound file")


async def test_a_mixer_that_raises_does_not_silence_the_bot(
    errors: list[str], no_leaks: Callable[[], None]
) -> None:
    served = ServedPipeline(Vehicle.TRANSPORT, audio_out_mixer=FailingMixer())

    async def script(caller: SimulatedCall) -> None:
        # With a mixer, the transport always sends audio, so the script cannot wait for silence.
        for _ in range(2):
            await served.queue(*utterance(1.0))
            await asyncio.sleep(2.0)

    outcome = await call(served, script)
    assert_in_order(outcome)
    assert len(errors) == 1
    assert "the mixer FailingMixer raised OSError: no sound file" in errors[0]
    assert "'audio_out_mixer'" in errors[0]
    no_leaks()


async def test_turns_without_audio_change_no_call(
    errors: list[str], no_leaks: Callable[[], None]
) -> None:
    """Turns without audio, and turns with an empty audio frame, do not disturb a call."""
    tap = Tap()
    served = ServedPipeline(Vehicle.TRANSPORT, after=[tap])

    async def script(caller: SimulatedCall) -> None:
        for _ in range(20):
            await served.queue(TTSStartedFrame(), TTSStoppedFrame())
            await served.queue(
                TTSStartedFrame(), OutputAudioRawFrame(b"", 16000, 1), TTSStoppedFrame()
            )
        await say_twice(served, caller)

    outcome = await call(served, script)
    assert_in_order(outcome)
    assert not errors
    assert len(tap.times(TTSStoppedFrame)) == 42
    no_leaks()


class Swallower(FrameProcessor):
    """A processor that does not pass on some types of frames."""

    def __init__(self, *kinds: type[Frame]) -> None:
        super().__init__()
        self._kinds = kinds

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if not isinstance(frame, self._kinds):
            await self.push_frame(frame, direction)


@pytest.mark.parametrize("kinds", [(EndFrame,), (EndFrame, CancelFrame)])
@pytest.mark.parametrize("ended_by", ["bot", "caller"])
async def test_a_processor_that_swallows_the_end_does_not_keep_the_call(
    ended_by: str,
    kinds: tuple[type[Frame], ...],
    errors: list[str],
    monkeypatch: pytest.MonkeyPatch,
    no_leaks: Callable[[], None],
) -> None:
    for name in ("_SILENT_SECONDS", "_OVER_SECONDS", "_CANCEL_SECONDS"):
        monkeypatch.setattr(transport_input, name, 0.4)
    served = ServedPipeline(Vehicle.TRANSPORT, before=[Swallower(*kinds)])

    async def script(caller: SimulatedCall) -> None:
        await served.running.wait()
        if ended_by == "bot":
            # The audio is longer than `_SILENT_SECONDS`.
            await served.queue(*utterance(1.0), EndFrame())

    outcome = await call(served, script, hang_up=ended_by == "caller")
    assert outcome.report.clean, outcome.report.violations
    assert outcome.heard() == pytest.approx(1.0 if ended_by == "bot" else 0.0, abs=0.05)
    assert len(errors) == 1
    assert "must pass on EndFrame" in errors[0]
    no_leaks()


class Stuck(FrameProcessor):
    """A processor that never finishes a frame of the caller's audio."""

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, InputAudioRawFrame):
            await asyncio.Event().wait()
        await self.push_frame(frame, direction)


@pytest.mark.parametrize("place", ["before", "after"])
async def test_a_processor_that_is_stuck_does_not_keep_the_call(
    place: str,
    errors: list[str],
    monkeypatch: pytest.MonkeyPatch,
    no_leaks: Callable[[], None],
) -> None:
    for name in ("_SILENT_SECONDS", "_OVER_SECONDS", "_CANCEL_SECONDS"):
        monkeypatch.setattr(transport_input, name, 0.4)
    stuck: dict[str, Any] = {place: [Stuck()]}
    served = ServedPipeline(Vehicle.TRANSPORT, **stuck)

    async def script(caller: SimulatedCall) -> None:
        await caller.say(b"\x10" * 2000)

    outcome = await call(served, script)
    assert outcome.report.clean, outcome.report.violations
    assert len(errors) == 1
    assert "do not block in process_frame()" in errors[0]
    no_leaks()
