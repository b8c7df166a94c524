"""Tests of the recorder: the contents of the file of a call."""

from __future__ import annotations

import asyncio
import base64
import gc
import json
import stat
import weakref
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from echo_server import Echo
from pipecat.frames.frames import TTSAudioRawFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat_genesys.capture import (
    CallMode,
    CaptureSource,
    Choice,
    Choices,
    Direction,
    MarkKind,
    Party,
    RecordedCall,
    read_capture,
)
from pipecat_genesys.endpoint import AudioHookCall, CallRecording, RecordingSettings
from pipecat_genesys.simulator import CallReport, SimulatedCall, new_call
from pipecat_genesys.transport import task_manager

from .recordings import ended, file_in
from .served import SIGNED, echo, hang_up, next_pong, served

VERBATIM = {"audio": "record", "digits": "record", "variables": "record", "participant": "record"}
SECRET_VARIABLE = "planted-in-4111"
SECRET_OUTPUT = "planted-out-4222"
SECRET_NAME = "planted-name"
SECRET_WORDS = "planted words"
SPEECH = bytes(range(256)) * 25
"""0.8 s of caller audio that contains every mu-law code."""


async def record(
    folder: Path,
    script: Callable[[SimulatedCall], Awaitable[None]],
    bot: Callable[[AudioHookCall], Awaitable[None]] = echo,
    **settings: Any,
) -> tuple[RecordedCall, SimulatedCall, CallReport]:
    """Record one call; return the recording, and the call and its report on the client's side."""
    parameters = new_call(
        input_variables={"account": SECRET_VARIABLE}, ani_name=SECRET_NAME, ani="tel:+15550147"
    )
    async with served(bot, recording=RecordingSettings(folder, **settings)) as server:
        call = SimulatedCall(server.url, parameters, options=SIGNED)
        report = await call.run(script)
        await ended(server)
    assert report.clean, report
    path = file_in(folder)
    assert parameters.session_id in path.name
    return read_capture(path), call, report


async def talk(caller: SimulatedCall) -> None:
    await caller.opened()
    await caller.say(SPEECH)
    await caller.wait_for_bot_audio()
    await caller.press("7")
    await next_pong(caller)
    await hang_up(caller)


async def with_outputs(call: AudioHookCall) -> None:
    call.transport.call.set_output_variables({"card": SECRET_OUTPUT})
    await echo(call)


def texts(entries: Any, direction: Direction) -> list[dict[str, Any]]:
    return [
        json.loads(str(entry.content))
        for entry in entries
        if entry.direction is direction and not entry.is_audio
    ]


async def test_recording_has_every_message_of_both_sides_as_the_client_saw_it(
    tmp_path: Path,
) -> None:
    recorded, call, _ = await record(tmp_path / "new" / "folder", talk, with_outputs, **VERBATIM)
    seen = call.session.capture.entries
    for direction in Direction:
        assert texts(recorded.entries, direction) == texts(seen, direction)
        mine = [e for e in recorded.entries if e.direction is direction]
        theirs = [e for e in seen if e.direction is direction]
        assert [(e.type, e.seq, e.size) for e in mine] == [(e.type, e.seq, e.size) for e in theirs]
        assert [e.content for e in mine if e.is_audio] == [e.content for e in theirs if e.is_audio]
    said = [e for e in recorded.entries if e.is_audio and e.direction is Direction.TO_SERVER]
    assert SPEECH in b"".join(e.content for e in said if isinstance(e.content, bytes))
    assert (recorded.source, recorded.mode) == (CaptureSource.RECORDER, CallMode.BOT)
    assert recorded.headers["Audiohook-Session-Id"] == call.parameters.session_id
    assert "X-API-KEY" not in recorded.headers
    assert (recorded.ended_by, recorded.marks) == (Party.CLIENT, ())
    assert recorded.started is not None
    times = [e.at for e in recorded.entries]
    assert times == sorted(times)
    assert times[0] == 0
    replies = [e for e in recorded.entries if e.type in ("opened", "pong", "closed")]
    assert all(e.latency is not None and 0 <= e.latency < 5 for e in replies)


