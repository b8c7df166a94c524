"""Tests of whole calls over real sockets, with a small scripted server."""

from __future__ import annotations

import asyncio
import wave
from pathlib import Path
from typing import Any

import pytest
from pipecat_genesys import audio
from pipecat_genesys.protocol.types import CloseReason, DisconnectReason
from pipecat_genesys.simulator import (
    AwaitTimeoutError,
    BargedIn,
    BotAudioStarted,
    CallEndedError,
    CallOptions,
    CallStateError,
    CaptureEntry,
    ClientTimeouts,
    CloseSent,
    ConnectFailedError,
    Disconnected,
    Event,
    Opened,
    Party,
    PongReceived,
    ReconnectRequested,
    ServerEvent,
    ServerRule,
    SimulatedCall,
    StreamPaused,
    StreamResumed,
    Updated,
    continuation,
    new_call,
    new_monitor_call,
)
from pipecat_genesys.simulator.connection import CallConnection, open_websocket
from scripted import ScriptedCall, scripted
from virtual_loop import virtual_time

QUICK = CallOptions(
    timeouts=ClientTimeouts(open=0.5, close=0.5, first_ping=0.1, ping_interval=0.2),
    socket_close_timeout=0.3,
)
SPEECH = bytes(range(1, 126)) * 32  # 4000 samples are two and a half frames


async def no_answer(peer: ScriptedCall, message: dict[str, Any]) -> None:
    """Send no answer to a message."""


async def wait_a_minute(call: SimulatedCall) -> None:
    await call.opened()
    await asyncio.sleep(60)


async def accept_and_speak(peer: ScriptedCall, message: dict[str, Any]) -> None:
    await peer.accept(message)
    await peer.socket.send(b"\x55" * 2400)


# Tests of calls without faults


@pytest.mark.parametrize("clock", ["real", "virtual"])
def test_clean_call_sends_and_reports_everything(clock: str) -> None:
    if clock == "virtual":
        virtual_time(clean_call)()
    else:
        asyncio.run(clean_call())


async def clean_call() -> None:
    observed: list[CaptureEntry | Event] = []
    parameters = new_call(input_variables={"k": "v"})
    async with scripted(open=accept_and_speak) as server:
        async with SimulatedCall(server.url, parameters, observer=observed.append) as call:
            opened = await call.opened()
            greeting = await call.wait_for_bot_audio()
            completed = await call.playback_completed()
            spoken = await call.say(SPEECH)
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
    assert completed.at == pytest.approx(greeting.at + 0.3, abs=1 / 8000)
    assert report.clean, report
    assert report.warnings == ()
    assert report.heard == pytest.approx(0.3)
    assert opened.at == report.opened_latency
    assert peer.close_code == 1005
    assert report.ending.socket_closed_by is Party.CLIENT
    assert {len(frame) for frame in peer.audio} == {1600}
    stream = b"".join(peer.audio)
    assert stream.index(SPEECH) == spoken.first_sample
    assert spoken.end_sample == spoken.first_sample + len(SPEECH)
    assert stream.replace(SPEECH, b"").strip(b"\xff") == b""
    dtmf = next(m for m in peer.received if m["type"] == "dtmf")
    assert dtmf["parameters"] == {"digit": "#"}
    assert [m["seq"] for m in peer.received] == list(range(1, len(peer.received) + 1))
    entries = [item for item in observed if isinstance(item, CaptureEntry)]
    assert entries == list(call.session.capture.entries)
    assert [item for item in observed if not isinstance(item, CaptureEntry)] == list(call.events)


@virtual_time
async def test_frames_are_sent_every_200_ms_without_drift() -> None:
    async def slow(peer: ScriptedCall, message: dict[str, Any]) -> None:
        await asyncio.sleep(0.65)
        await peer.accept(message)

    options = CallOptions(rtt=0)
    async with scripted(open=slow) as server, SimulatedCall(server.url, options=options) as call:
        opened = await call.opened()
        await call.say(b"\x55" * 8000)
        frames = [entry.at for entry in call.session.capture.entries if entry.is_audio]
    assert opened.at == pytest.approx(0.65, abs=0.01)
    # The client sends the caller audio from before `opened` without a pause.
    assert frames[:3] == [opened.at] * 3
    assert frames[3:8] == [pytest.approx(0.2 * number, abs=1e-4) for number in range(4, 9)]


async def test_frames_are_never_sent_before_they_are_complete() -> None:
    async with scripted() as server, SimulatedCall(server.url) as call:
        await call.opened()
        await call.say(b"\x55" * 3200)
        frames = [entry.at for entry in call.session.capture.entries if entry.is_audio]
    delays = [at - 0.2 * number for number, at in enumerate(frames, start=1)]
    assert min(delays) >= 0


