"""Tests that the output pushes frames when the caller has heard the audio before them."""

from __future__ import annotations

import asyncio

import pytest
from pipecat.frames.frames import (
    BotStartedSpeakingFrame,
    BotStoppedSpeakingFrame,
    ControlFrame,
    DataFrame,
    EndFrame,
    InterruptionFrame,
    OutputAudioRawFrame,
    OutputTransportMessageFrame,
    TTSAudioRawFrame,
    TTSTextFrame,
)
from pipecat.transports.base_transport import TransportParams
from pipecat_genesys.simulator import SimulatedCall
from vehicles import EVERY, OURS, RATE, ServedPipeline, Tap, Vehicle, call, tone, utterance


class Marker(DataFrame):
    """A data frame of the application between two utterances."""


class Divider(ControlFrame):
    """A control frame of the application between two utterances."""


@pytest.mark.parametrize("vehicle", EVERY)
async def test_frames_behind_audio_come_when_the_caller_has_heard_it(vehicle: Vehicle) -> None:
    tap = Tap()
    served = ServedPipeline(vehicle, after=[tap])

    async def script(caller: SimulatedCall) -> None:
        await served.queue(*utterance(1.0), Marker(), *utterance(1.0), Divider())
        await caller.wait_for_bot_audio()
        await caller.wait_for_silence(0.5)

    outcome = await call(served, script)
    (marker,), (divider,) = tap.times(Marker), tap.times(Divider)
    (begin, end), *rest = outcome.loud()
    if rest:
        end = rest[-1][1]
    # Frames leave Pipecat's transport 0.2 s before the caller hears the audio, and leave our
    # transport when the caller hears the audio.
    early = 0.12 if vehicle is Vehicle.TRANSPORT else 0.45
    assert begin + 1.0 - early <= marker - outcome.began <= begin + 1.0 + 0.3
    assert end - early <= divider - outcome.began <= end + 0.3


# Pipecat's serializer is not tested here: its resampler delays speech, so the frames are pushed at
# other times than the speech.
@pytest.mark.parametrize("vehicle", OURS)
async def test_bot_speaking_frames_surround_what_the_caller_hears(vehicle: Vehicle) -> None:
    """The bot speaking frames are pushed when the caller hears the start and the end of a turn."""
    tap = Tap()
    served = ServedPipeline(vehicle, before=[tap])

    async def script(caller: SimulatedCall) -> None:
        for _ in range(2):
            await served.queue(*utterance(1.0))
            await caller.wait_for_bot_audio()
            await caller.wait_for_silence(0.6)

    outcome = await call(served, script)
    assert len(tap.times(BotStartedSpeakingFrame)) == len(tap.times(BotStoppedSpeakingFrame)) == 2
    early = 0.12 if vehicle is Vehicle.TRANSPORT else 0.45
    stretches = outcome.loud()
    for started, stopped in zip(
        tap.times(BotStartedSpeakingFrame), tap.times(BotStoppedSpeakingFrame), strict=True
    ):
        begin = min(stretches, key=lambda one: abs(one[0] + outcome.began - started))[0]
        end = min(stretches, key=lambda one: abs(one[1] + outcome.began - stopped))[1]
        assert -0.3 <= started - outcome.began - begin <= 0.3
        assert -early <= stopped - outcome.began - end <= 0.4


@pytest.mark.parametrize("vehicle", EVERY)
async def test_an_interruption_leaves_downstream_only_what_was_heard(vehicle: Vehicle) -> None:
    """Processors after the output receive only the audio and text that the caller heard."""
    tap = Tap()
    served = ServedPipeline(vehicle, after=[tap])

    async def script(caller: SimulatedCall) -> None:
        frames = []
        for number in range(4):
            frames += [
                *utterance(1.0),
                TTSTextFrame(f"sentence {number}", "sentence"),
            ]
        await served.queue(*frames)
        await caller.wait_for_bot_audio()
        await asyncio.sleep(1.5)
        await served.queue(InterruptionFrame())
        await asyncio.sleep(1.0)

    outcome = await call(served, script)
    texts = [frame.text for _, frame, _ in tap.seen if isinstance(frame, TTSTextFrame)]
    assert texts == ["sentence 0"]
    assert 1.2 <= outcome.heard() <= 2.0
    ahead = 0.15 if vehicle is Vehicle.TRANSPORT else 0.5
    assert tap.seconds(TTSAudioRawFrame) == pytest.approx(outcome.heard(), abs=ahead)


