"""Tests that bot audio which cannot be sent yet, and uninterruptible audio, is not lost."""

from __future__ import annotations

import asyncio
import gc
import time
from typing import Any

import pytest
from pipecat.audio.dtmf.types import KeypadEntry
from pipecat.audio.mixers.base_audio_mixer import BaseAudioMixer
from pipecat.frames.frames import (
    BotStoppedSpeakingFrame,
    InterruptionFrame,
    OutputAudioRawFrame,
    OutputDTMFFrame,
    TTSAudioRawFrame,
    TTSTextFrame,
)
from pipecat.transports import base_output
from pipecat_genesys.simulator import SimulatedCall
from vehicles import (
    EVERY,
    IS_NEWEST,
    OURS,
    UNSENT_AUDIO_IS_NOT_PACED,
    ServedPipeline,
    Tap,
    Vehicle,
    call,
    utterance,
)

KEEPS_UNINTERRUPTIBLE_WORDS = hasattr(base_output, "FramePriorityQueue")
HAS_UNINTERRUPTIBLE_AUDIO = hasattr(TTSAudioRawFrame(b"", 16000, 1), "interruptible")


@pytest.mark.skipif(
    not IS_NEWEST, reason="older pipecats drop frames queued while the pipeline starts"
)
@pytest.mark.parametrize("open_after", [0.0, 0.04, 0.4])
@pytest.mark.parametrize("vehicle", EVERY)
async def test_a_greeting_on_client_connected_is_heard(vehicle: Vehicle, open_after: float) -> None:
    def prepare(served: ServedPipeline) -> None:
        @served.transport.event_handler("on_client_connected")
        async def on_client_connected(*_: Any) -> None:
            await served.queue(*utterance(1.5))

    async def script(caller: SimulatedCall) -> None:
        await caller.wait_for_bot_audio()
        await caller.wait_for_silence(0.5)

    outcome = await call(ServedPipeline(vehicle, prepare=prepare), script, open_after=open_after)
    if vehicle in OURS:
        assert outcome.heard() == pytest.approx(1.5, abs=0.1)
    else:
        # Pipecat's serializer drops bot audio until the session is open.
        assert outcome.heard() >= 1.5 - open_after - 0.65


@pytest.mark.parametrize("vehicle", EVERY)
async def test_a_pause_in_mid_turn_loses_no_audio(vehicle: Vehicle) -> None:
    if vehicle is Vehicle.SERIALIZER and UNSENT_AUDIO_IS_NOT_PACED:
        pytest.skip("pipecat 1.8 and 1.9 do not pace audio that is not sent")
    served = ServedPipeline(vehicle)

    async def script(caller: SimulatedCall) -> None:
        await served.queue(*utterance(3.0))
        await caller.wait_for_bot_audio()
        await asyncio.sleep(0.8)
        await caller.pause()
        await asyncio.sleep(0.6)
        await caller.resume()
        await caller.wait_for_silence(1.5)

    outcome = await call(served, script)
    if vehicle is Vehicle.TRANSPORT:
        assert outcome.heard() == pytest.approx(3.0, abs=0.05)
    else:
        assert outcome.heard() >= 1.4


@pytest.mark.parametrize("vehicle", OURS)
async def test_an_answer_during_a_pause_is_heard_after_it(vehicle: Vehicle) -> None:
    served = ServedPipeline(vehicle)

    async def script(caller: SimulatedCall) -> None:
        await caller.pause()
        await asyncio.sleep(0.2)
        await served.queue(*utterance(1.0))
        await asyncio.sleep(0.6)
        await caller.resume()
        if vehicle is Vehicle.TRANSPORT:
            await caller.wait_for_bot_audio(10)
            await caller.wait_for_silence(0.5)
        else:
            await asyncio.sleep(1.8)

    outcome = await call(served, script)
    if vehicle is Vehicle.TRANSPORT:
        assert outcome.heard() == pytest.approx(1.0, abs=0.05)
    else:
        # Pipecat's transport sends in real time, so the audio during the pause is lost.
        assert outcome.heard() <= 0.9