@virtual_time
async def test_speech_of_one_party_is_sent_in_order_without_a_gap() -> None:
    async with scripted() as server, SimulatedCall(server.url) as call:
        await call.opened()
        first, second = await asyncio.gather(call.say(b"\x11" * 1600), call.say(b"\x22" * 1601))
        third = await call.say(b"\x33" * 10)
    assert second.first_sample == first.end_sample
    # The rest of the last frame is silence.
    assert third.first_sample == second.first_sample + 3200
    assert first.end == second.start == first.end_sample / 8000


@virtual_time
async def test_paused_stream_suppresses_speech_and_the_recording_stays_aligned(
    tmp_path: Path,
) -> None:
    async def on_dtmf(peer: ScriptedCall, message: dict[str, Any]) -> None:
        await peer.text("pause" if message["parameters"]["digit"] == "1" else "resume")

    async with scripted(open=accept_and_speak, dtmf=on_dtmf) as server:
        async with SimulatedCall(server.url) as call:
            await call.opened()
            await call.press("1")
            await call.wait_for(StreamPaused)
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
        caller, bot = audio.split_stereo(reader.readframes(reader.getnframes()), 2)
    assert caller.index(audio.ulaw_decode(b"\x22" * 1600)) == 2 * kept.first_sample
    assert caller.index(audio.ulaw_decode(b"\x33" * 800)) == 2 * later.first_sample
    assert audio.ulaw_decode(b"\x55" * 2400) in bot


@virtual_time
async def test_bot_can_end_the_call_with_disconnect() -> None:
    async def on_dtmf(peer: ScriptedCall, message: dict[str, Any]) -> None:
        await peer.text("disconnect", {"reason": "completed", "outputVariables": {"a": "1"}})

    async with scripted(dtmf=on_dtmf) as server, SimulatedCall(server.url) as call:
        await call.opened()
        await call.press("0")
        assert (await call.wait_for(Disconnected)).output_variables == {"a": "1"}
        report = await call.ended(5)
        await call.hang_up()  # hanging up has no effect after the end of the call
        with pytest.raises(CallEndedError, match="the session is disconnected"):
            await call.press("1")
    assert report.clean
    assert report.ending.disconnect_reason is DisconnectReason.COMPLETED


@virtual_time
async def test_barge_in_drops_the_bot_audio_that_was_not_heard() -> None:
    async def on_dtmf(peer: ScriptedCall, message: dict[str, Any]) -> None:
        await peer.event("barge_in")

    async def speak(peer: ScriptedCall, message: dict[str, Any]) -> None:
        await peer.accept(message)
        await peer.socket.send(b"\x55" * 64_000)

    async with scripted(open=speak, dtmf=on_dtmf) as server, SimulatedCall(server.url) as call:
        started = await call.wait_for_bot_audio()
        await asyncio.sleep(1)
        await call.press("1")
        barged = await call.wait_for(BargedIn)
        await call.playback_completed()
        report = call.report()
    assert report.heard == pytest.approx(barged.at - started.at, abs=0.001)
    assert report.heard + report.dropped_by_barge_in == pytest.approx(8.0)


# Tests of steps that wait


@virtual_time
async def test_wait_for_silence_returns_the_end_of_the_last_bot_audio() -> None:
    async def on_dtmf(peer: ScriptedCall, message: dict[str, Any]) -> None:
        await peer.socket.send(b"\x55" * 1600)

    async with scripted(dtmf=on_dtmf) as server, SimulatedCall(server.url) as call:
        await call.opened()
        assert await call.wait_for_silence(0.05) == 0.0
        await call.press("1")
        started = await call.wait_for_bot_audio()
        assert await call.wait_for_silence(0.1) == pytest.approx(started.at + 0.2, abs=0.001)
        assert call.elapsed >= started.at + 0.3 - 1 / 8000
        with pytest.raises(AwaitTimeoutError, match="9 s of silence"):
            await call.wait_for_silence(9, timeout=0.1)


