"""Whole calls over real sockets, against a small scripted server."""

from __future__ import annotations

import asyncio
import wave
from pathlib import Path
from typing import Any

import pytest
from pipecat_genesys import audio
from pipecat_genesys.protocol.types import DisconnectReason
from pipecat_genesys.simulator import (
    AwaitTimeoutError,
    BargedIn,
    BotAudioStarted,
    CallEndedError,
    CallOptions,
    CallStateError,
    CaptureEntry,
    ClientTimeouts,
    ConnectFailedError,
    Disconnected,
    Event,
    Opened,
    Party,
    PongReceived,
    ServerEvent,
    ServerRule,
    SimulatedCall,
    StreamResumed,
    Updated,
    new_call,
    read_wav,
)
from pipecat_genesys.simulator.connection import CallConnection, open_websocket
from scripted import Peer, scripted

QUICK = CallOptions(
    timeouts=ClientTimeouts(open=0.5, close=0.5, first_ping=0.1, ping_interval=0.2),
    socket_close_timeout=0.3,
)
TONE = bytes(range(1, 126)) * 32  # 4000 samples: two frames and a half


async def nothing(peer: Peer, message: dict[str, Any]) -> None:
    """A server that does not answer."""


async def greet(peer: Peer, message: dict[str, Any]) -> None:
    await peer.accept(message)
    await peer.socket.send(b"\x55" * 2400)


@pytest.fixture(autouse=True)
async def _no_task_is_left_behind() -> Any:
    before = asyncio.all_tasks()
    yield
    # One turn of the loop lets the server's own tasks finish; the simulator's are gone already.
    await asyncio.sleep(0)
    names = {str(task.get_coro()) for task in asyncio.all_tasks() - before}
    assert not [name for name in names if "Simulated" in name or "CallConnection" in name]


async def test_a_whole_call() -> None:
    seen: list[CaptureEntry | Event] = []
    parameters = new_call(input_variables={"k": "v"})
    async with scripted(open=greet) as server:
        async with SimulatedCall(server.url, parameters, observer=seen.append) as call:
            opened = await call.opened()
            greeting = await call.wait_for_bot_audio()
            assert (await call.playback_completed()).at == pytest.approx(
                greeting.at + 0.3, abs=1 / 8000
            )
            spoken = await call.say(TONE)
            await call.press("#")
            await call.update("de-DE")
            await call.wait_for(Updated)
            await call.wait_for(PongReceived)
            await call.hang_up()
            report = await call.ended()
        await server.done.wait()
        peer = server.peer
    headers = peer.socket.request.headers  # type: ignore[union-attr]
    assert headers["Audiohook-Session-Id"] == parameters.session_id
    assert headers["Audiohook-Organization-Id"] == parameters.organization_id
    assert headers["Audiohook-Correlation-Id"] == parameters.correlation_id
    assert headers["X-API-KEY"] == "simulator"
    assert headers["Audiohook-Retry-Attempt"] == "0"
    assert peer.socket.request.path == "/bot?x=1"  # type: ignore[union-attr]
    assert report.clean, report
    assert report.warnings == ()
    assert report.heard == pytest.approx(0.3)
    assert opened.at == report.opened_latency
    assert peer.close_code == 1005
    assert report.ending.socket_closed_by is Party.CLIENT
    assert {len(frame) for frame in peer.audio} == {1600}
    stream = b"".join(peer.audio)
    assert stream.index(TONE) == spoken.first_sample
    assert spoken.end_sample == spoken.first_sample + len(TONE)
    assert stream.replace(TONE, b"").strip(b"\xff") == b""
    dtmf = next(m for m in peer.received if m["type"] == "dtmf")
    assert dtmf["parameters"] == {"digit": "#"}
    assert [m["seq"] for m in peer.received] == list(range(1, len(peer.received) + 1))
    entries = [item for item in seen if isinstance(item, CaptureEntry)]
    assert entries == list(call.session.capture.entries)
    assert [item for item in seen if not isinstance(item, CaptureEntry)] == list(call.events)


