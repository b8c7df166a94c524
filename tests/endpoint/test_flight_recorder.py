"""Tests of the flight recorder: which calls and data it writes, and how much memory it uses."""

from __future__ import annotations

import asyncio
import json
import re
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from genesys import Genesys
from loguru import logger
from pipecat.frames.frames import InputDTMFFrame, TTSAudioRawFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.processors.frame_processor import FrameProcessor
from pipecat_genesys.capture import (
    CaptureSource,
    Choice,
    Choices,
    Direction,
    MarkKind,
    Party,
    RecordedCall,
    read_capture,
)
from pipecat_genesys.endpoint import AudioHookCall, RecordingSettings
from pipecat_genesys.endpoint import recording as module
from pipecat_genesys.endpoint.metrics import Metrics
from pipecat_genesys.endpoint.recording import Recorder
from pipecat_genesys.protocol import AudioHookMessageType, WireMessage
from pipecat_genesys.simulator import SimulatedCall, new_call
from prometheus_client import CollectorRegistry
from websockets.asyncio.client import ClientConnection, connect

from .recordings import counted, ended, file_in, files_in
from .served import SIGNED, ServedEndpoint, echo, hang_up, served


@pytest.fixture
def log() -> Iterator[list[str]]:
    """Return the log messages of level INFO and above."""
    lines: list[str] = []
    sink = logger.add(lambda line: lines.append(line.record["message"]), level="INFO")
    yield lines
    logger.remove(sink)


@asynccontextmanager
async def flying(
    flight_folder: Path, bot: Any = echo, **settings: Any
) -> AsyncIterator[ServedEndpoint]:
    recording = RecordingSettings(flight_folder=flight_folder, **settings)
    async with served(bot, unauthenticated=True, recording=recording) as server:
        yield server
        await ended(server)


@asynccontextmanager
async def opened(server: ServedEndpoint, client: Genesys) -> AsyncIterator[ClientConnection]:
    async with connect(server.url, compression=None) as socket:
        await socket.send(client.open(inputVariables={"a": "planted"}))
        client.receive(await socket.recv())
        await socket.send(b"\x11" * 1600)
        client.position = "PT0.2S"
        yield socket


async def written(folder: Path, server: ServedEndpoint, reason: str) -> RecordedCall:
    await ended(server)
    assert counted(server, f"flight_recordings_total{{reason={reason}}}") == 1
    path = file_in(folder)
    assert path.name.endswith(".flight.jsonl")
    call = read_capture(path)
    assert call.source is CaptureSource.FLIGHT_RECORDER
    assert reason in call.reasons
    return call


async def test_call_that_ends_well_is_not_written(tmp_path: Path) -> None:
    async def script(caller: SimulatedCall) -> None:
        await caller.opened()
        await caller.say(b"\x11" * 1600)
        await caller.press("7")
        await hang_up(caller)

    async with flying(tmp_path) as server:
        report = await SimulatedCall(server.url, options=SIGNED).run(script)
    assert report.clean, report
    assert files_in(tmp_path) == []


async def test_lost_socket_is_written_without_audio_and_masked(
    tmp_path: Path, log: list[str]
) -> None:
    client = Genesys()
    async with flying(tmp_path) as server:
        async with opened(server, client) as socket:
            await socket.send(client.text("dtmf", {"digit": "7"}))
            await socket.send(client.text("ping"))
            while json.loads(await text_of(socket))["type"] != "pong":
                pass
            socket.transport.abort()
        call = await written(tmp_path, server, "lost")
    assert call.reasons == ("lost",)
    assert call.choices == Choices(audio=Choice.OMIT)
    assert b"planted" not in file_in(tmp_path).read_bytes()
    kinds = [entry.type for entry in call.entries if entry.direction is Direction.TO_SERVER]
    assert kinds == ["open", "audio", "dtmf", "ping"]
    sounds = [entry for entry in call.entries if entry.is_audio]
    assert {entry.content for entry in sounds} == {None}
    assert sounds[0].size == 1600
    digit = next(entry for entry in call.entries if entry.type == "dtmf")
    assert json.loads(str(digit.content))["parameters"] == {"digit": "*"}
    assert (call.ended_by, call.marks) == (Party.CLIENT, ())
    [line] = [line for line in log if line.startswith("call ended badly")]
    assert all(part in line for part in (client.session_id, "lost", str(file_in(tmp_path))))
    [line] = [line for line in log if line.startswith("call ended:")]
    assert f"flight={file_in(tmp_path).name}" in line