@pytest.mark.parametrize("vehicle", OURS)
async def test_a_disconnect_queued_behind_speech_follows_the_speech(vehicle: Vehicle) -> None:
    served = ServedPipeline(vehicle)

    async def script(caller: SimulatedCall) -> None:
        message = {"version": "2", "type": "disconnect"}
        message["parameters"] = {"reason": "completed", "outputVariables": {"queue": "billing"}}
        await served.queue(*utterance(2.0), OutputTransportMessageFrame(message=message))

    outcome = await call(served, script, hang_up=False)
    assert outcome.report.ending.output_variables == {"queue": "billing"}
    if vehicle is Vehicle.TRANSPORT:
        assert outcome.heard() == pytest.approx(2.0, abs=0.05)
    else:
        # Pipecat's transport does not send the last chunk, so the caller may hear less than 2 s.
        assert 1.5 <= outcome.heard() <= 2.05


@pytest.mark.parametrize("vehicle", EVERY)
async def test_an_end_frame_behind_speech_lets_the_caller_hear_it(vehicle: Vehicle) -> None:
    served = ServedPipeline(vehicle)

    async def script(caller: SimulatedCall) -> None:
        await served.queue(*utterance(2.0), EndFrame())

    outcome = await call(served, script, hang_up=False)
    least = {Vehicle.TRANSPORT: 1.95, Vehicle.SERIALIZER: 1.5, Vehicle.PIPECAT: 1.4}[vehicle]
    assert least <= outcome.heard() <= 2.05


@pytest.mark.parametrize("vehicle", EVERY)
@pytest.mark.parametrize("rate", [8000, 24000, 48000])
async def test_audio_of_another_rate_is_heard_whole(vehicle: Vehicle, rate: int) -> None:
    served = ServedPipeline(vehicle)

    async def script(caller: SimulatedCall) -> None:
        await served.queue(*utterance(0.8, rate=rate), *utterance(0.8))
        await caller.wait_for_bot_audio()
        await caller.wait_for_silence(0.6)

    outcome = await call(served, script)
    # The more the machine has to do, the more Pipecat's serializer loses.
    least = {Vehicle.TRANSPORT: 1.55, Vehicle.SERIALIZER: 1.35, Vehicle.PIPECAT: 0.9}[vehicle]
    assert least <= outcome.heard() <= 1.75


@pytest.mark.parametrize("vehicle", EVERY)
async def test_audio_pushed_by_another_task_is_heard(vehicle: Vehicle) -> None:
    served = ServedPipeline(vehicle)

    async def script(caller: SimulatedCall) -> None:
        pcm, size = tone(1.0), RATE // 10 * 2
        for at in range(0, len(pcm), size):
            frame = OutputAudioRawFrame(pcm[at : at + size], RATE, 1)
            await served.transport.output().send_audio(frame)
        await caller.wait_for_bot_audio()
        await caller.wait_for_silence(0.5)

    outcome = await call(served, script)
    least = {Vehicle.TRANSPORT: 0.95, Vehicle.SERIALIZER: 0.75, Vehicle.PIPECAT: 0.6}[vehicle]
    assert least <= outcome.heard() <= 1.05


@pytest.mark.skipif(
    "audio_out_volume" not in TransportParams.model_fields,
    reason="pipecat before 1.13 has no output volume",
)
@pytest.mark.parametrize("vehicle", EVERY)
async def test_frames_of_the_application_are_not_modified(vehicle: Vehicle) -> None:
    clip = TTSAudioRawFrame(tone(0.3), RATE, 1)
    served = ServedPipeline(vehicle, audio_out_volume=0.5)

    async def script(caller: SimulatedCall) -> None:
        for _ in range(2):
            await served.queue(*utterance(0.0), clip)
            await caller.wait_for_bot_audio()
            await caller.wait_for_silence(0.5)

    await call(served, script)
    assert clip.audio == tone(0.3)