async def test_frames_keep_an_absolute_schedule() -> None:
    async def slow(peer: Peer, message: dict[str, Any]) -> None:
        await asyncio.sleep(0.65)
        await peer.accept(message)

    async with scripted(open=slow) as server, SimulatedCall(server.url) as call:
        opened = await call.opened()
        caught_up = [e for e in call.session.capture.entries if e.is_audio]
        # What the caller said while the server made up its mind goes out at once.
        assert len(caught_up) == int(opened.at / 0.2) >= 3
        assert all(entry.at == pytest.approx(opened.at, abs=0.2) for entry in caught_up)
        await call.say(b"\x55" * 8000)
        frames = [e for e in call.session.capture.entries if e.is_audio]
        late = [entry.at - 0.2 * number for number, entry in enumerate(frames, start=1)]
        # Never early; and late by what the machine is late, not by more and more.
        assert min(late) >= 0
        assert min(late[-3:]) < 0.2


async def test_two_things_said_follow_each_other_without_a_gap() -> None:
    async with scripted() as server, SimulatedCall(server.url) as call:
        await call.opened()
        first, second = await asyncio.gather(call.say(b"\x11" * 1600), call.say(b"\x22" * 1601))
        third = await call.say(b"\x33" * 10)
    assert second.first_sample == first.end_sample
    assert third.first_sample == second.first_sample + 3200  # the rest of the frame is silence
    assert first.end == second.start == first.end_sample / 8000