async def text_of(socket: ClientConnection) -> str:
    """Return the next text message of a server."""
    while not isinstance(message := await socket.recv(), str):
        pass
    return message


async def test_settings_in_the_file_say_that_it_has_no_audio(tmp_path: Path) -> None:
    async def bot(call: AudioHookCall) -> None:
        async def speak(*_: Any) -> None:
            await call.transport.call.send_transcript("planted words", offset=0, duration=1)

        call.transport.call.add_event_handler("on_dtmf", speak)
        await echo(call)

    client = Genesys()
    async with flying(tmp_path, bot, audio="record", variables="omit") as server:
        async with opened(server, client) as socket:
            await socket.send(client.text("dtmf", {"digit": "7"}))
            while json.loads(await text_of(socket))["type"] != "event":
                pass
            socket.transport.abort()
        call = await written(tmp_path, server, "lost")
    assert call.choices == Choices(audio=Choice.OMIT, variables=Choice.OMIT, events=Choice.RECORD)
    assert {entry.content for entry in call.entries if entry.is_audio} == {None}
    (event,) = [entry for entry in call.entries if entry.type == "event"]
    assert "planted words" in str(event.content)


async def test_fault_of_the_client_is_written(tmp_path: Path) -> None:
    client = Genesys()
    async with flying(tmp_path) as server:
        async with opened(server, client) as socket:
            client.seq += 5
            await socket.send(client.text("ping"))
            assert json.loads(await text_of(socket))["type"] == "disconnect"
            client.seq -= 5
            await socket.send(client.text("close", {"reason": "disconnect"}))
            await text_of(socket)
        call = await written(tmp_path, server, "fault")
    assert call.reasons == ("fault",)


async def test_unknown_field_of_a_newer_protocol_is_no_bad_end(tmp_path: Path) -> None:
    client = Genesys()
    async with flying(tmp_path) as server, opened(server, client) as socket:
        await socket.send(client.text("ping", {"new": 1}, news=1))
        await socket.send(client.text("news"))
        await socket.send(client.text("close", {"reason": "end"}))
        while json.loads(await text_of(socket))["type"] != "closed":
            pass
    assert files_in(tmp_path) == []


async def test_error_429_is_written(tmp_path: Path) -> None:
    client = Genesys()
    async with flying(tmp_path) as server:
        async with opened(server, client) as socket:
            error = {"code": 429, "message": "slow down", "retryAfter": "PT1S"}
            await socket.send(client.text("error", error))
            await socket.send(client.text("close", {"reason": "end"}))
            while json.loads(await text_of(socket))["type"] != "closed":
                pass
        call = await written(tmp_path, server, "rate-limit")
    assert [entry.type for entry in call.entries if entry.type == "error"] == ["error"]


async def test_failed_bot_is_written(tmp_path: Path) -> None:
    async def bot(call: AudioHookCall) -> None:
        raise RuntimeError

    async def script(caller: SimulatedCall) -> None:
        await caller.ended(10)

    async with flying(tmp_path, bot) as server:
        await SimulatedCall(server.url, options=SIGNED).run(script)
        call = await written(tmp_path, server, "bot-failed")
    assert [entry.type for entry in call.entries if not entry.is_audio][-1] == "closed"


class Stuttering(FrameProcessor):
    """Answers a digit with audio that has a gap."""

    async def process_frame(self, frame: Any, direction: Any) -> None:
        await super().process_frame(frame, direction)
        await self.push_frame(frame, direction)
        if isinstance(frame, InputDTMFFrame):
            for _ in range(2):
                await self.push_frame(TTSAudioRawFrame(b"\x10\x00" * 3200, 16000, 1))
                await asyncio.sleep(0.8)


async def test_underrun_is_written(tmp_path: Path) -> None:
    async def bot(call: AudioHookCall) -> None:
        transport = call.transport
        await call.run(Pipeline([transport.input(), Stuttering(), transport.output()]))

    async def script(caller: SimulatedCall) -> None:
        await caller.opened()
        await caller.press("1")
        await caller.wait_for_bot_audio()
        await asyncio.sleep(2)
        await hang_up(caller)

    async with flying(tmp_path, bot) as server:
        await SimulatedCall(server.url, new_call(), options=SIGNED).run(script)
        call = await written(tmp_path, server, "underruns")
    sent = [e for e in call.entries if e.is_audio and e.direction is Direction.FROM_SERVER]
    assert sum(entry.size for entry in sent) == 3200


