"""Tests of turns that follow each other, are interrupted, or have an unusual audio format."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pipecat.audio.mixers.base_audio_mixer import BaseAudioMixer
from pipecat.frames.frames import (
    Frame,
    InterruptionFrame,
    MixerControlFrame,
    MixerUpdateSettingsFrame,
    TTSAudioRawFrame,
)
from pipecat_genesys import audio
from pipecat_genesys.simulator import SimulatedCall
from vehicles import (
    EVERY,
    IS_NEWEST,
    OURS,
    RATE,
    WIRE_RATE,
    ServedPipeline,
    Vehicle,
    call,
    tone,
    utterance,
)


async def say(served: ServedPipeline, caller: SimulatedCall, *frames: Frame) -> None:
    """Let the bot speak, and wait until the caller has heard it."""
    await served.running.wait()
    await served.queue(*frames)
    await caller.wait_for_bot_audio()
    await caller.wait_for_silence(0.8)


@pytest.mark.parametrize("vehicle", EVERY)
async def test_turns_queued_at_once_are_heard_one_after_the_other(vehicle: Vehicle) -> None:
    """The caller hears all turns, without a gap between them with `AudioHookTransport`.

    With Pipecat's serializer, up to 80 ms of each turn is lost, and with early versions of Pipecat
    also with ours.
    """
    served = ServedPipeline(vehicle)

    async def script(caller: SimulatedCall) -> None:
        await say(served, caller, *utterance(0.5), *utterance(0.5), *utterance(0.5))

    outcome = await call(served, script)
    lost = 0.25 if vehicle is Vehicle.PIPECAT else 0.0
    if vehicle is Vehicle.SERIALIZER and not IS_NEWEST:
        lost = 0.1
    assert 1.45 - lost <= outcome.heard() <= 1.6
    if vehicle is Vehicle.TRANSPORT:
        assert len(outcome.loud()) == 1


# Early versions of Pipecat cause this warning if two interruptions follow each other.
@pytest.mark.filterwarnings("ignore:.*__process_frame_task_handler:RuntimeWarning")
@pytest.mark.filterwarnings("ignore:.*:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("vehicle", EVERY)
@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("on_hold", [False, True])
async def test_the_turn_after_an_interruption_is_heard(
    vehicle: Vehicle, times: int, on_hold: bool
) -> None:
    """The interrupted turn is dropped, also during a pause, and the next turn is heard.

    Only `AudioHookTransport` keeps the beginning of a turn that follows immediately after a pause.
    """
    served = ServedPipeline(vehicle)

    async def script(caller: SimulatedCall) -> None:
        await served.running.wait()
        await served.queue(*utterance(4.0))
        await caller.wait_for_bot_audio()
        if on_hold:
            await caller.pause()
        await served.queue(*[InterruptionFrame() for _ in range(times)])
        await caller.wait_for_silence(0.3)
        if on_hold:
            await caller.resume()
        await say(served, caller, *utterance(0.6))

    outcome = await call(served, script)
    assert outcome.heard() < 2.5
    begin, end = outcome.loud()[-1]
    assert end - begin <= 0.7
    if vehicle is Vehicle.TRANSPORT:
        assert end - begin >= 0.55


async def test_an_interruption_before_the_session_is_open_drops_only_earlier_audio() -> None:
    """The turn that was queued before the interruption is dropped; the turn after it is heard."""
    served = ServedPipeline(Vehicle.TRANSPORT)

    async def speak() -> None:
        await served.running.wait()
        await served.queue(*utterance(2.0))
        await asyncio.sleep(0.1)
        await served.queue(InterruptionFrame())
        await asyncio.sleep(0.1)
        await served.queue(*utterance(0.6))

    async def script(caller: SimulatedCall) -> None:
        await caller.wait_for_bot_audio()
        await caller.wait_for_silence(0.8)

    speaking = asyncio.create_task(speak())
    outcome = await call(served, script, open_after=0.6)
    await speaking
    assert outcome.report.clean, outcome.report.violations
    assert 0.55 <= outcome.heard() <= 0.7


@pytest.mark.parametrize("vehicle", EVERY)
async def test_two_channel_bot_audio_is_heard_at_its_speed(vehicle: Vehicle) -> None:
    """One second is heard as one second with `AudioHookTransport`.

    Pipecat's output transport makes mono frames of the bytes. The serializers cannot learn that
    there were two channels, and the audio lasts twice as long.
    """
    mono = tone(1.0)
    stereo, size = audio.merge_stereo(mono, mono, 2), RATE // 10 * 4
    pieces = [stereo[at : at + size] for at in range(0, len(stereo), size)]
    served = ServedPipeline(vehicle)
    turn = utterance(1.0)
    turn[1:-1] = [TTSAudioRawFrame(piece, RATE, 2) for piece in pieces]

    async def script(caller: SimulatedCall) -> None:
        await say(served, caller, *turn)

    outcome = await call(served, script)
    if vehicle is Vehicle.TRANSPORT:
        assert 0.95 <= outcome.heard() <= 1.1
    else:
        # On a busy machine, Pipecat's serializer loses a part.
        assert 1.3 <= outcome.heard() <= 2.1


@pytest.mark.parametrize("vehicle", EVERY)
async def test_a_turn_whose_sample_rate_changes_is_heard_whole(vehicle: Vehicle) -> None:
    """A turn with audio at four sample rates is heard whole with `AudioHookTransport`.

    The resampler of Pipecat's output transport raises an exception if the rate changes again, and
    that audio is lost.
    """
    served = ServedPipeline(vehicle)
    turn = utterance(0.5)
    for rate in (24000, 8000, RATE):
        turn[-1:-1] = utterance(0.5, rate=rate)[1:-1]

    async def script(caller: SimulatedCall) -> None:
        await say(served, caller, *turn)

    outcome = await call(served, script)
    if vehicle is Vehicle.TRANSPORT:
        assert 1.95 <= outcome.heard() <= 2.1
    elif IS_NEWEST:
        assert outcome.heard() <= 1.7


@pytest.mark.parametrize("vehicle", EVERY)
async def test_audio_for_an_unregistered_destination_is_not_heard(vehicle: Vehicle) -> None:
    """Audio for a destination that the transport does not have is dropped, as in Pipecat."""
    served = ServedPipeline(vehicle)
    elsewhere = utterance(1.0)
    for frame in elsewhere:
        frame.transport_destination = "other"

    async def script(caller: SimulatedCall) -> None:
        await say(served, caller, *elsewhere, *utterance(0.6))

    outcome = await call(served, script)
    assert 0.35 <= outcome.heard() <= 0.7


class SwitchableSound(BaseAudioMixer):
    """A mixer that is silent until its settings switch a tone on."""

    def __init__(self) -> None:
        self.is_on = False

    async def start(self, sample_rate: int) -> None: ...

    async def stop(self) -> None: ...

    async def process_frame(self, frame: MixerControlFrame) -> None:
        if isinstance(frame, MixerUpdateSettingsFrame):
            self.is_on = frame.settings["on"]

    async def mix(self, audio: bytes) -> bytes:
        return tone(1.0)[: len(audio)] if self.is_on else audio


@pytest.mark.parametrize("vehicle", OURS)
async def test_a_mixer_switches_its_sound_during_the_call(vehicle: Vehicle) -> None:
    """The caller hears the sound from the frame that switches it on to the one that ends it."""
    served = ServedPipeline(vehicle, audio_out_mixer=SwitchableSound())

    async def script(caller: SimulatedCall) -> None:
        await served.running.wait()
        await asyncio.sleep(0.5)
        await served.queue(MixerUpdateSettingsFrame({"on": True}))
        await asyncio.sleep(1.0)
        await served.queue(MixerUpdateSettingsFrame({"on": False}))
        # A mixer never stops sending, so there is no event for the end of the sound.
        await asyncio.sleep(1.5)

    outcome = await call(served, script)
    begin, end = outcome.loud()[0][0], outcome.loud()[-1][1]
    assert begin >= 0.1
    assert end - begin >= 0.5
    assert end <= len(outcome.track) / WIRE_RATE - 0.3


async def test_speech_that_is_queued_during_on_opening_is_heard() -> None:
    """A greeting that the application queues before `opened` is sent after it, and is whole."""

    def prepare(served: ServedPipeline) -> None:
        @served.transport.call.event_handler("on_opening")
        async def on_opening(*_: Any) -> None:
            await served.running.wait()
            await served.queue(*utterance(1.0))
            await asyncio.sleep(0.5)

    served = ServedPipeline(Vehicle.TRANSPORT, prepare=prepare)

    async def script(caller: SimulatedCall) -> None:
        await caller.wait_for_bot_audio()
        await caller.wait_for_silence(0.8)

    outcome = await call(served, script)
    assert outcome.report.clean, outcome.report.violations
    assert 0.95 <= outcome.heard() <= 1.1
