"""Tests of Pipecat's recorder, mixer, noise filter and key tones in a call."""

from __future__ import annotations

import asyncio
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pipecat.audio.dtmf.types import KeypadEntry
from pipecat.frames.frames import (
    BotStartedSpeakingFrame,
    BotStoppedSpeakingFrame,
    InputAudioRawFrame,
    MixerEnableFrame,
    OutputDTMFFrame,
    OutputDTMFUrgentFrame,
)
from pipecat.processors.audio.audio_buffer_processor import AudioBufferProcessor
from pipecat_genesys.simulator import SimulatedCall
from vehicles import RATE, WIRE_RATE, CallOutcome, ServedPipeline, Tap, Vehicle, call, utterance

from .bot import INTERRUPTION, QUESTION


def spectrum(outcome: CallOutcome, begin: float, end: float) -> list[float]:
    """Return the two strongest frequencies, in Hz, in a section of the audio of the bot."""
    part = np.array(outcome.track[int(begin * WIRE_RATE) : int(end * WIRE_RATE)], dtype=float)
    power = np.abs(np.fft.rfft(part * np.hanning(len(part))))
    strongest: list[float] = []
    for at in np.argsort(power)[::-1]:
        frequency = at * WIRE_RATE / len(part)
        if all(abs(frequency - one) > 60 for one in strongest):
            strongest.append(frequency)
        if len(strongest) == 2:
            break
    return sorted(strongest)


def loud(pcm: bytes, rate: int) -> list[tuple[float, float]]:
    """Return start and end of each audible section of 16-bit PCM, in seconds."""
    samples = np.frombuffer(pcm, dtype=np.int16).astype(int)
    audible = np.flatnonzero(np.abs(samples) > 1000) / rate
    if not len(audible):
        return []
    gaps = np.flatnonzero(np.diff(audible) > 0.3)
    begins = [audible[0], *audible[gaps + 1]]
    ends = [*audible[gaps], audible[-1]]
    return [(float(begin), float(end)) for begin, end in zip(begins, ends, strict=True)]


async def test_a_recording_has_the_pauses_of_the_conversation() -> None:
    recorder = AudioBufferProcessor(sample_rate=RATE, num_channels=2)
    served = ServedPipeline(Vehicle.TRANSPORT, after=[recorder])
    tracks: list[bytes] = []
    delivered = asyncio.Event()

    @recorder.event_handler("on_track_audio_data")
    async def on_track_audio_data(_: Any, user: bytes, bot: bytes, *rest: Any) -> None:
        tracks.extend((user, bot))
        delivered.set()

    async def script(caller: SimulatedCall) -> None:
        await asyncio.wait_for(served.running.wait(), 5)
        await recorder.start_recording()
        for speech in (INTERRUPTION, None):
            await served.queue(*utterance(1.0))
            await caller.wait_for_bot_audio()
            await caller.wait_for_silence(0.4)
            if speech is not None:
                await caller.say(speech)
        await recorder.stop_recording()
        await asyncio.wait_for(delivered.wait(), 5)

    outcome = await call(served, script)
    user, spoken = tracks
    assert abs(len(user) - len(spoken)) / 2 / RATE < 0.25
    first, second = loud(spoken, RATE)
    words = loud(user, RATE)
    heard = outcome.loud()
    pause = heard[1][0] - heard[0][1]
    assert second[0] - first[1] == pytest.approx(pause, abs=0.25)
    assert first[1] < words[0][0]
    # Caller audio arrives in packets of 200 ms, so its track is later than the bot's track.
    assert words[-1][1] < second[0] + 0.5


def write_hum(path: Path, rate: int) -> None:
    """Write a soft 200 Hz tone of one second as a WAV file."""
    wave_form = 3000 * np.sin(2 * np.pi * 200 * np.arange(rate) / rate)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(wave_form.astype("<i2").tobytes())