async def test_a_wav_file_can_be_said(tmp_path: Path) -> None:
    path = tmp_path / "hello.wav"
    with wave.open(str(path), "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(16000)
        writer.writeframes(audio.ulaw_decode(TONE) * 2)
    async with scripted() as server:
        async with SimulatedCall(server.url) as call:
            await call.opened()
            spoken = await call.say(path)
            with pytest.raises(ValueError, match="nothing to say"):
                await call.say(b"")
        stream = b"".join(server.peer.audio)
    assert spoken.end_sample - spoken.first_sample == 4000
    assert stream[spoken.first_sample : spoken.end_sample] == read_wav(path)


async def test_pauses_hold_the_voice_back_and_the_recording_shows_it(tmp_path: Path) -> None:
    async def on_dtmf(peer: Peer, message: dict[str, Any]) -> None:
        await peer.text("pause" if message["parameters"]["digit"] == "1" else "resume")

    async with scripted(open=greet, dtmf=on_dtmf) as server:
        async with SimulatedCall(server.url) as call:
            await call.opened()
            await call.press("1")
            await call.wait_for(lambda event: type(event).__name__ == "StreamPaused")
            lost = await call.say(b"\x11" * 1600)
            await call.press("2")
            resumed = await call.wait_for(StreamResumed)
            kept = await call.say(b"\x22" * 1600)
            await call.discard(800)
            await call.pause()
            await call.resume()
            await call.wait_for(StreamResumed)
            later = await call.say(b"\x33" * 800)
        call.save_recording(tmp_path / "call.wav")
        stream = b"".join(server.peer.audio)
    assert lost.suppressed == 1600
    assert kept.suppressed == 0
    assert b"\x11" not in stream
    assert b"\x22" * 1600 in stream
    assert resumed.discarded >= 1600
    with wave.open(str(tmp_path / "call.wav"), "rb") as reader:
        pcm = reader.readframes(reader.getnframes())
    caller, bot = audio.split_stereo(pcm, 2)
    said = audio.ulaw_decode(b"\x22" * 1600)
    assert caller.index(said) == 2 * kept.first_sample
    # What was discarded leaves a silence of its length.
    assert caller.index(audio.ulaw_decode(b"\x33" * 800)) == 2 * later.first_sample
    assert audio.ulaw_decode(b"\x55" * 2400) in bot


async def test_l16_is_spoken_where_it_is_chosen() -> None:
    l16 = {"type": "audio", "format": "L16", "channels": ["external"], "rate": 8000}

    async def answer(peer: Peer, message: dict[str, Any]) -> None:
        await peer.accept(message)
        await peer.socket.send(b"\x00\x10" * 800)

    async with scripted(open=answer) as server:
        async with SimulatedCall(server.url, new_call(media=(l16,))) as call:
            await call.opened()
            await call.say(TONE)
        stream = b"".join(server.peer.audio)
    assert audio.ulaw_decode(TONE) in stream
    assert stream.replace(audio.ulaw_decode(TONE), b"").strip(b"\0") == b""
    assert call.report().received == 0.1


async def test_stereo_carries_the_caller_on_the_external_channel() -> None:
    medium = {"type": "audio", "format": "PCMU", "channels": ["internal", "external"], "rate": 8000}
    async with scripted() as server:
        async with SimulatedCall(server.url, new_call(media=(medium,))) as call:
            await call.opened()
            await call.say(TONE)
        internal, external = audio.split_stereo(b"".join(server.peer.audio), 1)
    assert TONE in external
    assert internal.strip(b"\xff") == b""


async def test_the_bot_ends_the_call() -> None:
    async def on_dtmf(peer: Peer, message: dict[str, Any]) -> None:
        await peer.text("disconnect", {"reason": "completed", "outputVariables": {"a": "1"}})

    async with scripted(dtmf=on_dtmf) as server, SimulatedCall(server.url) as call:
        await call.opened()
        await call.press("0")
        assert (await call.wait_for(Disconnected)).output_variables == {"a": "1"}
        report = await call.ended(5)
        await call.hang_up()  # too late, and harmless
        with pytest.raises(CallEndedError, match="the session is disconnected"):
            await call.press("1")
    assert report.clean
    assert report.ending.disconnect_reason is DisconnectReason.COMPLETED


async def test_waiting_for_silence() -> None:
    async def on_dtmf(peer: Peer, message: dict[str, Any]) -> None:
        await peer.socket.send(b"\x55" * 1600)

    async with scripted(dtmf=on_dtmf) as server, SimulatedCall(server.url) as call:
        await call.opened()
        assert await call.wait_for_silence(0.05) == 0.0
        await call.press("1")
        started = await call.wait_for_bot_audio()
        assert await call.wait_for_silence(0.1) == pytest.approx(started.at + 0.2, abs=0.001)
        assert call.elapsed >= started.at + 0.3
        with pytest.raises(AwaitTimeoutError, match="9 s of silence"):
            await call.wait_for_silence(9, timeout=0.1)


async def test_an_event_is_handed_out_once_and_since_skips_the_old() -> None:
    async def on_dtmf(peer: Peer, message: dict[str, Any]) -> None:
        await peer.event("e" + message["parameters"]["digit"])

    async with scripted(dtmf=on_dtmf) as server, SimulatedCall(server.url) as call:
        await call.opened()
        for digit in "123":
            await call.press(digit)
        await call.wait_for(lambda e: isinstance(e, ServerEvent) and e.type == "e2")
        assert (await call.wait_for(ServerEvent)).type == "e1"
        third = await call.wait_for(ServerEvent)
        assert third.type == "e3"
        await call.press("4")
        await call.press("5")
        fifth = await call.wait_for(lambda e: isinstance(e, ServerEvent) and e.type == "e5")
        with pytest.raises(AwaitTimeoutError):
            await call.wait_for(ServerEvent, 0.05, since=fifth.at + 0.001)
        assert (await call.wait_for(ServerEvent, since=third.at)).type == "e4"


async def test_barge_in_over_a_real_socket() -> None:
    async def on_dtmf(peer: Peer, message: dict[str, Any]) -> None:
        await peer.event("barge_in")

    async def talk(peer: Peer, message: dict[str, Any]) -> None:
        await peer.accept(message)
        await peer.socket.send(b"\x55" * 64_000)

    async with scripted(open=talk, dtmf=on_dtmf) as server, SimulatedCall(server.url) as call:
        started = await call.wait_for_bot_audio()
        await call.press("1")
        barged = await call.wait_for(BargedIn)
        await call.playback_completed()
        report = call.report()
    assert report.heard == pytest.approx(barged.at - started.at, abs=0.001)
    assert report.heard + report.dropped_by_barge_in == pytest.approx(8.0)


# Servers that misbehave, and scripts that wait in vain.


async def test_a_timeout_names_what_was_awaited_and_what_came_last() -> None:
    async with scripted() as server, SimulatedCall(server.url) as call:
        await call.opened()
        with pytest.raises(AwaitTimeoutError) as caught:
            await call.wait_for_bot_audio(0.05)
    assert "waited 0.05 s for BotAudioStarted" in str(caught.value)
    assert "<- opened seq 1" in str(caught.value)
    assert isinstance(caught.value, TimeoutError)


async def test_a_server_that_never_answers_ends_in_a_report() -> None:
    async with scripted(open=nothing, close=nothing) as server:
        report = await SimulatedCall(server.url, options=QUICK).run(lambda call: call.opened())
    assert [v.rule for v in report.violations] == [
        ServerRule.OPEN_TIMEOUT,
        ServerRule.CLOSE_TIMEOUT,
    ]
    assert report.script_error is None or "Opened" in report.script_error
    assert 1.0 <= report.duration < 3.0
    assert report.ending.socket_closed_by is Party.CLIENT
    assert not report.clean


@pytest.mark.parametrize("abrupt", [True, False])
async def test_a_server_that_drops_the_socket_ends_in_a_report(abrupt: bool) -> None:
    async def drop(peer: Peer, message: dict[str, Any]) -> None:
        await peer.accept(message)
        if abrupt:
            peer.socket.transport.abort()
        else:
            await peer.socket.close(1011, "oops")

    async with scripted(open=drop) as server:
        report = await SimulatedCall(server.url).run(lambda call: call.wait_for_bot_audio())
    assert [v.rule for v in report.violations] == [ServerRule.SERVER_CLOSED_SOCKET]
    assert report.ending.socket_closed_by is Party.SERVER
    assert report.ending.socket_code == (None if abrupt else 1011)
    assert report.script_error is not None
    assert "the call ended while waiting for BotAudioStarted" in report.script_error
    assert "server_closed_socket" in report.script_error


async def test_a_server_that_closes_the_socket_after_closed_is_found_out() -> None:
    async def closed_and_gone(peer: Peer, message: dict[str, Any]) -> None:
        await peer.text("closed")
        await peer.socket.close()

    async with scripted(close=closed_and_gone) as server:
        report = await SimulatedCall(server.url).run(lambda call: call.opened())
    rules = {v.rule for v in report.violations} | {w.rule for w in report.warnings}
    assert rules & {ServerRule.SERVER_CLOSED_SOCKET, ServerRule.SOCKET_CLOSE_RACE}


async def test_a_server_that_does_not_finish_the_websocket_is_not_waited_for() -> None:
    held = asyncio.Event()

    async def freeze(peer: Peer, message: dict[str, Any]) -> None:
        await peer.text("closed")
        peer.socket.transport.pause_reading()
        await held.wait()

    async with scripted(close=freeze) as server:
        async with asyncio.timeout(5):
            report = await SimulatedCall(server.url, options=QUICK).run(lambda call: call.opened())
        held.set()
        server.peer.socket.transport.abort()
    assert report.ending.closed_received
    assert report.ending.socket_closed_by is Party.CLIENT


async def test_a_server_that_stops_reading_cannot_hold_the_socket_open() -> None:
    held = asyncio.Event()

    async def freeze(peer: Peer, message: dict[str, Any]) -> None:
        peer.socket.transport.pause_reading()
        await held.wait()

    async with scripted(open=freeze) as server:
        connection = await open_websocket(server.url, {}, timeout=5, close_timeout=0.2, ssl=None)
        socket = CallConnection(connection, 0.2)
        socket.send('{"type": "open"}')
        for _ in range(64):
            socket.send(b"\xff" * 1_000_000)
        socket.close()
        async with asyncio.timeout(5):
            end = await socket.run(lambda message: None)
        held.set()
        server.peer.socket.transport.abort()
    assert end.by is Party.CLIENT
    assert end.fault is None


async def test_nobody_listens() -> None:
    async with scripted() as server:
        url = server.url
    call = SimulatedCall(url)
    report = await call.run(lambda call: call.opened())
    assert report.script_error is not None
    assert "no connection to" in report.script_error
    assert not report.clean
    with pytest.raises(ConnectFailedError):
        async with SimulatedCall(url):
            pass


async def test_a_message_over_the_limit_is_reported_and_not_a_broken_socket() -> None:
    async def shout(peer: Peer, message: dict[str, Any]) -> None:
        await peer.accept(message)
        await peer.socket.send(b"\x55" * 2_000_000)

    async with scripted(open=shout) as server, SimulatedCall(server.url) as call:
        report = await call.ended(5)
    assert [v.rule for v in report.violations] == [ServerRule.MESSAGE_TOO_LARGE]
    assert report.ending.closed_received


async def test_text_that_is_no_utf8_is_a_fault_of_the_server() -> None:
    async def garble(peer: Peer, message: dict[str, Any]) -> None:
        await peer.accept(message)
        await peer.socket.send(b"\xff\xfe", text=True)

    async with scripted(open=garble) as server, SimulatedCall(server.url) as call:
        report = await call.ended(5)
    assert [v.rule for v in report.violations] == [ServerRule.WEBSOCKET_FAULT]
    assert not report.clean


async def test_a_missing_pong_ends_the_call_on_the_real_clock() -> None:
    async with scripted(ping=nothing) as server:
        call = SimulatedCall(server.url, options=QUICK)
        report = await call.run(lambda call: call.ended(5))
    assert [v.rule for v in report.violations] == [ServerRule.PONG_TIMEOUT]
    assert 0.3 <= report.violations[0].at < 1.5
    assert report.ending.closed_received


async def test_a_bot_that_sends_twenty_milliseconds_at_a_time_loses_the_call() -> None:
    async def dribble(peer: Peer, message: dict[str, Any]) -> None:
        await peer.accept(message)
        for _ in range(60):
            await peer.socket.send(b"\x55" * 160)

    async with scripted(open=dribble) as server, SimulatedCall(server.url) as call:
        report = await call.ended(5)
    assert [v.rule for v in report.violations] == [ServerRule.BINARY_RATE]
    error = next(m for m in server.peer.received if m["type"] == "error")
    assert error["parameters"]["code"] == 429
    assert error["parameters"]["retryAfter"].startswith("PT0.")


async def test_an_error_in_the_script_is_raised_and_the_call_is_hung_up() -> None:
    async with scripted() as server:

        async def script(call: SimulatedCall) -> None:
            await call.opened()
            raise KeyError("script")

        with pytest.raises(KeyError, match="script"):
            await SimulatedCall(server.url).run(script)
        await server.done.wait()
    assert server.peer.received[-1]["type"] == "close"


async def test_an_error_in_the_observer_reaches_the_script() -> None:
    def observer(item: object) -> None:
        if isinstance(item, BotAudioStarted):
            raise KeyError("observer")

    async with scripted(open=greet) as server:
        call = SimulatedCall(server.url, observer=observer)
        with pytest.raises(KeyError, match="observer"):
            await call.run(lambda call: call.wait_for(StreamResumed, 5))


async def test_what_is_being_said_when_the_call_ends() -> None:
    async def on_audio(peer: Peer, message: dict[str, Any]) -> None:
        if len(peer.audio) == 1:
            await peer.text("disconnect", {"reason": "error"})

    async with scripted(audio=on_audio) as server, SimulatedCall(server.url) as call:
        await call.opened()
        with pytest.raises(CallEndedError, match="the end of the speech"):
            await call.say(b"\x55" * 80_000)


async def test_a_key_pressed_too_early_is_the_mistake_of_the_script() -> None:
    async with scripted(open=nothing) as server, SimulatedCall(server.url, options=QUICK) as call:
        with pytest.raises(CallStateError, match="opening"):
            await call.press("1")


async def test_opened_can_be_asked_for_again() -> None:
    async with scripted() as server, SimulatedCall(server.url) as call:
        first = await call.opened()
        assert await call.opened() == first
        assert await call.wait_for(Opened) == first
