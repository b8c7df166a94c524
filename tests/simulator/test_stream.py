"""The caller's audio over a real socket: offers, both parties, what gathered before, moving on."""

from __future__ import annotations

import asyncio
import wave
from pathlib import Path
from typing import Any

import pytest
from pipecat_genesys import audio
from pipecat_genesys.protocol.types import AudioHookChannel, AudioHookMediaFormat, CloseReason
from pipecat_genesys.simulator import (
    CallOptions,
    CallStateError,
    CloseSent,
    Party,
    ReconnectRequested,
    SimulatedCall,
    as_probe,
    continuation,
    medium,
    new_call,
    new_monitor_call,
    read_wav,
)
from scripted import Peer, scripted

EXTERNAL, INTERNAL = AudioHookChannel.EXTERNAL, AudioHookChannel.INTERNAL
CUSTOMER, AGENT = b"\x11" * 1600, b"\x22" * 3200
SILENT = b"\xff"


def parties(peer: Peer, format: str, channels: int) -> list[bytes]:
    """What the server heard, mu-law, by channel: samples taken one by one, from the frames."""
    width = 1 if format == "PCMU" else 2
    stream = b"".join(peer.audio)
    samples = [stream[at : at + width] for at in range(0, len(stream), width)]
    sides = [b"".join(samples[side::channels]) for side in range(channels)]
    return sides if width == 1 else [audio.ulaw_encode(side) for side in sides]


@pytest.mark.parametrize("format", list(AudioHookMediaFormat))
@pytest.mark.parametrize(
    "channels", [(EXTERNAL,), (INTERNAL,), (EXTERNAL, INTERNAL), (INTERNAL, EXTERNAL)]
)
async def test_both_parties_in_the_order_of_the_medium(
    format: AudioHookMediaFormat, channels: tuple[AudioHookChannel, ...]
) -> None:
    offer = (medium(*channels, format=format),)
    async with scripted() as server:
        async with SimulatedCall(server.url, new_monitor_call(media=offer)) as call:
            await call.opened()
            customer, agent = await asyncio.gather(
                call.say(CUSTOMER), call.say(AGENT, AudioHookChannel.INTERNAL)
            )
        await server.done.wait()
    assert (len(server.peer.audio[0])) == 1600 * len(channels) * format.sample_width
    heard = dict(zip(channels, parties(server.peer, format, len(channels)), strict=True))
    for party, spoken, speech in ((EXTERNAL, customer, CUSTOMER), (INTERNAL, agent, AGENT)):
        assert spoken.suppressed == (0 if party in channels else len(speech))
        if party in channels:
            first = spoken.first_sample
            assert heard[party][first : first + len(speech)] == speech
            assert heard[party].replace(speech, b"").strip(SILENT) == b""


async def test_a_recording_of_a_conversation(tmp_path: Path) -> None:
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
                await call.converse(mono(tmp_path))
        await server.done.wait()
        call.save_recording(copy)
    external, internal = parties(server.peer, "PCMU", 2)
    first = customer.first_sample
    assert external[first : first + 1600] == CUSTOMER
    assert internal[first : first + 3200] == AGENT
    # As it was sent: the customer left, the agent right.
    with wave.open(str(copy), "rb") as reader:
        sides = audio.split_stereo(reader.readframes(reader.getnframes()), 2)
    assert [audio.ulaw_encode(side) for side in sides] == [external, internal]