async def test_a_mixer_is_heard_between_turns_and_delays_no_turn(tmp_path: Path) -> None:
    mixers = pytest.importorskip("pipecat.audio.mixers.soundfile_mixer")
    write_hum(tmp_path / "hum.wav", RATE)
    mixer = mixers.SoundfileMixer(
        sound_files={"hum": str(tmp_path / "hum.wav")}, default_sound="hum", volume=1.0
    )
    tap = Tap()
    served = ServedPipeline(Vehicle.TRANSPORT, before=[tap], audio_out_mixer=mixer)
    asked: list[float] = []

    async def script(caller: SimulatedCall) -> None:
        await caller.wait_for_bot_audio()
        await asyncio.sleep(0.5)
        asked.append(asyncio.get_running_loop().time())
        await served.queue(*utterance(1.0))
        await tap.wait_for(BotStoppedSpeakingFrame)
        await asyncio.sleep(0.5)
        await served.queue(MixerEnableFrame(enable=False))
        await asyncio.sleep(0.8)

    outcome = await call(served, script)
    (started,) = tap.times(BotStartedSpeakingFrame)
    (stopped,) = tap.times(BotStoppedSpeakingFrame)
    assert started - asked[0] < 0.6
    assert 0.7 < stopped - started < 2.0
    begin, end = outcome.loud()[0]
    # The hum is audible before, during and after the turn, until it is switched off.
    assert end - begin > 1.8
    assert spectrum(outcome, begin + 0.1, begin + 0.4)[0] == pytest.approx(200, abs=15)
    assert outcome.report.duration - end > 0.2


def key_five(outcome: CallOutcome) -> list[float]:
    """Return the times at which the caller heard the tone of key 5, in seconds since `open`."""
    begin, end = outcome.loud()[0][0], outcome.loud()[-1][1]
    return [
        at
        for at in np.arange(begin, end - 0.05, 0.02)
        if spectrum(outcome, at, at + 0.05) == pytest.approx([770, 1336], abs=30)
    ]


async def test_key_tones_are_heard_in_order_with_speech() -> None:
    tap = Tap()
    served = ServedPipeline(Vehicle.TRANSPORT, after=[tap])

    async def script(caller: SimulatedCall) -> None:
        frame = OutputDTMFFrame(button=KeypadEntry.FIVE)
        await served.queue(*utterance(1.0), frame, *utterance(1.0))
        await caller.wait_for_bot_audio()
        await caller.wait_for_silence(0.5)

    outcome = await call(served, script)
    begin = outcome.loud()[0][0]
    times = key_five(outcome)
    assert times[0] - begin == pytest.approx(1.0, abs=0.1)
    assert times[-1] - begin < 1.5
    assert outcome.heard() == pytest.approx(2.0 + times[-1] - times[0], abs=0.2)
    assert len(tap.times(OutputDTMFFrame)) == 1


async def test_an_urgent_key_tone_does_not_wait_for_the_end_of_the_turn() -> None:
    served = ServedPipeline(Vehicle.TRANSPORT)

    async def script(caller: SimulatedCall) -> None:
        await served.queue(*utterance(4.0))
        await caller.wait_for_bot_audio()
        await served.queue(OutputDTMFUrgentFrame(button=KeypadEntry.FIVE))
        await caller.wait_for_silence(0.5)

    outcome = await call(served, script)
    assert key_five(outcome)[0] - outcome.loud()[0][0] < 2.6


async def test_a_noise_filter_keeps_the_length_of_the_callers_audio() -> None:
    pytest.importorskip("pyrnnoise", reason="RNNoise needs pipecat-ai[rnnoise]")
    from pipecat.audio.filters.rnnoise_filter import RNNoiseFilter

    tap = Tap()
    served = ServedPipeline(Vehicle.TRANSPORT, before=[tap], audio_in_filter=RNNoiseFilter())

    async def script(caller: SimulatedCall) -> None:
        await caller.say(QUESTION)

    outcome = await call(served, script)
    assert tap.seconds(InputAudioRawFrame) == pytest.approx(outcome.report.duration, abs=0.5)
