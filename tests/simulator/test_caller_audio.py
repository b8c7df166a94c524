"""Tests of caller audio that a server receives over a real socket: parties, formats and timing."""

from __future__ import annotations

import asyncio
import wave
from pathlib import Path
from typing import Any

import pytest
from pipecat_genesys import audio
from pipecat_genesys.protocol.types import AudioHookChannel, AudioHookMediaFormat
from pipecat_genesys.simulator import (
    CallOptions,
    CallStateError,
    SimulatedCall,
    as_probe,
    medium,
    new_call,
    new_monitor_call,
    read_wav,
)
from scripted import ScriptedCall, scripted
from virtual_loop import virtual_time

EXTERNAL, INTERNAL = AudioHookChannel.EXTERNAL, AudioHookChannel.INTERNAL
CUSTOMER, AGENT = b"\x11" * 1600, b"\x22" * 3200
SILENCE = b"\xff"


def parties(peer: ScriptedCall, format: str, channels: int) -> list[bytes]:
    """Return the mu-law audio of each channel, taken sample by sample from the messages."""
    width = 1 if format == "PCMU" else 2
    stream = b"".join(peer.audio)
    samples = [stream[at : at + width] for at in range(0, len(stream), width)]
    sides = [b"".join(samples[side::channels]) for side in range(channels)]
    return sides if width == 1 else [audio.ulaw_encode(side) for side in sides]