@virtual_time
async def test_each_event_is_returned_by_one_wait_and_since_skips_old_events() -> None:
    async def on_dtmf(peer: ScriptedCall, message: dict[str, Any]) -> None:
        await peer.event("e" + message["parameters"]["digit"])

    async with scripted(dtmf=on_dtmf) as server, SimulatedCall(server.url) as call:
        await call.opened()
        for digit in "123":
            await call.press(digit)
            await asyncio.sleep(0.01)
        await call.wait_for(lambda e: isinstance(e, ServerEvent) and e.type == "e2")
        assert (await call.wait_for(ServerEvent)).type == "e1"
        third = await call.wait_for(ServerEvent)
        assert third.type == "e3"
        await call.press("4")
        await asyncio.sleep(0.01)
        await call.press("5")
        fifth = await call.wait_for(lambda e: isinstance(e, ServerEvent) and e.type == "e5")
        with pytest.raises(AwaitTimeoutError):
            await call.wait_for(ServerEvent, 0.05, since=fifth.at + 0.001)
        assert (await call.wait_for(ServerEvent, since=third.at)).type == "e4"


@virtual_time
async def test_opened_returns_the_same_event_each_time() -> None:
    async with scripted() as server, SimulatedCall(server.url) as call:
        first = await call.opened()
        assert await call.opened() == first
        assert await call.wait_for(Opened) == first


@virtual_time
async def test_timeout_error_names_the_event_and_the_last_messages() -> None:
    async with scripted() as server, SimulatedCall(server.url) as call:
        await call.opened()
        with pytest.raises(AwaitTimeoutError) as caught:
            await call.wait_for_bot_audio(0.05)
    assert "waited 0.05 s for BotAudioStarted" in str(caught.value)
    assert "<- opened seq 1" in str(caught.value)
    assert isinstance(caught.value, TimeoutError)


# Tests of mistakes of the script, and of exceptions on the client's side


@virtual_time
async def test_key_before_opened_raises_call_state_error() -> None:
    async with (
        scripted(open=no_answer) as server,
        SimulatedCall(server.url, options=QUICK) as call,
    ):
        with pytest.raises(CallStateError, match="opening"):
            await call.press("1")


@virtual_time
async def test_empty_speech_is_refused() -> None:
    async with scripted() as server, SimulatedCall(server.url) as call:
        await call.opened()
        with pytest.raises(ValueError, match="the speech is empty"):
            await call.say(b"")


@virtual_time
async def test_exception_of_the_script_is_raised_after_hanging_up() -> None:
    async with scripted() as server:

        async def script(call: SimulatedCall) -> None:
            await call.opened()
            raise KeyError("script")

        with pytest.raises(KeyError, match="script"):
            await SimulatedCall(server.url).run(script)
        await server.done.wait()
    assert server.peer.received[-1]["type"] == "close"


@virtual_time
async def test_exception_of_the_observer_is_raised_in_the_script() -> None:
    def observer(item: object) -> None:
        if isinstance(item, BotAudioStarted):
            raise KeyError("observer")

    async with scripted(open=accept_and_speak) as server:
        call = SimulatedCall(server.url, observer=observer)
        with pytest.raises(KeyError, match="observer"):
            await call.run(lambda call: call.wait_for(StreamResumed, 5))


@virtual_time
async def test_speech_that_the_end_of_the_call_interrupts_raises_call_ended_error() -> None:
    async def on_audio(peer: ScriptedCall, message: dict[str, Any]) -> None:
        if len(peer.audio) == 1:
            await peer.text("disconnect", {"reason": "error"})

    async with scripted(audio=on_audio) as server, SimulatedCall(server.url) as call:
        await call.opened()
        with pytest.raises(CallEndedError, match="the end of the speech"):
            await call.say(b"\x55" * 80_000)


# Tests of servers that break rules


@virtual_time
async def test_server_without_answers_ends_in_a_report_with_both_timeouts() -> None:
    async with scripted(open=no_answer, close=no_answer) as server:
        report = await SimulatedCall(server.url, options=QUICK).run(lambda call: call.opened())
    rules = [v.rule for v in report.violations]
    assert rules == [ServerRule.OPEN_TIMEOUT, ServerRule.CLOSE_TIMEOUT]
    assert report.script_error is None or "Opened" in report.script_error
    assert report.duration == pytest.approx(1.0, abs=0.05)
    assert report.ending.socket_closed_by is Party.CLIENT
    assert not report.clean


@virtual_time
async def test_missing_pong_ends_the_call_when_the_next_ping_is_due() -> None:
    async with scripted(ping=no_answer) as server:
        call = SimulatedCall(server.url, options=QUICK)
        report = await call.run(lambda call: call.ended(5))
    assert [v.rule for v in report.violations] == [ServerRule.PONG_TIMEOUT]
    # The first ping is due 0.1 s after `opened`, which takes one round-trip time of 0.04 s.
    assert report.violations[0].at == pytest.approx(0.34, abs=0.01)
    assert report.ending.closed_received