async def test_by_default_nothing_personal_is_in_the_file_and_times_and_sizes_stay(
    tmp_path: Path,
) -> None:
    async def bot(call: AudioHookCall) -> None:
        async def speak(*_: Any) -> None:
            await call.transport.call.send_transcript(SECRET_WORDS, offset=0, duration=1)

        call.transport.call.add_event_handler("on_dtmf", speak)
        await with_outputs(call)

    recorded, call, _ = await record(tmp_path, talk, bot)
    path = file_in(tmp_path)
    data = path.read_bytes()
    for planted in (SECRET_VARIABLE, SECRET_OUTPUT, SECRET_NAME, SECRET_WORDS, "5550147"):
        assert planted.encode() not in data
        assert base64.b64encode(planted.encode()).rstrip(b"=") not in data
    digits = [m for m in texts(recorded.entries, Direction.TO_SERVER) if m["type"] == "dtmf"]
    assert [m["parameters"] for m in digits] == [{"digit": "*"}]
    assert base64.b64encode(SPEECH[:1600]) not in data
    sounds = [e for e in recorded.entries if e.is_audio]
    assert {bytes(e.content) for e in sounds if isinstance(e.content, bytes)} == {
        b"\xff" * e.size for e in sounds
    }
    seen = call.session.capture.entries
    for direction in Direction:
        assert [(e.type, e.seq, e.size) for e in recorded.entries if e.direction is direction] == [
            (e.type, e.seq, e.size) for e in seen if e.direction is direction
        ]
    assert sum(e.size for e in sounds) == sum(e.size for e in seen if e.is_audio)
    assert recorded.choices == Choices()
    for message in texts(recorded.entries, Direction.FROM_SERVER):
        assert isinstance(message["parameters"], dict)
    (event,) = [m for m in texts(recorded.entries, Direction.FROM_SERVER) if m["type"] == "event"]
    assert event["parameters"]["entities"][0]["type"] == "transcript"


async def test_what_is_left_out_is_not_in_the_file(tmp_path: Path) -> None:
    settings = dict.fromkeys(VERBATIM, "omit")
    recorded, _, _ = await record(tmp_path, talk, with_outputs, **settings)
    opening = texts(recorded.entries, Direction.TO_SERVER)[0]["parameters"]
    assert "inputVariables" not in opening
    assert opening["participant"]["ani"] == ""
    assert {e.content for e in recorded.entries if e.is_audio} == {None}
    (closed,) = [m for m in texts(recorded.entries, Direction.FROM_SERVER) if m["type"] == "closed"]
    assert closed["parameters"] == {}


async def test_file_and_folder_can_be_read_by_their_owner_only(tmp_path: Path) -> None:
    await record(tmp_path / "private", talk)
    path = file_in(tmp_path / "private")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


async def test_bot_pauses_the_recording_and_the_file_says_so(tmp_path: Path) -> None:
    async def bot(call: AudioHookCall) -> None:
        def on_dtmf(_: Any, message: dict[str, Any]) -> None:
            digit = message["parameters"]["digit"]
            if digit == "1":
                call.recording.pause()
                call.recording.pause()
            elif digit == "2":
                call.recording.resume()

        call.transport.call.add_event_handler("on_dtmf", on_dtmf)
        await echo(call)

    during, after = b"\x11" * 3200, b"\x22" * 3200

    async def script(caller: SimulatedCall) -> None:
        await caller.opened()
        await caller.press("1")
        await next_pong(caller)
        await caller.press("5")
        await caller.say(during)
        await next_pong(caller)
        await caller.press("2")
        await next_pong(caller)
        await caller.press("6")
        await caller.say(after)
        await next_pong(caller)
        await hang_up(caller)

    recorded, _, _ = await record(tmp_path, script, bot, **VERBATIM)
    assert [mark.kind for mark in recorded.marks] == [MarkKind.PAUSED, MarkKind.RESUMED]
    began, resumed = (mark.at for mark in recorded.marks)
    digits = [
        (m["parameters"]["digit"])
        for m in texts(recorded.entries, Direction.TO_SERVER)
        if m["type"] == "dtmf"
    ]
    # The bot pauses the recording after digit 1 is recorded, and resumes it after digit 2.
    assert digits == ["1", "*", "*", "6"]
    sounds = [e for e in recorded.entries if e.is_audio]
    to_server = [e for e in sounds if e.direction is Direction.TO_SERVER]
    said = b"".join(e.content for e in to_server if isinstance(e.content, bytes))
    assert b"\x11" not in said
    assert after in said
    paused = [e for e in sounds if began < e.at < resumed]
    assert paused
    assert all(e.content == b"\xff" * e.size for e in paused)


