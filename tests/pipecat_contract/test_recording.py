"""Tests that each sound is at the right time in both tracks of Pipecat's recorder.

The caller and the bot send short noises, and no two noises are equal. The tests compare the time at
which a noise was said or heard with its position in the recording.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from pipecat.audio.mixers.base_audio_mixer import BaseAudioMixer
from pipecat.frames.frames import (
    Frame,
    InterruptionFrame,
    TTSAudioRawFrame,
    TTSStartedFrame,
    TTSStoppedFrame,
)
from pipecat.processors.audio.audio_buffer_processor import AudioBufferProcessor
from pipecat_genesys import audio
from pipecat_genesys.simulator import SimulatedCall
from vehicles import RATE, WIRE_RATE, ServedPipeline, Vehicle, call

NOISE_SECONDS = 0.06
# Rate of the pipeline's output if the application sets no rate.
DEFAULT_RATE = 24000


def noise(number: int, rate: int) -> np.ndarray:
    """Return a noise below 3 kHz as 16-bit samples; each number has a different noise."""
    size = round(NOISE_SECONDS * WIRE_RATE)
    spectrum = np.fft.rfft(np.random.default_rng(number).standard_normal(size))
    spectrum[len(spectrum) * 3 // 4 :] = 0
    samples = np.fft.irfft(spectrum, size * rate // WIRE_RATE)
    return (samples * 12000 / np.abs(samples).max()).astype("<i2")


def noises(first: int, seconds: float, rate: int) -> bytes:
    """Return audio with a noise every 0.3 s, as 16-bit PCM."""
    track = np.zeros(round(seconds * rate), "<i2")
    for count, at in enumerate(range(0, len(track) - rate // 10, rate * 3 // 10)):
        one = noise(first + count, rate)
        track[at : at + len(one)] = one
    return track.tobytes()


def find(track: np.ndarray, number: int, rate: int) -> float | None:
    """Return the position of a noise in a track, in seconds; None if the track does not have it."""
    wanted = noise(number, rate).astype(float)
    size = 1 << (len(track) + len(wanted)).bit_length()
    spectrum = np.fft.rfft(track, size) * np.conj(np.fft.rfft(wanted, size))
    at = int(np.fft.irfft(spectrum, size)[: len(track)].argmax())
    found = track[at : at + len(wanted)].astype(float)
    if len(found) < len(wanted):
        return None
    likeness = (found * wanted).sum() / np.sqrt((found**2).sum() * (wanted**2).sum() + 1)
    return at / rate if likeness > 0.7 else None


@dataclass
class Recording:
    """A recording, compared with what the caller said and heard.

    Attributes:
        seconds: The length of the recording.
        lasted: Seconds between the start and the stop of the recording.
        early: Seconds by which the noises of the bot are too early in the recording, compared with
            the noises of the caller.
        caller_shift: Seconds between the smallest and the largest delay of the caller's noises in
            the recording.
        not_recorded: Number of noises that the caller heard and that are not in the recording.
        not_heard: Number of noises in the recording that the caller did not hear.
    """

    seconds: float
    lasted: float
    early: list[float]
    caller_shift: float
    not_recorded: int
    not_heard: int


async def record(
    vehicle: Vehicle, *, rate: int | None = RATE, interrupt: bool = False, **options: Any
) -> Recording:
    """Record a call with two turns of the bot, during which the caller speaks all the time.

    Args:
        vehicle: The transport.
        rate: Sample rate of the pipeline; None for Pipecat's rates, 16 and 24 kHz.
        interrupt: Whether the first turn is interrupted after 0.75 s.
        **options: The network's `rtt`, and parameters of the transport.
    """
    recorder = AudioBufferProcessor(num_channels=2)
    tracks: dict[str, Any] = {}

    @recorder.event_handler("on_track_audio_data")
    async def on_track_audio_data(_: Any, user: bytes, bot: bytes, rate: int, *rest: Any) -> None:
        tracks.update(user=user, bot=bot, rate=rate)

    rtt = options.pop("rtt", 0.04)
    served = ServedPipeline(vehicle, after=[recorder], rate=rate, **options)
    has_mixer = "audio_out_mixer" in options
    lasted: list[float] = []

    async def script(caller: SimulatedCall) -> None:
        await served.running.wait()
        # Start the recording after caller audio has arrived; otherwise it begins too late.
        await asyncio.sleep(0.25 + rtt)
        await recorder.start_recording()
        began = time.monotonic()
        speech = audio.ulaw_encode(noises(1000, 12.0, WIRE_RATE))
        speaking = asyncio.create_task(caller.say(speech))
        for turn in range(2):
            await asyncio.sleep(0.3 + 0.13 * turn)
            await served.queue(*spoken_turn(turn, rate or DEFAULT_RATE))
            if has_mixer:
                # With a mixer, the transport sends audio all the time.
                await asyncio.sleep(1.8)
                continue
            await caller.wait_for_bot_audio()
            if interrupt and turn == 0:
                await asyncio.sleep(0.75)
                await served.queue(InterruptionFrame())
            await caller.wait_for_silence(0.2)
        lasted.append(time.monotonic() - began)
        await recorder.stop_recording()
        await asyncio.sleep(0.1)
        speaking.cancel()

    outcome = await call(served, script, rtt=rtt)
    said, heard = (np.frombuffer(one, "<i2") for one in (outcome.spoken, outcome.track))
    user, bot = (np.frombuffer(tracks[name], "<i2") for name in ("user", "bot"))
    recorded_rate: int = tracks["rate"]

    def places(first: int, count: int, real: np.ndarray, track: np.ndarray) -> list[Any]:
        return [
            (find(real, number, WIRE_RATE), find(track, number, recorded_rate))
            for number in range(first, first + count)
        ]

    caller_places = [place for place in places(1000, 40, said, user) if None not in place]
    bot_places = [one for turn in range(2) for one in places(2000 + 100 * turn, 5, heard, bot)]
    shifts = [(at, position - at) for at, position in caller_places]
    early = []
    for at, position in bot_places:
        if at is not None and position is not None:
            _, shift = min(shifts, key=lambda one: abs(one[0] - at))
            early.append(shift - (position - at))
    return Recording(
        seconds=len(bot) / recorded_rate,
        lasted=lasted[0],
        early=early,
        caller_shift=max(shift for _, shift in shifts) - min(shift for _, shift in shifts),
        not_recorded=sum(at is not None and position is None for at, position in bot_places),
        not_heard=sum(at is None and position is not None for at, position in bot_places),
    )


def spoken_turn(turn: int, rate: int) -> list[Frame]:
    pcm, size = noises(2000 + 100 * turn, 1.4, rate), rate // 10 * 2
    pieces = [pcm[at : at + size] for at in range(0, len(pcm), size)]
    return [
        TTSStartedFrame(),
        *[TTSAudioRawFrame(piece, rate, 1) for piece in pieces],
        TTSStoppedFrame(),
    ]


@pytest.mark.parametrize(
    ("options", "most_not_recorded"),
    [
        # The interruption can cut a noise.
        ({"rate": None}, 1),
        # The caller hears two more noises until `barge_in` arrives. The recording is stopped before
        # the server knows that the caller has heard the last noise.
        ({"rtt": 0.4}, 4),
    ],
    ids=["40 ms, default rates", "400 ms, one rate"],
)
async def test_a_recording_is_as_long_as_the_call_and_its_tracks_are_aligned(
    options: dict[str, Any], most_not_recorded: int
) -> None:
    recording = await record(Vehicle.TRANSPORT, interrupt=True, **options)
    assert len(recording.early) >= 4
    assert max(map(abs, recording.early)) <= 0.05
    assert recording.caller_shift <= 0.05
    # A recording ends with the last packet that arrived. On a busy machine, packets are late.
    assert recording.seconds == pytest.approx(recording.lasted, abs=0.25)
    assert recording.not_recorded <= most_not_recorded
    assert recording.not_heard == 0


class Quiet(BaseAudioMixer):
    """A mixer that adds no sound."""

    async def start(self, sample_rate: int) -> None: ...

    async def stop(self) -> None: ...

    async def process_frame(self, frame: Any) -> None: ...

    async def mix(self, audio: bytes) -> bytes:
        return audio


async def test_background_sound_does_not_separate_the_tracks() -> None:
    recording = await record(Vehicle.TRANSPORT, audio_out_mixer=Quiet())
    assert len(recording.early) >= 9
    assert max(map(abs, recording.early)) <= 0.25


async def test_a_recording_with_the_serializer_has_the_bot_too_early() -> None:
    """With the serializer, the earliest noise of the bot is 0.1 to 0.6 s too early."""
    recording = await record(Vehicle.SERIALIZER)
    assert 0.1 <= max(recording.early) <= 0.6
