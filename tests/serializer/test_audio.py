"""Tests of the audio of a call in the serializer, in packets and frames of any size."""

from __future__ import annotations

import asyncio
import json
import random
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
import pytest
from calls import SerializerCall
from genesys import media
from hypothesis import given
from hypothesis import strategies as st
from loguru import logger
from pipecat.frames.frames import EndFrame, InterruptionFrame, OutputAudioRawFrame
from pipecat.transports.websocket.fastapi import FastAPIWebsocketParams
from pipecat_genesys import audio, genesys_params

SPEECH = random.Random(7).randbytes(4000)


def cuts(sizes: list[int], total: int, unit: int = 1) -> list[tuple[int, int]]:
    """Return start and end of slices with the given sizes, and of a last slice with the rest."""
    edges = [0, *(min(total, e * unit) for e in accumulate(sizes)), total]
    return list(pairwise(edges))


@given(
    sizes=st.lists(st.integers(1, 1700), max_size=12),
    rate=st.sampled_from([8000, 16000, 24000, 48000, 44100]),
    format=st.sampled_from(["PCMU", "L16"]),
)
def test_all_caller_audio_arrives_for_any_packet_sizes(
    sizes: list[int], rate: int, format: str
) -> None:
    width = 1 if format == "PCMU" else 2

    async def run() -> bytes:
        call = SerializerCall(rate, media_format=format)
        await call.open(media(format))
        frames = [
            await call.serializer.deserialize(SPEECH[a:b])
            for a, b in cuts(sizes, len(SPEECH), width)
            if b > a
        ]
        assert call.serializer.call.faults == {}
        return b"".join(f.audio for f in frames if f is not None)

    heard = asyncio.run(run())
    samples = len(SPEECH) // width
    assert len(heard) == 2 * (samples * rate // 8000)
    assert heard == audio.InboundAudio(format, 1, rate).process(SPEECH)[0]


@given(
    sizes=st.lists(st.integers(1, 5000), max_size=8),
    rate=st.sampled_from([8000, 16000, 24000, 48000]),
)
def test_all_bot_audio_is_sent_for_any_frame_sizes(sizes: list[int], rate: int) -> None:
    pcm = SPEECH[: len(SPEECH) // 12 * 12]

    async def run() -> bytes:
        call = SerializerCall(rate)
        await call.open()
        payloads = [
            await call.serializer.serialize(OutputAudioRawFrame(pcm[a:b], rate, 1))
            for a, b in cuts(sizes, len(pcm), 2)
        ]
        return b"".join(p for p in payloads if isinstance(p, bytes))

    sent = asyncio.run(run())
    assert len(sent) == len(pcm) // 2 * 8000 // rate
    assert sent == audio.OutboundAudio("PCMU", rate).process(pcm)


async def test_time_between_packets_does_not_change_the_audio() -> None:
    """A pause of 250 ms between two packets does not change the output.

    Pipecat's serializer loses audio if the pause exceeds 200 ms.
    """
    slow, fast = SerializerCall(), SerializerCall()
    await slow.open()
    await fast.open()
    halves = SPEECH[:1600], SPEECH[1600:3200]
    first = await slow.serializer.deserialize(halves[0])
    await asyncio.sleep(0.25)
    second = await slow.serializer.deserialize(halves[1])
    whole = await fast.serializer.deserialize(SPEECH[:3200])
    assert first.audio + second.audio == whole.audio


@pytest.mark.parametrize("channels", [("external", "internal"), ("internal", "external")])
@pytest.mark.parametrize("format", ["PCMU", "L16"])
async def test_channels_of_a_stereo_call_do_not_mix(channels: tuple[str, str], format: str) -> None:
    width = 1 if format == "PCMU" else 2
    wire = np.frombuffer(SPEECH, f"S{width}").reshape(-1, 2)
    alone = {
        name: audio.InboundAudio(format, 1, 16000).process(wire[:, i].tobytes())[0]
        for i, name in enumerate(channels)
    }
    expected = {
        (True, False): alone["external"],
        (False, True): alone["internal"],
        (True, True): audio.merge_stereo(alone["external"], alone["internal"], 2),
    }
    for (external, internal), pcm in expected.items():
        call = SerializerCall(
            process_external=external,
            process_internal=internal,
            media_format=format,
            channel="both",
        )
        await call.open(media(format, *channels))
        frame = await call.serializer.deserialize(SPEECH)
        assert frame.audio == pcm
        assert frame.num_channels == external + internal


async def test_incomplete_sample_at_the_end_is_dropped() -> None:
    call = SerializerCall(8000, media_format="L16")
    await call.open(media("L16"))
    frame = await call.serializer.deserialize(SPEECH[:1601])
    assert frame.audio == SPEECH[:1600]
    assert call.serializer.call.faults == {"audio-length": 1}


async def test_byte_order_of_l16_is_a_parameter() -> None:
    call = SerializerCall(8000, media_format="L16", l16_byteorder="big")
    await call.open(media("L16"))
    frame = await call.serializer.deserialize(b"\x01\x02\x03\x04")
    assert frame.audio == b"\x02\x01\x04\x03"
    sent = await call.serializer.serialize(OutputAudioRawFrame(b"\x01\x02" * 1600, 8000, 1))
    assert sent == b"\x02\x01" * 1600


async def test_sample_rate_of_bot_audio_may_change_during_a_call() -> None:
    call = SerializerCall()
    await call.open()
    first = await call.serializer.serialize(OutputAudioRawFrame(bytes(9600), 24000, 1))
    second = await call.serializer.serialize(OutputAudioRawFrame(bytes(6400), 16000, 1))
    # The first resampler still has 3 ms of audio, which are sent before the new audio.
    assert (first, second) == (b"\xff" * 1600, b"\xff" * 1624)


async def test_interruption_drops_audio_that_waits_for_opened() -> None:
    call = SerializerCall()
    await call.connect()
    opened = await call.serializer.deserialize(call.genesys.open())
    loud = OutputAudioRawFrame(b"\x00\x40" * 3200, 16000, 1)
    quiet = OutputAudioRawFrame(bytes(6400), 16000, 1)
    assert await call.serializer.serialize(loud) is None
    await call.serializer.serialize(InterruptionFrame())
    await call.serializer.serialize(opened)
    assert await call.serializer.serialize(quiet) == b"\xff" * 1600


@pytest.mark.parametrize(
    ("pcm", "rate", "channels", "said"),
    [
        (b"\x00" * 3201, 16000, 1, "3201"),
        (b"\x00" * 6400, 0, 1, "0"),
        (b"\x00" * 6402, 16000, 2, "6402"),
        (b"\x00" * 6402, 16000, 3, "3 channels"),
    ],
)
async def test_invalid_audio_raises_at_once(
    pcm: bytes, rate: int, channels: int, said: str
) -> None:
    call = SerializerCall()
    await call.open()
    with pytest.raises(ValueError, match=said):
        await call.serializer.serialize(OutputAudioRawFrame(pcm, rate, channels))


@pytest.mark.parametrize("rate", [0, -8000])
async def test_invalid_sample_rate_of_the_pipeline_raises_in_setup(rate: int) -> None:
    with pytest.raises(ValueError, match=str(rate)):
        await SerializerCall(rate).connect()


def test_invalid_sample_rate_raises_in_the_constructor() -> None:
    with pytest.raises(ValueError, match="-5"):
        SerializerCall(sample_rate=-5)


async def test_sample_rate_parameter_overrides_that_of_the_pipeline() -> None:
    call = SerializerCall(16000, sample_rate=24000)
    await call.open()
    frame = await call.serializer.deserialize(b"\xff" * 160)
    assert (frame.sample_rate, len(frame.audio)) == (24000, 960)


@pytest.fixture
def warnings() -> Any:
    lines: list[str] = []
    sink = logger.add(lambda message: lines.append(message.record["message"]), level="WARNING")
    yield lines
    logger.remove(sink)


async def test_short_chunks_warn_once_and_name_the_parameter(warnings: list[str]) -> None:
    call = SerializerCall()
    await call.open()
    for _ in range(10):
        assert await call.serializer.serialize(OutputAudioRawFrame(bytes(1280), 16000, 1))
    assert len(warnings) == 1
    assert "audio_out_10ms_chunks=20" in warnings[0]


async def test_chunks_of_200_ms_do_not_warn(warnings: list[str]) -> None:
    call = SerializerCall()
    await call.open()
    await call.serializer.serialize(OutputAudioRawFrame(bytes(6400), 16000, 1))
    assert warnings == []


async def test_bot_audio_on_a_listen_only_medium_is_dropped_with_one_warning(
    warnings: list[str],
) -> None:
    call = SerializerCall()
    await call.open(media("PCMU", "internal"))
    for _ in range(3):
        assert await call.serializer.serialize(OutputAudioRawFrame(bytes(6400), 16000, 1)) is None
    assert len(warnings) == 1


def test_genesys_params_are_valid_for_the_stock_transport() -> None:
    serializer = SerializerCall().serializer
    params = genesys_params(serializer, audio_out_sample_rate=24000)
    assert params.keys() <= FastAPIWebsocketParams.model_fields.keys()
    made = FastAPIWebsocketParams(**params)
    assert made.serializer is serializer
    assert made.audio_in_enabled
    assert made.audio_out_enabled
    assert (made.audio_out_10ms_chunks, made.audio_out_end_silence_secs) == (20, 0)
    assert made.audio_out_sample_rate == 24000


async def test_short_chunks_of_l16_warn(warnings: list[str]) -> None:
    call = SerializerCall(media_format="L16")
    await call.open(media("L16"))
    await call.serializer.serialize(OutputAudioRawFrame(bytes(6400), 16000, 1))
    assert warnings == []
    await call.serializer.serialize(OutputAudioRawFrame(bytes(3200), 16000, 1))
    assert len(warnings) == 1


class TestAudioBeforeOpened:
    """Tests of audio that the bot sends before `opened`. A slow pipeline delays `opened`."""

    async def early(self, chunks: int) -> tuple[SerializerCall, Any]:
        call = SerializerCall(8000)
        await call.connect()
        opened = await call.serializer.deserialize(call.genesys.open())
        for n in range(chunks):
            frame = OutputAudioRawFrame(bytes([n + 1, 0]) * 1600, 8000, 1)
            assert await call.serializer.serialize(frame) is None
        return call, opened

    async def test_audio_is_sent_in_order_with_the_next_frame(self) -> None:
        call, opened = await self.early(3)
        await call.serializer.serialize(opened)
        sent = await call.serializer.serialize(OutputAudioRawFrame(bytes(3200), 8000, 1))
        pcm = b"".join(bytes([n, 0]) * 1600 for n in (1, 2, 3, 0))
        assert sent == audio.ulaw_encode(pcm)

    async def test_audio_longer_than_a_message_is_sent_in_two(self, warnings: list[str]) -> None:
        call, opened = await self.early(45)
        assert len(warnings) == 1
        await call.serializer.serialize(opened)
        frame = OutputAudioRawFrame(bytes(3200), 8000, 1)
        sizes = [len(await call.serializer.serialize(frame)) for _ in range(3)]
        # The first message has the maximum size; the second message has the remaining audio.
        assert sizes == [64_000, 3200, 1600]

    @pytest.mark.parametrize("end", [InterruptionFrame(), EndFrame()])
    async def test_audio_is_dropped_with_a_warning_at_interruption_and_end(
        self, end: Any, warnings: list[str]
    ) -> None:
        call, opened = await self.early(2)
        await call.serializer.serialize(opened)
        assert await call.serializer.serialize(end) is not None
        assert len(warnings) == 1
        assert "3200 bytes" in warnings[0]


async def test_session_without_a_medium_carries_no_audio() -> None:
    call = SerializerCall()
    await call.connect()
    raw = json.loads(call.genesys.probe())
    raw["parameters"]["media"] = []
    await call.exchange(json.dumps(raw))
    speech = OutputAudioRawFrame(bytes(6400), 16000, 1)
    assert await call.serializer.serialize(speech) is None
    await call.send_unanswered(b"\xff" * 1600)


async def test_new_sample_rate_after_an_interruption_starts_without_rest_of_the_old_audio() -> None:
    call = SerializerCall()
    await call.open()
    await call.serializer.serialize(OutputAudioRawFrame(bytes(9600), 24000, 1))
    await call.serializer.serialize(InterruptionFrame())
    sent = await call.serializer.serialize(OutputAudioRawFrame(bytes(6400), 16000, 1))
    assert sent == b"\xff" * 1600


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("audio_out_fixed_packet_size", "fixed_audio_packet_size"),
        ("audio_out_10ms_chunk", "chunks"),
    ],
)
def test_unknown_transport_parameter_raises_with_a_suggestion(name: str, near: str) -> None:
    with pytest.raises(TypeError, match=f"{name}.*{near}"):
        genesys_params(SerializerCall().serializer, **{name: 1600})