def write_mono(path: Path, pcm: bytes, rate: int = 8000) -> Path:
    with wave.open(str(path), "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(rate)
        writer.writeframes(pcm)
    return path


@pytest.mark.parametrize("format", list(AudioHookMediaFormat))
@pytest.mark.parametrize(
    "channels", [(EXTERNAL,), (INTERNAL,), (EXTERNAL, INTERNAL), (INTERNAL, EXTERNAL)]
)
@virtual_time
async def test_each_party_is_on_its_channel_in_the_order_of_the_medium(
    format: AudioHookMediaFormat, channels: tuple[AudioHookChannel, ...]
) -> None:
    offer = (medium(*channels, format=format),)
    async with scripted() as server:
        async with SimulatedCall(server.url, new_monitor_call(media=offer)) as call:
            await call.opened()
            customer, agent = await asyncio.gather(call.say(CUSTOMER), call.say(AGENT, INTERNAL))
        await server.done.wait()
    assert len(server.peer.audio[0]) == 1600 * len(channels) * format.sample_width
    heard = dict(zip(channels, parties(server.peer, format, len(channels)), strict=True))
    for party, spoken, speech in ((EXTERNAL, customer, CUSTOMER), (INTERNAL, agent, AGENT)):
        assert spoken.suppressed == (0 if party in channels else len(speech))
        if party in channels:
            first = spoken.first_sample
            assert heard[party][first : first + len(speech)] == speech
            assert heard[party].replace(speech, b"").strip(SILENCE) == b""


@virtual_time
async def test_bot_call_in_l16_carries_audio_in_both_directions() -> None:
    async def answer(peer: ScriptedCall, message: dict[str, Any]) -> None:
        await peer.accept(message)
        await peer.socket.send(b"\x00\x10" * 800)

    offer = (medium(EXTERNAL, format=AudioHookMediaFormat.L16),)
    async with scripted(open=answer) as server:
        async with SimulatedCall(server.url, new_call(media=offer)) as call:
            await call.opened()
            await call.say(CUSTOMER)
        stream = b"".join(server.peer.audio)
    assert audio.ulaw_decode(CUSTOMER) in stream
    assert stream.replace(audio.ulaw_decode(CUSTOMER), b"").strip(b"\0") == b""
    assert call.report().received == 0.1


@virtual_time
async def test_bot_call_in_stereo_has_silence_on_the_internal_channel() -> None:
    async with scripted() as server:
        async with SimulatedCall(server.url, new_call(media=(medium(INTERNAL, EXTERNAL),))) as call:
            await call.opened()
            await call.say(CUSTOMER)
        internal, external = audio.split_stereo(b"".join(server.peer.audio), 1)
    assert CUSTOMER in external
    assert internal.strip(SILENCE) == b""


@virtual_time
async def test_bot_call_has_no_agent() -> None:
    async with scripted() as server, SimulatedCall(server.url) as call:
        with pytest.raises(ValueError, match="no party"):
            await call.say(AGENT, INTERNAL)


@virtual_time
async def test_say_reads_a_wav_file_of_any_rate(tmp_path: Path) -> None:
    path = write_mono(tmp_path / "hello.wav", audio.ulaw_decode(CUSTOMER) * 5, rate=16000)
    async with scripted() as server:
        async with SimulatedCall(server.url) as call:
            await call.opened()
            spoken = await call.say(path)
        stream = b"".join(server.peer.audio)
    assert spoken.end_sample - spoken.first_sample == 4000
    assert stream[spoken.first_sample : spoken.end_sample] == read_wav(path)


@virtual_time
async def test_converse_sends_both_sides_of_a_stereo_file_and_the_recording_has_them(
    tmp_path: Path,
) -> None:
    recording, copy = tmp_path / "in.wav", tmp_path / "out.wav"
    left, right = audio.ulaw_decode(CUSTOMER), audio.ulaw_decode(AGENT)
    with wave.open(str(recording), "wb") as writer:
        writer.setnchannels(2)
        writer.setsampwidth(2)
        writer.setframerate(8000)
        writer.writeframes(audio.merge_stereo(left.ljust(len(right), b"\0"), right, 2))
    async with scripted() as server:
        async with SimulatedCall(server.url, new_monitor_call()) as call:
            await call.opened()
            customer, agent = await call.converse(recording)
            assert customer.first_sample == agent.first_sample
            with pytest.raises(ValueError, match="mono"):
                await call.converse(write_mono(tmp_path / "mono.wav", bytes(320)))
        await server.done.wait()
        call.save_recording(copy)
    external, internal = parties(server.peer, "PCMU", 2)
    first = customer.first_sample
    assert external[first : first + 1600] == CUSTOMER
    assert internal[first : first + 3200] == AGENT
    with wave.open(str(copy), "rb") as reader:
        sides = audio.split_stereo(reader.readframes(reader.getnframes()), 2)
    assert [audio.ulaw_encode(side) for side in sides] == [external, internal]


@pytest.mark.parametrize("at_once", [False, True])
@virtual_time
async def test_backlog_is_sent_right_after_opened_and_lies_before_open_in_the_recording(
    at_once: bool, tmp_path: Path
) -> None:
    options = CallOptions(backlog=1.0, catch_up_at_once=at_once)

    async def speak(peer: ScriptedCall, message: dict[str, Any]) -> None:
        await peer.accept(message)
        await peer.socket.send(b"\x55" * 800)

    async with scripted(open=speak) as server:
        call = SimulatedCall(server.url, options=options)
        async with call:
            speaking = asyncio.create_task(call.say(CUSTOMER + CUSTOMER))
            opened = await call.opened()
            spoken = await speaking
            await call.wait_for_bot_audio()
            await call.playback_completed()
        await server.done.wait()
    entries = call.session.capture.entries
    first = next(e for e in entries if e.is_audio and e.direction == "to_server")
    assert first.at == opened.at
    assert spoken.start == pytest.approx(-1.0)
    # The audio of the second before `opened` has five frames.
    assert len(server.peer.audio[0]) == (5 * 1600 if at_once else 1600)
    call.save_recording(tmp_path / "call.wav")
    with wave.open(str(tmp_path / "call.wav"), "rb") as reader:
        left, right = audio.split_stereo(reader.readframes(reader.getnframes()), 2)
    assert audio.ulaw_encode(left).startswith(CUSTOMER + CUSTOMER)
    assert audio.ulaw_encode(right)[:8000].strip(SILENCE) == b""
    assert b"\x55" * 800 in audio.ulaw_encode(right)


@virtual_time
async def test_probe_sends_no_audio_and_does_not_advance_the_position() -> None:
    async def slow(peer: ScriptedCall, message: dict[str, Any]) -> None:
        await asyncio.sleep(0.25)
        await peer.accept(message)

    async with scripted(open=slow) as server:
        async with SimulatedCall(server.url, as_probe(new_call())) as call:
            await call.opened()
            with pytest.raises(CallStateError, match="carries no audio"):
                await call.say(CUSTOMER)
        await server.done.wait()
    assert server.peer.audio == []
    assert [m["position"] for m in server.peer.received] == ["PT0S", "PT0S"]
    assert call.report().clean
