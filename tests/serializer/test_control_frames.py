"""Tests of frames for messages from Genesys, and of positions of audio samples in the stream."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from attached import AttachedCall
from calls import SerializerCall
from genesys import media
from pipecat.frames.frames import OutputTransportMessageUrgentFrame, SystemFrame
from pipecat_genesys import (
    GenesysCloseFrame,
    GenesysDiscardedFrame,
    GenesysOpenFrame,
    GenesysPausedFrame,
    GenesysPingFrame,
    GenesysPlaybackCompletedFrame,
    GenesysPlaybackStartedFrame,
    GenesysResumedFrame,
    GenesysUpdateFrame,
)

AUDIO = b"\xff" * 1600


async def receive(call: SerializerCall, type: str, parameters: Any = None) -> Any:
    return await call.serializer.deserialize(call.genesys.text(type, parameters))


class TestReplyFrames:
    async def test_reply_frames_carry_the_message_they_answer(self) -> None:
        call = SerializerCall()
        await call.connect()
        text = call.genesys.open(language="de-DE", inputVariables={"vip": "yes"})
        opening = await call.serializer.deserialize(text)
        assert isinstance(opening, GenesysOpenFrame)
        assert opening.opening.parameters.input_variables == {"vip": "yes"}
        assert opening.opening.media.raw == media()
        await call.serializer.serialize(opening)
        call.genesys.serverseq = 1
        ping = await receive(call, "ping", {"rtt": "PT0.025S"})
        assert isinstance(ping, GenesysPingFrame)
        assert ping.rtt == Fraction(25, 1000)
        assert (await receive(call, "ping")).rtt is None
        update = await receive(call, "update", {"language": "en-US"})
        assert isinstance(update, GenesysUpdateFrame)
        assert update.language == "en-US"
        close = await receive(call, "close", {"reason": "reconnect"})
        assert isinstance(close, GenesysCloseFrame)
        assert close.reason == "reconnect"
        for frame in (opening, ping, update, close):
            assert isinstance(frame, OutputTransportMessageUrgentFrame)


class TestSystemFrames:
    async def test_paused_frames_name_the_message_they_answer(self) -> None:
        call = AttachedCall()
        await call.open()
        own = await receive(call, "paused")
        call.genesys.position = "PT0.5S"
        resumed = await receive(call, "resumed", {"start": "PT0S", "discarded": "PT0.5S"})
        await call.serializer.call.pause()
        await call.sent_messages()
        ours = await receive(call, "paused")
        both = await receive(call, "paused")
        await call.serializer.call.resume()
        await call.sent_messages()
        still = await receive(call, "paused")
        assert call.serializer.is_paused
        for frame in (own, ours, both, still):
            assert isinstance(frame, GenesysPausedFrame)
            assert isinstance(frame, SystemFrame)
        assert [f.answers for f in (own, ours, both, still)] == [None, "pause", None, "resume"]
        assert isinstance(resumed, GenesysResumedFrame)
        assert (resumed.start, resumed.discarded, resumed.answers) == (0, Fraction(1, 2), None)
        assert call.serializer.call.faults == {}

    async def test_discarded_frame_has_the_gap_in_seconds(self) -> None:
        call = SerializerCall()
        await call.open()
        gap = {"start": "PT0S", "discarded": "PT0.000125S"}
        frame = await receive(call, "discarded", gap)
        assert isinstance(frame, GenesysDiscardedFrame)
        assert (frame.start, frame.discarded) == (0, Fraction(1, 8000))
        vague = await receive(call, "discarded", {"start": "now"})
        assert isinstance(vague, GenesysDiscardedFrame)
        assert (vague.start, vague.discarded) == (None, None)

    async def test_playback_messages_give_frames(self) -> None:
        call = SerializerCall()
        await call.open()
        assert isinstance(await receive(call, "playback_started"), GenesysPlaybackStartedFrame)
        assert isinstance(await receive(call, "playback_completed"), GenesysPlaybackCompletedFrame)


class TestStreamOffset:
    @pytest.mark.parametrize("rate", [8000, 16000, 24000])
    async def test_stream_offset_includes_gaps_and_pauses(self, rate: int) -> None:
        call = SerializerCall(rate)
        await call.open()
        packet, delay = rate // 5, Fraction(0 if rate == 8000 else 24, 8000)
        await call.serializer.deserialize(AUDIO)
        await receive(call, "discarded", {"start": "PT0.2S", "discarded": "PT1.3S"})
        call.genesys.position = "PT1.5S"
        await call.serializer.deserialize(AUDIO)
        call.genesys.position = "PT1.7S"
        await receive(call, "paused")
        await receive(call, "resumed", {"start": "PT1.7S", "discarded": "PT60S"})
        await call.serializer.deserialize(AUDIO)
        at = call.serializer.call.stream_offset
        later = packet + int(delay * rate)
        assert at(0) == 0
        assert at(packet // 2) == Fraction(1, 10) - delay
        assert at(later - 1) == Fraction(1, 5) - Fraction(1, rate)
        assert at(later) == Fraction(3, 2)
        assert at(2 * packet + int(delay * rate)) == Fraction(617, 10)
        assert at(800, 8000) == Fraction(1, 10) - delay
        assert call.serializer.call.samples_delivered == 3 * packet

    async def test_stream_offset_of_a_continued_session_starts_at_zero(self) -> None:
        call = SerializerCall(8000)
        await call.connect()
        call.genesys.position = "PT100S"
        await call.exchange(call.genesys.open())
        await call.serializer.deserialize(AUDIO)
        assert call.serializer.call.stream_offset(800) == Fraction(1, 10)
        assert call.serializer.call.samples_delivered == 1600

    async def test_stream_offset_includes_dropped_audio(self) -> None:
        call = SerializerCall(8000)
        await call.open()
        await call.serializer.deserialize(AUDIO)
        # Pipecat's serializer drops the audio that arrives after `pause`.
        await receive(call, "pause")
        assert await call.serializer.deserialize(AUDIO) is None
        call.serializer.create_resumed_response()
        assert await call.serializer.deserialize(AUDIO) is not None
        assert call.serializer.call.stream_offset(1599) == Fraction(1599, 8000)
        assert call.serializer.call.stream_offset(1600) == Fraction(3200, 8000)
        assert call.serializer.call.samples_delivered == 3200