def mono(folder: Path) -> Path:
    path = folder / "mono.wav"
    with wave.open(str(path), "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(8000)
        writer.writeframes(bytes(320))
    return path


async def test_a_bots_call_has_no_agent() -> None:
    async with scripted() as server, SimulatedCall(server.url) as call:
        with pytest.raises(ValueError, match="no party"):
            await call.say(AGENT, INTERNAL)


@pytest.mark.parametrize("at_once", [False, True])
async def test_what_gathered_while_connecting_goes_out_at_once(
    at_once: bool, tmp_path: Path
) -> None:
    options = CallOptions(backlog=1.0, catch_up_at_once=at_once)

    async def say_something(peer: Peer, message: dict[str, Any]) -> None:
        await peer.accept(message)
        await peer.socket.send(b"\x55" * 800)

    async with scripted(open=say_something) as server:
        call = SimulatedCall(server.url, options=options)
        speaking = None
        async with call:
            speaking = asyncio.create_task(call.say(CUSTOMER + CUSTOMER))
            await call.opened()
            spoken = await speaking
            await call.wait_for_bot_audio()
            await call.playback_completed()
        await server.done.wait()
    opened = call.report().opened_latency
    assert opened is not None
    first = next(e for e in call.session.capture.entries if e.is_audio and e.size >= 1600)
    assert first.at < 0.2 + opened
    # Five frames had gathered, which is a second; spoken in it, it was said before `open`.
    assert spoken.start == pytest.approx(-1.0)
    assert len(server.peer.audio[0]) == (1600 * (5 + int(opened / 0.2)) if at_once else 1600)
    call.save_recording(tmp_path / "call.wav")
    with wave.open(str(tmp_path / "call.wav"), "rb") as reader:
        left, right = audio.split_stereo(reader.readframes(reader.getnframes()), 2)
    assert audio.ulaw_encode(left).startswith(CUSTOMER + CUSTOMER)
    # The bot is where it was heard: after the second that had gathered.
    assert audio.ulaw_encode(right)[:8000].strip(SILENT) == b""
    assert b"\x55" * 800 in audio.ulaw_encode(right)


async def test_nobody_speaks_in_a_probe() -> None:
    async def slow(peer: Peer, message: dict[str, Any]) -> None:
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


async def test_a_call_that_was_lost_comes_again() -> None:
    async with scripted() as server:
        options = CallOptions(lost_attempts=2)
        async with SimulatedCall(server.url, options=options) as call:
            await call.opened()
    attempts = [
        peer.socket.request.headers["Audiohook-Retry-Attempt"]  # type: ignore[union-attr]
        for peer in server.peers
    ]
    assert attempts == ["0", "1", "2"]
    # The same call each time, from its beginning.
    opens = [peer.received[0] for peer in server.peers]
    assert opens[0] == opens[1] == opens[2]
    assert [peer.close_code for peer in server.peers[:2]] == [1006, 1006]


async def test_headers_are_replaced_and_left_out() -> None:
    options = CallOptions(
        headers={"x-api-key": "other", "Audiohook-Correlation-Id": None, "X-Extra": "1"}
    )
    async with scripted() as server:
        async with SimulatedCall(server.url, options=options) as call:
            await call.opened()
        headers = server.peer.socket.request.headers  # type: ignore[union-attr]
    assert headers.get_all("X-API-KEY") == ["other"]
    assert headers["X-Extra"] == "1"
    assert "Audiohook-Correlation-Id" not in headers


@pytest.mark.parametrize("history", [20.0, 0.4])
async def test_a_conversation_moves_to_another_session(history: float) -> None:
    async def open_and_go(peer: Peer, message: dict[str, Any]) -> None:
        await peer.accept(message)
        if not message["parameters"].get("continuedSessions"):
            await peer.text("reconnect", {"info": "restart"})

    async with (
        scripted(open=open_and_go) as server,
        SimulatedCall(server.url, new_monitor_call()) as old,
    ):
        await old.wait_for(ReconnectRequested)
        before = await old.say(CUSTOMER)
        await old.say(AGENT, INTERNAL)
        async with continuation(old, history=history) as new:
            await new.opened()
            assert (await old.wait_for(CloseSent)).reason is CloseReason.RECONNECT
            after = await new.say(b"\x33" * 1600)
            await new.hang_up()
            report = await new.ended()
        assert (await old.ended()).clean
    assert report.clean, report
    first, second = server.peers
    opening = second.received[0]
    assert opening["seq"] == 1
    assert opening["id"] != first.received[0]["id"]
    assert (
        opening["parameters"]["conversationId"]
        == (first.received[0]["parameters"]["conversationId"])
    )
    (continued,) = opening["parameters"]["continuedSessions"]
    assert continued["id"] == first.received[0]["id"]
    assert continued["serverseq"] == 2
    start = round(float(opening["position"].removeprefix("PT").removesuffix("S")) * 8000)
    # What the old session has heard goes out at once, not at the pace it was spoken.
    sent = [e.at for e in new.session.capture.entries if e.is_audio]
    (opened,) = [e.at for e in new.session.capture.entries if e.type == "opened"]
    at_once = [at for at in sent if at == opened]
    assert len(at_once) >= (len(first.audio) - 1 if history == 20.0 else 2)
    streams = [b"".join(peer.audio)[::2] for peer in server.peers]
    # One timeline: what both heard, they heard at the same place; and nothing is missing.
    old_end = len(streams[0])
    assert streams[0][before.first_sample :][:1600] == CUSTOMER
    assert streams[1][: old_end - start] == streams[0][start:]
    assert streams[1][after.first_sample - start :][:1600] == b"\x33" * 1600
    assert start == 0 if history == 20.0 else start == pytest.approx(old_end - 3200, abs=1600)
    assert report.ending.socket_closed_by is Party.CLIENT


async def test_without_a_recording_there_is_no_history() -> None:
    call = SimulatedCall("ws://unused", options=CallOptions(record_audio=False))
    with pytest.raises(ValueError, match="is not recorded"):
        continuation(call)


def test_a_stereo_file_is_read_by_side(tmp_path: Path) -> None:
    # The rest of reading is the mono reader's, which has tests of its own.
    from pipecat_genesys.simulator import read_stereo_wav, write_wav

    path = tmp_path / "two.wav"
    write_wav(path, audio.ulaw_decode(CUSTOMER), audio.ulaw_decode(AGENT))
    assert read_stereo_wav(path) == (CUSTOMER.ljust(3200, SILENT), AGENT)
    assert len(read_wav(path)) == 3200