async def test_l16_is_masked_by_its_own_silence(tmp_path: Path) -> None:
    from pipecat_genesys.protocol import AudioHookChannel, AudioHookMediaFormat
    from pipecat_genesys.simulator import medium

    offer = (medium(AudioHookChannel.EXTERNAL, format=AudioHookMediaFormat.L16),)
    async with served(recording=RecordingSettings(tmp_path)) as server:
        await SimulatedCall(server.url, new_call(media=offer), options=SIGNED).run(talk)
        await ended(server)
    path = file_in(tmp_path)
    sounds = [e for e in read_capture(path).entries if e.is_audio]
    assert sounds
    assert all(e.content == bytes(e.size) for e in sounds)


@pytest.mark.skipif(
    not task_manager.IS_SUPPORTED, reason="with pipecat before 1.5, calls leave garbage"
)
async def test_recording_of_an_ended_call_is_freed_without_the_garbage_collector(
    tmp_path: Path,
) -> None:
    recordings: list[weakref.ref[CallRecording]] = []

    async def bot(call: AudioHookCall) -> None:
        recordings.append(weakref.ref(call.recording))
        await echo(call)

    settings = RecordingSettings(tmp_path, flight_folder=tmp_path)
    async with served(bot, recording=settings) as server:
        gc.disable()
        try:
            await SimulatedCall(server.url, options=SIGNED).run(talk)
            await ended(server)
            async with asyncio.timeout(10):
                while recordings[0]() is not None:  # noqa: ASYNC110 - reference counting frees it
                    await asyncio.sleep(0.05)
        finally:
            gc.enable()


async def test_bot_of_a_call_that_is_not_recorded_can_pause_too() -> None:
    paused: list[bool] = []

    async def bot(call: AudioHookCall) -> None:
        call.recording.pause()
        paused.append(call.recording.is_paused)
        call.recording.resume()
        assert call.recording.file is None
        await echo(call)

    async with served(bot) as server:
        report = await SimulatedCall(server.url, options=SIGNED).run(talk)
        await server.idle()
    assert report.clean
    assert paused == [True]


async def test_audio_that_an_interruption_discards_is_not_recorded(tmp_path: Path) -> None:
    async def bot(call: AudioHookCall) -> None:
        transport = call.transport

        async def on_dtmf(*_: Any) -> None:
            await transport.output().queue_frame(TTSAudioRawFrame(b"\x10\x00" * 160000, 16000, 1))

        transport.call.add_event_handler("on_dtmf", on_dtmf)
        await call.run(Pipeline([transport.input(), Echo(), transport.output()]))

    async def script(caller: SimulatedCall) -> None:
        await caller.opened()
        await caller.press("1")
        await caller.wait_for_bot_audio()
        await hang_up(caller)

    recorded, call, _ = await record(tmp_path, script, bot, **VERBATIM)
    sizes = [
        [e.size for e in entries if e.is_audio and e.direction is Direction.FROM_SERVER]
        for entries in (recorded.entries, call.session.capture.entries)
    ]
    assert sizes[0] == sizes[1]


async def test_hostile_messages_are_recorded_without_their_content(tmp_path: Path) -> None:
    from genesys import Genesys
    from websockets.asyncio.client import connect

    client = Genesys()
    hostile = [
        "planted text that is not JSON",
        '"planted"',
        "[" * 5000 + '"planted"' + "]" * 5000,
        '{"a":' * 600 + '"planted"' + "}" * 600,
        '{"type": "dtmf", "parameters": {"digit": "planted"}, "planted": "\\ud800"}',
    ]
    settings = RecordingSettings(tmp_path)
    async with served(unauthenticated=True, recording=settings) as server:
        async with connect(server.url, compression=None) as socket:
            await socket.send(client.open())
            client.receive(await socket.recv())
            for text in hostile:
                await socket.send(text)
            await socket.send(b"\x55" * 1601)
            await socket.send(client.text("close", {"reason": "end"}))
            while json.loads(await socket.recv())["type"] != "closed":
                pass
        await ended(server)
    path = file_in(tmp_path)
    assert b'"planted"' not in path.read_bytes().replace(b'"planted":"***"', b"")
    sent = [e for e in read_capture(path).entries if e.direction is Direction.TO_SERVER]
    assert [e.size for e in sent[1:6]] == [len(text) for text in hostile]


def test_invalid_settings_are_named() -> None:
    for name, value in {
        "audio": "all", "digits": "", "max_bytes": 0, "max_age": -1, "flight_max_bytes": 0,
    }.items():  # fmt: skip
        with pytest.raises(ValueError, match=name):
            RecordingSettings("x", **{name: value})
    assert RecordingSettings(audio="record").choices.audio is Choice.RECORD