@pytest.mark.skipif(not HAS_UNINTERRUPTIBLE_AUDIO, reason="pipecat 1.11 and newer")
@pytest.mark.parametrize("interruptions", [1, 2])
@pytest.mark.parametrize("vehicle", EVERY)
async def test_audio_that_may_not_be_interrupted_is_heard_whole(
    vehicle: Vehicle, interruptions: int
) -> None:
    served = ServedPipeline(vehicle)

    async def script(caller: SimulatedCall) -> None:
        await served.queue(*utterance(2.0, interruptible=False))
        await caller.wait_for_bot_audio()
        for _ in range(interruptions):
            await asyncio.sleep(0.5)
            await served.queue(InterruptionFrame())
        await caller.wait_for_silence(0.8)

    outcome = await call(served, script)
    assert outcome.heard() >= (1.9 if vehicle in OURS else 1.1)


@pytest.mark.skipif(not HAS_UNINTERRUPTIBLE_AUDIO, reason="pipecat 1.11 and newer")
async def test_interruptible_audio_behind_protected_audio_is_dropped() -> None:
    tap = Tap()
    served = ServedPipeline(Vehicle.TRANSPORT, after=[tap])

    async def script(caller: SimulatedCall) -> None:
        await served.queue(*utterance(1.5, interruptible=False), *utterance(3.0))
        await caller.wait_for_bot_audio()
        await asyncio.sleep(0.4)
        await served.queue(InterruptionFrame())
        await caller.wait_for_silence(0.8)

    outcome = await call(served, script)
    # The caller also hears the interruptible audio that was sent before the interruption. The
    # transport sends at most 1 s of audio before its playback.
    assert 1.45 <= outcome.heard() <= 2.6
    assert tap.seconds(TTSAudioRawFrame) == pytest.approx(outcome.heard(), abs=0.3)