@pytest.mark.parametrize("abruptly", [True, False])
@virtual_time
async def test_server_that_closes_the_socket_ends_in_a_report(abruptly: bool) -> None:
    async def drop(peer: ScriptedCall, message: dict[str, Any]) -> None:
        await peer.accept(message)
        if abruptly:
            peer.socket.transport.abort()
        else:
            await peer.socket.close(1011, "oops")

    async with scripted(open=drop) as server:
        report = await SimulatedCall(server.url).run(lambda call: call.wait_for_bot_audio())
    assert [v.rule for v in report.violations] == [ServerRule.SERVER_CLOSED_SOCKET]
    assert report.ending.socket_closed_by is Party.SERVER
    assert report.ending.socket_code == (None if abruptly else 1011)
    assert report.script_error is not None
    assert "the call ended while waiting for BotAudioStarted" in report.script_error
    assert "server_closed_socket" in report.script_error


@virtual_time
async def test_server_that_closes_the_socket_after_closed_is_reported() -> None:
    async def closed_and_gone(peer: ScriptedCall, message: dict[str, Any]) -> None:
        await peer.text("closed")
        await peer.socket.close()

    async with scripted(close=closed_and_gone) as server:
        report = await SimulatedCall(server.url).run(lambda call: call.opened())
    rules = {v.rule for v in report.violations} | {w.rule for w in report.warnings}
    assert rules & {ServerRule.SERVER_CLOSED_SOCKET, ServerRule.SOCKET_CLOSE_RACE}


@virtual_time
async def test_close_frame_with_a_code_that_crosses_the_client_s_is_a_warning() -> None:
    async def close_with_1000(peer: ScriptedCall, message: dict[str, Any]) -> None:
        # The server does not read the client's close frame, and sends its own close frame.
        peer.socket.transport.pause_reading()
        await peer.text("closed")
        await asyncio.sleep(0.1)
        peer.socket.transport.write(b"\x88\x02\x03\xe8")

    async with scripted(close=close_with_1000) as server:
        options = CallOptions(rtt=0)
        report = await SimulatedCall(server.url, options=options).run(lambda call: call.opened())
        server.peer.socket.transport.abort()
    assert [w.rule for w in report.warnings] == [ServerRule.SOCKET_CLOSE_RACE]
    assert report.clean
    assert report.ending.socket_closed_by is Party.CLIENT
    assert report.ending.socket_code == 1000


@virtual_time
async def test_cancelled_call_hangs_up_and_leaves_no_task() -> None:
    async with scripted() as server:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(SimulatedCall(server.url).run(wait_a_minute), 1)
        await server.done.wait()
    assert server.peer.received[-1]["type"] == "close"


@virtual_time
async def test_cancelled_call_is_dropped_if_the_server_does_not_answer_close() -> None:
    async with scripted(close=no_answer) as server:
        call = SimulatedCall(server.url)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(call.run(wait_a_minute), 1)
        await server.done.wait()
        assert call.elapsed < 4
    assert server.peer.close_code == 1006


@virtual_time
async def test_server_that_does_not_answer_the_close_frame_does_not_delay_the_end() -> None:
    held = asyncio.Event()

    async def freeze(peer: ScriptedCall, message: dict[str, Any]) -> None:
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


@virtual_time
async def test_server_that_stops_reading_cannot_keep_the_socket_open() -> None:
    held = asyncio.Event()

    async def freeze(peer: ScriptedCall, message: dict[str, Any]) -> None:
        peer.socket.transport.pause_reading()
        await held.wait()

    async with scripted(open=freeze) as server:
        websocket = await open_websocket(server.url, {}, timeout=5, close_timeout=0.2, ssl=None)
        connection = CallConnection(websocket, 0.2)
        connection.send('{"type": "open"}')
        for _ in range(64):
            connection.send(b"\xff" * 1_000_000)
        connection.close()
        async with asyncio.timeout(5):
            end = await connection.run(lambda message: None)
        held.set()
        server.peer.socket.transport.abort()
    assert end.by is Party.CLIENT
    assert end.fault is None


@virtual_time
async def test_refused_connection_is_a_script_error_of_run_and_raised_otherwise() -> None:
    async with scripted() as server:
        url = server.url
    report = await SimulatedCall(url).run(lambda call: call.opened())
    assert report.script_error is not None
    assert "no connection to" in report.script_error
    assert not report.clean
    with pytest.raises(ConnectFailedError):
        async with SimulatedCall(url):
            pass


