"""Tests of the replay of recordings: the same bot sends the same messages again."""

from __future__ import annotations

import asyncio
import json
import random
from pathlib import Path
from typing import Any

import pytest
from pipecat.frames.frames import InputDTMFFrame, TTSAudioRawFrame, TTSStoppedFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.processors.frame_processor import FrameProcessor
from pipecat_genesys.capture import CaptureSource, read_capture
from pipecat_genesys.endpoint import AudioHookCall, RecordingSettings
from pipecat_genesys.simulator import (
    CallOptions,
    ClientTimeouts,
    ReplayReport,
    ServerEvent,
    SimulatedCall,
    new_call,
    replay_call,
)

from .recordings import ended, files_in
from .served import API_KEY, SECRET, next_pong, served

CALLS, AT_ONCE = 50, 10
# The clients of 10 calls and their server share a process, which may be slow.
OPTIONS = CallOptions(
    api_key=API_KEY, client_secret=SECRET, timeouts=ClientTimeouts(ping_interval=2)
)
_LAST = 3


class AnsweringProcessor(FrameProcessor):
    """Answers a digit with an event and 0.5 s of audio; ends the call after the third digit."""

    def __init__(self, call: AudioHookCall, word: str) -> None:
        super().__init__()
        self._call = call.transport.call
        self._word = word
        self._digits = ""

    async def process_frame(self, frame: Any, direction: Any) -> None:
        await super().process_frame(frame, direction)
        if not isinstance(frame, InputDTMFFrame):
            await self.push_frame(frame, direction)
            return
        self._digits += frame.button.value
        self._call.set_output_variables({"digits": self._digits})
        number = len(self._digits)
        await self._call.send_event(self._word, {"said": self._digits})
        await self.push_frame(TTSAudioRawFrame(b"\x10\x00" * 8000, 16000, 1))
        await self.push_frame(TTSStoppedFrame())
        if number == _LAST:
            await self._call.disconnect()


def bot_that_says(word: str) -> Any:
    async def bot(call: AudioHookCall) -> None:
        transport = call.transport
        await call.run(
            Pipeline([transport.input(), AnsweringProcessor(call, word), transport.output()])
        )

    return bot


async def make_call(url: str, seed: int) -> None:
    """Call with digits and speech, sometimes with a pause; the caller or the bot ends the call."""
    chance = random.Random(seed)
    digits = "".join(chance.choice("0123456789*#") for _ in range(chance.randint(0, _LAST)))

    async def script(caller: SimulatedCall) -> None:
        await caller.opened()
        for number, digit in enumerate(digits, start=1):
            await caller.say(bytes([chance.randrange(256)]) * chance.randrange(800, 4000))
            await caller.press(digit)
            await caller.wait_for(ServerEvent, since=0)
            if number < len(digits):
                await asyncio.sleep(0.8)
        if len(digits) == _LAST:
            await caller.ended(10)
            return
        if chance.random() < 0.3:
            await caller.pause()
            await asyncio.sleep(0.3)
            await caller.resume()
        await next_pong(caller)
        # Wait until the bot has finished its answer.
        await asyncio.sleep(0.8)
        await caller.hang_up()
        await caller.ended(10)

    parameters = new_call(input_variables={"account": str(chance.random())})
    report = await SimulatedCall(url, parameters, options=OPTIONS).run(script)
    assert report.clean, report


async def all_at_once(jobs: list[Any]) -> list[Any]:
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(job: Any) -> Any:
        async with gate:
            return await job

    return await asyncio.gather(*map(one, jobs))


async def record(folder: Path, calls: int, word: str = "heard", **settings: Any) -> list[Path]:
    recording = RecordingSettings(folder, **settings)
    async with served(bot_that_says(word), recording=recording) as server:
        await all_at_once([make_call(server.url, seed) for seed in range(calls)])
        await ended(server)
    return files_in(folder)


async def replay(paths: list[Path], word: str = "heard") -> list[ReplayReport]:
    async with served(bot_that_says(word)) as server:
        return await all_at_once(
            [replay_call(read_capture(path), server.url, options=OPTIONS) for path in paths]
        )


@pytest.mark.slow
@pytest.mark.parametrize("choice", ["mask", "record", "omit"])
async def test_fifty_recorded_calls_give_the_same_server_messages(
    tmp_path: Path, choice: str
) -> None:
    # If the recording leaves digits out, the replay sends no digits.
    settings = dict.fromkeys(("audio", "variables", "participant"), choice)
    paths = await record(tmp_path, CALLS, digits="mask" if choice == "omit" else choice, **settings)
    assert len(paths) == CALLS
    reports = await replay(paths)
    assert [report.first_difference for report in reports] == [None] * CALLS
    assert {report.differences for report in reports} == {()}
    assert sum(len(report.before.texts) for report in reports) > 3 * CALLS


async def test_masked_recordings_give_the_same_server_messages(tmp_path: Path) -> None:
    reports = await replay(await record(tmp_path, 5))
    assert [report.differences for report in reports] == [()] * 5


async def test_first_message_that_differs_is_named(tmp_path: Path) -> None:
    paths = await record(tmp_path, 1)
    (report,) = await replay(paths, "understood")
    assert report.first_difference is not None
    assert report.first_difference.startswith("server message 2 differs: event")
    assert '"heard"' in report.first_difference
    assert '"understood"' in report.first_difference


async def test_flight_recording_is_replayed_without_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipecat_genesys.endpoint.recording._FLIGHT_SECONDS", 2.0)
    recording = RecordingSettings(flight_folder=tmp_path, digits="record")

    async def script(caller: SimulatedCall) -> None:
        await caller.opened()
        for _ in range(3):
            await next_pong(caller)
        for digit in "12":
            await caller.press(digit)
            await asyncio.sleep(0.6)
        await caller.press("3")
        await caller.ended(10)

    async def bot(call: AudioHookCall) -> None:
        call.transport.call.record_ending("server", "defect")
        await bot_that_says("heard")(call)

    async with served(bot, recording=recording) as server:
        report = await SimulatedCall(server.url, options=OPTIONS).run(script)
        assert report.clean, report
        await ended(server)
    (path,) = files_in(tmp_path)
    recorded = read_capture(path)
    assert recorded.source is CaptureSource.FLIGHT_RECORDER
    assert recorded.entries[2].at > 1
    (replayed,) = await replay([path])
    assert replayed.is_partial
    assert replayed.differences == ()
    kinds = [json.loads(str(e.content))["type"] for e in replayed.entries if not e.is_audio]
    assert "error" not in kinds
    assert kinds.count("dtmf") == 3