# Pipecat 1.0 does not await one of its coroutines if two interruptions arrive at the same time.
@pytest.mark.filterwarnings("ignore:coroutine 'FrameProcessor:RuntimeWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("vehicle", EVERY)
async def test_interruptions_with_nothing_to_drop_change_nothing(vehicle: Vehicle) -> None:
    """An interruption has no effect on the next utterance if no bot audio is waiting."""
    served = ServedPipeline(vehicle)

    async def script(caller: SimulatedCall) -> None:
        await served.queue(InterruptionFrame(), InterruptionFrame())
        await asyncio.sleep(0.2)
        await served.queue(*utterance(0.8))
        await caller.wait_for_bot_audio()
        await caller.wait_for_silence(0.6)
        await served.queue(InterruptionFrame())
        await asyncio.sleep(0.2)
        await served.queue(*utterance(0.8))
        await caller.wait_for_bot_audio()
        await caller.wait_for_silence(0.6)

    outcome = await call(served, script)
    least = {Vehicle.TRANSPORT: 1.55, Vehicle.SERIALIZER: 1.1, Vehicle.PIPECAT: 1.0}[vehicle]
    assert outcome.heard() >= least


class Hum(BaseAudioMixer):
    """A mixer that replaces silence with quiet sound, and does not change other audio."""

    async def start(self, sample_rate: int) -> None: ...

    async def stop(self) -> None: ...

    async def process_frame(self, frame: Any) -> None: ...

    async def mix(self, audio: bytes) -> bytes:
        return audio if any(audio) else b"\x20\x00" * (len(audio) // 2)


@pytest.mark.parametrize("vehicle", OURS)
async def test_a_mixer_delays_no_answer_and_ends_no_speech(vehicle: Vehicle) -> None:
    """With a mixer, answers are not late, and the end of speech is reported at the right time."""
    if vehicle is Vehicle.SERIALIZER and UNSENT_AUDIO_IS_NOT_PACED:
        pytest.skip("pipecat 1.8 and 1.9 do not pace audio that is not sent")
    before, after = Tap(), Tap()
    served = ServedPipeline(vehicle, before=[before], after=[after], audio_out_mixer=Hum())
    asked: list[float] = []

    async def script(caller: SimulatedCall) -> None:
        await asyncio.sleep(1.0)
        asked.append(time.monotonic())
        await served.queue(*utterance(1.0))
        await asyncio.sleep(2.0)
        await caller.pause()
        paused = len(after.seen)
        await asyncio.sleep(1.0)
        # The mixer must not generate audio faster than real time while nothing is sent.
        assert len(after.seen) - paused < 60
        await caller.resume()

    outcome = await call(served, script)
    (begin, end), *rest = outcome.loud()
    assert not rest
    assert begin - (asked[0] - outcome.began) <= 0.6
    assert end - begin == pytest.approx(1.0, abs=0.1)
    stopped = [at - outcome.began for at in before.times(BotStoppedSpeakingFrame)]
    assert len(stopped) == 1
    assert stopped[0] == pytest.approx(end, abs=0.5)


@pytest.mark.parametrize("vehicle", OURS)
async def test_error_429_with_a_long_wait_is_obeyed_and_all_is_said(vehicle: Vehicle) -> None:
    served = ServedPipeline(vehicle)

    async def script(caller: SimulatedCall) -> None:
        await served.queue(*utterance(2.0))
        await caller.wait_for_bot_audio()
        await asyncio.sleep(0.5)
        error = {"code": 429, "message": "rate", "retryAfter": "PT2S"}
        caller._do(lambda now: caller._faults.send("error", error, now))
        await asyncio.sleep(2.5)
        await caller.wait_for_silence(1.0)

    outcome = await call(served, script)
    least = 1.95 if vehicle is Vehicle.TRANSPORT else 1.3
    assert outcome.heard() >= least


async def test_ten_minutes_at_once_are_taken_and_dropped_by_an_interruption() -> None:
    """The output accepts ten minutes of audio; an interruption drops the unsent audio."""
    served = ServedPipeline(Vehicle.TRANSPORT)

    async def script(caller: SimulatedCall) -> None:
        second = utterance(1.0)[1:-1]
        frames = [OutputAudioRawFrame(one.audio, one.sample_rate, 1) for one in second]
        for _ in range(600):
            await served.queue(*frames)
        await caller.wait_for_bot_audio()
        await asyncio.sleep(1.0)
        await served.queue(InterruptionFrame())
        await caller.wait_for_silence(1.0)

    outcome = await call(served, script)
    assert 0.8 <= outcome.heard() <= 2.0


@pytest.mark.skipif(not HAS_UNINTERRUPTIBLE_AUDIO, reason="pipecat 1.11 and newer")
async def test_words_that_were_not_heard_are_dropped_beside_protected_audio() -> None:
    """An interruption drops the interruptible words that are not due yet."""
    tap = Tap()
    served = ServedPipeline(Vehicle.TRANSPORT, after=[tap])

    def word(text: str, seconds: float, *, interruptible: bool = True) -> TTSTextFrame:
        frame = TTSTextFrame(text, "word")
        frame.pts = tap.get_clock().get_time() + round(seconds * 1e9)
        frame.interruptible = interruptible
        return frame

    async def script(caller: SimulatedCall) -> None:
        await served.queue(
            *utterance(2.0, interruptible=False),
            word("early", 0.1),
            word("next", 1.2),
            word("kept", 1.4, interruptible=False),
            word("late", 1.5),
        )
        await caller.wait_for_bot_audio()
        await asyncio.sleep(0.5)
        await served.queue(InterruptionFrame())
        await caller.wait_for_silence(0.8)

    outcome = await call(served, script)
    texts = [frame.text for _, frame, _ in tap.seen if isinstance(frame, TTSTextFrame)]
    assert texts == (["early", "kept"] if KEEPS_UNINTERRUPTIBLE_WORDS else ["early"])
    assert outcome.heard() >= 1.9
    assert all(at - outcome.began > 1.8 for at in tap.times(BotStoppedSpeakingFrame))


async def test_frames_that_pipecat_drops_are_not_kept() -> None:
    served = ServedPipeline(Vehicle.TRANSPORT)
    left: list[int] = []

    async def script(caller: SimulatedCall) -> None:
        for _ in range(10):
            await served.queue(*utterance(0.5), OutputDTMFFrame(button=KeypadEntry.ONE))
            await caller.wait_for_bot_audio()
            await served.queue(InterruptionFrame())
        await caller.wait_for_silence(0.5)
        gc.collect()
        left.append(len(served.transport.output()._sent))

    await call(served, script)
    assert left == [0]