@virtual_time
async def test_too_large_message_is_a_violation_and_does_not_break_the_socket() -> None:
    async def shout(peer: ScriptedCall, message: dict[str, Any]) -> None:
        await peer.accept(message)
        await peer.socket.send(b"\x55" * 2_000_000)

    async with scripted(open=shout) as server, SimulatedCall(server.url) as call:
        report = await call.ended(5)
    assert [v.rule for v in report.violations] == [ServerRule.MESSAGE_TOO_LARGE]
    assert report.ending.closed_received


@virtual_time
async def test_text_that_is_not_utf8_is_a_websocket_fault_of_the_server() -> None:
    async def garble(peer: ScriptedCall, message: dict[str, Any]) -> None:
        await peer.accept(message)
        await peer.socket.send(b"\xff\xfe", text=True)

    async with scripted(open=garble) as server, SimulatedCall(server.url) as call:
        report = await call.ended(5)
    assert [v.rule for v in report.violations] == [ServerRule.WEBSOCKET_FAULT]
    assert not report.clean


@virtual_time
async def test_bot_that_sends_20_ms_messages_is_disconnected_with_429() -> None:
    async def dribble(peer: ScriptedCall, message: dict[str, Any]) -> None:
        await peer.accept(message)
        for _ in range(60):
            await peer.socket.send(b"\x55" * 160)

    async with scripted(open=dribble) as server, SimulatedCall(server.url) as call:
        report = await call.ended(5)
    assert [v.rule for v in report.violations] == [ServerRule.BINARY_RATE]
    error = next(m for m in server.peer.received if m["type"] == "error")
    assert error["parameters"]["code"] == 429
    assert error["parameters"]["retryAfter"].startswith("PT0.")


# Tests of connections: headers, retries, continued conversations


@virtual_time
async def test_lost_attempts_repeat_open_and_count_up_the_retry_header() -> None:
    async with (
        scripted() as server,
        SimulatedCall(server.url, options=CallOptions(lost_attempts=2)) as call,
    ):
        await call.opened()
        attempts = [
            peer.socket.request.headers["Audiohook-Retry-Attempt"]  # type: ignore[union-attr]
            for peer in server.peers
        ]
    assert attempts == ["0", "1", "2"]
    opens = [peer.received[0] for peer in server.peers]
    assert opens[0] == opens[1] == opens[2]
    assert [peer.close_code for peer in server.peers[:2]] == [1006, 1006]


@virtual_time
async def test_options_can_replace_add_and_remove_headers() -> None:
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
@virtual_time
async def test_continuation_repeats_the_history_and_closes_the_previous_session(
    history: float,
) -> None:
    async def open_and_go(peer: ScriptedCall, message: dict[str, Any]) -> None:
        await peer.accept(message)
        if not message["parameters"].get("continuedSessions"):
            await peer.text("reconnect", {"info": "restart"})

    async with (
        scripted(open=open_and_go) as server,
        SimulatedCall(server.url, new_monitor_call()) as old,
    ):
        await old.wait_for(ReconnectRequested)
        before = await old.say(b"\x11" * 1600)
        await old.say(b"\x22" * 3200)
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
    previous = first.received[0]
    assert opening["seq"] == 1
    assert opening["id"] != previous["id"]
    assert opening["parameters"]["conversationId"] == previous["parameters"]["conversationId"]
    (continued,) = opening["parameters"]["continuedSessions"]
    assert continued["id"] == previous["id"]
    assert continued["serverseq"] == 2
    start = round(float(opening["position"].removeprefix("PT").removesuffix("S")) * 8000)
    # The client sends the history without a pause, and not at the rate of the first session.
    sent = [e.at for e in new.session.capture.entries if e.is_audio]
    (opened,) = [e.at for e in new.session.capture.entries if e.type == "opened"]
    at_once = [at for at in sent if at == opened]
    assert len(at_once) >= (len(first.audio) - 1 if history == 20.0 else 2)
    # Both sessions have the same timeline: repeated audio has the same stream position in both
    # sessions.
    streams = [b"".join(peer.audio)[::2] for peer in server.peers]
    old_end = len(streams[0])
    assert streams[0][before.first_sample :][:1600] == b"\x11" * 1600
    assert streams[1][: old_end - start] == streams[0][start:]
    assert streams[1][after.first_sample - start :][:1600] == b"\x33" * 1600
    assert start == 0 if history == 20.0 else start == pytest.approx(old_end - 3200, abs=1600)
    assert report.ending.socket_closed_by is Party.CLIENT


def test_continuation_needs_a_recorded_call() -> None:
    call = SimulatedCall("ws://unused", options=CallOptions(record_audio=False))
    with pytest.raises(ValueError, match="record_audio=False"):
        continuation(call)