async def test_both_recorders_write_the_same_messages(tmp_path: Path) -> None:
    client = Genesys()
    async with flying(tmp_path, folder=tmp_path) as server:
        async with opened(server, client) as socket:
            await socket.send(client.text("dtmf", {"digit": "7"}))
            await socket.send(client.text("ping"))
            while json.loads(await text_of(socket))["type"] != "pong":
                pass
            socket.transport.abort()
        await ended(server)
    flight, whole = (read_capture(path) for path in files_in(tmp_path))
    assert (flight.source, whole.source) == (
        CaptureSource.FLIGHT_RECORDER,
        CaptureSource.RECORDER,
    )
    assert [(e.at, e.type, e.seq, e.size) for e in flight.entries] == [
        (e.at, e.type, e.seq, e.size) for e in whole.entries
    ]


# -- memory, with times that the test sets ---------------------------------------------------


def fly(folder: Path, minutes: int, *, text: str = '{"type":"ping","seq":2}') -> RecordedCall:
    """Record a failed call with 10 audio and 4 text messages per second; return the recording."""
    recorder = Recorder(RecordingSettings(flight_folder=folder), Metrics(CollectorRegistry()))
    call = recorder.begin("wss://x/audiohook", {})
    call.received('{"type":"open","seq":1,"parameters":{}}', 1000.0)
    opened = {"media": [{"format": "PCMU"}]}
    call.sent(WireMessage('{"type":"opened"}', AudioHookMessageType.OPENED, 1, opened), 1000.0)
    pong = WireMessage('{"type":"pong"}', AudioHookMessageType.PONG, 2)
    for tick in range(minutes * 600):
        at = 1000.0 + tick / 10
        call.received(b"\x55" * 1600, at)
        if tick % 5 == 0:
            call.received(text, at + 0.01)
            call.sent(pong, at + 0.02)
    call.closed(by_server=False, code=1006, at=at)
    path = call.end(("lost",))
    assert path is not None
    assert module.writer_thread().flush(None, 20)
    return read_capture(path)


def test_file_has_the_opening_and_the_last_60_seconds(tmp_path: Path) -> None:
    call = fly(tmp_path, 5)
    assert [entry.type for entry in call.entries[:2]] == ["open", "opened"]
    (mark,) = call.marks
    assert (mark.kind, mark.index) == (MarkKind.SKIPPED, 2)
    rest = call.entries[2:]
    assert rest[0].at >= 239.5
    assert rest[-1].at - rest[0].at == pytest.approx(60, abs=0.5)
    assert mark.count + len(rest) == 5 * 600 + 2 * 5 * 120
    assert [entry.at for entry in rest] == sorted(entry.at for entry in rest)
    per_second = sum(entry.is_audio for entry in rest) / 60
    assert per_second == pytest.approx(10, abs=0.2)


def test_short_call_is_complete(tmp_path: Path) -> None:
    call = fly(tmp_path, 1)
    assert call.marks == ()
    assert len(call.entries) == 2 + 600 + 2 * 120


def test_memory_of_a_call_is_bounded(tmp_path: Path) -> None:
    long_text = json.dumps({"type": "ping", "seq": 2, "x": "y" * 60_000})

    def taken(minutes: int) -> int:
        tracemalloc.start()
        memory = module._FlightMemory()
        for tick in range(minutes * 600):
            at = tick / 10
            memory.put_audio(at, 1600)
            item = (at, Direction.TO_SERVER, f"{tick}{long_text}", Choices(), None, None, 0)
            memory.put(item, len(long_text))
        size, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return size

    assert taken(3) < 500_000


def test_text_that_is_larger_than_the_memory_does_no_harm(tmp_path: Path) -> None:
    call = fly(tmp_path, 1, text='{"type":"ping","seq":2,"x":"' + "y" * 200_000 + '"}')
    assert re.fullmatch("open opened( audio| pong)+", " ".join(e.type for e in call.entries))
